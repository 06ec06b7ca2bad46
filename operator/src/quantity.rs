//! Kubernetes quantities: as bytes, to compare sizes of volumes, and whether two notations are equal.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The value in whole bytes, rounded up as Kubernetes does. `None`: not a quantity, or negative, or beyond 2^63−1.
pub fn bytes(quantity: &Quantity) -> Option<u64> {
    let (numerator, denominator) = fraction(&quantity.0)?;
    let rounded_up = numerator.checked_add(denominator - 1)? / denominator;
    i64::try_from(rounded_up).ok().and_then(|value| u64::try_from(value).ok())
}

/// Whether both are the same amount: the API server gives `1000m` back as `1`.
pub fn same(one: &str, other: &str) -> bool {
    let equal = || {
        let ((a, b), (c, d)) = (fraction(one)?, fraction(other)?);
        Some(a.checked_mul(d)? == c.checked_mul(b)?)
    };
    one == other || equal() == Some(true)
}

/// The exact value, as numerator and denominator.
fn fraction(text: &str) -> Option<(i128, i128)> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || 18 < fraction.len() || fraction.contains('.') {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let places = u32::try_from(fraction.len()).ok()?;
    let (numerator, denominator) = multiplier(suffix)?;
    let denominator = denominator.checked_mul(10_i128.checked_pow(places)?)?;
    Some((digits.checked_mul(numerator)?, denominator))
}

fn multiplier(suffix: &str) -> Option<(i128, i128)> {
    if let Some(exponent) = suffix.strip_prefix(['e', 'E']).filter(|exponent| !exponent.is_empty()) {
        return match exponent.strip_prefix('-') {
            Some(places) => Some((1, 10_i128.checked_pow(places.parse().ok()?)?)),
            None => Some((10_i128.checked_pow(exponent.trim_start_matches('+').parse().ok()?)?, 1)),
        };
    }
    Some(match suffix {
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "" => (1, 1),
        "k" => (1000, 1),
        "M" => (10_i128.pow(6), 1),
        "G" => (10_i128.pow(9), 1),
        "T" => (10_i128.pow(12), 1),
        "P" => (10_i128.pow(15), 1),
        "E" => (10_i128.pow(18), 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("10Gi", Some(10 << 30)),
            ("1.5Gi", Some(1536 << 20)),
            ("1000", Some(1000)),
            ("+2k", Some(2000)),
            (".5Ki", Some(512)),
            ("1500m", Some(2)),
            ("1e3", Some(1000)),
            ("12E", None),
            ("1E", Some(10_u64.pow(18))),
            ("2e-1", Some(1)),
            ("", None),
            (".", None),
            ("1.2.3", None),
            ("-1Gi", None),
            ("10GB", None),
            ("9999999999999999999999Ei", None),
            ("1e99", None),
        ] {
            assert_eq!(bytes(&Quantity(text.to_owned())), expected, "{text}");
        }
    }

    #[test]
    fn amounts_are_the_same_however_they_are_written() {
        for (one, other, expected) in [
            ("1000m", "1", true),
            ("0.5", "500m", true),
            ("1024Mi", "1Gi", true),
            ("1.5Gi", "1536Mi", true),
            ("100m", "500m", false),
            ("1G", "1Gi", false),
            ("x", "x", true),
            ("x", "1", false),
        ] {
            assert_eq!(same(one, other), expected, "{one} {other}");
        }
    }
}
