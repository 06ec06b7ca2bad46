//! A broker's state with the controller, and what it must send next. Pure.
//!
//! ```text
//! register ──▶ own registration replayed here ──▶ asks to be unfenced ──▶ heartbeats ──▶ asks to leave ──▶ granted
//!    ▲                                                                        │
//!    └─────────────── the controller does not know this epoch ────────────────┘
//! ```
//!
//! Changes are sent at once, otherwise a heartbeat when it is due. Changes are: the registration has been replayed,
//! the broker is told to stop, another controller leads, which has yet to hear of this broker, or another broker is
//! stopping, which must wait until all know that it no longer leads.

use std::time::Duration;

use protocol::types::{BrokerEpoch, BrokerId, IncarnationId, LeaderEpoch, Offset};

use crate::peer::{Heartbeat, HeartbeatAnswer, Refusal};

/// Pause before a refused request is repeated, and between heartbeats that wait for a change.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the controller may take to move leaders away before a broker stops without its consent.
const LEAVE_MAX: Duration = Duration::from_mins(1);
/// A new controller starts the session of the former process anew.
const DUPLICATE_SESSIONS: u32 = 2;

#[derive(Debug, Clone, Copy)]
pub(super) struct LifeCycleConfig {
    pub(super) heartbeat_interval: Duration,
    pub(super) session_timeout: Duration,
    /// Time allowed for the first registration.
    pub(super) registration_max: Duration,
}

/// What the node sees in its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Observed {
    /// This broker's registration.
    pub(super) registered: Option<(BrokerEpoch, IncarnationId)>,
    pub(super) metadata_end: Offset,
    pub(super) controller: Option<(BrokerId, LeaderEpoch)>,
    /// Brokers in controlled shutdown.
    pub(super) departing: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Register { previous_epoch: Option<BrokerEpoch> },
    Heartbeat(Heartbeat),
    WaitUntil(Duration),
    Leave(Departure),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Departure {
    /// The broker no longer leads anything.
    Granted,
    NotGranted(&'static str),
    /// The broker cannot go on.
    Failed(LifeCycleError),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LifeCycleError {
    #[error(
        "another process is registered under this node.id and lives: every node of a cluster needs a number of its own"
    )]
    Duplicate,
    #[error("{0}")]
    Refused(Refusal),
    #[error("not registered within initial.broker.registration.timeout.ms: {0}")]
    TooLate(Refusal),
}

/// Times are relative to any origin.
#[derive(Debug)]
pub(super) struct LifeCycle {
    config: LifeCycleConfig,
    incarnation: IncarnationId,
    standing: Standing,
    /// The current epoch; before the first registration that of the last process.
    epoch: Option<BrokerEpoch>,
    observed: Observed,
    /// When something must be sent, at the latest.
    due: Duration,
    began: Duration,
    duplicate_since: Option<Duration>,
    /// The last answer of a controller.
    heard: Duration,
    /// When it was told to stop.
    leaving_since: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// `has_been`: it was, under an epoch that the controller has forgotten.
    Registering {
        previous_epoch: Option<BrokerEpoch>,
        has_been: bool,
    },
    Registered(BrokerEpoch),
    Leaves(Departure),
}

impl LifeCycle {
    /// `previous_epoch`: left by a clean stop.
    pub(super) fn new(
        config: LifeCycleConfig,
        incarnation: IncarnationId,
        previous_epoch: Option<BrokerEpoch>,
        now: Duration,
    ) -> Self {
        Self {
            config,
            incarnation,
            standing: Standing::Registering { previous_epoch, has_been: false },
            epoch: previous_epoch,
            observed: Observed { registered: None, metadata_end: Offset(0), controller: None, departing: 0 },
            due: now,
            began: now,
            duplicate_since: None,
            heard: now,
            leaving_since: None,
        }
    }

    pub(super) fn observe(&mut self, observed: Observed, now: Duration) {
        let is_fit_before = self.is_fit();
        let has_other_controller = observed.controller.is_some() && observed.controller != self.observed.controller;
        let is_waited_for = self.observed.departing < observed.departing;
        self.observed = observed;
        if has_other_controller || is_waited_for || self.is_fit() != is_fit_before {
            self.due = now;
        }
    }

