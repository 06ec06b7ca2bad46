//! Three brokers on three nodes. Producers with acks=all and readers run all the time: whatever happens to the
//! brokers, no record fails and none is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::admin::Admin;
use e2e::command;
use e2e::harness::{DEMO_MANIFEST, LOOK_EVERY, OPERATOR_NAMESPACE};
use e2e::progress::Progress;
use e2e::soak::checked::{TOPICS, Watch, under_checked_load};

use crate::survival::SELECTOR;
use crate::trio::{MANIFEST, SETTLED_AT_MOST, Trio};
use crate::world::World;

/// Any seed would do.
const SEED: u64 = 1;
const PARTITIONS: &str = "num.partitions: 3";
/// Read by a broker at its start only.
const RETENTION: &str = "log.retention.hours: 48";
const NOTICED_AT_MOST: Duration = Duration::from_secs(30);

pub(crate) fn come_from_eight_lines(world: &World) -> Result<()> {
    let trio = Trio { world, namespace: "e2e-three-brokers" };
    world.in_namespace(trio.namespace, |_| {
        trio.start(&DEMO_MANIFEST.replace("replicas: 1", "replicas: 3"))?;
        let status = trio.status()?;
        ensure!(status["readyReplicas"] == 3, "{status:#}");
        ensure!(status["controller"].is_u64(), "no controller is told: {status:#}");
        ensure!(status["voters"].as_array().is_some_and(|voters| voters.len() == 3), "not three voters: {status:#}");
        for field in ["node", "zone", "directoryId"] {
            let brokers = status["brokers"].as_array().into_iter().flatten();
            let values: BTreeSet<_> = brokers.filter_map(|broker| broker[field].as_str()).collect();
            ensure!(values.len() == 3, "brokers do not have a {field} each: {status:#}");
        }
        Ok(())
    })
}

pub(crate) fn lose_no_record(world: &World) -> Result<()> {
    let trio = Trio { world, namespace: "e2e-three-under-load" };
    world.in_namespace(trio.namespace, |_| {
        trio.start(MANIFEST)?;
        clients_are_told_the_zones(trio)?;
        let trial = Trial { trio, progress: Progress::start() };
        let acknowledged = under_checked_load(&trial.trio.bootstrap()?, SEED, |watch| {
            for id in 0..3 {
                trial.disturb(watch, &format!("pod {id} deleted"), || trial.pod_deleted(id))?;
            }
            trial.disturb(watch, "active controller's pod deleted", || trial.pod_deleted(trial.trio.controller()?))?;
            trial.disturb(watch, "a node dead", || trial.node_dies_and_returns())?;
            trial.disturb(watch, "a volume lost", || trial.volume_lost())?;
            trial.disturb(watch, "a node drained", || trial.node_drained())?;
            trial.disturb(watch, "brokers restarted for another option", || trial.options_changed())?;
            trial.disturb(watch, "a broker killed, the operator away", || trial.operator_away())?;
            trial.disturb(watch, "a broker killed, the API server away", || trial.api_server_away())
        })?;
        trial.progress.note(format_args!("{acknowledged} records acknowledged, none failed or lost"));
        Ok(())
    })
}

/// The zone of its node becomes a broker's rack.
fn clients_are_told_the_zones(trio: Trio<'_>) -> Result<()> {
    let mut zones = BTreeMap::new();
    for id in 0..3 {
        zones.insert(i32::from(id), Some(trio.node_of(id)?.zone()));
    }
    let racks = trio.ask(Admin::racks)?;
    ensure!(racks == zones, "clients are told {racks:?} where the nodes are in {zones:?}");
    Ok(())
}

fn with_options(options: &[&str]) -> String {
    MANIFEST.replace(PARTITIONS, &[&[PARTITIONS][..], options].concat().join("\n    "))
}

struct Trial<'a> {
    trio: Trio<'a>,
    progress: Progress,
}

