//! Brokers as processes, and machine faults: a fleet has the promised effects on its nodes, and three brokers lose
//! nothing whatever happens to them.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod decisions;
#[path = "../left_out/mod.rs"]
mod left_out;
mod machines;
mod records;
mod three_brokers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use e2e::fleet::{Plan, Program};
use e2e::host::{FLEET_TOOLS, SKIP, install, is_root, skip_is_set};
use e2e::programs::{Profile, Programs};
use e2e::progress::{Progress, show_progress};
use libtest_mimic::Arguments;

use left_out::trial;

pub(crate) const ANSWER_AT_MOST: Duration = Duration::from_secs(5);
/// Far more than anything takes.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

pub(crate) static BROKER: LazyLock<PathBuf> = LazyLock::new(|| {
    show_progress();
    let progress = Progress::start();
    if is_root() {
        install(FLEET_TOOLS, &progress).unwrap();
    }
    Programs::broker(Profile::Dev, &progress).unwrap()
});

fn main() -> ExitCode {
    let without_root = (skip_is_set() && !is_root()).then(|| format!("{SKIP}=1, and root is needed"));
    let everybody: [(_, fn()); _] = [
        ("a_killed_node_comes_back_with_its_data", machines::a_killed_node_comes_back_with_its_data),
        (
            "controllers_and_brokers_are_nodes_of_their_own",
            three_brokers::controllers_and_brokers_are_nodes_of_their_own,
        ),
        ("an_empty_volume_leads_nothing_and_has_no_vote", three_brokers::an_empty_volume_leads_nothing_and_has_no_vote),
        (
            "brokers_that_were_all_killed_wait_for_no_session",
            three_brokers::brokers_that_were_all_killed_wait_for_no_session,
        ),
        ("the_directory_of_another_broker_is_refused", three_brokers::the_directory_of_another_broker_is_refused),
        ("a_discarded_volume_leaves_and_never_comes_back", decisions::a_discarded_volume_leaves_and_never_comes_back),
        (
            "a_hint_ends_the_session_of_a_broker_that_is_silent",
            decisions::a_hint_ends_the_session_of_a_broker_that_is_silent,
        ),
    ];
    let root: [(_, fn()); _] = [
        ("a_node_that_is_cut_off_is_not_reached_until_the_cut_heals", machines::a_node_that_is_cut_off_is_not_reached),
        ("a_node_that_loses_its_power_has_what_was_synced", machines::a_node_that_loses_its_power_has_what_was_synced),
        ("a_full_volume_takes_nothing_until_it_is_freed", machines::a_full_volume_takes_nothing_until_it_is_freed),
        (
            "a_leader_that_hears_no_controller_takes_nothing_and_tells_no_end",
            three_brokers::a_leader_that_hears_no_controller_takes_nothing,
        ),
        ("what_is_synced_outlives_the_power_of_all_brokers", three_brokers::what_is_synced_outlives_the_power_of_all),
        ("three_brokers_lose_nothing_whatever_happens_to_them", three_brokers::three_brokers_lose_nothing),
    ];
    let everybody = everybody.map(|(name, test)| (name, None, test));
    let root = root.map(|(name, test)| (name, without_root.as_ref(), test));
    let trials = everybody.into_iter().chain(root).map(|(name, left_out, test)| {
        trial(name, left_out, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// Each of them a controller, too.
pub(crate) fn brokers(count: u8) -> Plan {
    Plan::new(Program::Millrace(BROKER.clone()), count)
}
