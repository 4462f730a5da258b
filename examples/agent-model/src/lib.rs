#![doc = include_str!("../README.md")]

mod message;
mod model;
mod openai;
mod planner;
#[cfg(feature = "test-server")]
pub mod test_server;

pub use self::{
    message::{InvalidArguments, Message, Reply, ToolCall, ToolSpec},
    model::{Description, Model, ModelError, ReplyFuture},
    openai::{OpenAiClient, model_from_env},
    planner::Planner,
};
