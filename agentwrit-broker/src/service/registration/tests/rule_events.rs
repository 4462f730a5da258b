//! Audit events of trust rules: what an operator's rule trusted can be told after its removal.

use data_encoding::HEXLOWER;

use super::*;
use crate::domain::Digest;

impl Attesting {
    async fn details_of(&self, event_type: EventType) -> Vec<String> {
        let trail = self.test.trail().await;
        trail.into_iter().filter(|event| event.event_type == event_type).map(|event| event.detail).collect()
    }
}

#[tokio::test]
async fn events_of_rule_name_its_key_set_by_digest_and_its_templates() {
    let attesting = Attesting::with(|rule| {
        let jwk = issuer_key().jwk();
        // Members in another order than the digest's.
        let set = format!(
            r#"{{"x-set": 1, "keys": [{{"kty": "EC", "use": "sig", "crv": "P-256", "x": {}, "y": {}}}]}}"#,
            jwk["x"], jwk["y"]
        );
        rule.jwks = Some(JwkSetText::parse(set.as_bytes()).unwrap());
        rule.task_template = Some("ci-{run_id}".to_owned());
        rule.orch_template = Some("{sub}".to_owned());
    })
    .await;
    let jwk = issuer_key().jwk();
    let sorted =
        format!(r#"{{"keys":[{{"crv":"P-256","kty":"EC","use":"sig","x":{},"y":{}}}],"x-set":1}}"#, jwk["x"], jwk["y"]);
    let digest = HEXLOWER.encode(Digest::of(sorted.as_bytes()).as_bytes());
    let known = format!("app_id={} kind=oidc issuer={ISSUER} jwks_sha256={digest}", attesting.app_id);

    let added = attesting.details_of(EventType::TrustRuleAdded).await;
    let templates = r#" task_template="ci-{run_id}" orch_template="{sub}" token_review=false"#;
    assert!(added.len() == 1 && added[0].contains(&known) && added[0].contains(templates), "{added:?}");
    attesting.remove_rule().await;
    let removed = attesting.details_of(EventType::TrustRuleRemoved).await;
    assert!(removed.len() == 1 && removed[0].contains(&known), "{removed:?}");
}
