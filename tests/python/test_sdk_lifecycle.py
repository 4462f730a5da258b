"""Renewal, release, expiry and the operator's hand, through the unmodified SDK."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import agentwrit
import httpx
import pytest
import tokens
from agentwrit import Agent, AgentWritApp, AgentWritError, AuthenticationError, AuthorizationError, ProblemResponseError

from conftest import Broker

NewApp = Callable[..., AgentWritApp]
INVALID = "token is invalid or expired"


def with_token(app: AgentWritApp, agent: Agent, token: str) -> Agent:
    """The agent as held by a client that has only this token."""
    return Agent(app, agent.agent_id, token, agent.expires_in, agent.scope, agent.task_id, agent.orch_id)


def event_types(broker: Broker) -> list[str]:
    return [event["event_type"] for event in broker.audit_events()]


def test_an_agent_says_who_it_is_and_not_its_token(new_app: NewApp) -> None:
    agent = new_app("read:data:*").create_agent("orch-1", "task-1", ["read:data:x"])
    assert (agent.orch_id, agent.task_id, agent.scope) == ("orch-1", "task-1", ["read:data:x"])
    assert repr(agent) == f"Agent(agent_id={agent.agent_id!r}, orch_id='orch-1', task_id='task-1')"


def test_renewal_replaces_the_token_in_place(new_app: NewApp) -> None:
    app = new_app("read:data:*")
    agent = app.create_agent("orch-1", "task-1", ["read:data:x"], max_ttl=120)
    agent_id, old = agent.agent_id, agent.access_token
    before = app.validate(old).claims

    assert agent.renew() is None

    assert agent.agent_id == agent_id
    assert agent.access_token != old
    assert agent.expires_in == 120
    assert agent.bearer_header == {"Authorization": f"Bearer {agent.access_token}"}
    assert app.validate(old).error == INVALID
    after = app.validate(agent.access_token).claims
    assert after.jti != before.jti
    assert (after.sid, after.sub, after.scope, after.task_id, after.orch_id) == (
        before.sid, before.sub, before.scope, before.task_id, before.orch_id,
    )
    assert after.exp == after.iat + 120


def test_renewal_again_and_again(broker: Broker, new_app: NewApp) -> None:
    app = new_app("read:data:*")
    agent = app.create_agent("orch-1", "task-1", ["read:data:x"])
    seen = [agent.access_token]
    for _ in range(5):
        agent.renew()
        seen.append(agent.access_token)
    assert len(set(seen)) == 6
    assert [app.validate(token).valid for token in seen] == [False] * 5 + [True]
    assert event_types(broker).count("token_renewed") == 5


def test_a_renewed_token_renews_nothing(broker: Broker, new_app: NewApp) -> None:
    app = new_app("read:data:*")
    agent = app.create_agent("orch-1", "task-1", ["read:data:x"])
    stale = with_token(app, agent, agent.access_token)
    agent.renew()
    with pytest.raises(AuthenticationError) as caught:
        stale.renew()
    assert caught.value.problem.instance == "/v1/token/renew"
    assert caught.value.problem.error_code == "unauthorized"
    assert app.validate(agent.access_token).valid, "the attempt had no effect"
    [event] = broker.denials("token_revoked_access")
    assert event["agent_id"] == agent.agent_id


def test_of_many_renewals_at_once_one_succeeds(new_app: NewApp) -> None:
    app = new_app("read:data:*")
    agent = app.create_agent("orch-1", "task-1", ["read:data:x"])
    holders = [with_token(app, agent, agent.access_token) for _ in range(8)]

    def renewed(holder: Agent) -> bool:
        try:
            holder.renew()
        except AuthenticationError:
            return False
        return True

    with ThreadPoolExecutor(len(holders)) as pool:
        outcomes = list(pool.map(renewed, holders))
    assert outcomes.count(True) == 1
    winner = holders[outcomes.index(True)]
    assert [app.validate(holder.access_token).valid for holder in holders] == outcomes
    winner.renew()


def test_release_ends_the_token(broker: Broker, new_app: NewApp) -> None:
    app = new_app("read:data:*")
    agent = app.create_agent("orch-1", "task-1", ["read:data:x"])
    again = with_token(app, agent, agent.access_token)

    assert agent.release() is None
    assert app.validate(agent.access_token).error == INVALID

    agent.release()  # known already, no request
    again.release()  # asks the broker, which says 204 once more
    assert event_types(broker).count("token_released") == 1


def test_a_released_agent_refuses_by_itself(new_app: NewApp) -> None:
    app = new_app("read:data:*")
    agent = app.create_agent("orch-1", "task-1", ["read:data:x"])
    other = app.create_agent("orch-1", "task-2", ["read:data:x"])
    agent.release()
    for refused in (agent.renew, lambda: agent.delegate(other.agent_id, ["read:data:x"])):
        with pytest.raises(AgentWritError, match="released") as caught:
            refused()
        assert not isinstance(caught.value, ProblemResponseError), "the broker was not asked"


def test_the_broker_refuses_a_released_token(new_app: NewApp) -> None:
    app = new_app("read:data:*")
    agent = app.create_agent("orch-1", "task-1", ["read:data:x"])
    other = app.create_agent("orch-1", "task-2", ["read:data:x"])
    still_trying = with_token(app, agent, agent.access_token)
    agent.release()
    for refused in (still_trying.renew, lambda: still_trying.delegate(other.agent_id, ["read:data:x"])):
        with pytest.raises(AuthenticationError):
            refused()


def test_an_expired_token_is_good_for_nothing(new_app: NewApp) -> None:
    app = new_app("read:data:*")
    other = app.create_agent("orch-1", "task-2", ["read:data:x"])
    agent = app.create_agent("orch-1", "task-1", ["read:data:x"], max_ttl=1)
    assert agent.expires_in == 1
    tokens.wait_until_expired(agent.access_token)
    for result in (app.validate(agent.access_token), agentwrit.validate(app.broker_url, agent.access_token)):
        assert (result.valid, result.claims, result.error) == (False, None, INVALID)
    for refused in (agent.renew, lambda: agent.delegate(other.agent_id, ["read:data:x"]), agent.release):
        with pytest.raises(AuthenticationError):
            refused()


@pytest.mark.parametrize(
    ("level", "target"), [("token", "jti"), ("agent", "sub"), ("task", "task_id"), ("chain", "sub")]
)
def test_what_the_operator_revokes_is_dead(broker: Broker, new_app: NewApp, level: str, target: str) -> None:
    app = new_app("read:data:*")
    agent = app.create_agent("orch-1", "task-1", ["read:data:x"])
    bystander = app.create_agent("orch-1", "task-2", ["read:data:x"])
    answer = broker.revoke(level, tokens.claims(agent.access_token)[target])
    assert (answer["revoked"], answer["count"]) == (True, 1)
    assert app.validate(agent.access_token).error == INVALID
    with pytest.raises(AuthenticationError):
        agent.renew()
    bystander.renew()


def test_when_the_app_is_gone(broker: Broker) -> None:
    credentials = broker.create_app(["read:data:*"])
    with closing(AgentWritApp(broker.url, credentials.client_id, credentials.client_secret)) as app:
        agent = app.create_agent("orch-1", "task-1", ["read:data:x"])
        broker.admin("DELETE", f"/v1/admin/apps/{credentials.app_id}")
        assert app.validate(agent.access_token).valid, "agents keep what they have"
        with pytest.raises(AuthorizationError) as refused:
            agent.renew()
        assert refused.value.problem.error_code == "scope_violation"
        with pytest.raises(AuthenticationError):
            app.create_agent("orch-1", "task-2", ["read:data:x"])
    with (
        closing(AgentWritApp(broker.url, credentials.client_id, credentials.client_secret)) as app,
        pytest.raises(AuthenticationError),
    ):
        app.create_agent("orch-1", "task-3", ["read:data:x"])


def test_when_the_ceiling_sinks(broker: Broker) -> None:
    credentials = broker.create_app(["read:data:*", "write:data:*"])
    with closing(AgentWritApp(broker.url, credentials.client_id, credentials.client_secret)) as app:
        reader = app.create_agent("orch-1", "task-1", ["read:data:x"])
        writer = app.create_agent("orch-1", "task-2", ["write:data:x"])
        broker.admin("PUT", f"/v1/admin/apps/{credentials.app_id}", {"scopes": ["read:data:*"]})
        reader.renew()
        with pytest.raises(AuthorizationError):
            writer.renew()
        with pytest.raises(AuthorizationError):
            app.create_agent("orch-1", "task-3", ["write:data:x"])


def test_an_app_logs_in_once_for_all_its_agents(broker: Broker, new_app: NewApp) -> None:
    app = new_app("read:data:*")
    for i in range(4):
        app.create_agent("orch-1", f"task-{i}", ["read:data:x"])
    assert event_types(broker).count("app_authenticated") == 1


def test_an_app_whose_token_is_about_to_expire_logs_in_again(broker: Broker) -> None:
    # The SDK renews 60 seconds ahead, and this is the least that the broker allows.
    credentials = broker.create_app(["read:data:*"], token_ttl=60)
    with closing(AgentWritApp(broker.url, credentials.client_id, credentials.client_secret)) as app:
        for i in range(3):
            app.create_agent("orch-1", f"task-{i}", ["read:data:x"])
    assert event_types(broker).count("app_authenticated") == 3


def test_threads_share_an_app(new_app: NewApp) -> None:
    app = new_app("read:data:*")
    app.create_agent("orch-1", "task-0", ["read:data:x"])  # logs in, for all of them

    def lifetime(i: int) -> tuple[str, bool, bool]:
        agent = app.create_agent("orch-1", f"task-{i}", [f"read:data:{i}"])
        agent.renew()
        alive = app.validate(agent.access_token).valid
        agent.release()
        return agent.agent_id, alive, app.validate(agent.access_token).valid

    with ThreadPoolExecutor(8) as pool:
        lives = list(pool.map(lifetime, range(16)))
    assert len({agent_id for agent_id, _, _ in lives}) == 16
    assert all(alive and not released for _, alive, released in lives)


def test_a_closed_app_sends_nothing(new_app: NewApp) -> None:
    app = new_app("read:data:*")
    agent = app.create_agent("orch-1", "task-1", ["read:data:x"])
    app.close()
    app.close()
    for refused in (app.health, agent.renew, lambda: app.create_agent("orch-1", "task-2", ["read:data:x"])):
        with pytest.raises(RuntimeError, match="closed"):
            refused()
    assert app.validate(agent.access_token).valid, "validation has a connection of its own"


def test_health_counts_what_happens(broker: Broker, new_app: NewApp) -> None:
    app = new_app("read:data:*")
    before = app.health()
    app.create_agent("orch-1", "task-1", ["read:data:x"])
    after = app.health()
    assert after.audit_events_count > before.audit_events_count
    assert after.uptime >= before.uptime
    assert after == agentwrit.HealthStatus(**httpx.get(f"{broker.url}/v1/health").json() | {"uptime": after.uptime})
