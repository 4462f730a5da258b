"""The PyPI package `agentwrit` 0.3.0, unmodified, against the real broker."""

from __future__ import annotations

import importlib.metadata
import socket
from collections.abc import Callable

import agentwrit
import httpx
import pytest
from agentwrit import (
    Agent,
    AgentWritApp,
    AuthenticationError,
    AuthorizationError,
    ProblemResponseError,
    RateLimitError,
    TransportError,
    scope_is_subset,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conftest import Broker

NewApp = Callable[..., AgentWritApp]


def assert_problem(error: ProblemResponseError, status: int, error_code: str, path: str) -> None:
    problem = error.problem
    assert error.status_code == status
    assert problem.status == status
    assert problem.error_code == error_code
    assert problem.type == f"urn:agentwrit:error:{error_code}"
    assert problem.instance == path
    assert problem.title
    assert problem.detail
    assert problem.request_id


def test_the_package_is_the_published_one() -> None:
    assert importlib.metadata.version("agentwrit") == "0.3.0"


def test_create_agent(new_app: NewApp) -> None:
    agent = new_app("read:data:*").create_agent("orch-1", "task-1", ["read:data:customers"])
    assert agent.agent_id.startswith("spiffe://agentwrit.local/agent/orch-1/task-1/")
    assert agent.expires_in == 300
    assert agent.bearer_header == {"Authorization": f"Bearer {agent.access_token}"}


def test_create_agent_with_every_option(new_app: NewApp) -> None:
    app = new_app("read:data:*", "write:data:x")
    agent = app.create_agent(
        "orch-1",
        "task-1",
        ["write:data:x", "read:data:y"],
        private_key=Ed25519PrivateKey.generate(),
        max_ttl=60,
        label="a label / with spaces",
    )
    assert agent.expires_in == 60
    assert app.validate(agent.access_token).claims.scope == ["write:data:x", "read:data:y"]


def test_one_app_creates_many_agents(new_app: NewApp) -> None:
    app = new_app("read:data:*")
    agents: list[Agent] = [app.create_agent("orch-1", f"task-{i}", ["read:data:x"]) for i in range(5)]
    assert len({agent.agent_id for agent in agents}) == 5


def test_the_longest_ids(new_app: NewApp) -> None:
    agent = new_app("read:data:*").create_agent("o" * 128, "t" * 128, ["read:data:x"])
    assert f"/{'o' * 128}/{'t' * 128}/" in agent.agent_id


def test_validate(broker: Broker, new_app: NewApp) -> None:
    app = new_app("read:data:*")
    agent = app.create_agent("orch-1", "task-1", ["read:data:customers"])
    for result in (app.validate(agent.access_token), agentwrit.validate(broker.url, agent.access_token)):
        assert result.valid
        assert result.error is None
        claims = result.claims
        assert claims.sub == agent.agent_id
        assert claims.iss == "https://agentwrit.local"
        assert claims.scope == ["read:data:customers"]
        assert (claims.orch_id, claims.task_id) == ("orch-1", "task-1")
        assert claims.nbf == claims.iat
        assert claims.exp == claims.iat + 300
        assert claims.sid == claims.jti
        assert claims.aud == []
        assert claims.delegation_chain is None
        assert claims.chain_hash is None


@pytest.mark.parametrize("spoil", [lambda token: token[:-4], lambda token: token + "AAAA", lambda token: "nonsense"])
def test_validate_what_is_invalid(new_app: NewApp, spoil: Callable[[str], str]) -> None:
    app = new_app("read:data:*")
    agent = app.create_agent("orch-1", "task-1", ["read:data:customers"])
    result = app.validate(spoil(agent.access_token))
    assert not result.valid
    assert result.claims is None
    assert result.error == "token is invalid or expired"


def test_health(new_app: NewApp) -> None:
    health = new_app("read:data:*").health()
    assert health.status == "ok"
    assert health.version
    assert health.uptime >= 0
    assert health.db_connected is True
    assert health.audit_events_count > 0


@pytest.mark.parametrize("scope", ["write:data:x", "read:other:x", "read:data:*", "read:data:y"])
def test_beyond_the_ceiling_is_an_authorization_error(new_app: NewApp, scope: str) -> None:
    with pytest.raises(AuthorizationError) as caught:
        new_app("read:data:x").create_agent("orch-1", "task-1", [scope])
    assert_problem(caught.value, 403, "scope_violation", "/v1/app/launch-tokens")
    assert caught.value.problem.detail == "requested scopes exceed app ceiling"


def test_a_wrong_secret_is_an_authentication_error(broker: Broker) -> None:
    credentials = broker.create_app(["read:data:*"])
    for client_id, secret in [(credentials.client_id, "0" * 64), ("no-0123456789ab", credentials.client_secret)]:
        app = AgentWritApp(broker.url, client_id, secret)
        with pytest.raises(AuthenticationError) as caught:
            app.create_agent("orch-1", "task-1", ["read:data:x"])
        assert_problem(caught.value, 401, "unauthorized", "/v1/app/auth")
        app.close()


@pytest.mark.parametrize(
    ("orch_id", "task_id", "scope", "field"),
    [
        ("", "task-1", "read:data:x", "orch_id"),
        ("orch-1", "a/b", "read:data:x", "task_id"),
        ("orch-1", "task-1", "read:data", "allowed_scope"),
    ],
)
def test_bad_input_is_a_problem(new_app: NewApp, orch_id: str, task_id: str, scope: str, field: str) -> None:
    with pytest.raises(ProblemResponseError) as caught:
        new_app("read:data:*").create_agent(orch_id, task_id, [scope])
    path = "/v1/app/launch-tokens" if field == "allowed_scope" else "/v1/register"
    assert_problem(caught.value, 400, "invalid_request", path)
    assert field in caught.value.problem.detail


def test_unreachable_broker_is_a_transport_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = AgentWritApp(f"http://127.0.0.1:{port}", "id-0123456789ab", "0" * 64, timeout=2.0)
    with pytest.raises(TransportError):
        app.create_agent("orch-1", "task-1", ["read:data:x"])
    app.close()


def test_too_many_authentications_are_a_rate_limit_error(broker: Broker) -> None:
    credentials = broker.create_app(["read:data:*"])
    with pytest.raises(RateLimitError) as caught:
        for _ in range(20 * broker.processes):
            # A new object has no token yet, so each of these authenticates: ten at once are served by each broker.
            app = AgentWritApp(broker.url, credentials.client_id, credentials.client_secret)
            app.create_agent("orch-1", "task-1", ["read:data:x"])
            app.close()
    assert_problem(caught.value, 429, "rate_limited", "/v1/app/auth")


@pytest.mark.parametrize(
    ("requested", "allowed"),
    [
        (["read:data:x"], ["read:data:x"]),
        (["read:data:x"], ["read:data:*"]),
        (["read:data:*"], ["read:data:*"]),
        (["read:data:*"], ["read:data:x"]),
        (["read:data:y"], ["read:data:x"]),
        (["Read:data:x"], ["read:data:x"]),
        (["write:data:x"], ["read:data:*"]),
        (["read:other:x"], ["read:data:*"]),
        (["read:data:x", "write:data:y"], ["write:data:*", "read:data:x"]),
        (["read:data:x", "write:data:y"], ["read:data:*"]),
    ],
)
def test_the_broker_agrees_with_scope_is_subset(
    new_app: NewApp, requested: list[str], allowed: list[str]
) -> None:
    app = new_app(*allowed)
    if scope_is_subset(requested, allowed):
        agent = app.create_agent("orch-1", "task-1", requested)
        assert app.validate(agent.access_token).claims.scope == requested
    else:
        with pytest.raises(AuthorizationError):
            app.create_agent("orch-1", "task-1", requested)


def test_the_token_opens_nothing_at_the_broker_itself(broker: Broker, new_app: NewApp) -> None:
    agent = new_app("read:data:*").create_agent("orch-1", "task-1", ["read:data:x"])
    answer = httpx.get(f"{broker.url}/v1/admin/apps", headers=agent.bearer_header)
    assert answer.status_code == 403
    assert answer.json()["error_code"] == "insufficient_scope"
