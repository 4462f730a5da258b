#![doc = include_str!("../README.md")]

pub mod desk;
pub mod headless;
mod made_up;
pub mod planner;
pub mod run;
pub mod service;
mod store;
mod tools;
pub mod web;

pub use demo_common::Failure;

pub use self::{
    made_up::{Expected, PreparedTicket, TICKETS},
    store::{
        AccountStatus, Article, Balance, Customer, Mail, Note, REFUND_LIMIT, Refund, Refused, SenderCheck, Store,
        Ticket,
    },
};
