//! Lists of agents and tokens, against a scan of what was written.

use agentwrit_verify::{Scope, TrustDomain};

use super::*;
use crate::{
    domain::ListedToken,
    store::{Page, TokenFilter, TokenPage, Work},
};

const COUNT: u64 = 40;

fn agent_of(number: u64, orch: &str, task: &str) -> RegisteredAgent {
    let text = format!("spiffe://agentwrit.local/agent/{orch}/{task}/{number:016x}");
    let scope = if number.is_multiple_of(3) { "read:data:*" } else { "read:data:x" };
    let scope = if number.is_multiple_of(5) { "write:data:x" } else { scope };
    RegisteredAgent {
        agent_id: AgentId::parse(&text).unwrap(),
        app_id: (number % 4 < 2).then(|| app_id(["web", "cron"][usize::try_from(number % 4).unwrap()])),
        scope: ScopeSet::parse(["run:job:a", scope]).unwrap(),
        expires_at: at(100 + number),
        revoked_at: number.is_multiple_of(7).then(|| at(5)),
        ..agent(number)
    }
}

/// Ids that begin alike, hold each other's names, or are read as patterns by some databases.
const ORCHS: [&str; 5] = ["orch", "orch-1", "agent", "or_h", "a.b"];
const TASKS: [&str; 4] = ["task", "task-1", "t_sk", "orch"];

fn all_agents() -> Vec<RegisteredAgent> {
    let pick = |list: &[&'static str], number: u64| list[usize::try_from(number).unwrap() % list.len()];
    (0..COUNT).map(|number| agent_of(number, pick(&ORCHS, number), pick(&TASKS, number / 2))).collect()
}

/// Tokens of these agents, of an app and of the operator; every sixth is delegated by the two agents before it.
fn all_tokens() -> Vec<ListedToken> {
    let agents = all_agents();
    let own = |(number, agent): (u64, &RegisteredAgent)| {
        let scope = agent.scope.clone();
        let token = IssuedToken {
            subject: Subject::Agent(agent.agent_id.clone()),
            app_id: agent.app_id.clone(),
            task_id: Some(segment(agent.agent_id.task_id())),
            // Several in one second, and not in the order of their ids.
            issued_at: at((COUNT - number) / 3),
            expires_at: at(100 + number),
            ..token(number)
        };
        let index = usize::try_from(number).unwrap();
        if number < 2 || !number.is_multiple_of(6) {
            return ListedToken { token, scope: Some(scope), ended_at: None };
        }
        let (root, by) = (&agents[index - 2].agent_id, &agents[index - 1].agent_id);
        let delegated = ScopeSet::parse(["read:data:x"]).unwrap();
        let token = IssuedToken {
            task_id: Some(segment(root.task_id())),
            root: Some(root.clone()),
            delegators: vec![root.clone(), by.clone()],
            delegator_sids: vec![super::token(number - 2).jti, super::token(number - 1).jti],
            scope: Some(delegated.clone()),
            ..token
        };
        ListedToken { token, scope: Some(delegated), ended_at: None }
    };
    let mut tokens: Vec<ListedToken> = (0..).zip(&agents).map(own).collect();
    for (number, subject) in [(COUNT, Subject::Admin), (COUNT + 1, Subject::App(app_id("web")))] {
        let scope = Some(ScopeSet::parse(["app:agents:*"]).unwrap());
        let app_id = (subject != Subject::Admin).then(|| app_id("web"));
        let token = IssuedToken { subject, app_id, task_id: None, scope: scope.clone(), ..token(number) };
        tokens.push(ListedToken { token, scope, ended_at: None });
    }
    for ended in tokens.iter_mut().step_by(4) {
        ended.ended_at = Some(at(50));
    }
    tokens
}

async fn filled() -> Fixture {
    let fixture = Fixture::new();
    fixture
        .write(|tx| {
            for name in ["web", "cron", "idle"] {
                tx.insert_app(&app(name))?;
            }
            for agent in all_agents() {
                tx.insert_agent(&agent)?;
            }
            for ListedToken { token, ended_at, .. } in all_tokens() {
                tx.insert_token(&token)?;
                if let Some(ended_at) = ended_at {
                    tx.end_token(&token.jti, ended_at)?;
                }
            }
            Ok(())
        })
        .await;
    fixture
}

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("agentwrit.local").unwrap()
}

