//! One encounter: Ada Fernsby, P-1042, short of breath. Three agents care for her, each with the scopes of its task
//! only.

use std::time::Duration;

use agentwrit_client::{Agent, DelegatedToken, RevocationTarget};
use agentwrit_verify::Subject;
use serde_json::json;

use self::stage::Stage;
use crate::{Failure, scene::Scene, trace::Trace};

mod stage;

const CLINICAL: &str = "clinical";
const PRESCRIBER: &str = "prescriber";
const BILLING: &str = "billing";
const OPERATOR: &str = "operator";

const RECORDS: &str = "/patients/P-1042/records";
const PRESCRIPTIONS: &str = "/patients/P-1042/prescriptions";
const INVOICES: &str = "/patients/P-1042/billing";

/// Agents of an encounter. All their scopes but the formulary's are for this patient.
#[derive(Debug)]
pub struct Cast {
    /// Examines the patient, and delegates prescriptions.
    pub clinical: Agent,
    /// Reads the formulary and, without delegation, no patient.
    pub prescriber: Agent,
    /// Reads invoices, not clinical data.
    pub billing: Agent,
}

impl Cast {
    /// Registers the three.
    ///
    /// # Errors
    ///
    /// When the broker refuses.
    pub async fn register(scene: &Scene) -> Result<Self, Failure> {
        let clinical = [
            "read:patients:P-1042",
            "read:records:P-1042",
            "read:notes:P-1042",
            "read:labs:P-1042",
            "read:prescriptions:P-1042",
            "write:prescriptions:P-1042",
        ];
        Ok(Self {
            clinical: scene.agent("examine", &clinical).await?,
            prescriber: scene.agent("prescribe", &["read:formulary:*"]).await?,
            billing: scene.agent("invoice", &["read:patients:P-1042", "read:billing:P-1042"]).await?,
        })
    }
}

/// Plays the encounter.
///
/// # Errors
///
/// When the broker or the hospital is unreachable. Unexpected outcomes are in the trace.
pub async fn play(scene: &Scene, trace: &mut Trace) -> Result<(), Failure> {
    let cast = Cast::register(scene).await?;
    let mut stage = Stage::new(scene.hospital_client()?, trace);
    examination(&mut stage, &cast.clinical).await?;
    let delegated = prescription(&mut stage, &cast).await?;
    invoice(&mut stage, &cast.billing).await?;
    renewal(&mut stage, &cast.clinical, &delegated).await?;
    emergency(&mut stage, scene, &cast, &delegated).await?;
    discharge(&mut stage, &cast.billing).await
}

async fn examination(stage: &mut Stage<'_>, clinical: &Agent) -> Result<(), Failure> {
    stage.scene("Examination: the clinical agent may read this patient, and no other.");
    let token = clinical.authorization();
    stage.get(CLINICAL, &token, "/patients", 200, "a listing holds the one patient of its token").await?;
    stage.get(CLINICAL, &token, RECORDS, 200, "its patient's records").await?;
    stage.get(CLINICAL, &token, "/patients/P-1042/labs", 200, "its patient's labs").await?;
    stage.get(CLINICAL, &token, "/patients/P-2077/records", 403, "another patient's records stay closed").await?;
    stage.unauthenticated(RECORDS, 401, "no token, no records").await
}

