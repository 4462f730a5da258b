"""Our tokens before Go's standard library: examples/clients/go/cmd/check, as a service would, at the real broker."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pytest
import tokens
from agentwrit import AgentWritApp

from conftest import Broker
from test_clients import go

NewApp = Callable[..., AgentWritApp]


@dataclass(frozen=True)
class Check:
    """`check(scope, token)`: what it prints and the code it ends with."""

    program: list[str]
    url: str

    def __call__(self, wanted: str, token: str, *flags: str) -> str:
        completed = subprocess.run(
            [*self.program, *flags, wanted],
            input=token,
            env=os.environ | {"AGENTWRIT_BROKER_URL": self.url},
            capture_output=True,
            text=True,
            timeout=60,
        )
        said = (completed.stdout or completed.stderr).removesuffix("\n")
        assert (completed.returncode == 0) == said.startswith("allowed: "), completed
        assert completed.returncode in (0, 1), completed
        assert bool(completed.stdout) != bool(completed.stderr), completed
        return said


@pytest.fixture
def check(broker: Broker) -> Check:
    return Check(go("check"), broker.url)


def test_allowed_within_the_scope(check: Check, new_app: NewApp) -> None:
    agent = new_app("read:data:*").create_agent("orch-1", "task-1", ["read:data:*", "read:data:x"])
    allowed = f"allowed: {agent.agent_id}"
    assert check("read:data:customers", agent.access_token) == allowed
    assert check("read:data:*", f"{agent.access_token}\n") == allowed
    for wanted in ("write:data:customers", "read:other:x", "Read:data:x", "read:data", ""):
        assert check(wanted, agent.access_token) == f"refused: it does not allow {wanted}"


def test_forgeries(broker: Broker, check: Check, new_app: NewApp) -> None:
    token = new_app("read:data:*").create_agent("orch-1", "task-1", ["read:data:x"]).access_token
    signature = "the signature is not by that key"
    for forged, reason in [
        (tokens.spoilt(token), signature),
        (tokens.signed_by_another_key(token), signature),
        (tokens.with_claims(token, scope=["read:data:*"]), signature),
        (tokens.unsigned(token), "an algorithm that is not Ed25519"),
        (token.rpartition(".")[0], "not three parts"),
        (f"{token}=", "not base64url without padding"),
        (token.replace(".", ".\n", 1), "not base64url without padding"),
        ("", "not three parts"),
        ("x" * 10_000, "too long"),
        (httpx.get(f"{broker.url}/v1/revocations").text, "a document of another type"),
    ]:
        assert check("read:data:x", forged) == f"refused: {reason}"


def test_whom_it_is_for(check: Check, new_app: NewApp) -> None:
    token = new_app("read:data:*").create_agent("orch-1", "task-1", ["read:data:x"]).access_token
    assert check("read:data:x", token, "-issuer", "https://elsewhere.test").startswith("refused: another issuer's")
    assert check("read:data:x", token, "-audience", "https://us.test") == "refused: token for another audience"


def test_expired(check: Check, new_app: NewApp) -> None:
    agent = new_app("read:data:*").create_agent("orch-1", "task-1", ["read:data:x"], max_ttl=1)
    tokens.wait_until_expired(agent.access_token)
    assert check("read:data:x", agent.access_token) == "refused: expired"


def test_a_released_token_is_still_well_signed(check: Check, new_app: NewApp) -> None:
    agent = new_app("read:data:*").create_agent("orch-1", "task-1", ["read:data:x"])
    old = agent.access_token
    agent.renew()
    new = agent.access_token
    assert check("read:data:x", new).startswith("allowed: ")
    agent.release()
    for dead in (old, new):
        assert check("read:data:x", dead) == "refused: revoked"
        # Who doesn't ask what was revoked can't know.
        assert check("read:data:x", dead, "-accept-revoked") == f"allowed: {agent.agent_id}"


@pytest.mark.parametrize("level", ["token", "agent", "task", "chain"])
def test_revoked_by_the_operator(broker: Broker, check: Check, new_app: NewApp, level: str) -> None:
    app = new_app("read:data:*")
    lead = app.create_agent("orch-1", "task-1", ["read:data:*"])
    helper = app.create_agent("orch-1", "task-2", ["read:data:x"])
    delegated = lead.delegate(helper.agent_id, ["read:data:x"]).access_token
    assert check("read:data:x", delegated) == f"allowed: {helper.agent_id}"
    claims = tokens.claims(lead.access_token)
    target = {"token": claims["jti"], "task": "task-1"}.get(level, lead.agent_id)
    assert broker.revoke(level, target)["count"] == 2
    for dead in (lead.access_token, delegated):
        assert check("read:data:x", dead) == "refused: revoked"
    assert check("read:data:x", helper.access_token) == f"allowed: {helper.agent_id}"


def test_without_a_broker_there_is_no_verdict(broker: Broker, check: Check, new_app: NewApp) -> None:
    token = new_app("read:data:*").create_agent("orch-1", "task-1", ["read:data:x"]).access_token
    broker.stop()
    assert check("read:data:x", token).startswith("error: cannot reach the broker: ")
