//! Kubernetes quantities of bytes.

use anyhow::{Context, Result};

const UNITS: [(&str, u64); 9] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("", 1),
];

pub(super) fn bytes(text: &str) -> Result<u64> {
    let read = |(suffix, unit): (&str, u64)| {
        let number: f64 = text.strip_suffix(suffix)?.parse().ok().filter(|number| 0.0 <= *number)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "sizes of volumes stay far below 2^53"
        )]
        Some((number * unit as f64).ceil() as u64)
    };
    UNITS.into_iter().find_map(read).with_context(|| format!("{text:?} is not a size, such as 10Gi"))
}

/// In the largest binary unit that divides it.
pub(super) fn text(bytes: u64) -> String {
    let unit = UNITS[..4].iter().rev().find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(suffix, unit)| format!("{}{suffix}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_and_written() {
        for (given, expected, written) in [
            ("10Gi", 10 << 30, "10Gi"),
            ("0.5Gi", 512 << 20, "512Mi"),
            ("300M", 300_000_000, "300000000"),
            ("1025Ki", 1025 << 10, "1025Ki"),
            ("7", 7, "7"),
        ] {
            assert_eq!(bytes(given).unwrap(), expected);
            assert_eq!(text(expected), written);
        }
        for wrong in ["", "Gi", "ten", "-1Gi", "10gb"] {
            assert!(bytes(wrong).unwrap_err().to_string().contains("not a size"), "{wrong}");
        }
    }
}
