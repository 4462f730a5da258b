#![doc = include_str!("../README.md")]

mod api;
pub mod assistant;
pub mod encounter;
pub mod hospital;
mod patient_id;
pub mod scene;
mod store;
pub mod trace;
pub mod web;

pub use demo_common::Failure;

pub use self::{
    api::routes,
    patient_id::PatientId,
    store::{Store, StoreError},
};
