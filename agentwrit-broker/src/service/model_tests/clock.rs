//! The clock is set: an hour ahead by mistake, and back again; or back, and forth again.

use std::time::Duration;

use agentwrit_verify::{Clock, Level, UnixTime};

use super::{
    model::{Owner, scopes},
    world::{LaunchRequest, World},
};
use crate::{
    audit::{ChainHead, chain},
    keys::Secret,
    service::Error,
};

const HOUR: Duration = Duration::from_secs(3600);
const TASK: &str = "task";

/// An agent's token.
async fn register(world: &World, launch_token: &Secret) -> (String, String) {
    let (id, issued) = world.register(launch_token, &scopes(1), TASK).await.unwrap();
    (issued.access_token, id.to_string())
}

/// A launch token for any number of agents.
async fn launch_token(world: &World) -> Secret {
    let request = LaunchRequest { scopes: scopes(1), max_ttl: 80, single_use: false, ttl: 3600, binds: false };
    world.launch_token(&Owner::Operator, None, request).await.unwrap()
}

/// Tokens that ended in each possible way, each of an agent of its own.
async fn ended_tokens(world: &World, launch_token: &Secret) -> Vec<String> {
    let mut ended = Vec::new();
    for way in 0..5 {
        let (token, id) = register(world, launch_token).await;
        let claims = world.verify(&token).unwrap();
        let jti = claims.token_id().to_string();
        match way {
            0 => world.release(claims).await.unwrap(),
            1 => _ = world.renew(claims).await.unwrap(),
            2 => _ = world.revoke(Level::Token, &jti).await,
            3 => _ = world.revoke(Level::Agent, &id).await,
            _ => _ = world.revoke(Level::Chain, &id).await,
        }
        ended.push(token);
    }
    ended
}

async fn assert_rejected(world: &World, tokens: &[String]) {
    let newcomer = world.newcomer().await;
    for token in tokens {
        assert!(world.verify(token).is_err(), "the broker accepts it");
        assert!(newcomer.verifier.verify(token).is_err(), "a new follower of the feed accepts it");
    }
}

fn later(world: &World, by: Duration) -> UnixTime {
    world.clock.now().saturating_add(by)
}

fn earlier(world: &World, by: Duration) -> UnixTime {
    UnixTime::since_epoch(world.clock.now().elapsed_since_epoch().saturating_sub(by))
}

#[tokio::test]
async fn ended_tokens_stay_ended_whatever_the_clock() {
    let mut world = World::new().await;
    let launch_token = launch_token(&world).await;
    let ended = ended_tokens(&world, &launch_token).await;
    let now = world.clock.now();
    for moment in [later(&world, HOUR), now, earlier(&world, HOUR), now] {
        world.clock.set(moment);
        world.services().housekeeping.delete_expired().await.unwrap();
        assert_rejected(&world, &ended).await;
        world.restart().await;
        assert_rejected(&world, &ended).await;
    }
}

#[tokio::test]
async fn valid_tokens_are_valid_again_when_clock_is_right() {
    let mut world = World::new().await;
    let launch_token = launch_token(&world).await;
    let tokens = [register(&world, &launch_token).await.0, register(&world, &launch_token).await.0];
    let now = world.clock.now();
    for moment in [later(&world, HOUR), earlier(&world, HOUR)] {
        world.clock.set(moment);
        world.services().housekeeping.delete_expired().await.unwrap();
        world.restart().await;
        assert!(world.verify(&tokens[0]).is_err());
        world.clock.set(now);
        assert!(world.verify(&tokens[0]).is_ok());
    }
    world.renew(world.verify(&tokens[0]).unwrap()).await.unwrap();
    world.release(world.verify(&tokens[1]).unwrap()).await.unwrap();
    assert_rejected(&world, &tokens).await;
}

#[tokio::test]
async fn revocation_holds_whatever_the_clock_was() {
    for (step, ahead) in [(2, false), (3600, false), (2, true), (3600, true)] {
        for level in [Level::Token, Level::Agent, Level::Task, Level::Chain] {
            let world = World::new().await;
            let (token, id) = register(&world, &launch_token(&world).await).await;
            let claims = world.verify(&token).unwrap();
            let now = world.clock.now();
            let step = Duration::from_secs(step);
            world.clock.set(if ahead { later(&world, step) } else { earlier(&world, step) });
            let target = match level {
                Level::Token => claims.token_id().to_string(),
                Level::Task => TASK.to_owned(),
                Level::Agent | Level::Chain | Level::Session | Level::Issuer => id,
            };
            assert!(world.revoke(level, &target).await.revoked);
            world.services().housekeeping.delete_expired().await.unwrap();
            for moment in [now, now.saturating_add(step)] {
                world.clock.set(moment);
                assert_rejected(&world, std::slice::from_ref(&token)).await;
            }
        }
    }
}

#[tokio::test]
async fn accepts_nonce_once_whatever_was_forgotten() {
    let mut world = World::new().await;
    let launch_token = launch_token(&world).await;
    let spent = world.nonce();
    world.register_with(&launch_token, &spent, &scopes(1), TASK).await.unwrap();
    let now = world.clock.now();
    for step in [Duration::from_secs(31), HOUR.saturating_sub(Duration::from_secs(60))] {
        world.clock.set(later(&world, step));
        world.services().housekeeping.delete_expired().await.unwrap();
        world.clock.set(now);
        for restarted in [false, true] {
            if restarted {
                world.restart().await;
            }
            let replayed = world.register_with(&launch_token, &spent, &scopes(1), TASK).await;
            assert_eq!(replayed.unwrap_err(), Error::NonceUnknown);
            // New registrations are not locked out, and their nonces expire as ever.
            world.register(&launch_token, &scopes(1), TASK).await.unwrap();
            let fresh = world.nonce();
            world.clock.advance(Duration::from_secs(30));
            let late = world.register_with(&launch_token, &fresh, &scopes(1), TASK).await;
            assert_eq!(late.unwrap_err(), Error::NonceUnknown);
            world.clock.set(now);
        }
    }
}

#[tokio::test]
async fn audit_trail_stays_ordered_and_counts_steps_back() {
    let world = World::new().await;
    let now = world.clock.now();
    for moment in [now, later(&world, HOUR), now, earlier(&world, HOUR), now, earlier(&world, Duration::from_secs(3))] {
        world.clock.set(moment);
        ended_tokens(&world, &launch_token(&world).await).await;
    }
    let events = world.services().ledger.store.read(|reader| reader.audit_events_after(0, 1000)).await.unwrap();
    assert_eq!(chain::verify(ChainHead::GENESIS, &events).unwrap().sequence, events.len() as u64);
    let back = events.windows(2).filter(|pair| pair[1].timestamp < pair[0].timestamp).count();
    assert_eq!(back, 2, "time goes back where the clock did, and a step of seconds is smoothed");
    let metrics = world.services().metrics.encode();
    assert!(metrics.contains("agentwrit_clock_skew_total 2\n"), "{metrics}");
}
