//! Names for contents.

use sha2::{Digest as _, Sha256};

/// The first 64 bits of the SHA-256 of all parts, in 16 digits.
pub(crate) fn short<Part: AsRef<[u8]>>(parts: impl IntoIterator<Item = Part>) -> String {
    let hash = parts.into_iter().fold(Sha256::new(), Sha256::chain_update).finalize();
    let first = hash.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{first:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_beginning_of_sha256() {
        assert_eq!(short(["a", "bc"]), "ba7816bf8f01cfea");
    }
}
