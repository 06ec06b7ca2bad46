//! Committed offsets survive the group's coordinator, whether its pod or its node goes.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::clients::{self, Member};
use e2e::progress::Progress;

use crate::survival::messages;
use crate::trio::{MANIFEST, Trio};
use crate::world::World;

const GROUP: &str = "shoppers";
const TOPIC: &str = "events";
/// Records that a member reads before the next disturbance.
const PORTION: usize = 300;

pub(crate) fn go_on_without_their_coordinator(world: &World) -> Result<()> {
    let trio = Trio { world, namespace: "e2e-groups" };
    world.in_namespace(trio.namespace, |_| {
        // A group that has just formed again does not wait for further members.
        let at_once = "num.partitions: 3\n    group.initial.rebalance.delay.ms: 0";
        trio.start(&MANIFEST.replace("num.partitions: 3", at_once))?;
        let bootstrap = trio.bootstrap()?;
        clients::produce(&bootstrap, TOPIC, &messages())?;
        let (progress, mut expected) = (Progress::start(), messages().into_iter());
        let mut resume = |what: &str| -> Result<()> {
            let began = Instant::now();
            let member = Member::join(&bootstrap, GROUP, TOPIC)?;
            let first = member.read(1)?;
            let waited = began.elapsed().as_millis();
            let read = [first, member.read(PORTION - 1)?].concat();
            let due: Vec<_> = expected.by_ref().take(PORTION).collect();
            ensure!(read == due, "{what}: not where the group was, but from {:?} to {:?}", read.first(), read.last());
            member.commit()?;
            progress.note(format_args!("  {what}: a new member had its first message after {waited} ms"));
            Ok(())
        };
        resume("undisturbed")?;

        let coordinator = u8::try_from(trio.ask(|admin| admin.coordinator(GROUP))?)?;
        let before = trio.pod(coordinator)?;
        trio.kubectl(&format!("delete pod demo-{coordinator} --wait=false"))?;
        resume("coordinator's pod deleted")?;
        trio.wait_for_other_pod(coordinator, &before)?;
        trio.settle(&[TOPIC, "__consumer_offsets"])?;

        let coordinator = u8::try_from(trio.ask(|admin| admin.coordinator(GROUP))?)?;
        let (nodes, node) = (trio.nodes()?, trio.node_of(coordinator)?);
        nodes.kill_node(node)?;
        resume("coordinator's node dead").with_context(|| format!("{node} was killed"))?;
        nodes.return_node(node)?;
        trio.settle(&[TOPIC, "__consumer_offsets"])
    })
}