fn works() -> Vec<(Option<&'static str>, Option<&'static str>)> {
    let mut works =
        vec![(None, None), (Some("missing"), None), (None, Some("missing")), (Some("orch"), Some("missing"))];
    works.extend(ORCHS.map(|orch| (Some(orch), None)));
    works.extend(TASKS.map(|task| (None, Some(task))));
    works.extend(ORCHS.into_iter().flat_map(|orch| TASKS.map(|task| (Some(orch), Some(task)))));
    works
}

fn work(orch: Option<&str>, task: Option<&str>) -> Work {
    Work::of(&trust_domain(), orch.map(segment).as_ref(), task.map(segment).as_ref())
}

const SCOPES: [Option<&str>; 6] =
    [None, Some("read:data:x"), Some("read:data:y"), Some("read:data:*"), Some("run:job:a"), Some("rea:data:x")];

fn whole() -> Page {
    Page { limit: 1000, offset: 0, after: 0 }
}

#[tokio::test]
async fn lists_agents_that_match_in_order_of_registration() {
    let fixture = filled().await;
    let mut found = 0;
    for (orch, task) in works() {
        for scope in SCOPES {
            for (app, live_at) in [(None, None), (Some("web"), None), (Some("idle"), None), (None, Some(at(120)))] {
                let filter = AgentFilter {
                    agent_id: None,
                    app_id: app.map(app_id),
                    work: work(orch, task),
                    scope: scope.map(|text| Scope::parse(text).unwrap()),
                    live_at,
                };
                let expected: Vec<RegisteredAgent> = all_agents()
                    .into_iter()
                    .filter(|agent| orch.is_none_or(|orch| agent.agent_id.orch_id() == orch))
                    .filter(|agent| task.is_none_or(|task| agent.agent_id.task_id() == task))
                    .filter(|agent| filter.scope.as_ref().is_none_or(|scope| agent.scope.cover(scope)))
                    .filter(|agent| app.is_none_or(|app| agent.app_id == Some(app_id(app))))
                    .filter(|agent| live_at.is_none_or(|now| agent.revoked_at.is_none() && agent.expires_at > now))
                    .collect();
                found += expected.len();
                let asked = filter.clone();
                let (listed, total) = fixture.read(move |reader| reader.agents(&asked, &whole())).await;
                let listed: Vec<RegisteredAgent> = listed.into_iter().map(|(_, agent)| agent).collect();
                assert_eq!((listed, total), (expected.clone(), expected.len() as u64), "{filter:?}");
            }
        }
    }
    assert!(found > 500, "{found}");
}

#[tokio::test]
async fn lists_one_agent_and_none_of_unknown_names() {
    let fixture = filled().await;
    let one = all_agents().swap_remove(7);
    let filter = AgentFilter { agent_id: Some(one.agent_id.clone()), ..AgentFilter::default() };
    let (listed, total) = fixture.read(move |reader| reader.agents(&filter, &whole())).await;
    assert_eq!((&listed[0].1, listed.len(), total), (&one, 1, 1));
    for filter in [
        AgentFilter { agent_id: Some(agent_id(99)), ..AgentFilter::default() },
        AgentFilter { app_id: Some(app_id("unknown")), ..AgentFilter::default() },
    ] {
        assert_eq!(fixture.read(move |reader| reader.agents(&filter, &whole())).await, (Vec::new(), 0));
    }
}

#[tokio::test]
async fn pages_of_agents_have_no_gap_and_no_overlap() {
    let fixture = filled().await;
    let filter = AgentFilter { scope: Some(Scope::parse("read:data:x").unwrap()), ..AgentFilter::default() };
    let (mut agents, mut page) = (Vec::new(), Page { limit: 7, ..whole() });
    for number in 100.. {
        let asked = filter.clone();
        let (listed, _) = fixture.read(move |reader| reader.agents(&asked, &page)).await;
        let Some((cursor, _)) = listed.last() else { break };
        page.after = *cursor;
        agents.extend(listed.into_iter().map(|(_, agent)| agent));
        if number < 103 {
            // An agent that registers in between does not move the pages.
            fixture.write(move |tx| tx.insert_agent(&agent_of(number, "later", "later"))).await;
        }
    }
    let expected = all_agents().into_iter().filter(|agent| agent.scope.cover(filter.scope.as_ref().unwrap()));
    let before = agents.iter().filter(|agent| agent.agent_id.orch_id() != "later").cloned().collect::<Vec<_>>();
    assert_eq!(before, expected.collect::<Vec<_>>());
    assert!(agents.len() > before.len());
}

