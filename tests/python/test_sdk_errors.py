"""Every kind of error that the SDK raises, provoked at the real broker."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import agentwrit
import httpx
import pytest
from agentwrit import (
    Agent,
    AgentWritApp,
    AgentWritError,
    AuthenticationError,
    AuthorizationError,
    ProblemResponseError,
    RateLimitError,
    TransportError,
)

from conftest import Broker, Credentials

NewApp = Callable[..., AgentWritApp]


def open_app(broker: Broker, credentials: Credentials) -> AgentWritApp:
    return AgentWritApp(broker.url, credentials.client_id, credentials.client_secret)


def log_in_until_refused(broker: Broker, credentials: Credentials) -> RateLimitError:
    wrong = Credentials(credentials.app_id, credentials.client_id, "f" * 64)
    # Rate limits are those of each broker.
    for _ in range(12 * broker.processes):
        # A new object has no token yet, so each of these authenticates. Failed attempts are limited strictly.
        with closing(open_app(broker, wrong)) as app:
            try:
                app.create_agent("orch-1", "task-1", ["read:data:x"])
            except RateLimitError as error:
                return error
            except AuthenticationError:
                continue
    pytest.fail("never refused")


@pytest.fixture
def mute() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("scope", "options", "status", "error_code"),
    [
        ([], {}, 400, "invalid_request"),
        (["read:data"], {}, 400, "invalid_request"),
        (["read::x"], {}, 400, "invalid_request"),
        (["read:*:x"], {}, 400, "invalid_request"),
        (["admin:revoke:*"], {}, 403, "scope_violation"),
        ([f"read:data:{i}" for i in range(65)], {}, 400, "invalid_request"),
        (["read:data:x"], {"max_ttl": 0}, 400, "invalid_ttl"),
        (["read:data:x"], {"max_ttl": -5}, 400, "invalid_ttl"),
        (["read:data:x"], {"max_ttl": 86_401}, 400, "invalid_ttl"),
        (["read:data:x"], {"label": "x" * (1 << 20)}, 413, "payload_too_large"),
        (["write:data:x"], {}, 403, "scope_violation"),
    ],
)
def test_refusals_say_why(
    new_app: NewApp, scope: list[str], options: dict[str, object], status: int, error_code: str
) -> None:
    with pytest.raises(ProblemResponseError) as caught:
        new_app("read:data:*").create_agent("orch-1", "task-1", scope, **options)
    error, problem = caught.value, caught.value.problem
    assert (error.status_code, problem.error_code) == (status, error_code)
    assert type(error) is (AuthorizationError if status == 403 else ProblemResponseError)
    assert str(error) == f"{problem.title}: {problem.detail}"
    assert problem.type == f"urn:agentwrit:error:{error_code}"
    assert (problem.status, problem.instance) == (status, "/v1/app/launch-tokens")
    assert problem.request_id


def test_a_refusal_carries_the_brokers_hint(new_app: NewApp) -> None:
    app = new_app("read:data:*")
    agent = app.create_agent("orch-1", "task-1", ["read:data:x"])
    with pytest.raises(ProblemResponseError) as caught:
        agent.delegate("spiffe://agentwrit.local/agent/a/b/0123456789abcdef", ["read:data:x"])
    assert (caught.value.status_code, caught.value.problem.error_code) == (404, "not_found")
    assert "must be registered" in caught.value.problem.hint


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "x" * 10_000])
def test_a_bearer_that_is_none(new_app: NewApp, token: str) -> None:
    app = new_app("read:data:*")
    agent = Agent(app, "spiffe://agentwrit.local/agent/a/b/0123456789abcdef", token, 300, [], "b", "a")
    for call in (agent.renew, agent.release, lambda: agent.delegate(agent.agent_id, ["read:data:x"])):
        with pytest.raises(AuthenticationError) as caught:
            call()
        assert caught.value.problem.error_code == "unauthorized"


def test_one_attempt_and_no_retry(broker: Broker, new_app: NewApp) -> None:
    app = new_app("read:data:x")
    with pytest.raises(AuthorizationError):
        app.create_agent("orch-1", "task-1", ["read:data:y"])
    [event] = broker.denials("scope_ceiling_exceeded")
    assert "count=" not in event["detail"], "denials within a second are one event"
    # The refusal left nothing behind that would stand in the way of a second try.
    app.create_agent("orch-1", "task-1", ["read:data:x"])


def test_the_rate_limit_is_one_apps_own(broker: Broker) -> None:
    hasty, patient = broker.create_app(["read:data:*"]), broker.create_app(["read:data:*"])
    error = log_in_until_refused(broker, hasty)
    assert isinstance(error, ProblemResponseError)
    assert (error.status_code, error.problem.error_code) == (429, "rate_limited")
    assert "Retry-After" in error.problem.hint
    with closing(open_app(broker, patient)) as app:
        app.create_agent("orch-1", "task-1", ["read:data:x"])


def test_after_the_time_that_the_broker_names_it_works(broker: Broker) -> None:
    credentials = broker.create_app(["read:data:*"])
    log_in_until_refused(broker, credentials)
    login = {"client_id": credentials.client_id, "client_secret": credentials.client_secret}
    refused = httpx.post(f"{broker.url}/v1/app/auth", json=login)
    assert refused.status_code == 429
    wait = int(refused.headers["Retry-After"])
    assert 1 <= wait <= 6
    time.sleep(wait)
    with closing(open_app(broker, credentials)) as app:
        assert app.create_agent("orch-1", "task-1", ["read:data:x"]).agent_id


def test_an_app_that_is_logged_in_does_not_feel_the_limit(broker: Broker) -> None:
    credentials = broker.create_app(["read:data:*"])
    with closing(open_app(broker, credentials)) as app:
        app.create_agent("orch-1", "task-0", ["read:data:x"])
        log_in_until_refused(broker, credentials)
        for i in range(1, 6):
            app.create_agent("orch-1", f"task-{i}", ["read:data:x"])


def test_a_broker_that_went_away(broker: Broker, new_app: NewApp) -> None:
    app = new_app("read:data:*")
    agent = app.create_agent("orch-1", "task-1", ["read:data:x"])
    broker.stop()
    for call in (app.health, agent.renew, agent.release, lambda: app.create_agent("orch-1", "task-2", ["read:data:x"])):
        with pytest.raises(TransportError, match="unreachable") as caught:
            call()
        assert isinstance(caught.value, AgentWritError)
        assert not isinstance(caught.value, ProblemResponseError)
        assert isinstance(caught.value.__cause__, httpx.RequestError)
    with pytest.raises(httpx.ConnectError):  # not wrapped by the SDK
        app.validate(agent.access_token)


def test_a_broker_that_says_nothing(mute: str) -> None:
    with closing(AgentWritApp(mute, "id-0123456789ab", "0" * 64, timeout=0.2)) as app:
        with pytest.raises(TransportError):
            app.health()
        with pytest.raises(httpx.ReadTimeout):
            agentwrit.validate(mute, "token", timeout=0.2)
