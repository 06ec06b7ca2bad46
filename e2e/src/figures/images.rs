//! The size of the images: the binary in each, uncompressed.

use super::row::Row;
use super::samples::Samples;
use crate::images::Images;

pub fn measure(images: &Images) -> Vec<Row> {
    let row = |what: &str, bytes| Row::new(what, "MiB", 1, Samples::one(mebibytes(bytes))).at_most(25.0);
    vec![row("broker image", images.broker.bytes), row("operator image", images.operator.bytes)]
}

#[expect(clippy::cast_precision_loss, reason = "told with one decimal")]
pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
