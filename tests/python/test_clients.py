"""The programs in examples/clients, as a developer would run them, against the real broker."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import httpx
import pytest
import tokens
from agentwrit import validate

from certificates import Authority
from conftest import REPOSITORY, Broker, Credentials
from programs import BUILT
from wire import other_server, tapped

EXAMPLES = REPOSITORY / "examples" / "clients"
Completed = subprocess.CompletedProcess[str]


def build(directory: str, *command: str) -> None:
    built = subprocess.run(command, cwd=EXAMPLES / directory, capture_output=True, text=True)
    assert built.returncode == 0, f"{' '.join(command)} in {directory}:\n{built.stdout}{built.stderr}"


@cache
def go(program: str) -> list[str]:
    BUILT.mkdir(parents=True, exist_ok=True)
    build("go", "go", "build", "-o", f"{BUILT}/", "./...")
    return [str(BUILT / program)]


@cache
def typescript() -> list[str]:
    compiler = EXAMPLES / "typescript/node_modules/.bin/tsc"
    assert compiler.exists(), "not installed: npm ci in examples/clients/typescript"
    build("typescript", str(compiler))
    return ["node", str(EXAMPLES / "typescript/dist/main.js")]


CLIENTS: dict[str, Callable[[], list[str]]] = {
    "the Python SDK": lambda: [sys.executable, str(EXAMPLES / "python/with_sdk.py")],
    "Python": lambda: [sys.executable, str(EXAMPLES / "python/without_sdk.py")],
    "Go": lambda: go("go"),
    "TypeScript": typescript,
    "shell": lambda: [str(EXAMPLES / "shell/agent.sh")],
}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> list[str]:
    return CLIENTS[request.param]()


def run(client: list[str], url: str, credentials: Credentials, trust: Path | None = None) -> Completed:
    settings = {
        "AGENTWRIT_BROKER_URL": url,
        "AGENTWRIT_CLIENT_ID": credentials.client_id,
        "AGENTWRIT_CLIENT_SECRET": credentials.client_secret,
    }
    if trust:
        # OpenSSL's name for it serves Python and Go too.
        settings |= dict.fromkeys(("SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"), str(trust))
    return subprocess.run(
        client, env=os.environ | settings, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


def refused(completed: Completed) -> str:
    """What it complains of: one error, in a person's words, and nothing done."""
    assert completed.returncode == 1, completed
    assert completed.stdout == ""
    first, *rest = completed.stderr.splitlines()
    assert first.startswith("error: "), completed.stderr
    assert all(line.startswith("hint: ") for line in rest), completed.stderr
    return completed.stderr


AGENT = "spiffe://agentwrit.local/agent/demo"
LIFE = rf"""registered: {AGENT}/lead/[0-9a-f]{{16}}, 300 s
registered: {AGENT}/helper/[0-9a-f]{{16}}, 300 s
lead: may read:data:\*
delegated: 60 s, chain of 1
helper: may read:data:customers
renewed: 300 s
the old token: refused
released
the released token: refused
too late to renew: (401 unauthorized|agent has been released and cannot be renewed)
"""
ADMISSION = ["POST /v1/app/launch-tokens 201", "GET /v1/challenge 200", "POST /v1/register 200"]
ASKED = "POST /v1/token/validate 200"
CONVERSATION = [
    "POST /v1/app/auth 200", *ADMISSION, *ADMISSION, ASKED,
    "POST /v1/delegate 200", ASKED,
    "POST /v1/token/renew 200", ASKED,
    "POST /v1/token/release 204", "POST /v1/token/release 204", ASKED,
]  # fmt: skip
EVENTS = [
    "app_authenticated",
    *["launch_token_issued", "agent_registered", "token_issued"] * 2,
    "delegation_created", "token_renewed", "token_released", "token_released",
]  # fmt: skip


def test_an_agents_life(broker: Broker, client: list[str]) -> None:
    credentials = broker.create_app(["read:data:*"])
    setup = len(broker.audit_events())
    with tapped(broker.url) as wire:
        completed = run(client, wire.url, credentials)
    assert (completed.returncode, completed.stderr) == (0, "")
    assert re.fullmatch(LIFE, completed.stdout), completed.stdout

    # What was said. The SDK knows by itself that a released agent can't renew; the others ask.
    conversation = [str(exchange) for exchange in wire.exchanges]
    asked_too_late = ["POST /v1/token/renew 401"] if "too late to renew: 401" in completed.stdout else []
    assert conversation == CONVERSATION + asked_too_late
    lead, helper = (answer["access_token"] for answer in wire.answers("/v1/register"))
    [renewed], [delegated] = wire.answers("/v1/token/renew"), wire.answers("/v1/delegate")
    assert len({lead, helper, renewed["access_token"], delegated["access_token"]}) == 4
    assert tokens.claims(lead)["sid"] == tokens.claims(renewed["access_token"])["sid"]
    # Registered only once for each key and each nonce.
    registrations = [exchange.request for exchange in wire.exchanges if exchange.path == "/v1/register"]
    assert len({registration["public_key"] for registration in registrations}) == 2
    # The old and the released token are dead; what was delegated lives on, contract §5.
    alive = [validate(broker.url, token).valid for token in (lead, renewed["access_token"], helper)]
    assert alive == [False, False, False]
    assert validate(broker.url, delegated["access_token"]).valid

    events = [event for event in broker.audit_events()[setup:] if event["outcome"] == "success"]
    assert [event["event_type"] for event in events] == EVENTS
    agents = [answer["agent_id"] for answer in wire.answers("/v1/register")]
    assert [event["agent_id"] for event in events if event["event_type"] == "agent_registered"] == agents
    if asked_too_late:
        [event] = broker.denials("token_revoked_access")
        assert event["agent_id"] == agents[0]

    # Nothing that is secret was shown.
    assert len(wire.secrets()) >= 10
    assert not [secret for secret in wire.secrets() if secret in completed.stdout]


