//! Queries of the trail return the same as a scan of all events.

use super::*;
use crate::{
    audit::{Event, Outcome},
    store::{AuditPage, AuditQuery},
};

/// A small random generator with the same sequence in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<T: Clone>(&mut self, among: &[T]) -> T {
        among[usize::try_from(self.roll(among.len() as u64)).unwrap()].clone()
    }
}

const APPS: [&str; 3] = ["web", "cron", "idle"];
const EVENTS: u64 = 1500;

fn subjects() -> Vec<Option<Subject>> {
    let agents = (0..6).map(|number| Some(Subject::Agent(agent_id(number))));
    let apps = APPS.iter().map(|name| Some(Subject::App(app_id(name))));
    agents.chain(apps).chain([Some(Subject::Admin), None]).collect()
}

fn app_of(event: &Event) -> Option<AppId> {
    match event.agent_id.as_deref().map(|agent| Subject::parse(agent).unwrap())? {
        Subject::Agent(agent) => {
            let number = u64::from_str_radix(agent.instance(), 16).unwrap();
            (number < 4).then(|| app_id(APPS[usize::try_from(number % 2).unwrap()]))
        }
        Subject::App(app) => Some(app),
        Subject::Admin => None,
    }
}

/// A trail by agents of two apps and of none, with tasks that several use, and a clock that is set back now and then.
async fn trail(fixture: &Fixture) -> Vec<Event> {
    fixture
        .write(|tx| {
            let mut dice = Dice(1);
            for number in 0..6 {
                let app_id = (number < 4).then(|| app_id(APPS[usize::try_from(number % 2).unwrap()]));
                tx.insert_agent(&RegisteredAgent { app_id, ..agent(number) })?;
            }
            let mut now = 10_000;
            for _ in 0..EVENTS {
                now += dice.roll(3);
                if dice.roll(300) == 0 {
                    now -= 600;
                }
                let event_type = dice.pick(&EventType::ALL[..7]);
                let address: std::net::IpAddr = "192.0.2.1".parse().unwrap();
                let actor = dice.pick(&subjects()).map_or(address.into(), crate::audit::Actor::Subject);
                let event = match dice.roll(4) {
                    0 => NewEvent::denied(event_type, at(now), actor, "no"),
                    _ => NewEvent::success(event_type, at(now), actor, "yes"),
                };
                let task = dice.pick(&[None, Some(segment("task-0")), Some(segment("shared")), Some(segment("admin"))]);
                tx.append(event.task(task))?;
            }
            tx.audit_events_after(0, EVENTS)
        })
        .await
}

fn random_query(dice: &mut Dice) -> AuditQuery {
    let subject = |dice: &mut Dice| dice.pick(&subjects()).map_or("unknown".to_owned(), |subject| subject.to_string());
    let start = 10_000 + dice.roll(1600);
    AuditQuery {
        agent_id: (dice.roll(3) == 0).then(|| subject(dice)),
        task_id: (dice.roll(3) == 0).then(|| dice.pick(&["task-0", "shared", "admin", "unknown"]).to_owned()),
        app_id: (dice.roll(3) == 0).then(|| app_id(dice.pick(&["web", "cron", "idle", "unknown"]))),
        event_type: (dice.roll(2) == 0).then(|| dice.pick(&EventType::ALL[..8])),
        outcome: (dice.roll(2) == 0).then(|| dice.pick(&[Outcome::Success, Outcome::Denied])),
        since: (dice.roll(3) == 0).then(|| at(start)),
        until: (dice.roll(3) == 0).then(|| at(start + dice.roll(800))),
        limit: dice.pick(&[0, 1, 7, 100, 5000]),
        offset: dice.pick(&[0, 0, 3, 50, 1400]),
        cursor: dice.pick(&[0, 0, 200, 1499, 1500, 9999]),
    }
}

/// Expected result, by a scan of all events.
fn filtered(trail: &[Event], query: &AuditQuery) -> AuditPage {
    let time = |event: &Event| UnixTime::parse_rfc3339(&event.timestamp).unwrap();
    let all: Vec<&Event> = trail
        .iter()
        .filter(|event| query.agent_id.is_none() || event.agent_id == query.agent_id)
        .filter(|event| query.task_id.is_none() || event.task_id == query.task_id)
        .filter(|event| query.app_id.is_none() || app_of(event) == query.app_id)
        .filter(|event| query.event_type.is_none_or(|event_type| event.event_type == event_type))
        .filter(|event| query.outcome.is_none_or(|outcome| event.outcome == outcome))
        .filter(|event| query.since.is_none_or(|since| time(event) >= since))
        .filter(|event| query.until.is_none_or(|until| time(event) <= until))
        .collect();
    let limit = usize::try_from(query.limit.min(AuditQuery::MAX_LIMIT)).unwrap();
    let rest: Vec<&Event> = all
        .iter()
        .copied()
        .filter(|event| event.id.sequence() > query.cursor)
        .skip(usize::try_from(query.offset).unwrap())
        .collect();
    let events: Vec<Event> = rest.iter().take(limit).copied().cloned().collect();
    let next_cursor = events.last().filter(|_| rest.len() > limit).map(|event| event.id.sequence());
    AuditPage { events, total: all.len() as u64, next_cursor }
}

#[tokio::test]
async fn random_queries_return_results_of_a_scan() {
    let fixture = Fixture::new();
    let trail = trail(&fixture).await;
    assert_eq!(trail.len() as u64, EVENTS);
    let runs = fixture.write(|tx| tx.audit_runs()).await;
    assert!(runs.len() > 2, "{runs:?}");

    let (mut dice, mut answered) = (Dice(2), 0);
    for _ in 0..1500 {
        let query = random_query(&mut dice);
        let expected = filtered(&trail, &query);
        answered += usize::from(expected.total > 0);
        let asked = query.clone();
        let page = fixture.read(move |reader| reader.audit_events(&asked)).await;
        assert_eq!(page, expected, "{query:?}");
    }
    assert!(answered > 500, "{answered}");
}

#[tokio::test]
async fn counts_denials_of_each_type_since_a_time() {
    let fixture = Fixture::new();
    let trail = trail(&fixture).await;
    for since in [0, 10_000, 10_700, 11_400, 20_000].map(at) {
        let mut counted = fixture.read(move |reader| reader.denials_since(since)).await;
        counted.sort_unstable();
        let count = |event_type: EventType| {
            let outcome = Some(Outcome::Denied);
            let query =
                AuditQuery { event_type: Some(event_type), outcome, since: Some(since), ..AuditQuery::default() };
            filtered(&trail, &query).total
        };
        let mut expected: Vec<_> = EventType::ALL.iter().map(|&event_type| (event_type, count(event_type))).collect();
        expected.retain(|(_, count)| *count > 0);
        assert_eq!(counted, expected, "{since}");
    }
}

#[tokio::test]
async fn pages_have_no_gap_and_no_overlap() {
    let fixture = Fixture::new();
    let trail = trail(&fixture).await;
    let mut query = AuditQuery { outcome: Some(Outcome::Denied), limit: 17, ..AuditQuery::default() };
    let mut events = Vec::new();
    loop {
        let asked = query.clone();
        let page = fixture.read(move |reader| reader.audit_events(&asked)).await;
        events.extend(page.events);
        // Events that are added in between do not move the pages.
        fixture.write(|tx| tx.append(event("meanwhile"))).await;
        match page.next_cursor {
            Some(cursor) => query.cursor = cursor,
            None => break,
        }
    }
    let denied: Vec<Event> = trail.into_iter().filter(|event| event.outcome == Outcome::Denied).collect();
    assert_eq!(events, denied);
}
