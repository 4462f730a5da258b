//! Deterministic stand-in for a language model.

use std::{fmt, future};

use crate::{Description, Message, Model, Reply, ReplyFuture, ToolSpec};

type Plan = dyn Fn(&[Message], &[ToolSpec]) -> Reply + Send + Sync;

/// Model that is a function of the conversation.
pub struct Planner {
    plan: Box<Plan>,
    description: Description,
}

impl Planner {
    /// Builds a planner; `name` reads well in "No language model in use: … chooses the tools".
    pub fn new(
        name: impl Into<String>,
        plan: impl Fn(&[Message], &[ToolSpec]) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self { plan: Box::new(plan), description: Description { name: name.into(), server: None } }
    }
}

impl Model for Planner {
    fn complete<'a>(&'a self, messages: &'a [Message], tools: &'a [ToolSpec]) -> ReplyFuture<'a> {
        Box::pin(future::ready(Ok((self.plan)(messages, tools))))
    }

    fn description(&self) -> &Description {
        &self.description
    }
}

impl fmt::Debug for Planner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Planner").field("description", &self.description).finish_non_exhaustive()
    }
}
