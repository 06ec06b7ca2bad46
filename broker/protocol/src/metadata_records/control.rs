//! Control records of the metadata log and its snapshots: the quorum's own state. They are in separate batches, made
//! with [`crate::batch_builder::BatchBuilder::control`]. The key is i16 version, i16 type; every value begins with
//! its version, which is 0 for all of them.

use super::wire::{Reader, Writer};
use super::{DecodeError, StringTooLong};
use crate::types::{BrokerId, DirectoryId, Timestamp};

const VERSION: i16 = 0;
/// Bytes of the key.
pub const KEY_LENGTH: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlRecord {
    /// The first record of every epoch.
    LeaderChange {
        leader_id: BrokerId,
        voters: Vec<BrokerId>,
        granting_voters: Vec<BrokerId>,
    },
    /// The first record of a snapshot.
    SnapshotHeader {
        last_contained_log_timestamp: Timestamp,
    },
    /// The last record of a snapshot. Without it the snapshot is incomplete.
    SnapshotFooter,
    /// In force from the moment it is appended, like the voters.
    KRaftVersion(i16),
    KRaftVoters(Vec<Voter>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    pub voter_id: BrokerId,
    pub directory_id: DirectoryId,
    pub endpoints: Vec<VoterEndpoint>,
    /// The kraft.version levels that the voter supports.
    pub kraft_version_min: i16,
    pub kraft_version_max: i16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoterEndpoint {
    /// The name of the listener.
    pub name: String,
    pub host: String,
    pub port: u16,
}

impl ControlRecord {
    /// Key and value.
    pub fn encode(&self) -> Result<([u8; KEY_LENGTH], Vec<u8>), StringTooLong> {
        let mut w = Writer::default();
        w.i16(VERSION);
        match self {
            Self::LeaderChange { leader_id, voters, granting_voters } => {
                w.i32(leader_id.0);
                put_voter_ids(&mut w, voters);
                put_voter_ids(&mut w, granting_voters);
            }
            Self::SnapshotHeader { last_contained_log_timestamp } => w.i64(last_contained_log_timestamp.0),
            Self::SnapshotFooter => {}
            Self::KRaftVersion(level) => w.i16(*level),
            Self::KRaftVoters(voters) => w.array(voters, put_voter),
        }
        w.no_tags();
        let [version_high, version_low] = VERSION.to_be_bytes();
        let [type_high, type_low] = self.type_id().to_be_bytes();
        Ok(([version_high, version_low, type_high, type_low], w.finish()?))
    }

    /// Transaction markers and unknown types are an error: they do not belong into these logs.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(key);
        expect_version(&mut r, "control key version")?;
        let type_id = r.i16("control type")?;
        r.end("control key")?;

        let mut r = Reader::new(value);
        expect_version(&mut r, "control value version")?;
        let record = match type_id {
            2 => Self::LeaderChange {
                leader_id: BrokerId(r.i32("leader id")?),
                voters: take_voter_ids(&mut r, "voters")?,
                granting_voters: take_voter_ids(&mut r, "granting voters")?,
            },
            3 => Self::SnapshotHeader { last_contained_log_timestamp: Timestamp(r.i64("last contained timestamp")?) },
            4 => Self::SnapshotFooter,
            5 => Self::KRaftVersion(r.i16("kraft version")?),
            6 => Self::KRaftVoters(r.array("voters", 27, take_voter)?),
            other => return Err(DecodeError::BadValue { field: "control type", found: other.into() }),
        };
        r.skip_tags()?;
        r.end("control value")?;
        Ok(record)
    }

    fn type_id(&self) -> i16 {
        match self {
            Self::LeaderChange { .. } => 2,
            Self::SnapshotHeader { .. } => 3,
            Self::SnapshotFooter => 4,
            Self::KRaftVersion(_) => 5,
            Self::KRaftVoters(_) => 6,
        }
    }
}

fn expect_version(r: &mut Reader<'_>, field: &'static str) -> Result<(), DecodeError> {
    match r.i16(field)? {
        VERSION => Ok(()),
        other => Err(DecodeError::BadValue { field, found: other.into() }),
    }
}

fn put_voter_ids(w: &mut Writer, voters: &[BrokerId]) {
    w.array(voters, |w, voter| {
        w.i32(voter.0);
        w.no_tags();
    });
}

fn take_voter_ids(r: &mut Reader<'_>, field: &'static str) -> Result<Vec<BrokerId>, DecodeError> {
    r.array(field, 5, |r| {
        let voter = BrokerId(r.i32(field)?);
        r.skip_tags()?;
        Ok(voter)
    })
}

fn put_voter(w: &mut Writer, voter: &Voter) {
    w.i32(voter.voter_id.0);
    w.uuid(voter.directory_id.0);
    w.array(&voter.endpoints, |w, endpoint| {
        w.string(&endpoint.name);
        w.string(&endpoint.host);
        w.u16(endpoint.port);
        w.no_tags();
    });
    w.i16(voter.kraft_version_min);
    w.i16(voter.kraft_version_max);
    w.no_tags(); // of the level range
    w.no_tags();
}

fn take_voter(r: &mut Reader<'_>) -> Result<Voter, DecodeError> {
    let voter = Voter {
        voter_id: BrokerId(r.i32("voter id")?),
        directory_id: DirectoryId(r.uuid("voter directory id")?),
        endpoints: r.array("voter endpoints", 5, |r| {
            let endpoint = VoterEndpoint {
                name: r.string("voter endpoint name")?,
                host: r.string("voter endpoint host")?,
                port: r.u16("voter endpoint port")?,
            };
            r.skip_tags()?;
            Ok(endpoint)
        })?,
        kraft_version_min: r.i16("least kraft version")?,
        kraft_version_max: r.i16("greatest kraft version")?,
    };
    r.skip_tags()?;
    r.skip_tags()?;
    Ok(voter)
}
