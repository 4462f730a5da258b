//! Random histories of rules, apps and registrations beside a model: an assertion registers once, and nothing that it grants
//! is wider than its rule and its app allow at that moment.

use std::collections::HashSet;

use proptest::{collection::vec, prelude::*};

use super::*;

/// Scopes of the model; a subset is the bits of a number.
const SCOPES: [&str; 4] = ["read:data:*", "read:data:x", "write:data:x", "run:job:y"];

#[derive(Clone, Debug)]
enum Operation {
    SetCeiling(u8),
    SetStatus(AppStatus),
    AddRule { scopes: u8, max_ttl: u64 },
    RemoveRule,
    Register { assertion: u8, scopes: u8 },
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let status = prop_oneof![Just(AppStatus::Active), Just(AppStatus::Suspended)];
    let subset = || prop_oneof![Just(0b1111_u8), 1_u8..16];
    vec(
        prop_oneof![
            1 => subset().prop_map(Operation::SetCeiling),
            1 => status.prop_map(Operation::SetStatus),
            2 => (subset(), 1_u64..100).prop_map(|(scopes, max_ttl)| Operation::AddRule { scopes, max_ttl }),
            1 => Just(Operation::RemoveRule),
            6 => (0_u8..4, subset()).prop_map(|(assertion, scopes)| Operation::Register { assertion, scopes }),
        ],
        1..24,
    )
}

fn scopes(bits: u8) -> ScopeSet {
    let chosen = SCOPES.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
    ScopeSet::parse(chosen.map(|(_, scope)| scope)).unwrap()
}

/// Returns whether each wanted scope is held, without the library's own rule.
fn covers(held: u8, wanted: u8) -> bool {
    let held = if held & 1 == 0 { held } else { held | 0b10 };
    wanted & !held == 0
}

struct Model {
    ceiling: u8,
    status: AppStatus,
    /// Scopes and `max_ttl` of the rule.
    rule: Option<(u8, u64)>,
    used: HashSet<u8>,
}

async fn play(operations: Vec<Operation>) {
    let attesting = Attesting::new().await;
    let services = attesting.services();
    let mut model = Model { ceiling: 0b1111, status: AppStatus::Active, rule: None, used: HashSet::new() };
    let set_ceiling = |bits| {
        let change = AppUpdateRequest { scopes: Some(scopes(bits)), ..AppUpdateRequest::default() };
        services.apps.update(None, attesting.app_id.clone(), change, CLIENT)
    };
    set_ceiling(model.ceiling).await.unwrap();
    attesting.remove_rule().await;
    let mut rule_id = None;
    for operation in operations {
        match operation {
            Operation::SetCeiling(bits) => {
                set_ceiling(bits).await.unwrap();
                model.ceiling = bits;
            }
            Operation::SetStatus(status) => {
                attesting.set_status(status).await;
                model.status = status;
            }
            Operation::AddRule { scopes: bits, max_ttl } => {
                let request =
                    TrustRuleRequest { allowed_scope: scopes(bits), max_ttl, ..rule_request(&attesting.app_id, "ci") };
                let added = services.trust_rules.add(Subject::Admin, None, request, CLIENT).await;
                assert_eq!(added.is_ok(), covers(model.ceiling, bits) && model.rule.is_none(), "{added:?}");
                if let Ok(added) = added {
                    (rule_id, model.rule) = (Some(added.id), Some((bits, max_ttl)));
                }
            }
            Operation::RemoveRule => {
                if let Some(id) = rule_id.take() {
                    services.trust_rules.remove(Subject::Admin, None, id, CLIENT).await.unwrap();
                    model.rule = None;
                }
            }
            Operation::Register { assertion: number, scopes: wanted } => {
                let assertion = attesting.assertion(&number.to_string());
                let request =
                    RegistrationRequest { requested_scope: scopes(wanted), ..registration(services, &assertion) };
                let outcome = services.registrations.register(request, None, CLIENT).await;
                let permitted = model.rule.filter(|(allowed, _)| {
                    covers(*allowed, wanted)
                        && covers(model.ceiling, wanted)
                        && model.status == AppStatus::Active
                        && !model.used.contains(&number)
                });
                assert_eq!(outcome.is_ok(), permitted.is_some(), "{outcome:?}");
                if let (Ok((_, issued)), Some((_, max_ttl))) = (outcome, permitted) {
                    model.used.insert(number);
                    let claims = services.verifier.verify(&issued.access_token).unwrap();
                    assert_eq!(*claims.scopes(), scopes(wanted));
                    assert_eq!(claims.expires_at().seconds() - claims.issued_at().seconds(), max_ttl);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    #[test]
    fn assertion_registers_once_within_rule_and_app(operations in operations()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(operations));
    }
}