def test_refuses_bound_token_without_proof(broker: Broker, client: list[str]) -> None:
    """An app whose agents get bound tokens. The broker says that they are valid; that is not enough for a service."""
    credentials = broker.create_app(["read:data:*"], sender_constrained=True)
    with tapped(broker.url) as wire:
        completed = run(client, wire.url, credentials)
    validated = wire.answers("/v1/token/validate")
    assert validated and validated[0]["valid"] and "jkt" in validated[0]["claims"]["cnf"]
    assert "lead: refused\n" in completed.stdout and ": may " not in completed.stdout, completed


@pytest.fixture
def secure_broker(tmp_path: Path) -> Iterator[tuple[Broker, Path]]:
    authority = Authority(tmp_path)
    certificate, key = authority.issue_for_this_machine()
    broker = Broker(tmp_path, authority.path, AA_TLS_MODE="tls", AA_TLS_CERT=str(certificate), AA_TLS_KEY=str(key))
    yield broker, authority.path
    broker.stop()


def test_over_tls(secure_broker: tuple[Broker, Path], client: list[str]) -> None:
    broker, authority = secure_broker
    credentials = broker.create_app(["read:data:*"])
    completed = run(client, broker.url, credentials, trust=authority)
    assert (completed.returncode, completed.stderr) == (0, "")
    assert re.fullmatch(LIFE, completed.stdout), completed.stdout


def test_untrusted_server_gets_no_secret(secure_broker: tuple[Broker, Path], client: list[str]) -> None:
    broker, _ = secure_broker
    said = refused(run(client, broker.url, broker.create_app(["read:data:*"])))
    assert re.search(r"(cannot reach the broker|broker unreachable).*certificate", said), said
    assert not broker.audit_events("app_authenticated")


@pytest.mark.parametrize(
    "source", ["python/with_sdk.py", "python/without_sdk.py", "go/agent.go", "typescript/src/broker.ts", "shell/agent.sh"]
)
def test_the_documentation_finds_its_excerpts(source: str) -> None:
    """scripts/docs_code.py finds them by these marks."""
    marks = re.findall(r"ANCHOR(_END)?: (\w+)", (EXAMPLES / source).read_text())
    names = [name for _, name in marks[::2]]
    assert marks == [mark for name in names for mark in (("", name), ("_END", name))], "one after the other"
    assert len(set(names)) == len(names)
    assert set(names) >= {"app_auth", "register", "renew", "release", "delegate", "validate"}


def test_a_setting_is_missing(client: list[str]) -> None:
    completed = run(client, "http://127.0.0.1:8080", Credentials("", "id", ""))
    assert refused(completed) == "error: AGENTWRIT_CLIENT_SECRET is not set\n"


def test_reports_unreachable_broker(client: list[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        said = refused(run(client, url, Credentials("", "id-0123456789ab", "0" * 64)))
    assert re.search(r"(cannot reach the broker|broker unreachable).*(refused|connect)", said, re.IGNORECASE), said


@pytest.mark.parametrize(("status", "body"), [(502, b"<h1>Bad Gateway</h1>"), (200, b"<h1>Log in</h1>"), (500, b"")])
def test_reports_response_of_other_server(client: list[str], status: int, body: bytes) -> None:
    with other_server(status, body) as url:
        said = refused(run(client, url, Credentials("", "id-0123456789ab", "0" * 64)))
    # The SDK has words of its own.
    assert "not a response of the broker" in said or f"{status} None: " in said


def test_a_wrong_secret(broker: Broker, client: list[str]) -> None:
    credentials = broker.create_app(["read:data:*"])
    secret = "f" * 64
    said = refused(run(client, broker.url, Credentials(credentials.app_id, credentials.client_id, secret)))
    assert re.search(r"401 unauthorized: invalid credentials \(request [0-9a-f]{16}\)", said), said
    assert secret not in said


def test_a_scope_too_wide(broker: Broker, client: list[str]) -> None:
    said = refused(run(client, broker.url, broker.create_app(["read:data:public"])))
    assert re.search(r"403 scope_violation: requested scopes exceed app ceiling \(request [0-9a-f]{16}\)", said), said


def test_too_many_logins(broker: Broker, client: list[str]) -> None:
    credentials = broker.create_app(["read:data:*"])
    login = {"client_id": credentials.client_id, "client_secret": "f" * 64}
    while httpx.post(f"{broker.url}/v1/app/auth", json=login).status_code != 429:
        pass
    said = refused(run(client, broker.url, credentials))
    assert "429 rate_limited: too many attempts (request " in said
    assert "hint: wait as long as `Retry-After` says" in said
    # The SDK doesn't say how long.
    assert "with_sdk.py" in client[-1] or re.search(r"; try again in [1-6] s\n", said), said
