"""Starts the real broker and registers apps at it, by its HTTP interface alone."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import certifi
import httpx
import pytest
from agentwrit import AgentWritApp

ADMIN_SECRET = "correct-horse-battery-staple"
REPOSITORY = Path(__file__).resolve().parents[2]
START_TIMEOUT = 30.0


@dataclass(frozen=True)
class Credentials:
    app_id: str
    client_id: str
    client_secret: str


class Broker:
    """One broker process with its files in a directory of its own. With an authority to trust it speaks TLS."""

    def __init__(self, directory: Path, authority: Path | None = None, **settings: str) -> None:
        binary = broker_binary()
        self._log_path = directory / "broker.log"
        self._names = count(1)
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [binary],
                cwd=directory,
                env={
                    "HOME": str(directory),
                    "AA_ADMIN_SECRET": ADMIN_SECRET,
                    "AA_PORT": "0",
                    "AA_DB_PATH": str(directory / "data.db"),
                    "AA_SIGNING_KEY_PATH": str(directory / "signing.key"),
                    **settings,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self.url = f"{'https' if authority else 'http'}://{self._wait_until_listening()}"
            self._http = httpx.Client(base_url=self.url, verify=ssl.create_default_context(cafile=authority))
            answer = self._http.post("/v1/admin/auth", json={"secret": ADMIN_SECRET}).raise_for_status()
            self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        except BaseException:
            self.stop()
            raise

    def admin(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:
        """What the operator does, by HTTP alone; it must succeed."""
        answer = self._http.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def create_app(self, scopes: list[str], **options: object) -> Credentials:
        body = self.admin("POST", "/v1/admin/apps", {"name": f"app-{next(self._names)}", "scopes": scopes, **options})
        return Credentials(body["app_id"], body["client_id"], body["client_secret"])

    def revoke(self, level: str, target: str) -> dict[str, Any]:
        return self.admin("POST", "/v1/revoke", {"level": level, "target": target})

    def audit_events(self, event_type: str | None = None) -> list[dict[str, Any]]:
        query = f"&event_type={event_type}" if event_type else ""
        answer = self.admin("GET", f"/v1/audit/events?limit=1000{query}")
        assert answer["total"] == len(answer["events"]), "more events than a page holds"
        return answer["events"]

    def denials(self, event_type: str) -> list[dict[str, Any]]:
        """Refusals, which the broker may answer before it has written them down; so this waits for the first."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if events := self.audit_events(event_type):
                assert {event["outcome"] for event in events} == {"denied"}
                return events
            time.sleep(0.02)
        pytest.fail(f"no {event_type} in the audit trail")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=START_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def _wait_until_listening(self) -> str:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if found := re.search(r"listening.*address=([^,\s]+)", self.log()):
                return found.group(1)
            if self._process.poll() is not None:
                pytest.fail(f"the broker ended with {self._process.returncode}:\n{self.log()}")
            time.sleep(0.02)
        pytest.fail(f"the broker does not say where it listens:\n{self.log()}")


def broker_binary() -> str:
    path = Path(os.environ.get("AGENTWRIT_BROKER_BIN") or REPOSITORY / "target/debug/agentwrit-broker")
    if not path.is_file():
        pytest.fail(f"no broker at {path}: build it with `cargo build -p agentwrit-broker` or set AGENTWRIT_BROKER_BIN")
    return str(path.resolve())


@pytest.fixture(scope="session", autouse=True)
def one_certificate_to_trust(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing here speaks TLS, and httpx would read all of certifi's certificates for every client: 30 ms and more."""
    end = "-----END CERTIFICATE-----\n"
    first, end, _ = Path(certifi.where()).read_text().partition(end)
    file = tmp_path_factory.mktemp("trust") / "first.pem"
    file.write_text(first + end)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker for each test: its rate limits are per address, and all tests share one."""
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


@pytest.fixture
def new_app(broker: Broker) -> Iterator[Callable[..., AgentWritApp]]:
    """Registers an app with a ceiling at the broker and opens the SDK with its credentials."""
    opened: list[AgentWritApp] = []

    def open_app(*scopes: str) -> AgentWritApp:
        credentials = broker.create_app(list(scopes))
        app = AgentWritApp(broker.url, credentials.client_id, credentials.client_secret)
        opened.append(app)
        return app

    yield open_app
    for app in opened:
        app.close()