    pub(super) fn leave(&mut self, now: Duration) {
        if self.leaving_since.is_none() {
            self.leaving_since = Some(now);
            self.due = now;
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving_since.is_some()
    }

    pub(super) fn next(&mut self, now: Duration) -> Step {
        let late = self.leaving_since.and_then(|since| self.leaves_anyway(since, now));
        if let Some(reason) = late {
            self.standing = Standing::Leaves(Departure::NotGranted(reason));
        }
        match self.standing.clone() {
            Standing::Leaves(departure) => Step::Leave(departure),
            _ if now < self.due => Step::WaitUntil(self.due),
            Standing::Registering { previous_epoch, .. } => Step::Register { previous_epoch },
            Standing::Registered(epoch) => Step::Heartbeat(Heartbeat {
                epoch,
                metadata_offset: self.observed.metadata_end.advance(-1),
                wants_fence: !self.is_fit(),
                wants_shutdown: self.leaving_since.is_some(),
            }),
        }
    }

    pub(super) fn registered(&mut self, outcome: Result<BrokerEpoch, Refusal>, now: Duration) {
        match outcome {
            Ok(epoch) => {
                self.heard = now;
                self.duplicate_since = None;
                self.standing = Standing::Registered(epoch);
                self.epoch = Some(epoch);
                // It may be replayed by now; otherwise the replay will trigger it.
                self.due = if self.is_fit() { now } else { now.saturating_add(self.config.heartbeat_interval) };
            }
            Err(refusal) => self.not_registered(refusal, now),
        }
    }

    pub(super) fn answered(&mut self, outcome: &Result<HeartbeatAnswer, Refusal>, now: Duration) {
        match outcome {
            Ok(answer) if answer.should_shut_down && self.leaving_since.is_some() => {
                self.standing = Standing::Leaves(Departure::Granted);
            }
            Ok(answer) => {
                self.heard = now;
                let is_behind = answer.is_fenced || !answer.is_caught_up;
                let is_expecting = self.leaving_since.is_some() || (is_behind && self.is_fit());
                let pause = if is_expecting { self.pause() } else { self.config.heartbeat_interval };
                self.due = now.saturating_add(pause);
            }
            Err(Refusal::NotRegistered) => {
                // The logs are this process's: nothing is claimed about how the last process ended.
                self.standing = Standing::Registering { previous_epoch: None, has_been: true };
                self.due = now.saturating_add(self.pause());
            }
            Err(_) => self.due = now.saturating_add(self.pause()),
        }
    }

    /// For the clean-shutdown file.
    pub(super) fn epoch(&self) -> Option<BrokerEpoch> {
        self.epoch
    }

    fn not_registered(&mut self, refusal: Refusal, now: Duration) {
        let has_been = matches!(self.standing, Standing::Registering { has_been: true, .. });
        let error = match refusal {
            Refusal::Duplicate => {
                let refused_for = now.saturating_sub(*self.duplicate_since.get_or_insert(now));
                let is_alive = self.config.session_timeout * DUPLICATE_SESSIONS <= refused_for;
                is_alive.then_some(LifeCycleError::Duplicate)
            }
            Refusal::Invalid(_) => Some(LifeCycleError::Refused(refusal)),
            other => {
                self.duplicate_since = None;
                let is_late = !has_been && self.config.registration_max <= now.saturating_sub(self.began);
                is_late.then_some(LifeCycleError::TooLate(other))
            }
        };
        self.due = now.saturating_add(self.pause());
        if let Some(error) = error {
            self.standing = Standing::Leaves(Departure::Failed(error));
        }
    }

    fn leaves_anyway(&self, since: Duration, now: Duration) -> Option<&'static str> {
        match self.standing {
            Standing::Registering { .. } => Some("it is not registered"),
            Standing::Registered(_) if LEAVE_MAX <= now.saturating_sub(since) => {
                Some("the controller has not moved its leaders away in time")
            }
            Standing::Registered(_) if self.config.session_timeout <= now.saturating_sub(since.max(self.heard)) => {
                Some("no controller answers")
            }
            Standing::Registered(_) | Standing::Leaves(_) => None,
        }
    }

    /// Whether its registration has been replayed here, so that it knows what it hosts.
    fn is_fit(&self) -> bool {
        match self.standing {
            Standing::Registered(epoch) => self.observed.registered == Some((epoch, self.incarnation)),
            Standing::Registering { .. } | Standing::Leaves(_) => false,
        }
    }

    fn pause(&self) -> Duration {
        PAUSE.min(self.config.heartbeat_interval)
    }
}

#[cfg(test)]
#[path = "life_cycle_test.rs"]
mod tests;
