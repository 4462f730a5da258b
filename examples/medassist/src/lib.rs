#![doc = include_str!("../README.md")]

mod api;
pub mod assistant;
pub mod connect;
pub mod encounter;
pub mod hospital;
mod patient_id;
pub mod scene;
mod store;
pub mod trace;
mod visitor;
pub mod web;

pub use self::{
    api::routes,
    patient_id::PatientId,
    store::{Store, StoreError},
};

/// Any error that stops the example.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
