#![doc = include_str!("../README.md")]

mod client;
pub mod desk;
pub mod headless;
mod made_up;
pub mod planner;
pub mod run;
pub mod service;
mod store;
mod tools;
pub mod web;

pub use self::{
    made_up::{Expected, PreparedTicket, TICKETS},
    store::{Article, Balance, Customer, Mail, Note, REFUND_LIMIT, Refund, Refused, SenderCheck, Store, Ticket},
};

/// Any error that stops the example.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
