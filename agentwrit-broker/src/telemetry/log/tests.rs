use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use agentwrit_verify::UnixTime;
use tracing::{debug, error, info, info_span, trace, warn};

use super::*;

#[derive(Clone, Debug, Default)]
struct Captured(Arc<Mutex<Vec<(Severity, String)>>>);

impl Sink for Captured {
    fn write(&self, severity: Severity, line: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((severity, line.to_owned()));
    }
}

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> UnixTime {
        UnixTime::since_epoch(Duration::from_millis(1_795_248_000_070))
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

fn log(level: LogLevel, format: LogFormat, job: impl FnOnce()) -> Vec<(Severity, String)> {
    let captured = Captured::default();
    let renderer = Renderer { format, clock: Arc::new(FixedClock) };
    let layer = LogLayer { level, renderer, sink: Box::new(captured.clone()) };
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), job);
    let lines = captured.0.lock().unwrap();
    lines.clone()
}

fn text(job: impl FnOnce()) -> String {
    let lines = log(LogLevel::Trace, LogFormat::Text, job);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].1.clone()
}

#[test]
fn writes_text_lines_in_format_of_contract() {
    let line = text(|| {
        info!(target: "agentwrit_broker::http::apps", component = "apps", app_id = "app-crm-0a1b2c", status = 201, "app registered");
    });
    assert_eq!(
        line,
        "[AA:HTTP:OK] 2026-11-21T08:00:00.070Z | apps | app registered | app_id=app-crm-0a1b2c, status=201\n"
    );
}

#[test]
fn line_without_fields_ends_after_message() {
    let line = text(|| info!(target: "agentwrit_broker", "started"));
    assert_eq!(line, "[AA:BROKER:OK] 2026-11-21T08:00:00.070Z | broker | started\n");
}

#[test]
fn module_and_component_come_from_the_target() {
    for (line, head) in [
        (
            text(|| info!(target: "agentwrit_broker::store::writer", "m")),
            "[AA:STORE:OK] 2026-11-21T08:00:00.070Z | writer |",
        ),
        (
            text(|| info!(target: "agentwrit_tower::require_scope", "m")),
            "[AA:TOWER:OK] 2026-11-21T08:00:00.070Z | require_scope |",
        ),
        (text(|| warn!(target: "rustls::conn", "m")), "[AA:RUSTLS:WARN] 2026-11-21T08:00:00.070Z | conn |"),
    ] {
        assert!(line.starts_with(head), "{line}");
    }
}

#[test]
fn writes_level_names_and_sends_failures_to_stderr() {
    let lines = log(LogLevel::Trace, LogFormat::Text, || {
        error!(target: "agentwrit_broker::store", "m");
        warn!(target: "agentwrit_broker::store", "m");
        info!(target: "agentwrit_broker::store", "m");
        debug!(target: "agentwrit_broker::store", "m");
        trace!(target: "agentwrit_broker::store", "m");
    });
    let severities: Vec<_> = lines.iter().map(|(severity, _)| *severity).collect();
    assert_eq!(severities, [Severity::Fail, Severity::Warn, Severity::Ok, Severity::Trace, Severity::Trace]);
    for (line, name) in lines.iter().zip(["FAIL", "WARN", "OK", "TRACE", "TRACE"]) {
        assert!(line.1.starts_with(&format!("[AA:STORE:{name}] ")), "{}", line.1);
    }
}

