//! Brokers of one database agree about what they promise.

use agentwrit_e2e::{Broker, Brokers};
use tempfile::TempDir;

use crate::SERVER;

#[tokio::test]
async fn broker_that_disagrees_about_issuer_trust_domain_or_audience_does_not_start() {
    let brokers = Brokers::start(&SERVER, 1).await;
    let disagreements = [
        ("AA_ISSUER", "https://other.example", "issuer"),
        ("AA_TRUST_DOMAIN", "other.example", "trust domain"),
        ("AA_AUDIENCE", "https://api.example", "audience"),
    ];
    for (name, value, called) in disagreements {
        let directory = TempDir::new().unwrap();
        let mut environment = brokers.environment(0);
        environment.retain(|(name, _)| name != "AA_PORT");
        let mut environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        environment.push((name, value));
        // With its issuer unchanged, so that one thing differs at a time.
        if name == "AA_TRUST_DOMAIN" {
            environment.push(("AA_ISSUER", "https://agentwrit.local"));
        }
        let stopped = Broker::run_in(directory.path(), &environment, &[]).await;
        assert!(!stopped.status.success(), "{name}: {}", stopped.output);
        assert!(stopped.output.contains(name) || stopped.output.contains(called), "{name}: {}", stopped.output);
    }
    assert_eq!(brokers.at(0).get("/v1/health").await.status, 200);
}
