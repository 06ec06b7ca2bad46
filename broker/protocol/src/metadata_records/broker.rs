//! Registrations of brokers and controllers.

use super::DecodeError;
use super::wire::{Reader, Tag, Tags, Writer};
use crate::types::{BrokerEpoch, BrokerId, DirectoryId, IncarnationId};

/// Its offset in the log becomes the broker epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterBrokerRecord {
    pub broker_id: BrokerId,
    pub incarnation_id: IncarnationId,
    pub broker_epoch: BrokerEpoch,
    pub endpoints: Vec<Endpoint>,
    pub features: Vec<FeatureRange>,
    pub rack: Option<String>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    pub log_dirs: Vec<DirectoryId>,
}

/// What is not given does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerRegistrationChangeRecord {
    pub broker_id: BrokerId,
    pub broker_epoch: BrokerEpoch,
    pub fenced: Option<bool>,
    /// A broker leaves controlled shutdown only by registering again.
    pub enters_controlled_shutdown: bool,
    /// Empty: unchanged.
    pub log_dirs: Vec<DirectoryId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterControllerRecord {
    pub controller_id: BrokerId,
    pub incarnation_id: IncarnationId,
    pub endpoints: Vec<Endpoint>,
    pub features: Vec<FeatureRange>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The name of the listener.
    pub name: String,
    pub host: String,
    pub port: u16,
    /// Kafka's number; 0 is PLAINTEXT.
    pub security_protocol: i16,
}

/// The levels of a feature that a node supports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureRange {
    pub name: String,
    pub min: i16,
    pub max: i16,
}

impl RegisterBrokerRecord {
    pub(super) fn encode(&self, w: &mut Writer) {
        w.i32(self.broker_id.0);
        w.bool(false); // a ZooKeeper broker in migration
        w.uuid(self.incarnation_id.0);
        w.i64(self.broker_epoch.0);
        put_endpoints(w, &self.endpoints);
        put_features(w, &self.features);
        w.nullable_string(self.rack.as_deref());
        w.bool(self.fenced);
        w.bool(self.in_controlled_shutdown);
        let mut tags = Tags::default();
        if !self.log_dirs.is_empty() {
            tags.put(0, |w| put_directories(w, &self.log_dirs));
        }
        w.tags(tags);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let broker_id = BrokerId(r.i32("broker id")?);
        r.bool("is migrating ZooKeeper broker")?;
        let mut record = Self {
            broker_id,
            incarnation_id: IncarnationId(r.uuid("incarnation id")?),
            broker_epoch: BrokerEpoch(r.i64("broker epoch")?),
            endpoints: take_endpoints(r)?,
            features: take_features(r)?,
            rack: r.nullable_string("rack")?,
            fenced: r.bool("fenced")?,
            in_controlled_shutdown: r.bool("in controlled shutdown")?,
            log_dirs: Vec::new(),
        };
        r.tags(|tag, r| match tag {
            0 => {
                record.log_dirs = take_directories(r)?;
                Ok(Tag::Known)
            }
            _ => Ok(Tag::Unknown),
        })?;
        Ok(record)
    }
}

impl BrokerRegistrationChangeRecord {
    pub(super) fn encode(&self, w: &mut Writer) {
        w.i32(self.broker_id.0);
        w.i64(self.broker_epoch.0);
        let mut tags = Tags::default();
        if let Some(fenced) = self.fenced {
            tags.put(0, |w| w.i8(if fenced { 1 } else { -1 }));
        }
        if self.enters_controlled_shutdown {
            tags.put(1, |w| w.i8(1));
        }
        if !self.log_dirs.is_empty() {
            tags.put(2, |w| put_directories(w, &self.log_dirs));
        }
        w.tags(tags);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut record = Self {
            broker_id: BrokerId(r.i32("broker id")?),
            broker_epoch: BrokerEpoch(r.i64("broker epoch")?),
            fenced: None,
            enters_controlled_shutdown: false,
            log_dirs: Vec::new(),
        };
        r.tags(|tag, r| {
            match tag {
                0 => {
                    record.fenced = match r.i8("fenced")? {
                        -1 => Some(false),
                        0 => None,
                        1 => Some(true),
                        other => return Err(DecodeError::BadValue { field: "fenced", found: other.into() }),
                    }
                }
                1 => record.enters_controlled_shutdown = r.bool("in controlled shutdown")?,
                2 => record.log_dirs = take_directories(r)?,
                _ => return Ok(Tag::Unknown),
            }
            Ok(Tag::Known)
        })?;
        Ok(record)
    }
}

impl RegisterControllerRecord {
    pub(super) fn encode(&self, w: &mut Writer) {
        w.i32(self.controller_id.0);
        w.uuid(self.incarnation_id.0);
        w.bool(false); // ready for a migration from ZooKeeper
        put_endpoints(w, &self.endpoints);
        put_features(w, &self.features);
        w.no_tags();
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let controller_id = BrokerId(r.i32("controller id")?);
        let incarnation_id = IncarnationId(r.uuid("incarnation id")?);
        r.bool("ZooKeeper migration ready")?;
        let (endpoints, features) = (take_endpoints(r)?, take_features(r)?);
        r.skip_tags()?;
        Ok(Self { controller_id, incarnation_id, endpoints, features })
    }
}

pub(super) fn put_directories(w: &mut Writer, directories: &[DirectoryId]) {
    w.array(directories, |w, directory| w.uuid(directory.0));
}

pub(super) fn take_directories(r: &mut Reader<'_>) -> Result<Vec<DirectoryId>, DecodeError> {
    r.array("directories", 16, |r| r.uuid("directory").map(DirectoryId))
}

fn put_endpoints(w: &mut Writer, endpoints: &[Endpoint]) {
    w.array(endpoints, |w, endpoint| {
        w.string(&endpoint.name);
        w.string(&endpoint.host);
        w.u16(endpoint.port);
        w.i16(endpoint.security_protocol);
        w.no_tags();
    });
}

fn take_endpoints(r: &mut Reader<'_>) -> Result<Vec<Endpoint>, DecodeError> {
    r.array("endpoints", 7, |r| {
        let endpoint = Endpoint {
            name: r.string("endpoint name")?,
            host: r.string("endpoint host")?,
            port: r.u16("endpoint port")?,
            security_protocol: r.i16("security protocol")?,
        };
        r.skip_tags()?;
        Ok(endpoint)
    })
}

fn put_features(w: &mut Writer, features: &[FeatureRange]) {
    w.array(features, |w, feature| {
        w.string(&feature.name);
        w.i16(feature.min);
        w.i16(feature.max);
        w.no_tags();
    });
}

fn take_features(r: &mut Reader<'_>) -> Result<Vec<FeatureRange>, DecodeError> {
    r.array("features", 6, |r| {
        let feature = FeatureRange {
            name: r.string("feature name")?,
            min: r.i16("least feature level")?,
            max: r.i16("greatest feature level")?,
        };
        r.skip_tags()?;
        Ok(feature)
    })
}
