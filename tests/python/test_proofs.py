"""Proofs of possession (DPoP, RFC 9449) by other people's libraries and by examples/clients, at the real broker and service."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import tokens
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt
from joserfc.jwk import OKPKey

from brokers import START_TIMEOUT
from conftest import Broker, Credentials, broker_binary
from programs import go_program, node_program
from test_clients import EXAMPLES, go, typescript

SCOPE = "read:records:P-1"


class Service:
    """examples/records-service, which takes proofs for the address that it listens on."""

    def __init__(self, directory: Path, broker: str, *arguments: str) -> None:
        binary = Path(broker_binary()).with_name("records-service")
        assert binary.is_file(), f"no service at {binary}: build it with `cargo build -p records-service`"
        self._log = directory / "service.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [binary, "--broker", broker, "--listen", "127.0.0.1:0", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT
        while not (found := re.search(r"listening on (\S+)\n", self._log.read_text())):
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)
        self.url = f"http://{found.group(1)}"

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(START_TIMEOUT)


@pytest.fixture
def bound_broker(tmp_path: Path) -> Iterator[Broker]:
    """One broker: several behind a proxy would have to know its address before it starts."""
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


@pytest.fixture
def service(tmp_path: Path, bound_broker: Broker) -> Iterator[Service]:
    service = Service(tmp_path, bound_broker.url)
    yield service
    service.stop()


# Proofs by libraries.


def by_joserfc(request: dict[str, object]) -> str:
    key = OKPKey.import_key(request["jwk"])
    header = {"typ": "dpop+jwt", "alg": "Ed25519", "jwk": key.as_dict(private=False)}
    ath = base64.urlsafe_b64encode(hashlib.sha256(request["token"].encode()).digest()).rstrip(b"=").decode()
    claims = {
        "jti": str(uuid.uuid4()), "htm": request["method"], "htu": request["url"], "iat": int(time.time()), "ath": ath,
        **({"nonce": request["nonce"]} if request["nonce"] else {}),
    }  # fmt: skip
    return jwt.encode(header, claims, key, algorithms=["Ed25519"])


def piped(command: list[str], request: dict[str, object]) -> str:
    made = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


LIBRARIES: dict[str, Callable[[dict[str, object]], str]] = {
    "joserfc": by_joserfc,
    "npm dpop": lambda request: piped(node_program("proof.mjs", "dpop"), request),
    "golang-jwt": lambda request: piped([go_program("proof")], request),
}


@dataclass
class Agent:
    """An agent whose proofs a library makes."""

    broker: Broker
    sign: Callable[[dict[str, object]], str]
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    token: str = ""
    nonces: dict[str, str] = field(default_factory=dict)

    def register(self) -> dict[str, object]:
        launch = {"agent_name": "reader", "allowed_scope": [SCOPE]}
        launch_token = self.broker.admin("POST", "/v1/admin/launch-tokens", launch)["launch_token"]
        nonce = httpx.get(f"{self.broker.url}/v1/challenge").json()["nonce"]
        body = {
            "launch_token": launch_token, "nonce": nonce, "orch_id": "o", "task_id": "t", "requested_scope": [SCOPE],
            "public_key": base64.b64encode(self.key.public_key().public_bytes_raw()).decode(),
            "signature": base64.b64encode(self.key.sign(bytes.fromhex(nonce))).decode(),
            "sender_constrained": True,
        }  # fmt: skip
        answer = httpx.post(f"{self.broker.url}/v1/register", json=body).raise_for_status().json()
        self.token = answer["access_token"]
        return answer

    def proof(self, method: str, url: str, token: str | None = None) -> str:
        jwk = {
            "kty": "OKP", "crv": "Ed25519", "x": tokens.encode(self.key.public_key().public_bytes_raw()),
            "d": tokens.encode(self.key.private_bytes_raw()),
        }  # fmt: skip
        origin = str(httpx.URL(url).copy_with(path="/", query=None))
        return self.sign(
            {"jwk": jwk, "method": method, "url": url, "token": token or self.token, "nonce": self.nonces.get(origin)}
        )

    def send(self, method: str, url: str, token: str | None = None) -> httpx.Response:
        for _ in range(2):
            headers = {"Authorization": f"DPoP {token or self.token}", "DPoP": self.proof(method, url, token)}
            answer = httpx.request(method, url, headers=headers)
            if nonce := answer.headers.get("DPoP-Nonce"):
                self.nonces[str(httpx.URL(url).copy_with(path="/", query=None))] = nonce
            if "use_dpop_nonce" not in answer.headers.get("WWW-Authenticate", ""):
                break
        return answer


@pytest.mark.parametrize("library", LIBRARIES)
def test_accepts_proofs_of_library(bound_broker: Broker, service: Service, library: str) -> None:
    agent = Agent(bound_broker, LIBRARIES[library])
    assert agent.register()["token_type"] == "DPoP"
    record = f"{service.url}/records/P-1"
    for _ in range(2):
        answer = agent.send("GET", record)
        assert (answer.status_code, answer.text.split(",")[0]) == (200, "record P-1"), answer.text
    renewed = agent.send("POST", f"{bound_broker.url}/v1/token/renew")
    assert (renewed.status_code, renewed.json()["token_type"]) == (200, "DPoP"), renewed.text
    old, agent.token = agent.token, renewed.json()["access_token"]
    assert agent.send("GET", record).status_code == 200
    assert agent.send("POST", f"{bound_broker.url}/v1/token/release").status_code == 204
    assert agent.send("POST", f"{bound_broker.url}/v1/token/renew", old).status_code == 401


@pytest.mark.parametrize("library", LIBRARIES)
def test_rejects_proof_of_library_for_another_request(bound_broker: Broker, service: Service, library: str) -> None:
    agent = Agent(bound_broker, LIBRARIES[library])
    agent.register()
    record = f"{service.url}/records/P-1"
    assert agent.send("GET", record).status_code == 200  # the nonce is known now, if one is needed

    def present(proof: str) -> tuple[int, str]:
        answer = httpx.get(record, headers={"Authorization": f"DPoP {agent.token}", "DPoP": proof})
        return answer.status_code, re.search(r'DPoP .*?error="(\w+)"', answer.headers["WWW-Authenticate"]).group(1)

    good = agent.proof("GET", record)
    rejected = (401, "invalid_dpop_proof")
    assert present(agent.proof("POST", record)) == rejected
    assert present(agent.proof("GET", f"{service.url}/records/P-2")) == rejected
    assert present(agent.proof("GET", record.replace("http:", "https:"))) == rejected
    assert present(agent.proof("GET", record, token="another")) == rejected
    headers = {"Authorization": f"DPoP {agent.token}", "DPoP": good}
    assert httpx.get(record, headers=headers).status_code == 200
    assert present(good) == rejected, "a replay"
    assert httpx.get(record, headers={"Authorization": f"Bearer {agent.token}"}).status_code == 401


def test_go_verifier_refuses_bound_token_without_proof(bound_broker: Broker) -> None:
    agent = Agent(bound_broker, by_joserfc)
    agent.register()
    checked = subprocess.run(
        [*go("check"), SCOPE], input=agent.token, env=os.environ | {"AGENTWRIT_BROKER_URL": bound_broker.url},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    refusal = "refused: the token is bound to a key and needs a proof\n"
    assert (checked.returncode, checked.stdout, checked.stderr) == (1, refusal, "")


# examples/clients.

CLIENTS: dict[str, Callable[[], list[str]]] = {
    "Python": lambda: [sys.executable, str(EXAMPLES / "python/with_proofs.py")],
    "Go": lambda: [*go("go"), "proofs"],
    "TypeScript": lambda: ["node", str(Path(typescript()[1]).with_name("proofs.js"))],
}
STORY = r"""registered: spiffe://agentwrit\.local/agent/demo/lead/[0-9a-f]{16}, DPoP
registered: spiffe://agentwrit\.local/agent/demo/helper/[0-9a-f]{16}, DPoP
lead: 200
the token alone: 401
helper: 200
lead with the helper's token: 401
renewed: 200
released
"""


def run(client: str, broker: Broker, credentials: Credentials, service: str) -> subprocess.CompletedProcess[str]:
    settings = {
        "AGENTWRIT_BROKER_URL": broker.url,
        "AGENTWRIT_CLIENT_ID": credentials.client_id,
        "AGENTWRIT_CLIENT_SECRET": credentials.client_secret,
        "AGENTWRIT_SERVICE_URL": service,
    }
    return subprocess.run(
        CLIENTS[client](), env=os.environ | settings, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize("client", CLIENTS)
def test_example_uses_bound_tokens(bound_broker: Broker, service: Service, client: str) -> None:
    completed = run(client, bound_broker, bound_broker.create_app([SCOPE]), service.url)
    assert (completed.returncode, completed.stderr) == (0, ""), completed
    assert re.fullmatch(STORY, completed.stdout), completed.stdout


@pytest.mark.parametrize("client", CLIENTS)
def test_example_rejects_broker_that_does_not_bind(tmp_path: Path, client: str) -> None:
    broker = Broker(tmp_path, AA_SENDER_CONSTRAINED="off")
    try:
        completed = run(client, broker, broker.create_app([SCOPE]), "http://127.0.0.1:1")
        assert completed.returncode == 1, completed
        assert completed.stderr.startswith("error: "), completed.stderr
    finally:
        broker.stop()
