//! `meta.properties`: the owner of a directory's data (KIP-858). A Java properties file:
//!
//! ```text
//! version=1
//! cluster.id=4L6g3nShT-eMCtK--X86sw
//! node.id=3
//! directory.id=MkU3OEVBNTcwNTJENDM2Qg
//! ```

use std::collections::HashMap;

use protocol::types::{BrokerId, ClusterId, DirectoryId};

pub(crate) const FILE_NAME: &str = "meta.properties";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaProperties {
    pub cluster_id: ClusterId,
    pub node_id: BrokerId,
    pub directory_id: DirectoryId,
}

impl MetaProperties {
    pub(crate) fn encode(&self) -> String {
        let Self { cluster_id, node_id, directory_id } = self;
        format!("version=1\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={directory_id}\n")
    }

    /// The error names the missing or invalid line.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
        let properties = properties(text);
        let get = |name: &str| properties.get(name).ok_or_else(|| format!("{name} is missing"));
        let version = get("version")?;
        if version != "1" {
            return Err(format!("version={version}, expected version=1"));
        }
        let node_id = get("node.id")?;
        let number = node_id.parse().ok().filter(|id| 0 <= *id);
        Ok(Self {
            cluster_id: get("cluster.id")?.parse().map_err(|error| format!("cluster.id: {error}"))?,
            node_id: BrokerId(number.ok_or_else(|| format!("node.id={node_id} is no node id"))?),
            directory_id: get("directory.id")?.parse().map_err(|error| format!("directory.id: {error}"))?,
        })
    }
}

/// `name=value` or `name:value` per line, `#` or `!` before a comment, a backslash before a character to be taken
/// literally. Values here need nothing else of Java's format.
fn properties(text: &str) -> HashMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '!']));
    let pairs = lines.filter_map(|line| line.split_once(['=', ':']));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().replace('\\', ""))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> MetaProperties {
        MetaProperties {
            cluster_id: "4L6g3nShT-eMCtK--X86sw".parse().unwrap(),
            node_id: BrokerId(3),
            directory_id: "MkU3OEVBNTcwNTJENDM2Qg".parse().unwrap(),
        }
    }

    #[test]
    fn survives_the_round_trip_and_reads_what_kafka_writes() {
        assert_eq!(MetaProperties::parse(sample().encode().as_bytes()), Ok(sample()));
        let kafkas = "#\n#Sun Nov 22 10:00:00 UTC 2026\ncluster.id=4L6g3nShT-eMCtK--X86sw\nversion=1\n\
                      directory.id=MkU3OEVBNTcwNTJENDM2Qg\nnode.id=3\n";
        assert_eq!(MetaProperties::parse(kafkas.as_bytes()), Ok(sample()));
    }

    #[test]
    fn names_what_is_wrong() {
        let table = [
            ("version=1\n", "version=0\n", "version=0"),
            ("node.id=3\n", "", "node.id is missing"),
            ("node.id=3\n", "node.id=-3\n", "node.id=-3"),
            ("directory.id=M", "directory.id=", "directory.id: "),
            ("cluster.id=4", "cluster.id= /", "cluster.id: "),
        ];
        for (from, to, named) in table {
            let error = MetaProperties::parse(sample().encode().replace(from, to).as_bytes()).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
