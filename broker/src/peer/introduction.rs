//! How nodes identify themselves: in tagged fields in the answer to ApiVersions, which other software skips. So a
//! node at an address that formerly was another's is noticed before anything is sent to it.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use protocol::types::{BrokerId, ClusterId, IncarnationId};
use uuid::Uuid;

/// The client software name of our nodes.
pub(crate) const CLIENT_SOFTWARE: &str = "millrace";
const INCARNATION: i32 = 21_000;
const NODE: i32 = 21_001;
const CLUSTER: i32 = 21_002;

/// A node's identity, as far as it tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Introduction {
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) node: Option<BrokerId>,
    /// The incarnation of the process.
    pub(crate) incarnation: Option<IncarnationId>,
}

impl Introduction {
    pub(crate) fn read(fields: &BTreeMap<i32, Bytes>) -> Self {
        let text = |tag| std::str::from_utf8(fields.get(&tag)?).ok();
        let number = |tag| Some(i32::from_be_bytes(fields.get(&tag)?.as_ref().try_into().ok()?));
        Self {
            cluster: text(CLUSTER).and_then(|id| id.parse().ok()),
            node: number(NODE).map(BrokerId),
            incarnation: fields.get(&INCARNATION).and_then(|id| Uuid::from_slice(id).ok()).map(IncarnationId),
        }
    }

    pub(crate) fn write(&self, fields: &mut BTreeMap<i32, Bytes>) {
        if let Some(cluster) = &self.cluster {
            fields.insert(CLUSTER, Bytes::copy_from_slice(cluster.as_str().as_bytes()));
        }
        if let Some(node) = self.node {
            fields.insert(NODE, Bytes::copy_from_slice(&node.0.to_be_bytes()));
        }
        if let Some(incarnation) = self.incarnation {
            fields.insert(INCARNATION, Bytes::copy_from_slice(incarnation.0.as_bytes()));
        }
    }

    /// Whether everything in `meant` is present and equal.
    pub(crate) fn is_of(&self, meant: &Self) -> bool {
        (meant.cluster.is_none() || self.cluster == meant.cluster)
            && (meant.node.is_none() || self.node == meant.node)
            && (meant.incarnation.is_none() || self.incarnation == meant.incarnation)
    }
}

impl fmt::Display for Introduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "node {node}")?,
            None => f.write_str("a node that does not say which")?,
        }
        match &self.cluster {
            Some(cluster) => write!(f, " of cluster {cluster}"),
            None => f.write_str(" of no cluster that it names"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_not_understood_is_not_known() {
        let whole = Introduction {
            cluster: Some("4L6g3nShT-eMCtK--X86sw".parse().unwrap()),
            node: Some(BrokerId(3)),
            incarnation: Some(IncarnationId(Uuid::from_u128(7))),
        };
        let mut fields = BTreeMap::new();
        whole.write(&mut fields);
        assert_eq!(Introduction::read(&fields), whole);
        for field in fields.values_mut() {
            *field = Bytes::from_static(b"?");
        }
        assert_eq!(Introduction::read(&fields), Introduction::default());
    }

    #[test]
    fn who_is_meant_is_who_says_all_of_it() {
        let of = |cluster: Option<&str>, node: Option<i32>| Introduction {
            cluster: cluster.map(|id| id.parse().unwrap()),
            node: node.map(BrokerId),
            incarnation: None,
        };
        let table = [
            (of(Some("a"), Some(1)), of(Some("a"), Some(1)), true),
            (of(Some("a"), Some(2)), of(Some("a"), Some(1)), false),
            (of(Some("b"), Some(1)), of(Some("a"), Some(1)), false),
            (of(None, None), of(Some("a"), Some(1)), false),
            (of(Some("a"), Some(2)), of(Some("a"), None), true),
        ];
        for (found, meant, is_meant) in table {
            assert_eq!(found.is_of(&meant), is_meant, "{found} instead of {meant}");
        }
    }
}