#[test]
fn each_log_level_admits_its_lines() {
    let written = |level| {
        let lines = log(level, LogFormat::Text, || {
            error!(target: "agentwrit_broker::http", "fail");
            warn!(target: "agentwrit_broker::http", "warn");
            info!(target: "agentwrit_broker::http", "ok");
            info!(target: "agentwrit_broker::http::access", "request");
            debug!(target: "agentwrit_broker::http", "debug");
            error!(target: "hyper::proto", "library fail");
            warn!(target: "hyper::proto", "library warn");
            info!(target: "hyper::proto", "library ok");
            debug!(target: "h2::codec", "library debug");
        });
        let messages = lines.iter().map(|(_, line)| line.trim_end().rsplit(" | ").next().unwrap().to_owned());
        messages.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(written(LogLevel::Quiet), "fail, warn, library fail, library warn");
    assert_eq!(written(LogLevel::Standard), "fail, warn, ok, library fail, library warn");
    assert_eq!(written(LogLevel::Verbose), "fail, warn, ok, request, library fail, library warn");
    assert_eq!(written(LogLevel::Trace), "fail, warn, ok, request, debug, library fail, library warn");
}

#[test]
fn request_id_is_on_all_lines_of_request_at_every_level() {
    for level in [LogLevel::Quiet, LogLevel::Trace] {
        let lines = log(level, LogFormat::Text, || {
            let request = info_span!(
                target: "agentwrit_broker::http", "request", request_id = "r1", status = tracing::field::Empty
            );
            let _entered = request.enter();
            error!(target: "agentwrit_broker::store", operation = "register", "write failed");
            request.record("status", 500);
            error!(target: "agentwrit_broker::http", request_id = "r2", "gave up");
        });
        let tails: Vec<_> = lines.iter().map(|(_, line)| line.split_once("Z | ").unwrap().1).collect();
        let expected = [
            "store | write failed | request_id=r1, operation=register\n",
            "http | gave up | request_id=r2, status=500\n",
        ];
        assert_eq!(tails, expected);
    }
}

#[test]
fn escapes_input_that_would_forge_a_line() {
    let forged = "/x\n[AA:ADMIN:OK] 2026-11-21T08:00:00.000Z | admin | logged in | who=root";
    let line = text(|| info!(target: "agentwrit_broker::http", path = forged, "request"));
    assert_eq!(line.matches('\n').count(), 1);
    assert!(line.contains(r#"path="/x\n[AA:ADMIN:OK] "#), "{line}");
    let line = text(|| info!(target: "agentwrit_broker::http", component = forged, "{forged}"));
    assert_eq!(line.matches('\n').count(), 1);
    assert_eq!(line.matches(" | ").count(), 2, "{line}");
}

#[test]
fn quotes_ambiguous_values() {
    for (value, written) in [
        ("plain-value_1", "k=plain-value_1"),
        ("spiffe://a.b/agent/o/t/0", "k=spiffe://a.b/agent/o/t/0"),
        ("read:data:*", "k=read:data:*"),
        ("", r#"k="""#),
        ("a, admin=true", r#"k="a, admin=true""#),
        ("a=b", r#"k="a=b""#),
        (r#"say "hi" \o/"#, r#"k="say \"hi\" \\o/""#),
        ("\r\n\t\0", r#"k="\r\n\t\u{0}""#),
        ("\u{1b}[2J\u{9b}31m\u{7f}", r#"k="\u{1b}[2J\u{9b}31m\u{7f}""#),
        ("a\u{202e}b\u{2028}c\u{feff}", r#"k="a\u{202e}b\u{2028}c\u{feff}""#),
        ("größer", "k=größer"),
    ] {
        let line = text(|| info!(target: "agentwrit_broker::http", k = value, "m"));
        assert!(line.ends_with(&format!(" | m | {written}\n")), "{line} should end in {written}");
    }
}

#[test]
fn cuts_long_texts() {
    let long = "é".repeat(100_000);
    for format in [LogFormat::Text, LogFormat::Json] {
        let lines = log(LogLevel::Trace, format, || info!(target: "agentwrit_broker::http", path = long, "{long}"));
        let letters = lines[0].1.matches('é').count();
        assert_eq!(letters, 2_048 + 512);
        assert_eq!(lines[0].1.matches('…').count(), 2);
    }
}

#[test]
fn writes_one_json_object_per_line() {
    let lines = log(LogLevel::Verbose, LogFormat::Json, || {
        let cause = std::io::Error::other("disk\nfull");
        warn!(
            target: "agentwrit_broker::store::writer",
            status = 503, ok = false, ms = 448_u128, past = -1_i128, huge = u128::MAX, path = "a\u{85}b\u{9b}\u{2028}", error = &cause as &(dyn std::error::Error + 'static), "busy"
        );
    });
    let (severity, line) = &lines[0];
    assert_eq!(*severity, Severity::Warn);
    assert_eq!(line.matches('\n').count(), 1);
    assert!(line.is_ascii(), "{line}");
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    let expected = serde_json::json!({
        "timestamp": "2026-11-21T08:00:00.070Z", "level": "WARN", "module": "STORE", "component": "writer",
        "message": "busy",
        "fields": {"status": 503, "ok": false, "ms": 448, "past": -1, "huge": u128::MAX.to_string(), "path": "a\u{85}b\u{9b}\u{2028}", "error": "disk\nfull"}
    });
    assert_eq!(value, expected);
}
