//! Trust rules in memory.

use super::*;
use crate::service::registration::known_rules::KnownRules;

async fn read(attesting: &Attesting, known: &Arc<KnownRules>) -> Vec<Arc<TrustRule>> {
    let known = Arc::clone(known);
    let read = attesting
        .services()
        .ledger
        .read(move |reader| Ok::<_, Error>(known.for_issuer(reader, AttestationKind::Oidc, ISSUER)?));
    read.await.unwrap()
}

#[tokio::test]
async fn rules_are_read_once_and_added_and_removed_ones_count_at_once() {
    let attesting = Attesting::new().await;
    let known = Arc::new(KnownRules::default());
    let first = read(&attesting, &known).await;
    assert_eq!(first.iter().map(|rule| &**rule).collect::<Vec<_>>(), [&attesting.rule]);
    let again = read(&attesting, &known).await;
    assert!(Arc::ptr_eq(&first[0], &again[0]), "read from the store again");

    let second = rule_request(&attesting.app_id, "second");
    let second = attesting.services().trust_rules.add(Subject::Admin, None, second, CLIENT).await.unwrap();
    let both = read(&attesting, &known).await;
    assert_eq!(both.iter().map(|rule| &**rule).collect::<Vec<_>>(), [&attesting.rule, &second]);
    attesting.remove_rule().await;
    let left = read(&attesting, &known).await;
    assert_eq!(left.len(), 1);
    assert!(Arc::ptr_eq(&left[0], &both[1]));
}
