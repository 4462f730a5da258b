//! Signing keys: prepared, activated, retired, rotated and withdrawn, on one broker.

use agentwrit_verify::{
    UnverifiedToken,
    confirmation::ConfirmationState,
    report::{Report, ReportedBound},
};

use super::*;
use crate::{
    audit::EventType,
    domain::{KeyState, StoredKey},
    service::keys::{ChangeAuthor, KeyChange, KeyError, KeyOperation},
};

const PREPARE_FOR: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn author(reason: Option<&str>) -> ChangeAuthor {
    ChangeAuthor { by: Subject::Admin, bearer: None, client: Some(CLIENT), reason: reason.map(str::to_owned) }
}

pub(super) fn kid_of(token: &str) -> String {
    UnverifiedToken::decode(token).unwrap().key_id().unwrap().as_str().to_owned()
}

impl TestServices {
    async fn change(&self, operation: KeyOperation) -> Result<KeyChange, Error> {
        self.services.keys.change(operation, author(Some("a test"))).await
    }

    async fn kid_of_new_key(&self) -> String {
        self.change(KeyOperation::Prepare).await.unwrap().key.kid
    }

    async fn activate(&self, kid: &str, force: bool) -> Result<KeyChange, Error> {
        self.change(KeyOperation::Activate { kid: kid.to_owned(), force }).await
    }

    async fn withdraw(&self, kid: &str) -> Result<KeyChange, Error> {
        self.change(KeyOperation::Withdraw { kid: kid.to_owned() }).await
    }

    async fn key_states(&self) -> Vec<(String, KeyState)> {
        self.services.keys.list().await.unwrap().keys.into_iter().map(|key| (key.kid, key.state)).collect()
    }

    async fn active_kid(&self) -> String {
        let active: Vec<StoredKey> = self.services.keys.list().await.unwrap().keys;
        let mut active = active.into_iter().filter(|key| key.state == KeyState::Active);
        let kid = active.next().unwrap().kid;
        assert_eq!(active.next(), None);
        kid
    }

    fn published(&self) -> Vec<String> {
        self.services.issuer.ring().published.iter().map(|key| key.id().as_str().to_owned()).collect()
    }

    async fn key_events(&self) -> Vec<(EventType, String)> {
        let events = self.trail().await.into_iter().filter(|event| event.event_type.as_str().starts_with("key_"));
        events.map(|event| (event.event_type, event.detail)).collect()
    }
}

