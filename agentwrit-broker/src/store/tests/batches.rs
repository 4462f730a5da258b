//! Jobs in batches of any size give the same results, rows, numbers and chain as one job per batch.

use agentwrit_verify::Level;
use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    writer::{enqueue_with, occupy},
    *,
};
use crate::{
    domain::Revocation,
    store::{AuditQuery, Page},
};

const ROWS: Page = Page { limit: 1000, offset: 0, after: 0 };

/// An operation of a job, on the records with a small number, so that jobs meet.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Register(u64),
    IssueLaunchToken(u64),
    UseLaunchToken(u64),
    DeleteLaunchToken(u64),
    DeleteUnusedLaunchTokens,
    SpendNonce(u64),
    EndToken(u64),
    Delegate(u64, u64),
    ExtendAgent(u64, u64),
    BarAgent(u64),
    RevokeSession(u64),
    RevokeAgent(u64),
    Publish(u64),
    Append(u64),
    ListAgents,
    CountEvents(u64),
    Prune(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Kept,
    Failed,
    Panicked,
}

#[derive(Clone, Debug)]
struct Job {
    operations: Vec<Operation>,
    end: End,
    hints: bool,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let number = 1..7_u64;
    prop_oneof![
        5 => number.clone().prop_map(Register),
        3 => number.clone().prop_map(IssueLaunchToken),
        3 => number.clone().prop_map(UseLaunchToken),
        1 => number.clone().prop_map(DeleteLaunchToken),
        1 => Just(DeleteUnusedLaunchTokens),
        1 => number.clone().prop_map(SpendNonce),
        3 => number.clone().prop_map(EndToken),
        2 => (number.clone(), number.clone()).prop_map(|(from, to)| Delegate(from, to)),
        2 => (number.clone(), 0..900_u64).prop_map(|(agent, until)| ExtendAgent(agent, until)),
        1 => number.clone().prop_map(BarAgent),
        1 => number.clone().prop_map(RevokeSession),
        1 => number.clone().prop_map(RevokeAgent),
        2 => number.clone().prop_map(Publish),
        3 => number.clone().prop_map(Append),
        1 => Just(ListAgents),
        1 => number.prop_map(CountEvents),
        1 => (0..400_u64).prop_map(Prune),
    ]
}

fn job() -> impl Strategy<Value = Job> {
    let end = select(vec![End::Kept, End::Kept, End::Kept, End::Kept, End::Failed, End::Panicked]);
    (vec(operation(), 1..5), end, any::<bool>()).prop_map(|(operations, end, hints)| Job { operations, end, hints })
}

fn revocation(level: Level, number: u64) -> Revocation {
    Revocation {
        level,
        target: agent_id(number).to_string(),
        revoked_at: at(2),
        expires_at: at(500),
        revoked_by: Subject::Admin,
        reason: None,
        listed: level == Level::Agent,
    }
}

fn delegated(from: u64, to: u64) -> IssuedToken {
    let jti = token(from * 100 + to).jti;
    let delegators = vec![agent_id(from)];
    let delegator_sids = vec![token(from).jti];
    let subject = Subject::Agent(agent_id(to));
    IssuedToken { jti, sid: jti, subject, root: Some(agent_id(from)), delegators, delegator_sids, ..token(to) }
}

/// Returns what the operation returned.
fn apply(tx: &mut Tx<'_>, operation: Operation) -> Result<String, StoreError> {
    let launch_token = |number: u64| LaunchToken { single_use: !number.is_multiple_of(3), ..launch_token(number) };
    Ok(match operation {
        Operation::Register(number) => {
            let app_id = (number % 2 == 0).then(|| app_id("web"));
            tx.insert_agent(&RegisteredAgent { app_id: app_id.clone(), ..agent(number) })?;
            tx.insert_token(&IssuedToken { app_id, ..token(number) })?;
            let event = NewEvent::success(EventType::AgentRegistered, at(number), &agent_id(number), "registered");
            format!("{:?}", tx.append(event.task(segment(&format!("task-{number}"))))?)
        }
        Operation::IssueLaunchToken(number) => format!("{:?}", tx.insert_launch_token(&launch_token(number))?),
        Operation::UseLaunchToken(number) => {
            let found = tx.launch_token_by_digest(&launch_token(number).digest)?;
            format!("{found:?} {}", tx.consume_launch_token(launch_token(number).id, at(number))?)
        }
        Operation::DeleteLaunchToken(number) => tx.delete_launch_token(launch_token(number).id)?.to_string(),
        Operation::DeleteUnusedLaunchTokens => tx.delete_unused_launch_tokens_by(&Subject::Admin)?.to_string(),
        Operation::SpendNonce(number) => {
            let mut nonce = [0; 32];
            nonce[..8].copy_from_slice(&number.to_be_bytes());
            tx.spend_nonce(&nonce, at(30))?.to_string()
        }
        Operation::EndToken(number) => {
            let before = tx.has_ended(&token(number).jti)?;
            format!("{before:?} {}", tx.end_token(&token(number).jti, at(3))?)
        }
        Operation::Delegate(from, to) => format!("{:?}", tx.insert_token(&delegated(from, to))?),
        Operation::ExtendAgent(number, until) => format!("{:?}", tx.extend_agent(&agent_id(number), at(until))?),
        Operation::BarAgent(number) => tx.bar_agent(&agent_id(number), at(4))?.to_string(),
        Operation::RevokeSession(number) => format!("{:?}", tx.end_session(&token(number).jti, at(5), at(0))?),
        Operation::RevokeAgent(number) => {
            let ended = tx.end_tokens_of(Level::Agent, agent_id(number).as_str(), at(6), at(0))?;
            let cursor = tx.insert_revocation(&revocation(Level::Agent, number))?;
            format!("{ended:?} {cursor} {:?}", tx.latest_not_before_mark(agent_id(number).as_str())?)
        }
        Operation::Publish(number) => tx.insert_revocation(&revocation(Level::Token, number))?.to_string(),
        Operation::Append(number) => {
            let event = NewEvent::denied(EventType::TokenRenewalFailed, at(number * 2), &agent_id(number), "denied");
            format!("{:?}", tx.append(event.task(segment("shared")))?)
        }
        Operation::ListAgents => format!("{:?}", tx.agents(&of_web(), &ROWS)?),
        Operation::CountEvents(number) => {
            let agent_id = Some(agent_id(number).to_string());
            tx.audit_events(&AuditQuery { agent_id, limit: 10, ..AuditQuery::default() })?.total.to_string()
        }
        Operation::Prune(until) => format!("{:?}", tx.prune(at(until), at(until / 10))?),
    })
}

