use agentwrit_protocol::KeyState;

use super::*;

fn scopes(texts: &[&str]) -> ScopeSet {
    ScopeSet::parse(texts).unwrap()
}

fn value(metrics: &Metrics, sample: &str) -> Option<String> {
    let text = metrics.encode();
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == sample))?;
    Some(line.rsplit_once(' ').unwrap().1.to_owned())
}

#[test]
fn health_warning_is_1_while_it_lasts_and_0_before_and_after() {
    let metrics = Metrics::new();
    let samples = || {
        ["signing_key_not_saved", "signing_key_unusable", "other"]
            .map(|warning| value(&metrics, &format!(r#"agentwrit_health_warning{{warning="{warning}"}}"#)))
    };
    let series = |values: [&str; 3]| values.map(|value| Some(value.to_owned()).filter(|value| value != "-"));
    metrics.set_health_warnings(Vec::new());
    assert_eq!(samples(), series(["0", "0", "-"]));
    metrics.set_health_warnings(vec!["signing_key_not_saved", "other"]);
    assert_eq!(samples(), series(["1", "0", "1"]));
    metrics.set_health_warnings(vec!["signing_key_unusable"]);
    assert_eq!(samples(), series(["0", "1", "0"]));
}

#[test]
fn writes_every_metric_with_its_name_and_type() {
    let metrics = Metrics::new();
    metrics.token_issued(&scopes(&["read:data:x"]));
    metrics.tokens_revoked("agent", 3);
    metrics.registration(Status::Success);
    metrics.admin_auth(Status::Failure);
    metrics.launch_token_created();
    metrics.set_active_agents(7);
    metrics.request("/v1/register", Duration::from_millis(3));
    metrics.clock_skew();
    metrics.set_clock(Duration::from_millis(7_900), Duration::from_secs(8), -1.5);
    metrics.audit_event("agent_registered");
    metrics.audit_write(Duration::from_micros(300));
    metrics.db_error("register");
    metrics.set_audit_events_loaded(12);
    metrics.set_audit_breaks_accepted(1);
    metrics.rate_limited("renewals");
    metrics.set_signing_keys(&KeyFigures {
        keys: vec![(KeyState::Active, 1), (KeyState::Retiring, 2)],
        age: Duration::from_secs(90),
        overdue: Duration::from_secs(5),
        blocked: 3,
    });
    for (sample, expected) in [
        (r#"agentwrit_tokens_issued_total{scope="read:data"}"#, "1"),
        (r#"agentwrit_tokens_revoked_total{level="agent"}"#, "3"),
        (r#"agentwrit_tokens_revoked_total{level="chain"}"#, "0"),
        (r#"agentwrit_registrations_total{status="success"}"#, "1"),
        (r#"agentwrit_registrations_total{status="failure"}"#, "0"),
        (r#"agentwrit_admin_auth_total{status="failure"}"#, "1"),
        ("agentwrit_launch_tokens_created_total", "1"),
        ("agentwrit_active_agents", "7"),
        (r#"agentwrit_request_duration_seconds_count{endpoint="/v1/register"}"#, "1"),
        (r#"agentwrit_request_duration_seconds_bucket{le="0.005",endpoint="/v1/register"}"#, "1"),
        (r#"agentwrit_request_duration_seconds_bucket{le="0.0025",endpoint="/v1/register"}"#, "0"),
        ("agentwrit_clock_skew_total", "1"),
        ("agentwrit_clock_behind_seconds", "7"),
        ("agentwrit_deletion_held_seconds", "8"),
        ("agentwrit_clock_offset_seconds", "-1.5"),
        (r#"agentwrit_audit_events_total{event_type="agent_registered"}"#, "1"),
        ("agentwrit_audit_write_duration_seconds_count", "1"),
        (r#"agentwrit_db_errors_total{operation="register"}"#, "1"),
        ("agentwrit_audit_events_loaded", "12"),
        ("agentwrit_audit_breaks_accepted", "1"),
        (r#"agentwrit_signing_keys{state="retiring"}"#, "2"),
        ("agentwrit_signing_key_age_seconds", "90"),
        ("agentwrit_key_rotation_overdue_seconds", "5"),
        ("agentwrit_key_rotation_blocked", "3"),
        (r#"agentwrit_rate_limited_total{limit="renewals"}"#, "1"),
        (r#"agentwrit_rate_limited_total{limit="failed_app_logins"}"#, "0"),
        (r#"agentwrit_log_lines_dropped_total{stream="stdout"}"#, "0"),
        (r#"agentwrit_log_lines_dropped_total{stream="stderr"}"#, "0"),
    ] {
        assert_eq!(value(&metrics, sample).as_deref(), Some(expected), "{sample}\n{}", metrics.encode());
    }
}

#[test]
fn gauges_go_down() {
    let metrics = Metrics::new();
    metrics.set_active_agents(7);
    metrics.set_active_agents(2);
    assert_eq!(value(&metrics, "agentwrit_active_agents").as_deref(), Some("2"));
}

#[test]
fn writes_prometheus_text_and_not_openmetrics() {
    let text = Metrics::new().encode();
    assert!(text.contains("# TYPE agentwrit_clock_skew_total counter\n"), "{text}");
    assert!(text.contains("# HELP agentwrit_clock_skew_total Requests dated in the future.\n"), "{text}");
    assert!(text.contains("# TYPE agentwrit_active_agents gauge\n"), "{text}");
    assert!(text.contains("# TYPE agentwrit_audit_write_duration_seconds histogram\n"), "{text}");
    assert!(!text.contains("EOF"), "{text}");
    assert!(text.ends_with('\n'));
}

#[test]
fn labels_contain_no_identifiers() {
    let metrics = Metrics::new();
    metrics.token_issued(&scopes(&["read:data:a:b", "read:data:b", "read:data:*", "write:data:a"]));
    assert_eq!(value(&metrics, r#"agentwrit_tokens_issued_total{scope="read:data"}"#).as_deref(), Some("1"));
    assert_eq!(value(&metrics, r#"agentwrit_tokens_issued_total{scope="write:data"}"#).as_deref(), Some("1"));
}

#[test]
fn counts_scopes_beyond_bound_as_one() {
    let metrics = Metrics::new();
    for number in 0..1_000 {
        metrics.token_issued(&scopes(&[&format!("read:thing-{number}:x")]));
    }
    metrics.token_issued(&scopes(&["read:thing-7:x"]));
    let samples = metrics.encode().lines().filter(|line| line.starts_with("agentwrit_tokens_issued_total{")).count();
    assert_eq!(samples, Metrics::MAX_SCOPE_LABELS + 1);
    assert_eq!(value(&metrics, r#"agentwrit_tokens_issued_total{scope="other:other"}"#).as_deref(), Some("800"));
    assert_eq!(value(&metrics, r#"agentwrit_tokens_issued_total{scope="read:thing-7"}"#).as_deref(), Some("2"));
}

#[test]
fn counts_endpoints_beyond_bound_as_one() {
    let metrics = Metrics::new();
    for number in 0..1_000 {
        metrics.request(&format!("/made/up/{number}"), Duration::ZERO);
    }
    let samples = metrics.encode().lines().filter(|line| line.contains("request_duration_seconds_count{")).count();
    assert_eq!(samples, Metrics::MAX_ENDPOINT_LABELS + 1);
}

#[test]
fn bound_of_labels_holds_between_threads() {
    let metrics = Metrics::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let metrics = &metrics;
            scope.spawn(move || {
                for number in 0..500 {
                    metrics.token_issued(&scopes(&[&format!("act-{thread}:thing-{number}:x")]));
                }
            });
        }
    });
    let samples = metrics.encode().lines().filter(|line| line.starts_with("agentwrit_tokens_issued_total{")).count();
    assert_eq!(samples, Metrics::MAX_SCOPE_LABELS + 1);
}
