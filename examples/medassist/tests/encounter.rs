//! The encounter against a real broker and the real service, over HTTP.

use medassist::{encounter, scene::Scene, trace::Trace};

#[tokio::test]
async fn every_step_has_expected_outcome() {
    let scene = Scene::set().await.unwrap();
    let mut trace = Trace::default();
    encounter::play(&scene, &mut trace).await.unwrap();
    scene.strike().await;

    let actual: Vec<String> = trace.steps().iter().map(|step| step.actual.to_string()).collect();
    let played: Vec<(&str, &str, &str)> =
        trace.steps().iter().zip(&actual).map(|(step, actual)| (step.who, &*step.what, &**actual)).collect();
    let expected = [
        ("clinical", "GET /patients", "200"),
        ("clinical", "GET /patients/P-1042/records", "200"),
        ("clinical", "GET /patients/P-1042/labs", "200"),
        ("clinical", "GET /patients/P-2077/records", "403"),
        ("unauthenticated", "GET /patients/P-1042/records", "401"),
        ("prescriber", "GET /formulary", "200"),
        ("prescriber", "POST /patients/P-1042/prescriptions furosemide", "403"),
        ("clinical", "broker: delegate write:prescriptions:P-2077", "403"),
        ("clinical", "broker: delegate …:prescriptions:P-1042", "granted"),
        ("prescriber", "POST /patients/P-1042/prescriptions furosemide", "201"),
        ("prescriber", "POST /patients/P-2077/prescriptions furosemide", "403"),
        ("prescriber", "POST /patients/P-1042/prescriptions amoxicillin", "409"),
        ("prescriber", "POST /patients/P-1042/prescriptions morphine", "403"),
        ("billing", "GET /patients/P-1042/billing", "200"),
        ("billing", "GET /patients/P-1042/notes", "403"),
        ("clinical", "broker: renew", "granted"),
        ("clinical", "GET /patients/P-1042/records", "401"),
        ("clinical", "GET /patients/P-1042/records", "200"),
        ("prescriber", "GET /patients/P-1042/prescriptions", "200"),
        ("operator", "broker: revoke the chain of clinical", "granted"),
        ("clinical", "GET /patients/P-1042/records", "401"),
        ("prescriber", "GET /patients/P-1042/prescriptions", "401"),
        ("clinical", "broker: renew", "401"),
        ("prescriber", "GET /formulary", "200"),
        ("billing", "GET /patients/P-1042/billing", "200"),
        ("billing", "broker: release", "granted"),
        ("billing", "GET /patients/P-1042/billing", "401"),
    ];
    assert_eq!(played, expected);
    assert!(trace.is_as_expected());
    assert_eq!(trace.to_string(), format!("{0} of {0} outcomes as expected", expected.len()));
    let killed = &trace.steps()[19];
    assert_eq!(killed.summary, "2 tokens revoked", "the renewed one and the delegated one");
    assert_eq!(trace.steps()[0].summary, "1 entry", "the listing is cut down to the token's patient");
}