fn run(tx: &mut Tx<'_>, job: &Job) -> Result<Vec<String>, StoreError> {
    let results = job.operations.iter().map(|operation| apply(tx, *operation)).collect::<Result<_, _>>()?;
    match job.end {
        End::Kept => Ok(results),
        End::Failed => Err(StoreError::internal(format!("failed after {results:?}"))),
        End::Panicked => panic!("a defect"),
    }
}

/// Rows that the first operation of a job reads, and others.
fn hints(job: &Job) -> Wants {
    match (job.hints, job.operations.first()) {
        (true, Some(Operation::Register(number))) => wants_of_registration(*number),
        (true, Some(Operation::UseLaunchToken(number))) => Wants::none().launch_digest(&launch_token(*number).digest),
        (true, _) => {
            Wants::none().agent(&agent_id(1)).token(&token(2).jti).mark("task-1").launch_token(launch_token(3).id)
        }
        (false, _) => Wants::none(),
    }
}

/// Runs the jobs in batches of these sizes. Returns their results and everything that the store holds. Of failed jobs only
/// the failure: a row that exists is rejected by the job if the batch knows it, otherwise by the store.
async fn outcome(jobs: &[Job], sizes: &[usize]) -> (Vec<Option<Vec<String>>>, String) {
    let fixture = Fixture::new();
    fixture.write(|tx| tx.insert_app(&app("web"))).await;
    let (mut results, mut sizes, mut rest) = (Vec::new(), sizes.iter().cycle(), jobs);
    while !rest.is_empty() {
        let (batch, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        let (release, running) = occupy(&fixture.store).await;
        let mut waiting = Vec::new();
        for job in batch {
            let (wants, job) = (hints(job), job.clone());
            waiting.push(enqueue_with(&fixture.store, wants, move |tx| run(tx, &job)).await);
        }
        drop(release);
        running.await.unwrap().unwrap();
        for job in waiting {
            results.push(job.await.unwrap().ok());
        }
        rest = later;
    }
    let records = fixture.read(records).await;
    (results, records)
}

/// Everything that the store holds, with its numbers.
fn records(reader: &dyn Reader) -> Result<String, StoreError> {
    whole_trail(reader)?;
    let mut lines = vec![format!("{:?}", reader.audit_events_after(0, 1000)?)];
    lines.push(format!("{:?} {:?}", reader.agents(&of_web(), &ROWS)?, reader.launch_tokens(at(0), &ROWS)?));
    lines.push(format!("{:?} {}", reader.revocations_after(0, at(0))?, reader.latest_cursor()?));
    lines.push(format!("{:?} {:?}", reader.nonces_forgotten_until()?, reader.audit_runs()?));
    for number in 1..7 {
        let (agent, token) = (agent_id(number), token(number).jti);
        lines.push(format!("{:?} {:?}", reader.agent(&agent)?, reader.token(&token)?));
        lines.push(format!("{:?} {:?}", reader.has_ended(&token)?, reader.latest_not_before_mark(agent.as_str())?));
        lines.push(format!("{:?}", reader.launch_token_by_digest(&launch_token(number).digest)?));
        for to in 1..7 {
            let delegated = delegated(number, to).jti;
            lines.push(format!("{:?} {:?}", reader.token(&delegated)?, reader.has_ended(&delegated)?));
        }
        for (agent_id, task_id) in
            [(Some(agent.to_string()), None), (Some(agent.to_string()), Some("shared")), (None, Some("shared"))]
        {
            let app_id = (number == 1 && agent_id.is_none()).then(|| app_id("web"));
            let query = AuditQuery { agent_id, task_id: task_id.map(str::to_owned), app_id, ..AuditQuery::default() };
            lines.push(reader.audit_events(&query)?.total.to_string());
        }
    }
    Ok(lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batches_of_any_size_give_same_results_and_rows_as_single_jobs(
        jobs in vec(job(), 1..40),
        sizes in vec(1..16_usize, 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (batched, single) = runtime.block_on(async { (outcome(&jobs, &sizes).await, outcome(&jobs, &[1]).await) });
        prop_assert_eq!(batched.0, single.0);
        prop_assert_eq!(batched.1, single.1);
    }
}
