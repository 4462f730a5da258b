//! Lists of audit events, and ranks in them.
//!
//! 1. A *kind* is event type and outcome in one: there are 50.
//! 2. An event is in several lists: all events, those of its agent, its task, its app, of agent and task, of task and
//!    app. Each list has an index by kind and sequence.
//! 3. Each event carries its number among those of its kind in each of its lists. So its *rank*, the number of
//!    selected events up to it, takes one look-up per kind, and a number of events is the difference of two ranks.

use crate::audit::{EventType, Outcome};

/// A list of events, by the numbers of the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum List {
    /// All events.
    All,
    /// Events of an agent.
    Agent(i64),
    /// Events of a task.
    Task(i64),
    /// Events of an app.
    App(i64),
    /// Events of an agent in a task.
    AgentTask(i64, i64),
    /// Events of a task in an app.
    TaskApp(i64, i64),
}

impl List {
    /// Numbers of its names.
    pub(super) fn names(self) -> [Option<i64>; 2] {
        match self {
            Self::All => [None, None],
            Self::Agent(name) | Self::Task(name) | Self::App(name) => [Some(name), None],
            Self::AgentTask(first, second) | Self::TaskApp(first, second) => [Some(first), Some(second)],
        }
    }
}

/// Lists of one event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lists {
    pub(super) agent: Option<List>,
    pub(super) task: Option<List>,
    pub(super) app: Option<List>,
    pub(super) agent_task: Option<List>,
    pub(super) task_app: Option<List>,
}

impl Lists {
    pub(super) fn of(agent: Option<i64>, task: Option<i64>, app: Option<i64>) -> Self {
        Self {
            agent: agent.map(List::Agent),
            task: task.map(List::Task),
            app: app.map(List::App),
            agent_task: agent.zip(task).map(|(agent, task)| List::AgentTask(agent, task)),
            task_app: task.zip(app).map(|(task, app)| List::TaskApp(task, app)),
        }
    }

    pub(super) fn all(self) -> impl Iterator<Item = List> {
        let Self { agent, task, app, agent_task, task_app } = self;
        [Some(List::All), agent, task, app, agent_task, task_app].into_iter().flatten()
    }
}

/// Event type and outcome in one number.
pub(super) fn kind(event_type: EventType, outcome: Outcome) -> i64 {
    i64::from(event_type.code()) * 2 + i64::from(outcome == Outcome::Denied)
}

pub(super) fn from_kind(kind: i64) -> Option<(EventType, Outcome)> {
    let event_type = EventType::from_code(u8::try_from(kind / 2).ok()?)?;
    Some((event_type, if kind % 2 == 0 { Outcome::Success } else { Outcome::Denied }))
}

/// A stretch of the trail, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
}
