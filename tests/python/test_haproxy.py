"""deploy/haproxy/haproxy.cfg in the real HAProxy, before two servers that record what they get.

How several brokers behave behind it is tested with real brokers in tests/e2e (`brokers`).
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from conftest import REPOSITORY

CONFIG = REPOSITORY / "deploy/haproxy/haproxy.cfg"
HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") or "haproxy"


class Backend:
    """An HTTP server in place of a broker."""

    def __init__(self) -> None:
        self.healthy = True
        self.closes_without_response = False
        self.requests: list[tuple[str, str, list[str]]] = []
        self.release_polls = threading.Event()
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/v1/health":
                    return self.respond(200 if backend.healthy else 503)
                self.record()
                if backend.closes_without_response:
                    return self.drop()
                if self.path.startswith("/v1/revocations"):
                    backend.release_polls.wait(20)
                self.respond(200)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.record()
                if backend.closes_without_response:
                    return self.drop()
                if self.path == "/v1/slow":
                    backend.release_polls.wait(20)
                self.respond(200)

            def record(self) -> None:
                addresses = self.headers.get_all("X-Forwarded-For") or []
                backend.requests.append((self.command, self.path, addresses))

            def drop(self) -> None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

            def respond(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def refuse_connections(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def stop(self) -> None:
        self.release_polls.set()
        self.refuse_connections()


@pytest.fixture
def backends() -> Iterator[list[Backend]]:
    both = [Backend(), Backend()]
    yield both
    for backend in both:
        backend.stop()


class Proxy:
    def __init__(self, backends: list[Backend], log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url, self.log = f"http://{address}", log
        brokers = {f"AGENTWRIT_BROKER_{index}": backend.address for index, backend in enumerate(backends, 1)}
        self.process = subprocess.Popen(
            [HAPROXY, "-db", "-f", CONFIG],
            env={**os.environ, "AGENTWRIT_BIND": address, **brokers},
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
        )
        until(lambda: httpx.get(f"{self.url}/ready").status_code == 200)


@pytest.fixture
def proxy(backends: list[Backend], tmp_path: Path) -> Iterator[Proxy]:
    proxy = Proxy(backends, tmp_path / "haproxy.log")
    for backend in backends:
        backend.requests.clear()
    yield proxy
    proxy.process.kill()
    proxy.process.wait()


def until(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    pytest.fail(f"not within {seconds} s")


def received(backends: list[Backend], path: str) -> list[int]:
    return [sum(request[1] == path for request in backend.requests) for backend in backends]


def post_in_one_segment(url: str, path: str) -> int:
    """Head and body arrive together: HAProxy then holds all that it needs to repeat the request."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    connection.request("POST", path, body=b"{}")
    status = connection.getresponse().status
    connection.close()
    return status


def test_requests_alternate_between_brokers(proxy: Proxy, backends: list[Backend]) -> None:
    for _ in range(10):
        assert httpx.post(f"{proxy.url}/v1/register", content=b"{}").status_code == 200
    assert received(backends, "/v1/register") == [5, 5]


def test_post_reaches_second_broker_when_first_refuses_connections(proxy: Proxy, backends: list[Backend]) -> None:
    backends[0].refuse_connections()
    # Before the checks have found it: every one of them succeeds.
    for _ in range(4):
        assert httpx.post(f"{proxy.url}/v1/register", content=b"{}").status_code == 200
    assert received(backends, "/v1/register") == [0, 4]


def test_post_that_was_sent_is_not_repeated_but_get_is(proxy: Proxy, backends: list[Backend]) -> None:
    backends[0].closes_without_response = True
    statuses = [post_in_one_segment(proxy.url, "/v1/register") for _ in range(2)]
    assert sorted(statuses) == [200, 502]
    assert received(backends, "/v1/register") == [1, 1]
    statuses = [httpx.get(f"{proxy.url}/v1/challenge").status_code for _ in range(2)]
    assert statuses == [200, 200]
    assert received(backends, "/v1/challenge") == [1, 2]


def test_broker_without_database_gets_no_requests(proxy: Proxy, backends: list[Backend]) -> None:
    backends[0].healthy = False
    until(lambda: "Server brokers/broker-1 is DOWN" in proxy.log.read_text())
    for _ in range(4):
        assert httpx.post(f"{proxy.url}/v1/register", content=b"{}").status_code == 200
    assert received(backends, "/v1/register") == [0, 4]


def test_waiting_poll_ends_when_its_broker_goes_down_and_other_requests_do_not(
    proxy: Proxy, backends: list[Backend]
) -> None:
    statuses: dict[str, list[int]] = {"poll": [], "slow": []}

    def start(name: str, method: str, path: str) -> threading.Thread:
        def request() -> None:
            content = b"{}" if method == "POST" else None
            statuses[name].append(httpx.request(method, f"{proxy.url}{path}", content=content, timeout=30).status_code)

        thread = threading.Thread(target=request)
        thread.start()
        return thread

    slow = [start("slow", "POST", "/v1/slow") for _ in range(2)]
    until(lambda: received(backends, "/v1/slow") == [1, 1])
    poll = start("poll", "GET", "/v1/revocations")
    until(lambda: sum(received(backends, "/v1/revocations")) == 1)
    waiting = next(backend for backend in backends if received([backend], "/v1/revocations") == [1])
    waiting.healthy = False
    until(lambda: sum(received(backends, "/v1/revocations")) == 2 or statuses["poll"])
    # It was cut, or sent to the other broker; its own has not responded.
    assert not waiting.release_polls.is_set() and not statuses["slow"]
    for backend in backends:
        backend.release_polls.set()
    for thread in [poll, *slow]:
        thread.join(timeout=15)
    assert statuses["slow"] == [200, 200]
    assert statuses["poll"][0] in {200, 502, 503}


def test_forged_client_address_is_dropped(proxy: Proxy, backends: list[Backend]) -> None:
    httpx.post(f"{proxy.url}/v1/register", content=b"{}", headers={"X-Forwarded-For": "203.0.113.9"})
    assert [request[2] for backend in backends for request in backend.requests] == [["127.0.0.1"]]


def test_request_in_flight_survives_stop_of_proxy(proxy: Proxy, backends: list[Backend]) -> None:
    statuses: list[int] = []
    path = "/v1/slow"
    slow = threading.Thread(
        target=lambda: statuses.append(httpx.post(f"{proxy.url}{path}", content=b"{}", timeout=30).status_code)
    )
    slow.start()
    until(lambda: sum(received(backends, path)) == 1)
    proxy.process.send_signal(signal.SIGUSR1)
    # The listener is closed, and the request is still waiting.
    until(lambda: refuses(proxy.url))
    assert not statuses
    for backend in backends:
        backend.release_polls.set()
    slow.join()
    assert statuses == [200]
    assert proxy.process.wait(timeout=15) == 0


def refuses(url: str) -> bool:
    try:
        httpx.get(f"{url}/ready")
    except httpx.ConnectError:
        return True
    return False


def test_timeouts_outlast_what_brokers_may_take() -> None:
    text = CONFIG.read_text()
    seconds = {name: int(value) for name, value in re.findall(r"^ +timeout (\S+) (\d+)s$", text.split("\nbackend feed\n")[0], re.M)}
    feed = int(re.search(r"timeout server (\d+)s", text.split("\nbackend feed\n")[1])[1])
    # Contract: a request takes 30 s at most, a poll of the feed waits 25 s and is then answered.
    assert seconds["server"] > 30 and seconds["client"] > 30 and feed > 30
    assert int(re.search(r"hard-stop-after (\d+)s", text)[1]) > 30
