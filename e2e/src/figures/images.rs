//! How large the images are: the one binary in each, uncompressed.

use super::{Figure, mebibytes};
use crate::images::Images;

pub fn measure(images: &Images) -> Vec<Figure> {
    vec![
        Figure { what: "broker image", measured: mebibytes(images.broker.bytes), promised: "25 MiB" },
        Figure { what: "operator image", measured: mebibytes(images.operator.bytes), promised: "25 MiB" },
    ]
}
