//! Kafka's wire and record formats, without IO: ids, frames, the API table, the guard that walks a request
//! before anything is decoded, record batches, records, configuration names.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod batch;
pub mod types;
