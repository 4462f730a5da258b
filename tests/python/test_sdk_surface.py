"""What the SDK exports, against what the broker answers: every name is used in these tests, and no member is missing."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from contextlib import closing

import agentwrit
import httpx
import pytest
import tokens
from agentwrit import (
    AgentClaims,
    AgentWritApp,
    AgentWritError,
    AuthenticationError,
    AuthorizationError,
    CryptoError,
    HealthStatus,
    ProblemDetail,
    ProblemResponseError,
    RateLimitError,
    RegisterResult,
    TransportError,
    ValidateResult,
    crypto,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from conftest import Broker

NewApp = Callable[..., AgentWritApp]


def test_nothing_is_exported_that_these_tests_do_not_know() -> None:
    assert agentwrit.__version__ == "0.3.0"
    assert set(agentwrit.__all__) - {"__version__"} == {
        "Agent", "AgentClaims", "AgentWritApp", "AgentWritError", "AuthenticationError", "AuthorizationError",
        "CryptoError", "DelegatedToken", "DelegationRecord", "HealthStatus", "ProblemDetail", "ProblemResponseError",
        "RateLimitError", "RegisterResult", "TransportError", "ValidateResult", "scope_is_subset", "validate",
    }
    methods = {
        cls.__name__: {name for name in vars(cls) if not name.startswith("_")}
        for cls in (agentwrit.Agent, agentwrit.AgentWritApp)
    }
    assert methods == {
        "Agent": {"bearer_header", "delegate", "release", "renew"},
        "AgentWritApp": {"close", "create_agent", "health", "validate"},
    }
    assert {name for name, _ in inspect.getmembers(crypto, inspect.isfunction)} == {
        "encode_signature_b64", "export_public_key_b64", "generate_keypair", "sign_nonce",
    }


def test_every_error_is_an_agentwrit_error() -> None:
    for error in (ProblemResponseError, TransportError, CryptoError):
        assert error.__bases__ == (AgentWritError,)
    for error in (AuthenticationError, AuthorizationError, RateLimitError):
        assert error.__bases__ == (ProblemResponseError,)


def test_an_answer_has_the_members_that_the_models_have(broker: Broker, new_app: NewApp) -> None:
    """Unpacked by name, so that a member too many or too few is an error. The SDK itself would not notice."""
    HealthStatus(**httpx.get(f"{broker.url}/v1/health").json())
    ProblemDetail(**httpx.post(f"{broker.url}/v1/token/renew").json())
    ProblemDetail(**httpx.post(f"{broker.url}/v1/token/validate", json={}).json())

    agent = new_app("read:data:*").create_agent("orch-1", "task-1", ["read:data:x"])
    for token in (agent.access_token, agent.access_token + "x"):
        answer = httpx.post(f"{broker.url}/v1/token/validate", json={"token": token}).json()
        result = ValidateResult(**answer)
        if result.valid:
            AgentClaims(aud=[], **result.claims)


def test_the_ceremony_by_hand(broker: Broker) -> None:
    """Registration with the SDK's own functions, as its `create_agent` has no use for `RegisterResult`."""
    credentials = broker.create_app(["read:data:*"])
    with httpx.Client(base_url=broker.url) as http:
        login = {"client_id": credentials.client_id, "client_secret": credentials.client_secret}
        app_token = http.post("/v1/app/auth", json=login).json()["access_token"]
        wanted = {"agent_name": "by hand", "allowed_scope": ["read:data:*"]}
        bearer = {"Authorization": f"Bearer {app_token}"}
        launch_token = http.post("/v1/app/launch-tokens", json=wanted, headers=bearer).json()["launch_token"]
        nonce = http.get("/v1/challenge").json()["nonce"]
        key = crypto.generate_keypair()
        answer = http.post(
            "/v1/register",
            json={
                "launch_token": launch_token,
                "nonce": nonce,
                "public_key": crypto.export_public_key_b64(key),
                "signature": crypto.encode_signature_b64(crypto.sign_nonce(key, nonce)),
                "orch_id": "orch-1",
                "task_id": "task-1",
                "requested_scope": ["read:data:x"],
            },
        )
    registered = RegisterResult(**answer.json())
    assert agentwrit.validate(broker.url, registered.access_token).claims.sub == registered.agent_id
    assert registered.expires_in == 300


