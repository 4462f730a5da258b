"""Services with other JWT libraries across a rotation and a withdrawal of the broker's signing key.

Real times are 600 s (AA_KEY_PREPARE_FOR), 300 s (`max-age` of the key set) and the libraries' own: jose keeps a key set for
600 s and fetches an unknown key at most every 30 s, keyfunc every 300 s. Here all of them are divided by 300. The order of
events depends only on their ratios, which stay the same: a key is published for twice as long as a copy of the key set lives
before it signs. The programs poll by themselves, so that no step of this test makes them fetch.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tokens
from agentwrit import AgentWritApp

from conftest import Broker
from programs import go_program, node_program

ISSUER = "https://agentwrit.local"
PREPARE_FOR = 600 // 300
#: Longest life of a copy of the key set: jose's.
CACHED_FOR = 600 / 300
LIVE_KEYS = Path(__file__).with_name("live_keys.py")


LIBRARIES: dict[str, Callable[[], list[str]]] = {
    "jose createRemoteJWKSet": lambda: node_program("live_keys.mjs", "jose"),
    "PyJWT PyJWKClient": lambda: [sys.executable, str(LIVE_KEYS), "client"],
    "PyJWT with a cache": lambda: [sys.executable, str(LIVE_KEYS), "cache"],
    "golang-jwt with keyfunc": lambda: [go_program("live_keys")],
}


@dataclass
class Service:
    library: str
    process: subprocess.Popen[str]

    def judge(self, token: str) -> str:
        """Returns `accepted`, or `rejected: ` and the library's reason."""
        self.process.stdin.write(f"{token}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip() or pytest.fail(f"{self.library} ended")


@pytest.fixture
def rotating_broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path, AA_KEY_PREPARE_FOR=str(PREPARE_FOR))
    yield broker
    broker.stop()


@pytest.fixture
def services(rotating_broker: Broker) -> Iterator[list[Service]]:
    url = f"{rotating_broker.url}/.well-known/jwks.json"
    started = []
    for library, command in LIBRARIES.items():
        process = subprocess.Popen(
            [*command(), url, ISSUER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        started.append(Service(library, process))
    yield started
    for service in started:
        service.process.kill()
        service.process.wait()


@pytest.fixture
def log_in(rotating_broker: Broker) -> Iterator[Callable[[], AgentWritApp]]:
    """Opens the SDK for an app, whose own token is signed by the key that is active then."""
    credentials = rotating_broker.create_app(["read:data:*"])
    opened: list[AgentWritApp] = []

    def open_app() -> AgentWritApp:
        opened.append(AgentWritApp(rotating_broker.url, credentials.client_id, credentials.client_secret))
        return opened[-1]

    yield open_app
    for app in opened:
        app.close()


def new_token(app: AgentWritApp) -> str:
    """Registers an agent and returns its token, signed by the key that is active."""
    return app.create_agent("orch-1", "task-1", ["read:data:x"]).access_token


def kid(token: str) -> str:
    return tokens.header(token)["kid"]


def accept(services: list[Service], good: list[str]) -> None:
    """Each service accepts each token."""
    judged = [(service.library, kid(token), service.judge(token)) for token in good for service in services]
    assert [found for found in judged if found[2] != "accepted"] == []


def test_accept_every_token_during_rotations(
    rotating_broker: Broker, services: list[Service], log_in: Callable[[], AgentWritApp]
) -> None:
    app = log_in()
    good = {kid(token): token for token in [new_token(app)]}
    accept(services, list(good.values()))
    for _ in range(3):
        prepared = rotating_broker.admin("POST", "/v1/admin/keys/rotate", {})
        assert prepared["state"] == "prepared"
        deadline = time.monotonic() + 30
        while prepared["kid"] not in good:
            assert time.monotonic() < deadline, "the new key is not active"
            token = new_token(app)
            good[kid(token)] = token
            # Tokens of earlier keys stay good, and each service has used its copy of the key set a moment ago.
            accept(services, list(good.values()))
            time.sleep(0.05)
    assert len(good) == 4


def test_reject_tokens_of_withdrawn_key_and_accept_those_of_prepared_one(
    rotating_broker: Broker, services: list[Service], log_in: Callable[[], AgentWritApp]
) -> None:
    prepared = rotating_broker.admin("POST", "/v1/admin/keys", {})
    stolen = new_token(log_in())
    published_at = time.monotonic()
    while time.monotonic() < published_at + PREPARE_FOR:
        accept(services, [stolen])
        time.sleep(0.05)

    rotating_broker.admin("POST", f"/v1/admin/keys/{kid(stolen)}/withdraw", {"reason": "in a stolen backup"})
    withdrawn_at = time.monotonic()
    # The app's own token was signed by that key, too.
    good = new_token(log_in())
    assert kid(good) == prepared["kid"]
    rejecting: set[str] = set()
    while len(rejecting) < len(services):
        accept(services, [good])
        rejecting |= {service.library for service in services if service.judge(stolen) != "accepted"}
        # A library learns of a withdrawal when its copy of the key set has expired, and not before.
        late = {service.library for service in services} - rejecting
        assert time.monotonic() < withdrawn_at + CACHED_FOR + 10, f"still accepted by {late}"
        time.sleep(0.05)
    assert all(service.judge(stolen) != "accepted" for service in services)
