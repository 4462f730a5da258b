//! Lifetimes of tokens.

use super::*;

#[tokio::test]
async fn rejects_token_from_the_moment_of_its_expiry() {
    let desk = Desk::new().await;
    let agent = desk.enrol("task", 10).await;
    let claims = desk.claims(&agent.token);
    desk.clock
        .set(UnixTime::since_epoch(claims.expires_at().elapsed_since_epoch().saturating_sub(Duration::from_nanos(1))));
    assert!(desk.verify(&agent.token).is_ok());
    desk.expire(&claims);
    let verdict = desk.verify(&agent.token);
    assert!(matches!(verdict, Err(VerifyError::Expired { by: Duration::ZERO, .. })), "{verdict:?}");
}

#[tokio::test]
async fn rejects_renewal_and_delegation_when_token_expires_before_its_turn() {
    let desk = Desk::new().await;
    let (agent, delegate) = (desk.enrol("task", 10).await, desk.enrol("task", 100).await);
    let claims = desk.claims(&agent.token);
    // It was verified; the operation's turn comes later.
    desk.expire(&claims);
    assert_eq!(desk.renew(&claims).await.unwrap_err(), Error::RenewalFailed);
    assert_eq!(desk.delegate(&claims, &delegate, 60).await.unwrap_err(), Error::TokenEnded);
    assert_eq!(desk.services.tokens.release(claims, CLIENT).await, Ok(()));
    assert!(desk.trail().await.iter().all(|event| event.event_type != crate::audit::EventType::TokenReleased));
}

#[tokio::test]
async fn renewals_of_delegated_token_end_with_delegators_token() {
    let desk = Desk::new().await;
    let (short, long) = (desk.enrol("task", 100).await, desk.enrol("task", 300).await);
    let delegator = desk.claims(&short.token);
    let mut handed = desk.delegate(&delegator, &long, 40).await.unwrap().access_token;
    assert_eq!(desk.claims(&handed).expires_at().seconds() - desk.claims(&handed).issued_at().seconds(), 40);
    for (step, expires_in) in [(30, 40), (30, 40), (30, 10), (9, 1)] {
        desk.clock.advance(Duration::from_secs(step));
        let renewed = desk.renew(&desk.claims(&handed)).await.unwrap();
        assert_eq!(renewed.expires_in, expires_in, "{step}");
        handed = renewed.access_token;
        assert!(desk.claims(&handed).expires_at() <= delegator.expires_at());
    }
    let last = desk.claims(&handed);
    desk.expire(&last);
    assert!(desk.verify(&handed).is_err());
    assert_eq!(desk.renew(&last).await.unwrap_err(), Error::RenewalFailed);
}

#[tokio::test]
async fn self_delegation_does_not_extend_lifetime() {
    let desk = Desk::new().await;
    let agent = desk.enrol("task", 100).await;
    let end = desk.claims(&agent.token).expires_at();
    let mut token = agent.token.clone();
    for _ in 0..5 {
        desk.clock.advance(Duration::from_secs(15));
        token = desk.delegate(&desk.claims(&token), &agent, 86_400).await.unwrap().access_token;
        assert_eq!(desk.claims(&token).expires_at(), end);
    }
    desk.clock.advance(Duration::from_secs(15));
    assert_eq!(desk.claims(&desk.renew(&desk.claims(&token)).await.unwrap().access_token).expires_at(), end);
}

#[tokio::test]
async fn session_ends_at_max_ttl_and_continues_without_one() {
    for (max_ttl, renewals) in [(Some(250), 3), (None, 50)] {
        let desk = Desk::with_max_ttl(max_ttl).await;
        let agent = desk.enrol("task", 100).await;
        let begin = desk.claims(&agent.token).issued_at();
        let mut claims = desk.claims(&agent.token);
        let mut done = 0;
        while done < 50 {
            desk.clock.advance(Duration::from_secs(80));
            let Ok(renewed) = desk.renew(&claims).await else { break };
            claims = desk.claims(&renewed.access_token);
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
    let desk = Desk::new().await;
    let token = desk.services.logins.issue_admin_token(CLIENT).await.unwrap().access_token;
    let rejected = desk.renew(&desk.claims(&token)).await;
    assert!(matches!(rejected, Err(Error::WrongSubject(_))), "{rejected:?}");
    assert!(desk.verify(&token).is_ok());
}
