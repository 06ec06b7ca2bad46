//! The committed corpus: what engines have found, one file for each target, each line an input in hexadecimal. The
//! seeds are not in it: they are made anew from the project's own encoders.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::Target;

pub type Inputs = BTreeSet<Vec<u8>>;

pub fn file(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{}.hex", target.name))
}

pub fn read(target: &Target) -> Result<Inputs> {
    let path = file(target);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let inputs = text.lines().map(|line| decode(line).with_context(|| format!("{}: {line}", path.display())));
    inputs.collect()
}

/// Everything that a run begins with.
pub fn with_seeds(target: &Target) -> Result<Inputs> {
    let mut inputs = read(target)?;
    inputs.extend((target.seeds)());
    Ok(inputs)
}

/// The shortest first.
pub fn write(target: &Target, inputs: &Inputs) -> Result<()> {
    let mut sorted: Vec<_> = inputs.iter().collect();
    sorted.sort_by_key(|input| input.len());
    let lines: String = sorted.into_iter().map(|input| encode(input) + "\n").collect();
    let path = file(target);
    fs::write(&path, lines).with_context(|| format!("cannot write {}", path.display()))
}

fn encode(input: &[u8]) -> String {
    input.iter().fold(String::new(), |line, byte| line + &format!("{byte:02x}"))
}

fn decode(line: &str) -> Result<Vec<u8>> {
    let digits = |at| line.get(at..at + 2).context("half a byte");
    (0..line.len()).step_by(2).map(|at| Ok(u8::from_str_radix(digits(at)?, 16)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_inputs() {
        let input: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&input)).unwrap(), input);
        assert!(decode("").unwrap().is_empty());
        assert!(decode("0").is_err() && decode("0g").is_err());
    }
}
