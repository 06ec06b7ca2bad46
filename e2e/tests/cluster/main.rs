//! The operator in a real Kubernetes, installed from its chart and image. The tests share one cluster, each in its
//! own namespace; each is listed with the behaviour that it checks.
//!
//! `MILLRACE_E2E_SKIP_CLUSTER=1` leaves them out, on a machine that cannot run a Kubernetes.
//! `MILLRACE_E2E_KUBECONFIG` with `MILLRACE_E2E_REGISTRY` uses another cluster than the local one.
//! `MILLRACE_E2E_KEEP=1` keeps what the tests made: the local cluster, or the operator in another one.
#![expect(clippy::print_stderr, reason = "what could not be undone is said where a person looks")]

mod chart;
mod groups;
#[path = "../left_out/mod.rs"]
mod left_out;
mod manifests;
mod operator;
mod retention;
mod survival;
mod three_brokers;
mod trio;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed};

use world::{Needs, World};

/// A behaviour, its requirements, and its test.
type Case = (&'static str, Needs, fn(&World) -> anyhow::Result<()>);

const CASES: [Case; 14] = [
    ("chart_is_sound", Needs::AnyCluster, chart::is_sound),
    ("chart_renders_every_value", Needs::AnyCluster, chart::renders_every_value),
    ("who_edits_a_namespace_edits_its_clusters", Needs::AnyCluster, chart::who_edits_a_namespace_edits_its_clusters),
    ("data_outlives_the_pod", Needs::AnyCluster, survival::data_outlives_the_pod),
    ("data_outlives_the_cluster", Needs::AnyCluster, survival::data_outlives_the_cluster),
    ("rollout_restart_is_followed_once", Needs::AnyCluster, survival::rollout_restart_is_followed_once),
    ("killed_broker_restarts_in_place_with_its_data", Needs::Nodes, survival::killed_broker_restarts_in_place),
    ("bad_manifest_names_the_field_and_changes_nothing", Needs::AnyCluster, manifests::bad_manifest_changes_nothing),
    ("volume_grows_under_a_running_broker", Needs::AnyCluster, survival::volume_grows_under_a_running_broker),
    ("operator_is_upgraded_and_hands_over", Needs::NodesAlone, operator::is_upgraded_and_hands_over),
    ("three_brokers_come_from_eight_lines", Needs::Nodes, three_brokers::come_from_eight_lines),
    ("three_brokers_lose_no_record", Needs::NodesAlone, three_brokers::lose_no_record),
    ("groups_go_on_without_their_coordinator", Needs::NodesAlone, groups::go_on_without_their_coordinator),
    ("retention_gives_the_space_back", Needs::Nodes, retention::gives_the_space_back),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = CASES.map(|(name, needs, test)| {
        left_out::trial(name, world::left_out(needs), move || {
            let world = World::shared().map_err(Failed::from)?;
            world.take_part(needs, test).map_err(|error| Failed::from(format!("{error:#}")))
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.into());
    let left = World::leave();
    if let Err(error) = &left {
        eprintln!("the local cluster or its operator could not be removed: {error:#}");
    }
    if conclusion.has_failed() || left.is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
