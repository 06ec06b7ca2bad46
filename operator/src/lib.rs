//! The Kubernetes operator of Millrace. `reconcile` is the entry point that everything else serves.

pub mod admin;
pub mod apply;
pub mod brokers;
pub mod controller;
pub mod crd;
pub mod grant;
pub mod health;
pub mod manifest;
pub mod metrics;
pub mod names;
pub mod notice;
pub mod observe;
pub mod options;
pub mod plan;
pub mod quantity;
pub mod reconcile;
pub mod render;
pub mod restart;
pub mod status;
pub mod validate;
pub mod voters;

#[cfg(test)]
mod testing;
