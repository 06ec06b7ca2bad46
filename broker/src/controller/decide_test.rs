use protocol::types::IncarnationId;

use super::super::testing::Bench;
use super::*;
use crate::metadata::testing::cluster;

#[test]
fn a_controller_that_announces_itself_again_leaves_no_record() {
    let announcement = |incarnation| RegisterControllerRecord {
        controller_id: BrokerId(2),
        incarnation_id: IncarnationId(Uuid::from_u128(incarnation)),
        endpoints: Vec::new(),
        features: Vec::new(),
    };
    let mut bench = Bench::new(cluster(1));
    for (incarnation, batches) in [(1, 1), (1, 1), (2, 2), (2, 2)] {
        let record = announcement(incarnation);
        bench.ask(|reply| Command::RegisterController { record: record.clone(), reply });
        assert_eq!(bench.images.len(), batches, "of process {incarnation}");
        assert_eq!(bench.image.controllers[&BrokerId(2)], record);
    }
}
