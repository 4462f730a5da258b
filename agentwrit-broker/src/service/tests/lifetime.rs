//! Lifetimes of tokens.

use super::*;

#[tokio::test]
async fn rejects_token_from_the_moment_of_its_expiry() {
    let test = TestServices::new().await;
    let agent = test.enrol("task", 10).await;
    let claims = test.bearer(&agent.token);
    test.clock
        .set(UnixTime::since_epoch(claims.expires_at().elapsed_since_epoch().saturating_sub(Duration::from_nanos(1))));
    assert!(test.verify(&agent.token).is_ok());
    test.expire(&claims);
    let verdict = test.verify(&agent.token);
    assert!(matches!(verdict, Err(VerifyError::Expired { by: Duration::ZERO, .. })), "{verdict:?}");
}

#[tokio::test]
async fn rejects_renewal_and_delegation_when_token_expires_before_its_turn() {
    let test = TestServices::new().await;
    let (agent, delegate) = (test.enrol("task", 10).await, test.enrol("task", 100).await);
    let claims = test.bearer(&agent.token);
    // It was verified; the operation's turn comes later.
    test.expire(&claims);
    assert_eq!(test.renew(&claims).await.unwrap_err(), Error::RenewalFailed);
    assert_eq!(test.delegate(&claims, &delegate, 60).await.unwrap_err(), Error::TokenEnded);
    assert_eq!(test.services.tokens.release(claims, CLIENT).await, Ok(()));
    assert!(test.trail().await.iter().all(|event| event.event_type != crate::audit::EventType::TokenReleased));
}

#[tokio::test]
async fn renewals_of_delegated_token_end_with_delegators_token() {
    let test = TestServices::new().await;
    let (short, long) = (test.enrol("task", 100).await, test.enrol("task", 300).await);
    let delegator = test.bearer(&short.token);
    let mut handed = test.delegate(&delegator, &long, 40).await.unwrap().access_token;
    assert_eq!(test.bearer(&handed).expires_at().seconds() - test.bearer(&handed).issued_at().seconds(), 40);
    for (step, expires_in) in [(30, 40), (30, 40), (30, 10), (9, 1)] {
        test.clock.advance(Duration::from_secs(step));
        let renewed = test.renew(&test.bearer(&handed)).await.unwrap();
        assert_eq!(renewed.expires_in, expires_in, "{step}");
        handed = renewed.access_token;
        assert!(test.bearer(&handed).expires_at() <= delegator.expires_at());
    }
    let last = test.bearer(&handed);
    test.expire(&last);
    assert!(test.verify(&handed).is_err());
    assert_eq!(test.renew(&last).await.unwrap_err(), Error::RenewalFailed);
}

#[tokio::test]
async fn self_delegation_does_not_extend_lifetime() {
    let test = TestServices::new().await;
    let agent = test.enrol("task", 100).await;
    let end = test.bearer(&agent.token).expires_at();
    let mut token = agent.token.clone();
    for _ in 0..5 {
        test.clock.advance(Duration::from_secs(15));
        token = test.delegate(&test.bearer(&token), &agent, 86_400).await.unwrap().access_token;
        assert_eq!(test.bearer(&token).expires_at(), end);
    }
    test.clock.advance(Duration::from_secs(15));
    assert_eq!(test.bearer(&test.renew(&test.bearer(&token)).await.unwrap().access_token).expires_at(), end);
}

#[tokio::test]
async fn session_ends_at_max_ttl_and_continues_without_one() {
    for (max_ttl, renewals) in [(Some(250), 3), (None, 50)] {
        let test = TestServices::with_max_ttl(max_ttl).await;
        let agent = test.enrol("task", 100).await;
        let begin = test.bearer(&agent.token).issued_at();
        let mut claims = test.bearer(&agent.token);
        let mut done = 0;
        while done < 50 {
            test.clock.advance(Duration::from_secs(80));
            let Ok(renewed) = test.renew(&claims).await else { break };
            claims = test.bearer(&renewed.access_token);
            if let Some(most) = max_ttl {
                assert!(claims.expires_at().seconds() - begin.seconds() <= most);
            }
            done += 1;
        }
        assert_eq!(done, renewals, "{max_ttl:?}");
    }
}

#[tokio::test]
async fn rejects_renewal_of_admin_token() {
    let test = TestServices::new().await;
    let token = test.services.logins.issue_admin_token(CLIENT).await.unwrap().access_token;
    let rejected = test.renew(&test.bearer(&token)).await;
    assert!(matches!(rejected, Err(Error::WrongSubject(_))), "{rejected:?}");
    assert!(test.verify(&token).is_ok());
}