def test_one_key_may_serve_several_agents(new_app: NewApp) -> None:
    app = new_app("read:data:*")
    key = Ed25519PrivateKey.generate()
    agents = [app.create_agent("orch-1", f"task-{i}", ["read:data:x"], private_key=key) for i in range(2)]
    assert agents[0].agent_id != agents[1].agent_id


def test_a_key_of_another_kind_never_reaches_the_broker(broker: Broker, new_app: NewApp) -> None:
    app = new_app("read:data:*")
    with pytest.raises(AttributeError):
        app.create_agent("orch-1", "task-1", ["read:data:x"], private_key=X25519PrivateKey.generate())
    assert not broker.audit_events("agent_registered")


def forged(token: str) -> list[str]:
    head, body, signature = token.split(".")
    return [
        tokens.spoilt(token),
        tokens.signed_by_another_key(token),
        tokens.unsigned(token),
        tokens.with_claims(token, scope=["read:data:*"]),
        tokens.with_claims(token, exp=2**40),
        f"{head}.{body}",
        f"{head}.{body}.",
        f"{head}.{body}.{signature}.{signature}",
        f"{token}=",
        f"{token}\n",
        f" {token}",
        token.swapcase(),
    ]


def garbage() -> list[str]:
    return [".", "..", "a.b.c", "é", "\0", "null", "{}", "Bearer x", "a" * 10_000, "." * 10_000, "\U0001f600" * 100]


def test_validate_forgeries_and_garbage(broker: Broker, new_app: NewApp) -> None:
    app = new_app("read:data:*")
    agent = app.create_agent("orch-1", "task-1", ["read:data:x"])
    feed = httpx.get(f"{broker.url}/v1/revocations").text
    before = app.health().audit_events_count
    for token in [*forged(agent.access_token), *garbage(), feed]:
        assert app.validate(token) == ValidateResult(valid=False, error="token is invalid or expired"), token
    assert app.health().audit_events_count == before, "validation writes no audit event"
    assert app.validate(agent.access_token).valid


@pytest.mark.parametrize(("token", "status"), [("", 400), ("a" * (1 << 20), 413)])
def test_what_is_no_question_at_all(broker: Broker, token: str, status: int) -> None:
    # The SDK's `validate` leaves these to httpx.
    with pytest.raises(httpx.HTTPStatusError) as caught:
        agentwrit.validate(broker.url, token)
    assert caught.value.response.status_code == status
    assert ProblemDetail(**caught.value.response.json()).instance == "/v1/token/validate"


def test_the_apps_own_token_has_no_task(broker: Broker) -> None:
    # Contract §3: `task_id` and `orch_id` are for agents only; the SDK's model can't do without.
    credentials = broker.create_app(["read:data:*"])
    login = {"client_id": credentials.client_id, "client_secret": credentials.client_secret}
    app_token = httpx.post(f"{broker.url}/v1/app/auth", json=login).json()["access_token"]
    with pytest.raises(KeyError, match="task_id"):
        agentwrit.validate(broker.url, app_token)
    answer = httpx.post(f"{broker.url}/v1/token/validate", json={"token": app_token}).json()
    assert answer["valid"]
    assert answer["claims"]["sub"] == f"app:{credentials.app_id}"


def test_a_slash_behind_the_address_and_a_name_of_ones_own(broker: Broker) -> None:
    credentials = broker.create_app(["read:data:*"])
    app = AgentWritApp(
        f"{broker.url}/", credentials.client_id, credentials.client_secret, timeout=5.0, user_agent="custom/1.0"
    )
    with closing(app):
        assert (app.broker_url, app.timeout, app.user_agent) == (broker.url, 5.0, "custom/1.0")
        assert app.health().status == "ok"
        agent = app.create_agent("orch-1", "task-1", ["read:data:x"])
        assert app.validate(agent.access_token).valid
        assert agentwrit.validate(f"{broker.url}/", agent.access_token, timeout=5.0).valid
