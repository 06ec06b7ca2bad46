use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::Mmap;

/// The bytes of a file, read-only: mapped, or copied if there is nothing to map.
#[derive(Debug)]
pub struct Mapping(Bytes);

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Copied(Vec<u8>),
}

impl Mapping {
    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            return Ok(Self(Bytes::Copied(Vec::new())));
        }
        #[expect(
            unsafe_code,
            reason = "Sound as long as nobody shortens or changes the file under the mapping. Only index files of \
                      closed segments are mapped: they are written once, before the first mapping, and replaced or \
                      removed by name, never in place. The directory is locked against other processes."
        )]
        let map = unsafe { Mmap::map(file)? };
        Ok(Self(Bytes::Mapped(map)))
    }
}

impl From<Vec<u8>> for Mapping {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Bytes::Copied(bytes))
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(map) => map,
            Bytes::Copied(bytes) => bytes,
        }
    }
}
