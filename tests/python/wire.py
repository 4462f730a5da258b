"""Requests and responses between a client and the broker, recorded by a proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx

KEPT = {"authorization", "content-type", "user-agent"}
SECRETS = {"client_secret", "access_token", "launch_token", "signature", "token"}


@dataclass(frozen=True)
class Exchange:
    method: str
    path: str
    status: int
    headers: dict[str, str]
    request: dict[str, Any]
    answer: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.status}"


class Wire:
    def __init__(self, url: str) -> None:
        self.url = url
        self.exchanges: list[Exchange] = []

    def secrets(self) -> set[str]:
        """Secrets of the recorded exchange."""
        return {
            value
            for exchange in self.exchanges
            for body in (exchange.request, exchange.answer)
            for name, value in body.items()
            if name in SECRETS
        }

    def answers(self, path: str) -> list[dict[str, Any]]:
        return [exchange.answer for exchange in self.exchanges if exchange.path == path and exchange.status < 300]


def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def tapped(broker_url: str) -> Iterator[Wire]:
    """An address that passes on to the broker whatever it is told, and keeps it."""

    class Tap(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items() if name.lower() in KEPT}
            answer = http.request(self.command, self.path, content=body, headers=headers)
            wire.exchanges.append(
                Exchange(self.command, self.path, answer.status_code, headers, parsed(body), parsed(answer.content))
            )
            self.send_response(answer.status_code)
            for name in ("Content-Type", "Retry-After"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = handle_any

        def log_message(self, *_: object) -> None:
            pass

    with httpx.Client(base_url=broker_url) as http:
        for url in serving(Tap):
            wire = Wire(url)
            yield wire


@contextmanager
def other_server(status: int, body: bytes) -> Iterator[str]:
    """An address where no broker answers, but a proxy or a login page."""

    class OtherServer(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = handle_any

        def log_message(self, *_: object) -> None:
            pass

    yield from serving(OtherServer)


def parsed(body: bytes) -> dict[str, Any]:
    return json.loads(body) if body else {}
