//! What takes long to make is made once and kept in the user's cache directory, under the hash of its sources.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::hash;

/// `NAME-HASH` in the cache, whether it is there or not.
pub(crate) fn entry<C: AsRef<[u8]>>(name: &str, made_from: impl IntoIterator<Item = C>) -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .with_context(|| format!("neither XDG_CACHE_HOME nor HOME says where to keep {name}"))?;
    Ok(cache.join("millrace").join(format!("{name}-{}", hash::short(made_from))))
}

/// The cache itself, locked for one maker of `name` for as long as the file is open.
pub(crate) fn lock(entry: &std::path::Path, name: &str) -> Result<(PathBuf, File)> {
    let cache = entry.parent().context("the cache directory has no parent")?;
    fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let lock = File::create(cache.join(format!("{name}.lock")))?;
    lock.lock()?;
    Ok((cache.to_owned(), lock))
}