fn rejected<T: std::fmt::Debug>(outcome: Result<T, Error>) -> KeyError {
    match outcome {
        Err(Error::Key(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn activated_key_signs_and_former_key_verifies_until_its_tokens_have_expired() {
    let test = TestServices::new().await;
    let (first, before) = (test.active_kid().await, test.enrol("task", 7200).await);
    let second = test.kid_of_new_key().await;
    assert_eq!(test.published(), [first.clone(), second.clone()]);
    assert_eq!(kid_of(&test.enrol("task", 60).await.token), first);

    let from = UnixTime::since_epoch(START.saturating_add(PREPARE_FOR));
    assert_eq!(rejected(test.activate(&second, false).await), KeyError::TooEarly { from });
    test.clock.advance(PREPARE_FOR);
    let change = test.activate(&second, false).await.unwrap();
    assert_eq!((change.key.state, change.key.activated_at), (KeyState::Active, Some(from)));
    let after = test.enrol("task", 60).await;
    assert_eq!(kid_of(&after.token), second);
    assert_eq!(test.published(), [second.clone(), first.clone()]);
    assert!(test.verify(&before.token).is_ok() && test.verify(&after.token).is_ok());

    let until = test.bearer(&before.token).expires_at().saturating_add(HOUR);
    let retire = KeyOperation::Retire { kid: first.clone() };
    assert_eq!(rejected(test.change(retire.clone()).await), KeyError::TokensAlive { until });
    test.clock.advance(until.saturating_since(test.services.ledger.now()));
    assert_eq!(test.change(retire).await.unwrap().key.state, KeyState::Retired);
    assert_eq!(test.published(), [second]);
    let events: Vec<EventType> = test.key_events().await.into_iter().map(|(event_type, _)| event_type).collect();
    assert_eq!(events, [EventType::KeyPrepared, EventType::KeyActivated, EventType::KeyRetired]);
}

#[tokio::test]
async fn forced_activation_and_way_back_keep_tokens_of_both_keys() {
    let test = TestServices::new().await;
    let (first, second) = (test.active_kid().await, test.kid_of_new_key().await);
    let mut tokens = vec![test.enrol("task", 3600).await.token];
    for kid in [&second, &first, &second] {
        test.activate(kid, true).await.unwrap();
        tokens.push(test.enrol("task", 3600).await.token);
        assert_eq!(kid_of(tokens.last().unwrap()), *kid);
    }
    assert!(tokens.iter().all(|token| test.verify(token).is_ok()));
    // Repeated, it changes nothing.
    let events = test.key_events().await.len();
    let end = test.services.feed.end().cursor;
    assert_eq!(test.activate(&second, false).await.unwrap().cursor.position(), end);
    assert_eq!(test.key_events().await.len(), events);
}

#[tokio::test]
async fn withdrawal_kills_tokens_of_active_key_before_it_returns_and_another_key_signs() {
    let test = TestServices::new().await;
    let (first, agent) = (test.active_kid().await, test.enrol("task", 3600).await);
    assert!(test.verify(&agent.token).is_ok());
    let change = test.withdraw(&first).await.unwrap();
    assert_eq!(change.key.state, KeyState::Withdrawn);
    assert!(
        matches!(test.verify(&agent.token), Err(VerifyError::UnknownKey { .. })),
        "{:?}",
        test.verify(&agent.token)
    );
    let second = test.active_kid().await;
    assert_eq!(test.published(), std::slice::from_ref(&second));
    let token = test.enrol("task", 3600).await.token;
    assert!(kid_of(&token) == second && test.verify(&token).is_ok());

    // The next time there is a prepared key.
    let third = test.kid_of_new_key().await;
    test.withdraw(&second).await.unwrap();
    assert_eq!(test.active_kid().await, third);
    let again = test.withdraw(&second).await.unwrap();
    assert_eq!((again.key.state, again.cursor.position()), (KeyState::Withdrawn, test.services.feed.end().cursor));
    let events = test.key_events().await;
    let types: Vec<EventType> = events.iter().map(|(event_type, _)| *event_type).collect();
    let each = [EventType::KeyWithdrawn, EventType::KeyActivated];
    assert_eq!(types, [each[0], each[1], EventType::KeyPrepared, each[0], each[1]]);
    assert!(events.iter().all(|(_, detail)| detail.contains("reason=\"a test\"")), "{events:?}");
}

#[tokio::test]
async fn rotation_activates_key_by_itself_also_after_restart_and_retires_the_former_one() {
    let mut test = TestServices::new().await;
    let (first, before) = (test.active_kid().await, test.enrol("task", 3600).await);
    let change = test.change(KeyOperation::Rotate).await.unwrap();
    let second = change.key.kid;
    let due = UnixTime::since_epoch(START.saturating_add(PREPARE_FOR));
    assert_eq!(change.key.activates_at, Some(due));
    assert_eq!(test.change(KeyOperation::Rotate).await.unwrap().key.kid, second);
    test.clock.advance(PREPARE_FOR.saturating_sub(Duration::from_secs(1)));
    test.services.keys.run_due().await.unwrap();
    assert_eq!(test.active_kid().await, first);

    let now = test.services.ledger.now();
    test.restart_at(now).await;
    test.clock.advance(Duration::from_secs(1));
    test.services.keys.run_due().await.unwrap();
    assert_eq!(test.active_kid().await, second);
    assert_eq!(kid_of(&test.enrol("task", 60).await.token), second);
    assert!(test.verify(&before.token).is_ok());
    // An hour after the last token of the first key.
    test.clock.advance(HOUR.saturating_mul(2));
    test.services.keys.run_due().await.unwrap();
    assert_eq!(test.key_states().await, [(first, KeyState::Retired), (second.clone(), KeyState::Active)]);
    assert_eq!(test.published(), [second]);
    let events = test.key_events().await;
    assert!(events[1..].iter().all(|(_, detail)| detail.contains("by=broker")), "{events:?}");
}

#[tokio::test]
async fn rotates_each_period_without_an_operator_and_no_token_is_refused() {
    let test = TestServices::with(|config| config.key_rotation = Some(DAY)).await;
    let mut keys = std::collections::BTreeSet::new();
    let mut tokens: Vec<String> = Vec::new();
    for _ in 0..24 * 6 {
        test.services.keys.run_due().await.unwrap();
        tokens.retain(|token| !matches!(test.verify(token), Err(VerifyError::Expired { .. })));
        assert!(tokens.iter().all(|token| test.verify(token).is_ok()));
        tokens.push(test.enrol("task", 7200).await.token);
        keys.insert(test.active_kid().await);
        test.clock.advance(HOUR);
    }
    assert_eq!(keys.len(), 6, "one for each day");
    let published = test.published().len();
    assert!(published <= 3, "{published} keys are published");
}

#[tokio::test]
async fn rotation_waits_while_clock_is_ahead_of_time_that_has_passed() {
    let test = TestServices::new().await;
    let (first, now) = (test.active_kid().await, test.services.ledger.now());
    test.change(KeyOperation::Rotate).await.unwrap();
    test.clock.set(now.saturating_add(DAY));
    test.services.keys.run_due().await.unwrap();
    assert_eq!(test.active_kid().await, first);
}

/// Names of the key files beside the active key's.
fn key_files(test: &TestServices) -> Vec<String> {
    let directory = test.config.signing_key_path.with_file_name("signing.key.d");
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn failed_commits_change_no_key_and_leave_one_file_which_the_next_change_uses_or_removes() {
    let test = TestServices::with(|config| config.key_rotation = Some(DAY)).await;
    let (first, published) = (test.active_kid().await, test.published());
    let agent = test.enrol("task", 86_400).await;
    let store = &test.services.ledger.store;
    let fail_commits = || store.transact(|tx| tx.execute_batch(super::failed_commits::FAIL_COMMITS));
    let commit_again = || store.transact(|tx| tx.execute_batch(super::failed_commits::COMMIT_AGAIN));
    fail_commits().await.unwrap();
    assert!(matches!(test.withdraw(&first).await, Err(Error::Store(_))));
    assert!(matches!(test.change(KeyOperation::Prepare).await, Err(Error::Store(_))));
    test.clock.advance(DAY.saturating_sub(PREPARE_FOR));
    for _ in 0..3 {
        assert!(test.services.keys.run_due().await.is_err());
    }
    let unused = key_files(&test);
    assert_eq!(unused.len(), 1, "{unused:?}");
    commit_again().await.unwrap();
    assert_eq!((test.active_kid().await, test.published()), (first.clone(), published));
    assert!(test.verify(&agent.token).is_ok());
    let second = test.change(KeyOperation::Prepare).await.unwrap().key.kid;
    assert_eq!((format!("{second}.pem"), key_files(&test)), (unused[0].clone(), unused));

    fail_commits().await.unwrap();
    assert!(matches!(test.change(KeyOperation::Prepare).await, Err(Error::Store(_))));
    assert_eq!(key_files(&test).len(), 2, "that of the prepared key, and one that no row names");
    commit_again().await.unwrap();
    test.withdraw(&first).await.unwrap();
    assert_eq!((test.active_kid().await, key_files(&test)), (second, Vec::new()));
    assert!(test.verify(&agent.token).is_err());
}

#[tokio::test]
async fn starts_with_new_key_whose_commit_failed_and_turned_out_durable() {
    let mut test = TestServices::new().await;
    let (first, store) = (test.active_kid().await, test.services.ledger.store.clone());
    store.transact(|tx| tx.execute_batch(super::failed_commits::FAIL_COMMITS)).await.unwrap();
    assert!(matches!(test.change(KeyOperation::Prepare).await, Err(Error::Store(_))));
    store.transact(|tx| tx.execute_batch(super::failed_commits::COMMIT_AGAIN)).await.unwrap();
    // The log of the database is recovered after a crash, with the row of the failed commit.
    let directory = test.config.signing_key_path.with_file_name("signing.key.d");
    let pem = std::fs::read(directory.join(&key_files(&test)[0])).unwrap();
    let key = agentwrit_verify::issue::SigningKey::from_pkcs8_pem(&pem).unwrap();
    let (second, row) = (key.id().as_str().to_owned(), crate::keys::new_row(&key, test.services.ledger.now()));
    store.transact(move |tx| tx.put_signing_key(&row)).await.unwrap();
    let now = test.services.ledger.now();
    test.restart_at(now).await;
    assert_eq!(test.key_states().await, [(first, KeyState::Active), (second.clone(), KeyState::Prepared)]);
    assert!(test.published().contains(&second));
}

#[tokio::test]
async fn rejects_change_by_token_that_ended_meanwhile() {
    let test = TestServices::new().await;
    let operator = test.operator().await;
    test.services.tokens.release(operator.clone(), CLIENT).await.unwrap();
    let author = ChangeAuthor { bearer: Some(operator), ..author(None) };
    let outcome = test.services.keys.change(KeyOperation::Prepare, author).await;
    assert!(matches!(outcome, Err(Error::TokenEnded)), "{outcome:?}");
    assert_eq!(test.published().len(), 1);
}

/// A broker with the verifier `api`, so long after its start that it knows every instance.
async fn with_verifier(max_bound: Option<u64>) -> TestServices {
    let test = TestServices::new().await;
    verifiers::enrol(&test.services, "api", 1, max_bound).await.unwrap();
    test.clock.advance(HOUR);
    test
}

impl TestServices {
    async fn report(&self, report: &Report) {
        verifiers::send(&self.services, report, 1).await.unwrap();
    }

    async fn look(&self) {
        self.services.keys.run_due().await.unwrap();
    }

    fn metric(&self, name: &str) -> u64 {
        let metrics = self.services.metrics.encode();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
    }
}

#[tokio::test]
async fn rotation_waits_until_each_live_instance_has_the_key() {
    let test = with_verifier(Some(30)).await;
    test.report(&verifiers::report(&test.services, "api", 1, 1)).await;
    test.report(&verifiers::report(&test.services, "api", 2, 1)).await;
    let (first, old) = (test.active_kid().await, test.services.issuer.ring().published.digest());
    let second = test.change(KeyOperation::Rotate).await.unwrap().key.kid;
    test.clock.advance(PREPARE_FOR);
    // One has the new key, the other reports without it.
    test.report(&verifiers::report(&test.services, "api", 1, 2)).await;
    test.report(&Report { key_set: Some(old), ..verifiers::report(&test.services, "api", 2, 2) }).await;
    test.clock.advance(Duration::from_secs(20));
    test.look().await;
    assert_eq!(test.active_kid().await, first);
    let figures = ["agentwrit_key_rotation_blocked", "agentwrit_key_rotation_overdue_seconds"];
    assert_eq!(figures.map(|name| test.metric(name)), [1, 20]);
    let KeyError::NotEverywhere { count, named } = rejected(test.activate(&second, false).await) else { panic!() };
    assert_eq!((count, named.as_str()), (1, "api/02020202020202020202020202020202"));

    test.report(&verifiers::report(&test.services, "api", 2, 3)).await;
    test.look().await;
    assert_eq!(test.active_kid().await, second);
    test.look().await;
    assert_eq!(figures.map(|name| test.metric(name)), [0, 0]);
    assert_eq!(test.metric("agentwrit_signing_keys{state=\"retiring\"}"), 1);
}

#[tokio::test]
async fn silent_instance_blocks_rotation_within_its_bound_or_without_one_until_it_is_removed() {
    for (bound, max_bound) in [(ReportedBound::Seconds(300), Some(300)), (ReportedBound::Unbounded, None)] {
        let test = with_verifier(max_bound).await;
        let old = test.services.issuer.ring().published.digest();
        let (first, second) = (test.active_kid().await, test.change(KeyOperation::Rotate).await.unwrap().key.kid);
        test.clock.advance(PREPARE_FOR);
        test.report(&Report { key_set: Some(old), bound, ..verifiers::report(&test.services, "api", 1, 1) }).await;
        test.clock.advance(Duration::from_secs(300));
        test.look().await;
        assert_eq!(test.active_kid().await, first, "{bound:?}");
        test.clock.advance(Duration::from_secs(1));
        test.look().await;
        if bound == ReportedBound::Unbounded {
            assert_eq!(test.active_kid().await, first);
            test.clock.advance(DAY);
            test.look().await;
            assert_eq!(test.active_kid().await, first);
            test.services.verifiers.remove(None, verifiers::name("api"), CLIENT).await.unwrap();
            test.look().await;
        }
        assert_eq!(test.active_kid().await, second, "{bound:?}");
    }
}

#[tokio::test]
async fn rotation_waits_for_instances_that_may_be_unknown_after_start() {
    let mut test = with_verifier(Some(30)).await;
    let (first, second) = (test.active_kid().await, test.change(KeyOperation::Rotate).await.unwrap().key.kid);
    test.clock.advance(PREPARE_FOR);
    let now = test.services.ledger.now();
    test.restart_at(now).await;
    test.look().await;
    assert_eq!((test.active_kid().await, test.metric("agentwrit_key_rotation_blocked")), (first, 1));
    assert!(matches!(rejected(test.activate(&second, false).await), KeyError::InstancesUnknown { .. }));
    test.clock.advance(Report::LEASE.saturating_add(Duration::from_secs(2)));
    test.look().await;
    assert_eq!(test.active_kid().await, second);
}

#[tokio::test]
async fn rotation_does_not_wait_for_unknown_instances_of_verifier_enrolled_since_start() {
    let prepare_for = Duration::from_secs(2);
    let test = TestServices::with(|config| config.key_prepare_for = prepare_for).await;
    verifiers::enrol(&test.services, "api", 1, Some(30)).await.unwrap();
    let (first, second) = (test.active_kid().await, test.change(KeyOperation::Rotate).await.unwrap().key.kid);
    test.report(&Report { key_set: None, ..verifiers::report(&test.services, "api", 1, 1) }).await;
    test.clock.advance(prepare_for);
    test.look().await;
    assert_eq!(test.active_kid().await, first, "the instance lacks the key");
    test.report(&verifiers::report(&test.services, "api", 1, 2)).await;
    test.look().await;
    assert_eq!(test.active_kid().await, second);
}

#[tokio::test]
async fn withdrawal_does_not_wait_for_verifiers_and_is_confirmed_like_a_revocation() {
    let test = with_verifier(Some(30)).await;
    test.report(&verifiers::report(&test.services, "api", 1, 1)).await;
    let change = test.withdraw(&test.active_kid().await).await.unwrap();
    let confirm = async || {
        let confirmations = &test.services.confirmations;
        confirmations.await_confirmation(&change.cursor, &Subject::Admin, Duration::ZERO).await.unwrap().confirmation
    };
    let pending = confirm().await;
    assert_eq!((pending.state, pending.pending.len()), (ConfirmationState::Pending, 1));
    test.clock.advance(Duration::from_secs(2));
    test.report(&verifiers::report(&test.services, "api", 1, 2)).await;
    assert_eq!(confirm().await.state, ConfirmationState::Confirmed);
}
