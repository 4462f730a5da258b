use agentwrit_protocol::Problem;

use super::*;

const START: u64 = 1_795_248_000;

/// So many milliseconds after the start.
fn at(milliseconds: u64) -> UnixTime {
    UnixTime::from_seconds(START).saturating_add(Duration::from_millis(milliseconds))
}

/// A token that was issued at that time.
fn token(issued: u64, seconds: u64) -> TokenTimes {
    let lifetime = Duration::from_secs(seconds);
    TokenTimes { expires_at: at(issued).saturating_add(lifetime), lifetime }
}

fn kept(seconds: u64, reregisters: bool) -> RenewalSchedule {
    RenewalSchedule::new(token(0, seconds), reregisters, at(0), 0.0)
}

fn rejected(status: u16, code: &str) -> ClientError {
    let problem = Problem { error_code: code.to_owned(), detail: "no".to_owned(), status, ..Problem::default() };
    ClientError::Rejected { status, problem: Box::new(problem), retry_after: None }
}

fn lost() -> ClientError {
    ClientError::aborted("connection refused")
}

#[test]
fn renewal_is_due_at_80_percent_or_slightly_earlier() {
    for (seconds, jitter, due) in
        [(300, 0.0, 240_000), (300, 0.5, 225_000), (300, 1.0, 210_000), (5, 0.0, 4_000), (1, 1.0, 700)]
    {
        let step = RenewalSchedule::new(token(0, seconds), true, at(0), jitter).step();
        assert_eq!(step, Step::WaitUntil(at(due)), "{seconds} s, {jitter}");
    }
    let old = RenewalSchedule::new(token(0, 300), true, at(299_000), 0.0);
    assert_eq!(old.step(), Step::WaitUntil(at(299_500)), "taken over late");
    let nothing = RenewalSchedule::new(token(0, 0), true, at(0), 0.0);
    assert_eq!(nothing.step(), Step::WaitUntil(at(500)), "a token that lives no time is no hot loop");
}

#[test]
fn waits_after_renewal_of_due_token() {
    let mut kept = kept(300, true);
    kept.waited();
    assert_eq!(kept.step(), Step::Renew);
    kept.renewed(token(240_000, 300), at(240_000), 0.0);
    assert_eq!((kept.step(), kept.usable(at(240_000))), (Step::WaitUntil(at(480_000)), Ok(())));
}

#[test]
fn retries_failed_renewal_until_expiry() {
    for error in
        [lost(), rejected(503, "unavailable"), rejected(429, "rate_limited"), rejected(401, ""), rejected(403, "")]
    {
        let mut kept = kept(10, true);
        kept.waited();
        let mut tried = Vec::new();
        let mut now = at(8_000);
        while kept.step() == Step::Renew {
            kept.renewal_failed(error.clone(), now, 1.0);
            let Step::WaitUntil(next) = kept.step() else { panic!("{kept:?}") };
            now = next;
            tried.push(now);
            assert_eq!(kept.usable(now).is_ok(), now < at(10_000), "{error:?}");
            kept.waited();
        }
        assert_eq!(tried, [at(8_500), at(9_500), at(10_000), at(10_500)], "{error:?}");
        assert_eq!((kept.step(), kept.usable(now)), (Step::Register, Err(error)));
    }
}

#[test]
fn registers_or_stops_after_401() {
    let dead = rejected(401, "unauthorized");
    let mut kept = kept(300, true);
    kept.waited();
    kept.renewal_failed(dead.clone(), at(240_000), 1.0);
    assert_eq!((kept.step(), kept.usable(at(240_000))), (Step::WaitUntil(at(240_500)), Err(dead.clone())));
    kept.waited();
    assert_eq!(kept.step(), Step::Register);
    kept.registered(token(241_000, 300), at(241_000), 0.0);
    assert_eq!((kept.step(), kept.usable(at(241_000))), (Step::WaitUntil(at(481_000)), Ok(())));

    let mut kept = self::kept(300, false);
    kept.waited();
    kept.renewal_failed(dead.clone(), at(240_000), 1.0);
    assert_eq!((kept.step(), kept.usable(at(240_000))), (Step::Stop, Err(dead)));
}

