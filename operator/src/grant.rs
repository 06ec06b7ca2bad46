//! A restart that clients do not notice: the active controller is asked first. It checks the partitions and the
//! quorum as they will be without the broker, and moves leaders away; until that is done it answers that it is not
//! safe to stop.
//!
//! A grant is in the memory of the controller that gave it. So it is requested once more just before the pod is
//! deleted, and after a change of the controller everything starts anew.

use std::collections::BTreeMap;

use protocol::types::BrokerId;

use crate::admin::{AdminError, AdminTarget, BrokerAdmin, RestartGrant, RestartGrantRequest};

/// Long enough to delete a pod and for its broker to begin its shutdown. The next registration ends the grant.
const TTL_MS: u64 = 60_000;
/// Redirections to another controller before the operator observes the cluster again.
const REDIRECTIONS_MAX: usize = 2;

/// Everything needed to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantCall {
    /// Where to ask first.
    pub controller: BrokerId,
    pub targets: BTreeMap<BrokerId, AdminTarget>,
    pub request: RestartGrantRequest,
}

impl GrantCall {
    pub fn new(
        controller: BrokerId,
        targets: BTreeMap<BrokerId, AdminTarget>,
        broker: BrokerId,
        broker_epoch: i64,
        reason: String,
    ) -> Self {
        let request = RestartGrantRequest { broker: broker.0, broker_epoch, ttl_ms: TTL_MS, reason };
        Self { controller, targets, request }
    }
}

/// Why a broker must not be restarted yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// Granted; the rest is done in moments.
    #[error("partitions that it leads and hands over first: {leaders_left}")]
    HandsOver { leaders_left: u64 },
    #[error("{0}")]
    Refused(String),
}

/// Asks until it is safe to stop, twice by the same controller.
pub async fn ask(admin: &dyn BrokerAdmin, call: &GrantCall) -> Result<Result<(), NotYet>, AdminError> {
    let first = match attempt(admin, call).await? {
        Ok(grant) => grant,
        Err(refusal) => return Ok(Err(NotYet::Refused(refusal))),
    };
    if !first.safe_to_stop {
        return Ok(Err(what_is_left(&first)));
    }
    Ok(match attempt(admin, call).await? {
        Ok(again) if again.controller_epoch != first.controller_epoch => {
            Err(NotYet::Refused("the controller changed".to_owned()))
        }
        Ok(again) if !again.safe_to_stop => Err(what_is_left(&again)),
        Ok(_) => Ok(()),
        Err(refusal) => Err(NotYet::Refused(refusal)),
    })
}

fn what_is_left(grant: &RestartGrant) -> NotYet {
    if grant.obstacles.is_empty() {
        return NotYet::HandsOver { leaders_left: grant.leaders_left };
    }
    NotYet::Refused(grant.obstacles.join("; "))
}

async fn attempt(admin: &dyn BrokerAdmin, call: &GrantCall) -> Result<Result<RestartGrant, String>, AdminError> {
    let mut controller = call.controller;
    for _ in 0..=REDIRECTIONS_MAX {
        let Some(target) = call.targets.get(&controller) else {
            return Ok(Err(format!("the active controller is broker {controller}, which does not run")));
        };
        match admin.restart_grant(target.clone(), call.request.clone()).await {
            Ok(grant) => return Ok(Ok(grant)),
            Err(AdminError::Refused { status: 409, detail, .. }) => return Ok(Err(detail)),
            Err(AdminError::NotController { controller: Some(other), .. }) if other != controller.0 => {
                controller = BrokerId(other);
            }
            Err(AdminError::NotController { .. }) => break,
            Err(other) => return Err(other),
        }
    }
    Ok(Err("no controller is active".to_owned()))
}

#[cfg(test)]
#[path = "grant_test.rs"]
mod grant_test;