async fn prescription(stage: &mut Stage<'_>, cast: &Cast) -> Result<DelegatedToken, Failure> {
    stage.scene("Prescription: handed on to another agent, for this patient only.");
    let furosemide = json!({"drug": "furosemide", "dose_mg": 40, "times_per_day": 1, "days": 14});
    let own = cast.prescriber.authorization();
    stage.get(PRESCRIBER, &own, "/formulary", 200, "what its own token is good for").await?;
    stage.post(PRESCRIBER, &own, PRESCRIPTIONS, &furosemide, 403, "on its own it prescribes nothing").await?;

    let (to, ttl) = (cast.prescriber.id(), Duration::from_secs(600));
    let others = cast.clinical.delegate(to, ["write:prescriptions:P-2077"], ttl).await;
    stage.broker(
        CLINICAL,
        "delegate write:prescriptions:P-2077",
        Err(403),
        &others,
        "no agent delegates scopes that it lacks",
    );
    let this = ["read:prescriptions:P-1042", "write:prescriptions:P-1042"];
    let delegated = cast.clinical.delegate(to, this, ttl).await;
    stage.broker(CLINICAL, "delegate …:prescriptions:P-1042", Ok(()), &delegated, "a part of what it holds");
    let delegated = delegated?;
    // The agents exchange the token by any channel; the delegate checks that it is the token's subject.
    let on_behalf = cast.prescriber.accept(delegated.token().clone())?.authorization();

    stage
        .post(PRESCRIBER, &on_behalf, PRESCRIPTIONS, &furosemide, 201, "prescribed, on the clinical agent's behalf")
        .await?;
    let other = "/patients/P-2077/prescriptions";
    stage.post(PRESCRIBER, &on_behalf, other, &furosemide, 403, "for this patient only").await?;
    let amoxicillin = json!({"drug": "amoxicillin", "dose_mg": 500, "times_per_day": 3, "days": 7});
    stage.post(PRESCRIBER, &on_behalf, PRESCRIPTIONS, &amoxicillin, 409, "a scope is no medical judgement").await?;
    let morphine = json!({"drug": "morphine", "dose_mg": 10, "times_per_day": 2, "days": 3});
    stage
        .post(PRESCRIBER, &on_behalf, PRESCRIPTIONS, &morphine, 403, "a controlled drug takes a permit of its own")
        .await?;
    Ok(delegated)
}

async fn invoice(stage: &mut Stage<'_>, billing: &Agent) -> Result<(), Failure> {
    stage.scene("Invoice: the billing agent knows what was charged, not why.");
    let token = billing.authorization();
    stage.get(BILLING, &token, INVOICES, 200, "this patient's invoices").await?;
    stage.get(BILLING, &token, "/patients/P-1042/notes", 403, "clinical notes are none of its business").await
}

async fn renewal(stage: &mut Stage<'_>, clinical: &Agent, delegated: &DelegatedToken) -> Result<(), Failure> {
    stage.scene("Renewal: a new token for the same task; the old one has ended.");
    let old = clinical.authorization();
    stage.broker(CLINICAL, "renew", Ok(()), &clinical.renew().await, "same rights, same lifetime");
    stage.get_until(CLINICAL, &old, RECORDS, 401, "the old token").await?;
    stage.get(CLINICAL, &clinical.authorization(), RECORDS, 200, "the new token").await?;
    let on_behalf = delegated.authorization();
    stage.get(PRESCRIBER, &on_behalf, PRESCRIPTIONS, 200, "the delegated token stays valid").await
}

async fn emergency(
    stage: &mut Stage<'_>,
    scene: &Scene,
    cast: &Cast,
    delegated: &DelegatedToken,
) -> Result<(), Failure> {
    stage.scene("Emergency: the operator revokes the clinical agent and all that came from it.");
    let chain = RevocationTarget::Chain(Subject::Agent(cast.clinical.id().clone()));
    let revoked = scene.admin().revoke(&chain, Some("the agent behaves oddly")).await;
    let summary = revoked.as_ref().map(|revoked| format!("{} tokens revoked", revoked.count)).unwrap_or_default();
    stage.broker_saying(OPERATOR, "revoke the chain of clinical", Ok(()), &revoked, "one call", summary);

    stage.get_until(CLINICAL, &cast.clinical.authorization(), RECORDS, 401, "its own token").await?;
    stage.get_until(PRESCRIBER, &delegated.authorization(), PRESCRIPTIONS, 401, "what it delegated").await?;
    stage.broker(CLINICAL, "renew", Err(401), &cast.clinical.renew().await, "no way back");
    let own = cast.prescriber.authorization();
    stage.get(PRESCRIBER, &own, "/formulary", 200, "its own token has nothing to do with it").await?;
    stage.get(BILLING, &cast.billing.authorization(), INVOICES, 200, "nor has another agent's").await
}

async fn discharge(stage: &mut Stage<'_>, billing: &Agent) -> Result<(), Failure> {
    stage.scene("Discharge: done before the token expires, so it is released.");
    let token = billing.authorization();
    stage.broker(BILLING, "release", Ok(()), &billing.release().await, "released");
    stage.get_until(BILLING, &token, INVOICES, 401, "of no use after its release").await
}
