//! What a heartbeat does to a broker (KIP-631): `fenced → unfenced → in controlled shutdown → may stop`. Pure.

use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, Offset};

use crate::metadata::BrokerImage;

/// What a broker reports regularly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    pub(crate) id: BrokerId,
    pub(crate) epoch: BrokerEpoch,
    /// The offset of the last metadata record that it has replayed.
    pub(crate) metadata_offset: Offset,
    pub(crate) wants_fence: bool,
    pub(crate) wants_shutdown: bool,
    pub(crate) offline_directories: Vec<DirectoryId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeartbeatAnswer {
    /// Whether the broker has replayed its own registration, and all from before its session began.
    pub(crate) is_caught_up: bool,
    pub(crate) is_fenced: bool,
    pub(crate) should_shut_down: bool,
}

/// What is to be done about the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transition {
    None,
    Unfence,
    Fence,
    BeginShutdown,
    /// It may stop, and is fenced if it is not yet.
    Stop,
}

impl Heartbeat {
    pub(super) fn has_replayed_registration(&self) -> bool {
        self.epoch.0 <= self.metadata_offset.0
    }

    /// A broker serves from all of its directories or not at all: there is only one.
    fn wants_fence(&self, broker: &BrokerImage) -> bool {
        self.wants_fence || broker.directories.iter().any(|directory| self.offline_directories.contains(directory))
    }
}

/// `has_handed_over` is asked of a broker in controlled shutdown: whether it leads nothing, and every broker knows.
pub(super) fn transition(
    broker: &BrokerImage,
    heartbeat: &Heartbeat,
    has_handed_over: impl FnOnce() -> bool,
) -> Transition {
    let wants_fence = heartbeat.wants_fence(broker);
    match (broker.fenced, broker.in_controlled_shutdown) {
        (true, _) if heartbeat.wants_shutdown => Transition::Stop,
        // A broker that has begun to stop comes back only as another process.
        (true, false) if !wants_fence && heartbeat.has_replayed_registration() => Transition::Unfence,
        (false, _) if wants_fence => Transition::Fence,
        (false, false) if heartbeat.wants_shutdown => Transition::BeginShutdown,
        (false, true) if has_handed_over() => Transition::Stop,
        _ => Transition::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::testing::{cluster, volume};

    #[test]
    fn a_broker_goes_from_fenced_to_serving_to_stopped() {
        use Transition::{BeginShutdown, Fence, None, Stop, Unfence};
        // Fenced, in controlled shutdown; offset, wants to be fenced, to stop; has handed over; the transition.
        let table = [
            ((true, false), (100, false, false), false, Unfence),
            ((true, false), (99, false, false), false, None),
            ((true, false), (100, true, false), false, None),
            ((true, false), (100, false, true), false, Stop),
            ((true, true), (100, false, true), false, Stop),
            ((true, true), (100, false, false), true, None),
            ((false, false), (0, false, false), true, None),
            ((false, false), (100, true, false), false, Fence),
            ((false, false), (100, false, true), true, BeginShutdown),
            ((false, false), (100, true, true), false, Fence),
            ((false, true), (100, false, true), false, None),
            ((false, true), (100, false, true), true, Stop),
            ((false, true), (100, true, true), true, Fence),
        ];
        let image = cluster(1);
        for ((fenced, in_controlled_shutdown), (offset, wants_fence, wants_shutdown), handed_over, expected) in table {
            let broker = BrokerImage { fenced, in_controlled_shutdown, ..image.brokers[&BrokerId(0)].clone() };
            let heartbeat = Heartbeat {
                id: BrokerId(0),
                epoch: BrokerEpoch(100),
                metadata_offset: Offset(offset),
                wants_fence,
                wants_shutdown,
                offline_directories: Vec::new(),
            };
            assert_eq!(transition(&broker, &heartbeat, || handed_over), expected, "{broker:?} {heartbeat:?}");
        }
    }

    #[test]
    fn a_broker_whose_volume_has_failed_does_not_serve() {
        let broker = cluster(1).brokers[&BrokerId(0)].clone();
        let mut heartbeat = Heartbeat {
            id: BrokerId(0),
            epoch: broker.epoch,
            metadata_offset: Offset(100),
            wants_fence: false,
            wants_shutdown: false,
            offline_directories: vec![volume(7)],
        };
        assert_eq!(transition(&broker, &heartbeat, || false), Transition::None);
        heartbeat.offline_directories = vec![volume(0)];
        assert_eq!(transition(&broker, &heartbeat, || false), Transition::Fence);
        assert_eq!(transition(&BrokerImage { fenced: true, ..broker }, &heartbeat, || false), Transition::None);
    }
}