#[tokio::test]
async fn lists_tokens_that_match_in_order_of_issue() {
    let fixture = filled().await;
    let mut all = all_tokens();
    all.sort_by_key(|listed| (listed.token.issued_at, *listed.token.jti.as_bytes()));
    let agents = all_agents();
    let subjects = [None, Some(Subject::Admin), Some(Subject::Agent(agents[6].agent_id.clone()))];
    let delegators = [None, Some(agents[4].agent_id.clone()), Some(agents[5].agent_id.clone())];
    let mut found = 0;
    for (orch, task) in works() {
        for scope in SCOPES {
            for (subject, delegator) in subjects.iter().zip(&delegators) {
                for (app, live_at) in [(None, None), (Some("web"), None), (None, Some(at(120)))] {
                    let filter = TokenFilter {
                        subject: subject.clone(),
                        delegator: if subject.is_none() { None } else { delegator.clone() },
                        app_id: app.map(app_id),
                        task_id: task.map(segment),
                        work: work(orch, None),
                        scope: scope.map(|text| Scope::parse(text).unwrap()),
                        live_at,
                    };
                    let expected: Vec<ListedToken> =
                        all.iter().filter(|listed| matches(&filter, orch, listed)).cloned().collect();
                    found += expected.len();
                    let asked = filter.clone();
                    let (listed, total) = fixture.read(move |reader| reader.tokens(&asked, &whole_tokens())).await;
                    assert_eq!((listed, total), (expected.clone(), expected.len() as u64), "{filter:?}");
                }
            }
        }
    }
    for delegator in delegators.into_iter().flatten() {
        let filter = TokenFilter { delegator: Some(delegator), ..TokenFilter::default() };
        let expected: Vec<ListedToken> = all.iter().filter(|listed| matches(&filter, None, listed)).cloned().collect();
        assert_eq!(expected.len(), 1);
        let (listed, total) = fixture.read(move |reader| reader.tokens(&filter, &whole_tokens())).await;
        assert_eq!((listed, total), (expected, 1));
    }
    assert!(found > 500, "{found}");
}

fn whole_tokens() -> TokenPage {
    TokenPage { limit: 1000, offset: 0, after: None }
}

fn matches(filter: &TokenFilter, orch: Option<&str>, listed: &ListedToken) -> bool {
    let ListedToken { token, scope, ended_at } = listed;
    let of_orch = token.root.as_ref().or(token.subject.as_agent());
    filter.subject.as_ref().is_none_or(|subject| token.subject == *subject)
        && filter.delegator.as_ref().is_none_or(|agent| token.delegators.contains(agent))
        && filter.app_id.as_ref().is_none_or(|app| token.app_id.as_ref() == Some(app))
        && filter.task_id.as_ref().is_none_or(|task| token.task_id.as_ref() == Some(task))
        && orch.is_none_or(|orch| of_orch.is_some_and(|agent| agent.orch_id() == orch))
        && filter.scope.as_ref().is_none_or(|wanted| scope.as_ref().is_some_and(|scope| scope.cover(wanted)))
        && filter.live_at.is_none_or(|now| ended_at.is_none() && token.expires_at > now)
}

#[tokio::test]
async fn pages_of_tokens_have_no_gap_and_no_overlap() {
    let fixture = filled().await;
    let (mut tokens, mut page) = (Vec::new(), TokenPage { limit: 5, ..whole_tokens() });
    loop {
        let (listed, total) = fixture.read(move |reader| reader.tokens(&TokenFilter::default(), &page)).await;
        assert_eq!(total, COUNT + 2);
        let Some(last) = listed.last() else { break };
        page.after = Some((last.token.issued_at, last.token.jti));
        tokens.extend(listed);
    }
    let mut expected = all_tokens();
    expected.sort_by_key(|listed| (listed.token.issued_at, *listed.token.jti.as_bytes()));
    assert_eq!(tokens, expected);
}

#[tokio::test]
async fn delegated_token_of_older_broker_has_no_scope() {
    let fixture = filled().await;
    fixture.write(|tx| tx.execute_batch("UPDATE tokens SET scope = NULL")).await;
    let (listed, _) = fixture.read(|reader| reader.tokens(&TokenFilter::default(), &whole_tokens())).await;
    for ListedToken { token, scope, .. } in listed {
        let is_registered = token.root.is_none() && token.subject.as_agent().is_some();
        assert_eq!(scope.is_some(), is_registered, "{token:?}");
    }
}
