"""Delegation through the unmodified SDK: never wider, at most five hops, each of them on record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

import httpx
import pytest
import tokens
from agentwrit import (
    Agent,
    AgentWritApp,
    AuthorizationError,
    DelegatedToken,
    DelegationRecord,
    ProblemResponseError,
)

from conftest import Broker

NewApp = Callable[..., AgentWritApp]


@dataclass(frozen=True)
class Team:
    app: AgentWritApp
    agents: list[Agent]

    def holding(self, number: int, token: DelegatedToken) -> Agent:
        """The agent with the token that it was handed, in place of its own."""
        agent = self.agents[number]
        return Agent(
            self.app, agent.agent_id, token.access_token, token.expires_in,
            tokens.claims(token.access_token)["scope"], agent.task_id, agent.orch_id,
        )


@pytest.fixture
def team(new_app: NewApp) -> Team:
    """Agents whose tasks differ, so that it shows whose task a token belongs to. All but the first may write."""
    app = new_app("read:data:*", "write:data:*")
    scopes = [["read:data:*"], *[["read:data:*", "write:data:*"]] * 6]
    return Team(app, [app.create_agent("orch-1", f"task-{i}", scope) for i, scope in enumerate(scopes)])


def assert_alive(app: AgentWritApp, *agents: Agent | DelegatedToken) -> None:
    assert [app.validate(agent.access_token).valid for agent in agents] == [True] * len(agents)


def assert_dead(app: AgentWritApp, *agents: Agent | DelegatedToken) -> None:
    assert [app.validate(agent.access_token).valid for agent in agents] == [False] * len(agents)


def test_narrower(team: Team) -> None:
    lead, helper = team.agents[:2]
    delegated = lead.delegate(helper.agent_id, ["read:data:x"], ttl=30)
    assert isinstance(delegated, DelegatedToken)
    assert delegated.expires_in == 30
    [record] = delegated.delegation_chain
    assert isinstance(record, DelegationRecord)
    assert (record.agent, record.scope) == (lead.agent_id, ["read:data:*"])
    assert datetime.fromisoformat(record.delegated_at.replace("Z", "+00:00")).tzinfo == timezone.utc

    claims = team.app.validate(delegated.access_token).claims
    assert (claims.sub, claims.scope) == (helper.agent_id, ["read:data:x"])
    assert (claims.task_id, claims.orch_id) == ("task-0", "orch-1"), "the delegator's task"
    assert claims.delegation_chain == delegated.delegation_chain
    assert len(claims.chain_hash) == 64
    assert claims.exp == claims.iat + 30
    assert_alive(team.app, lead, helper)


def test_equal(team: Team) -> None:
    lead, helper = team.agents[:2]
    delegated = lead.delegate(helper.agent_id, lead.scope)
    assert delegated.expires_in == 60, "the default"
    assert team.app.validate(delegated.access_token).claims.scope == ["read:data:*"]


@pytest.mark.parametrize(
    "wider", [["write:data:x"], ["read:other:x"], ["read:data:x", "write:data:x"], ["write:data:*"]]
)
def test_wider_is_refused(broker: Broker, team: Team, wider: list[str]) -> None:
    lead, helper = team.agents[:2]
    with pytest.raises(AuthorizationError) as caught:
        lead.delegate(helper.agent_id, wider)
    assert caught.value.problem.error_code == "scope_violation"
    assert caught.value.problem.detail == "delegated scope exceeds delegator scope"
    [event] = broker.denials("delegation_attenuation_violation")
    assert event["agent_id"] == lead.agent_id


@pytest.mark.parametrize(
    ("scope", "error_code"),
    [([], "invalid_request"), (["read:data"], "invalid_request"), (["*:*:*"], "invalid_request"),
     (["admin:revoke:*"], "invalid_request"), (["app:agents:*"], "invalid_request")],
)
def test_what_is_no_scope_to_give(team: Team, scope: list[str], error_code: str) -> None:
    lead, helper = team.agents[:2]
    with pytest.raises(ProblemResponseError) as caught:
        lead.delegate(helper.agent_id, scope)
    assert (caught.value.status_code, caught.value.problem.error_code) == (400, error_code)


@pytest.mark.parametrize("ttl", [0, -1])
def test_no_time_at_all(team: Team, ttl: int) -> None:
    lead, helper = team.agents[:2]
    with pytest.raises(ProblemResponseError) as caught:
        lead.delegate(helper.agent_id, ["read:data:x"], ttl=ttl)
    assert (caught.value.status_code, caught.value.problem.error_code) == (400, "invalid_ttl")


def test_never_longer_than_the_delegator_lives(team: Team) -> None:
    lead, helper = team.agents[:2]
    delegated = lead.delegate(helper.agent_id, ["read:data:x"], ttl=86_400)
    assert 0 < delegated.expires_in <= 300
    assert tokens.claims(delegated.access_token)["exp"] <= tokens.claims(lead.access_token)["exp"]


def test_renewal_does_not_outlive_the_chain(team: Team) -> None:
    lead, helper = team.agents[:2]
    delegated = lead.delegate(helper.agent_id, ["read:data:x"], ttl=300)
    holder = team.holding(1, delegated)
    holder.renew()
    renewed = team.app.validate(holder.access_token).claims
    assert renewed.exp <= tokens.claims(lead.access_token)["exp"]
    assert renewed.delegation_chain == delegated.delegation_chain
    assert_dead(team.app, delegated)


@pytest.mark.parametrize("domain", ["agentwrit.local", "elsewhere.test"])
def test_rejects_unknown_agent(team: Team, domain: str) -> None:
    with pytest.raises(ProblemResponseError) as caught:
        team.agents[0].delegate(f"spiffe://{domain}/agent/orch-1/task-1/0123456789abcdef", ["read:data:x"])
    assert (caught.value.status_code, caught.value.problem.error_code) == (404, "not_found")
    assert caught.value.problem.detail == "delegate agent not found"


@pytest.mark.parametrize("malformed", ["", "nonsense", "spiffe://", "https://agentwrit.local/agent/a/b/0123456789abcdef"])
def test_rejects_malformed_agent_id(team: Team, malformed: str) -> None:
    with pytest.raises(ProblemResponseError) as caught:
        team.agents[0].delegate(malformed, ["read:data:x"])
    assert (caught.value.status_code, caught.value.problem.error_code) == (400, "invalid_request")
    assert caught.value.problem.detail.startswith("delegate_to: ")


def test_three_hops(broker: Broker, team: Team) -> None:
    a, b, c, d = team.agents[:4]
    first = a.delegate(b.agent_id, ["read:data:*"], ttl=120)
    second = team.holding(1, first).delegate(c.agent_id, ["read:data:x", "read:data:y"], ttl=90)
    third = team.holding(2, second).delegate(d.agent_id, ["read:data:x"], ttl=60)

    assert [len(token.delegation_chain) for token in (first, second, third)] == [1, 2, 3]
    assert third.delegation_chain[:2] == second.delegation_chain
    assert [record.agent for record in third.delegation_chain] == [a.agent_id, b.agent_id, c.agent_id]
    assert [record.scope for record in third.delegation_chain] == [
        ["read:data:*"], ["read:data:*"], ["read:data:x", "read:data:y"],
    ]
    claims = team.app.validate(third.access_token).claims
    assert (claims.sub, claims.scope, claims.task_id) == (d.agent_id, ["read:data:x"], "task-0")
    assert len({team.app.validate(token.access_token).claims.chain_hash for token in (first, second, third)}) == 3
    assert len(broker.audit_events("delegation_created")) == 3


def test_a_handed_token_counts_not_what_its_holder_has_besides(team: Team) -> None:
    a, b, c = team.agents[:3]
    handed = team.holding(1, a.delegate(b.agent_id, ["read:data:x"]))
    for more in (["read:data:*"], ["write:data:x"]):
        with pytest.raises(AuthorizationError):
            handed.delegate(c.agent_id, more)
        b.delegate(c.agent_id, more)


def test_five_hops_and_no_sixth(team: Team) -> None:
    holder = team.agents[0]
    for hop in range(1, 6):
        token = holder.delegate(team.agents[hop].agent_id, ["read:data:x"])
        assert len(token.delegation_chain) == hop
        holder = team.holding(hop, token)
    assert_alive(team.app, holder)
    with pytest.raises(AuthorizationError) as caught:
        holder.delegate(team.agents[6].agent_id, ["read:data:x"])
    assert caught.value.problem.detail == "delegation depth limit exceeded"


def test_release_of_either_leaves_the_other(team: Team) -> None:
    a, b, c = team.agents[:3]
    to_b, to_c = a.delegate(b.agent_id, ["read:data:x"]), a.delegate(c.agent_id, ["read:data:x"])
    team.holding(1, to_b).release()
    assert_dead(team.app, to_b)
    assert_alive(team.app, a, to_c, b)
    a.release()
    assert_alive(team.app, to_c)


@pytest.mark.parametrize("level", ["token", "agent", "chain"])
def test_revoking_the_root_kills_all_that_came_of_it(broker: Broker, team: Team, level: str) -> None:
    a, b, c = team.agents[:3]
    first = a.delegate(b.agent_id, ["read:data:x"])
    second = team.holding(1, first).delegate(c.agent_id, ["read:data:x"])
    claims = tokens.claims(a.access_token)
    assert broker.revoke(level, claims["jti"] if level == "token" else a.agent_id)["count"] == 3
    assert_dead(team.app, a, first, second)
    assert_alive(team.app, b, c)


def test_revoking_the_middle_leaves_the_root(broker: Broker, team: Team) -> None:
    a, b, c = team.agents[:3]
    first = a.delegate(b.agent_id, ["read:data:x"])
    second = team.holding(1, first).delegate(c.agent_id, ["read:data:x"])
    broker.revoke("agent", b.agent_id)
    assert_dead(team.app, first, second, b)
    assert_alive(team.app, a, c)
    with pytest.raises(ProblemResponseError) as caught:
        a.delegate(b.agent_id, ["read:data:x"])
    assert (caught.value.status_code, caught.value.problem.error_code) == (404, "not_found")


def test_an_app_cannot_delegate(broker: Broker, team: Team) -> None:
    credentials = broker.create_app(["read:data:*"])
    body = {"client_id": credentials.client_id, "client_secret": credentials.client_secret}
    token = httpx.post(f"{broker.url}/v1/app/auth", json=body).json()["access_token"]
    impostor = Agent(team.app, "spiffe://agentwrit.local/agent/a/b/0123456789abcdef", token, 300, [], "b", "a")
    with pytest.raises(AuthorizationError):
        impostor.delegate(team.agents[0].agent_id, ["read:data:x"])
