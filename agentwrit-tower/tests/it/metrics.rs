//! Counter and histogram of the `metrics` feature.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use agentwrit_tower::RequireScope;
use agentwrit_tower::verify::testing::TestIssuer;
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use tower_layer::Layer;

use crate::support::{Inner, bearer, get, get_without_token, send};

type Seen = Arc<Mutex<BTreeMap<String, u64>>>;

/// Recorder that keeps counters and the number of histogram samples.
#[derive(Debug, Default)]
struct Book(Seen);

struct Line {
    seen: Seen,
    key: String,
}

impl Line {
    fn of(book: &Book, key: &Key) -> Arc<Self> {
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Self { seen: Arc::clone(&book.0), key: format!("{}{{{}}}", key.name(), labels.join(",")) })
    }

    fn add(&self, value: u64) {
        *self.seen.lock().unwrap().entry(self.key.clone()).or_default() += value;
    }
}

impl CounterFn for Line {
    fn increment(&self, value: u64) {
        self.add(value);
    }

    fn absolute(&self, _: u64) {
        unreachable!("a counter only counts up");
    }
}

impl HistogramFn for Line {
    fn record(&self, value: f64) {
        assert!((0.0..10.0).contains(&value), "{value} s");
        self.add(1);
    }
}

impl Recorder for Book {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Line::of(self, key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Line::of(self, key))
    }
}

#[tokio::test]
async fn counts_decisions_by_outcome_and_reason_only() {
    let issuer = TestIssuer::new();
    let service = RequireScope::new("read:data:7").verifier(issuer.verifier()).layer(Inner::default().service());
    let book = Book::default();
    {
        let _guard = metrics::set_default_local_recorder(&book);
        for _ in 0..2 {
            send(&service, get("/", &bearer(&issuer.token(&["read:data:7"])))).await;
        }
        send(&service, get("/", &bearer(&issuer.token(&["read:data:8"])))).await;
        send(&service, get_without_token("/")).await;
    }
    let seen: Vec<_> = book.0.lock().unwrap().iter().map(|(key, count)| format!("{key} {count}")).collect();
    assert_eq!(
        seen,
        [
            "agentwrit_decision_seconds{outcome=accepted} 2",
            "agentwrit_decision_seconds{outcome=refused} 2",
            "agentwrit_decisions_total{outcome=accepted,reason=none} 2",
            "agentwrit_decisions_total{outcome=refused,reason=insufficient_scope} 1",
            "agentwrit_decisions_total{outcome=refused,reason=no_token} 1",
        ]
    );
}
