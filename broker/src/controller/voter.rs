//! A voter of the metadata quorum, and its text form.

use std::str::FromStr;

use protocol::types::{BrokerId, DirectoryId};

/// A controller by node and volume (KIP-853), with the address of its controller listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Voter {
    pub(crate) id: BrokerId,
    pub(crate) directory_id: DirectoryId,
    pub(crate) host: String,
    pub(crate) port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a voter: {expected}")]
pub(crate) struct InvalidVoter {
    text: String,
    expected: &'static str,
}

impl Voter {
    /// `endpoint` is `host:port`.
    pub(crate) fn new(id: i32, directory_id: &str, endpoint: &str) -> Result<Self, InvalidVoter> {
        let invalid = |text: &str, expected| InvalidVoter { text: text.to_owned(), expected };
        let directory_id =
            directory_id.parse().map_err(|_| invalid(directory_id, "its directory id must be a UUID"))?;
        let (host, port) = endpoint.rsplit_once(':').ok_or_else(|| invalid(endpoint, "its endpoint is host:port"))?;
        let port = port.parse().map_err(|_| invalid(endpoint, "its port is a number up to 65535"))?;
        if id < 0 || host.is_empty() {
            return Err(invalid(endpoint, "it needs an id from 0 and a host"));
        }
        Ok(Self { id: BrokerId(id), directory_id, host: host.to_owned(), port })
    }
}

impl FromStr for Voter {
    type Err = InvalidVoter;

    /// `ID@HOST:PORT:DIRECTORY-ID`, as `kafka-storage format --initial-controllers`.
    fn from_str(text: &str) -> Result<Self, InvalidVoter> {
        let invalid = || InvalidVoter { text: text.to_owned(), expected: "expected ID@HOST:PORT:DIRECTORY-ID" };
        let (id, rest) = text.split_once('@').ok_or_else(invalid)?;
        let (endpoint, directory_id) = rest.rsplit_once(':').ok_or_else(invalid)?;
        Self::new(id.parse().map_err(|_| invalid())?, directory_id, endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_kafkas_notation() {
        let voter: Voter = "3@broker-3.example:9093:MkU3OEVBNTcwNTJENDM2Qg".parse().unwrap();
        assert_eq!((voter.id, voter.host.as_str(), voter.port), (BrokerId(3), "broker-3.example", 9093));
        for bad in ["", "3", "3@h:9093", "x@h:9093:MkU3OEVBNTcwNTJENDM2Qg", "3@h:99999:MkU3OEVBNTcwNTJENDM2Qg"] {
            assert!(bad.parse::<Voter>().is_err(), "{bad}");
        }
    }
}
