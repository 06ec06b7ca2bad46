//! Kafka's wire and record formats, without IO: ids, frames, the API table, the guard that walks a request
//! before anything is decoded, record batches, records, configuration names.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod api;
pub mod batch;
pub mod batch_builder;
pub mod client;
pub mod config;
pub mod coordinator_records;
pub mod frame;
pub mod guard;
pub mod metadata_records;
pub mod produce;
pub mod records;
pub mod schema;
pub mod types;