#[test]
fn uses_final_token_until_expiry() {
    let barred = rejected(403, "scope_violation");
    let mut kept = kept(300, true);
    kept.waited();
    kept.renewal_failed(barred.clone(), at(240_000), 1.0);
    assert_eq!((kept.step(), kept.usable(at(240_000))), (Step::WaitUntil(at(240_500)), Ok(())));
    kept.waited();
    kept.registration_failed(barred.clone(), false, at(299_800), 1.0);
    assert_eq!(kept.step(), Step::WaitUntil(at(300_000)), "its end is not slept through");
    assert_eq!(kept.usable(at(300_000)), Err(barred.clone()));

    let mut kept = self::kept(300, false);
    kept.waited();
    kept.renewal_failed(barred.clone(), at(240_000), 1.0);
    assert_eq!((kept.step(), kept.usable(at(299_999))), (Step::WaitUntil(at(300_000)), Ok(())));
    kept.waited();
    assert_eq!((kept.step(), kept.usable(at(300_000))), (Step::Stop, Err(barred)));
}

/// The session's ceiling, or a delegation's end: renewing again gains nothing.
#[test]
fn shorter_renewed_token_is_final() {
    for (reregisters, due, then) in [(true, 248_000, Step::Register), (false, 250_000, Step::Stop)] {
        let mut kept = kept(300, reregisters);
        kept.renewed(token(240_000, 10), at(240_000), 0.0);
        assert_eq!((kept.step(), kept.usable(at(249_999))), (Step::WaitUntil(at(due)), Ok(())));
        kept.waited();
        assert_eq!(kept.step(), then);
    }
    let mut kept = kept(300, true);
    kept.renewed(token(240_000, 299), at(240_000), 0.0);
    kept.waited();
    assert_eq!(kept.step(), Step::Renew, "a second lost on the way is no end");
}

#[test]
fn delay_grows_with_repeated_revocations() {
    let mut kept = kept(5, true);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        kept.renewal_failed(rejected(401, "unauthorized"), at(0), 1.0);
        let Step::WaitUntil(next) = kept.step() else { panic!("{kept:?}") };
        pauses.push(next.saturating_since(at(0)).as_millis());
        kept.registered(token(0, 5), at(0), 0.0);
    }
    assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    kept.renewed(token(0, 5), at(0), 0.0);
    kept.renewal_failed(rejected(401, "unauthorized"), at(0), 0.0);
    assert_eq!(kept.step(), Step::WaitUntil(at(250)), "a renewal that succeeds is a new beginning");
}

#[test]
fn stops_after_rejection_of_app() {
    let mut dead = kept(300, true);
    dead.waited();
    dead.renewal_failed(rejected(401, "unauthorized"), at(240_000), 1.0);
    dead.waited();
    assert_eq!(dead.step(), Step::Register);
    dead.registration_failed(rejected(401, "unauthorized"), true, at(241_000), 1.0);
    assert_eq!(dead.step(), Step::Stop);

    // While there is a token, it serves to its end.
    let mut last = kept(300, true);
    last.waited();
    last.renewal_failed(rejected(403, "scope_violation"), at(240_000), 1.0);
    last.waited();
    last.registration_failed(rejected(401, "unauthorized"), true, at(241_000), 1.0);
    assert_eq!((last.step(), last.usable(at(299_000))), (Step::WaitUntil(at(300_000)), Ok(())));
    last.waited();
    assert_eq!(last.step(), Step::Stop);
    assert_eq!(last.usable(at(300_000)), Err(rejected(401, "unauthorized")));
}

#[test]
fn waits_at_least_retry_after() {
    let later = || {
        let problem = Problem { error_code: "unavailable".to_owned(), status: 503, ..Problem::default() };
        let retry_after = Some(Duration::from_secs(20));
        ClientError::Rejected { status: 503, problem: Box::new(problem), retry_after }
    };
    let mut renewing = kept(300, true);
    renewing.waited();
    renewing.renewal_failed(later(), at(240_000), 1.0);
    assert_eq!(renewing.step(), Step::WaitUntil(at(260_000)));
    let mut registering = kept(300, true);
    registering.waited();
    registering.renewal_failed(rejected(401, "unauthorized"), at(240_000), 1.0);
    registering.waited();
    registering.registration_failed(later(), false, at(241_000), 1.0);
    assert_eq!(registering.step(), Step::WaitUntil(at(261_000)));
}
