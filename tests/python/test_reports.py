"""A report to the broker as docs/verifying-elsewhere.md writes it, in another language than ours."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets

import httpx
from conftest import REPOSITORY, Broker
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from test_docs import blocks_of

PAGE = REPOSITORY / "docs/verifying-elsewhere.md"


def functions() -> dict:
    """Returns what the program of the page defines."""
    found: dict = {}
    exec("\n".join(block.code for block in blocks_of(PAGE) if block.language == "python"), found)
    return found


def payload(jws: str) -> dict:
    part = jws.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def jwt_payload(broker: Broker, jws: str) -> dict:
    """Returns the payload of an acceptance, verified with the broker's key."""

    def decode(part: str) -> bytes:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    header, _, signature = jws.split(".")
    header = json.loads(decode(header))
    assert header["typ"] == "agentwrit-report-acceptance+jwt"
    keys = httpx.get(f"{broker.url}/.well-known/jwks.json").json()["keys"]
    [key] = [Ed25519PublicKey.from_public_bytes(decode(key["x"])) for key in keys if key["kid"] == header["kid"]]
    key.verify(decode(signature), jws.rsplit(".", 1)[0].encode())
    return payload(jws)


def test_broker_accepts_reports_as_the_page_describes_them(broker: Broker) -> None:
    page = functions()
    key = Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    broker.admin("POST", "/v1/admin/verifiers", {"name": "records-api", "public_key": public, "max_bound": 30})
    keys = [key["kid"] for key in httpx.get(f"{broker.url}/.well-known/jwks.json").json()["keys"]]
    feed = payload(httpx.get(f"{broker.url}/v1/revocations").text)

    members = {
        "iss": "verifier:records-api",
        "aud": feed["iss"],
        "instance": secrets.token_hex(16),
        "seq": 1,
        "epoch": feed["epoch"],
        "cursor": feed["to"],
        "bound": 30,
        "kids": page["digest"](keys),
    }
    assert members.keys() | {"iat"} == payload(page["report"](key, **members)).keys()

    def send(signer: Ed25519PrivateKey, **changed: object) -> httpx.Response:
        report = page["report"](signer, **{**members, **changed})
        return httpx.post(
            f"{broker.url}/v1/verifiers/reports", content=report, headers={"Content-Type": "application/jwt"}
        )

    accepted = send(key)
    assert accepted.status_code == 204, accepted.text
    assert accepted.headers["AgentWrit-At-Least"] == f"{feed['epoch']}.{feed['to']}"
    assert 1 <= int(accepted.headers["AgentWrit-Report-Interval"]) <= 120
    acceptance = accepted.headers["AgentWrit-Report-Acceptance"]
    verified = jwt_payload(broker, acceptance)
    assert verified["report"] == page["base64url"](hashlib.sha256(accepted.request.content).digest())
    assert (verified["iss"], verified["epoch"], verified["cursor"]) == (feed["iss"], feed["epoch"], feed["to"])
    assert verified["interval"] == int(accepted.headers["AgentWrit-Report-Interval"])
    [verifier] = broker.admin("GET", "/v1/admin/verifiers")["verifiers"]
    [instance] = verifier["instances"]
    assert instance["instance"] == members["instance"] and instance["bound"] == 30
    assert instance["behind"] == 0 and instance["has_current_keys"] is True

    assert send(key).status_code == 409, "the same number again"
    assert send(key, seq=2, bound="none").status_code == 400, "no bound, against the enrolment"
    assert send(Ed25519PrivateKey.generate(), seq=3).status_code == 401
    assert send(key, seq=4, kids=page["digest"]([]), leaving=True).status_code == 204
    assert broker.admin("GET", "/v1/admin/verifiers")["verifiers"][0]["instances"] == []


def test_members_of_the_example_are_those_of_the_table() -> None:
    [example] = [json.loads(block.code) for block in blocks_of(PAGE) if block.language == "json" and "seq" in block.code]
    assert len(functions()["digest"](["a"])) == len(example["kids"]) == 22
    for name in example:
        assert f"`{name}`" in PAGE.read_text() or name in {"iss", "aud", "iat"}