impl Trial<'_> {
    /// From one healthy cluster to the next. Reports how long producers had to wait meanwhile.
    fn disturb(&self, watch: &Watch<'_>, what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let before = watch.longest_wait();
        work().and_then(|()| self.trio.settle(&TOPICS)).with_context(|| what.to_owned())?;
        watch.check().with_context(|| what.to_owned())?;
        let (longest, before) = (watch.longest_wait().as_millis(), before.as_millis());
        self.progress.note(format_args!("  {what}: a record waited {longest} ms at most ({before} ms undisturbed)"));
        Ok(())
    }

    fn pod_deleted(&self, id: u8) -> Result<()> {
        let before = self.trio.pod(id)?;
        self.trio.kubectl(&format!("delete pod demo-{id}"))?;
        self.trio.wait_for_other_pod(id, &before)
    }

    fn node_dies_and_returns(&self) -> Result<()> {
        let nodes = self.trio.nodes()?;
        let node = self.trio.node_without_operator()?;
        nodes.kill_node(node)?;
        nodes.wait_until_lost(node)?;
        let lost = format!("its node {node} does not answer");
        command::wait_for_every(LOOK_EVERY, "the status to tell of the lost node", SETTLED_AT_MOST, || {
            let message = self.trio.kubernetes().condition(self.trio.namespace, "demo", "Ready")?;
            Ok(message.filter(|(status, message)| status == "True" && message.contains(&lost)))
        })?;
        nodes.return_node(node)
    }

    /// The broker comes back with an empty volume, fetches everything, and votes as a new voter.
    fn volume_lost(&self) -> Result<()> {
        let (before, former) = (self.trio.pod(2)?, self.trio.status()?["brokers"][2]["directoryId"].take());
        self.trio.kubectl("delete pvc data-demo-2 --wait=false")?;
        self.trio.kubectl("delete pod demo-2")?;
        self.trio.wait_for_other_pod(2, &before)?;
        command::wait_for_every(LOOK_EVERY, "the broker to vote on its new volume", SETTLED_AT_MOST, || {
            let status = self.trio.status()?;
            let voters = status["voters"].as_array().into_iter().flatten();
            let votes_on: Vec<_> = voters.filter(|voter| voter["id"] == 2).map(|voter| &voter["directoryId"]).collect();
            let own = &status["brokers"][2]["directoryId"];
            Ok((*own != former && votes_on == [own]).then_some(()))
        })
    }

    /// The volume is on the node, so the pod waits until the node is schedulable again.
    fn node_drained(&self) -> Result<()> {
        let (before, node) = (self.trio.pod(0)?, self.trio.node_of(0)?);
        self.trio.kubectl(&format!("drain {node} --pod-selector={SELECTOR} --timeout=120s"))?;
        self.trio.kubectl(&format!("uncordon {node}"))?;
        self.trio.wait_for_other_pod(0, &before)
    }

    fn options_changed(&self) -> Result<()> {
        let before = [self.trio.pod(0)?, self.trio.pod(1)?, self.trio.pod(2)?];
        self.trio.apply(&with_options(&[RETENTION]))?;
        (0..).zip(&before).try_for_each(|(id, before)| self.trio.wait_for_other_pod(id, before))
    }

    /// A broker that dies meanwhile is restarted by its node.
    fn operator_away(&self) -> Result<()> {
        let operator = |command: &str| {
            let operator = format!("deployment/millrace-operator --namespace {OPERATOR_NAMESPACE}");
            self.trio.kubernetes().kubectl(&format!("{command} {operator}"))
        };
        operator("scale --replicas=0")?;
        let before = self.trio.pod(1)?;
        self.trio.nodes()?.container(&before.container)?.kill()?;
        self.trio.wait_for_restart_in_place(1, &before)?;
        operator("scale --replicas=1")?;
        operator("rollout status --timeout=2m").map(drop)
    }

    fn api_server_away(&self) -> Result<()> {
        let nodes = self.trio.nodes()?;
        let before = self.trio.pod(2)?;
        let (process, addresses) = (nodes.container(&before.container)?, self.trio.addresses()?);
        nodes.kill_api_server()?;
        process.kill()?;
        Trio::wait_until_serving(addresses[2], 2)?;
        nodes.start_api_server()?;
        self.trio.wait_for_restart_in_place(2, &before)?;
        // The operator is running again, too.
        self.trio.apply(&with_options(&[RETENTION, "log.segment.bytes: 104857600"]))?;
        self.trio.kubernetes().wait_ready(self.trio.namespace, "demo", NOTICED_AT_MOST)
    }
}
