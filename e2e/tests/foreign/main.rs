//! Test suites of other projects' clients, against one broker: each of their tests is one of ours.
//!
//! A committed list names every test of a suite and says why it cannot pass yet, or why it would prove nothing. Tests
//! that are listed as not passing are run as well, so that the list stays true.
#![expect(clippy::panic, clippy::print_stderr, reason = "helpers of tests may panic as tests do")]

#[path = "../left_out/mod.rs"]
mod left_out;
mod list;

use std::collections::BTreeSet;
use std::env;
use std::process::ExitCode;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use e2e::broker::{Broker, Site};
use e2e::foreign::Outcome;
use e2e::foreign::kafka_python::KafkaPython;
use e2e::foreign::librdkafka::Librdkafka;
use e2e::host::{SKIP, Tool, is_root, missing_packages, skip_is_set};
use e2e::programs::{Profile, Programs};
use e2e::progress::{Progress, show_progress};
use libtest_mimic::{Arguments, Failed, Trial};

use list::{Case, Expected};

/// For a test that should pass; the longest produces and consumes for a minute.
const PATIENCE: Duration = Duration::from_mins(5);
/// For a test that should not: mostly it waits in vain.
const SHORT_PATIENCE: Duration = Duration::from_secs(5);
/// For a test that a race within its client can fail.
const ATTEMPTS: usize = 3;
/// They wait more than they compute.
const TESTS_AT_ONCE: usize = 4;

/// Required by both suites. kafka-python assigns partitions to broker 0, and has sessions of three seconds.
const SETTINGS: [&str; 3] = ["num.partitions=4", "node.id=0", "group.min.session.timeout.ms=3000"];

struct Suite {
    name: &'static str,
    list: &'static str,
    needs: &'static [Tool],
    /// Every test that the list must name.
    tests: fn() -> Result<Vec<String>>,
    run: fn(&str, Duration) -> Result<Outcome>,
}

const SUITES: [Suite; 2] = [
    Suite {
        name: "kafka_python",
        list: include_str!("../../kafka-python/tests.txt"),
        needs: KafkaPython::NEEDS,
        tests: || made(&KAFKA_PYTHON)?.tests(),
        run: |test, at_most| made(&KAFKA_PYTHON)?.run(&made(&WORLD)?.site.bootstrap(), test, at_most),
    },
    Suite {
        name: "librdkafka",
        list: include_str!("../../librdkafka/tests.txt"),
        needs: Librdkafka::NEEDS,
        tests: || Ok(made(&LIBRDKAFKA)?.tests()?.into_iter().filter(|name| is_early(name)).collect()),
        run: |test, at_most| made(&LIBRDKAFKA)?.run(&made(&WORLD)?.site.bootstrap(), test, at_most),
    },
];

/// Created for the first test that needs it.
type Made<T> = LazyLock<Result<T>>;

static KAFKA_PYTHON: Made<KafkaPython> = LazyLock::new(|| KafkaPython::fetch(&Progress::start()));
static LIBRDKAFKA: Made<Librdkafka> = LazyLock::new(|| Librdkafka::build(&Progress::start()));
static WORLD: Made<World> = LazyLock::new(World::start);

struct World {
    site: Site,
    /// Until the end.
    broker: Mutex<Option<Broker>>,
}

impl World {
    fn start() -> Result<Self> {
        let broker = Programs::broker(Profile::Dev, &Progress::start())?;
        let site = Site::new(&broker, &env::temp_dir(), &SETTINGS)?;
        let broker = Mutex::new(Some(site.start()?));
        Ok(Self { site, broker })
    }

    /// Fails if the broker did not survive the tests.
    fn end() -> Result<()> {
        let Some(Ok(world)) = LazyLock::get(&WORLD) else { return Ok(()) };
        let broker = world.broker.lock().unwrap_or_else(PoisonError::into_inner).take();
        broker.map_or(Ok(()), Broker::stop)
    }
}

fn made<T>(made: &'static Made<T>) -> Result<&'static T> {
    made.as_ref().map_err(|error| anyhow!("{error:#}"))
}

/// 0001 to 0040.
fn is_early(test: &str) -> bool {
    ("0001".."0041").contains(&test)
}

fn main() -> ExitCode {
    show_progress();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(TESTS_AT_ONCE);
    let conclusion = libtest_mimic::run(&arguments, SUITES.iter().flat_map(trials).collect());
    let ended = World::end();
    if let Err(error) = &ended {
        eprintln!("after all tests: {error:#}");
    }
    if conclusion.has_failed() || ended.is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn trials(suite: &'static Suite) -> Vec<Trial> {
    let missing = missing_packages(suite.needs);
    if skip_is_set() && !is_root() && !missing.is_empty() {
        let reason = format!("{}=1, and {} would have to be installed, as root", SKIP, missing.join(" "));
        return vec![left_out::trial(suite.name, Some(reason), || Ok(()))];
    }
    let complete = Trial::test(format!("{}::every_test_is_listed", suite.name), || every_test_is_listed(suite));
    let tests = list::cases(suite.list).map(|case| trial(suite, case));
    [complete].into_iter().chain(tests).collect()
}

fn every_test_is_listed(suite: &Suite) -> Result<(), Failed> {
    let tests: BTreeSet<_> = (suite.tests)()?.into_iter().collect();
    let listed: BTreeSet<_> = list::cases(suite.list).map(|case| case.name.to_owned()).collect();
    let differing: Vec<_> = tests.symmetric_difference(&listed).collect();
    if differing.is_empty() { Ok(()) } else { Err(format!("in the suite or in the list alone: {differing:?}").into()) }
}

/// Each attempt that fails is told, the last one as the test's failure.
fn to_pass(suite: &Suite, name: &str, attempts: usize) -> Result<(), Failed> {
    let outcome = (suite.run)(name, PATIENCE)?;
    if outcome.passed {
        return Ok(());
    }
    if attempts <= 1 {
        return Err(outcome.said.into());
    }
    eprintln!("{}::{name} has failed and is tried again:\n{}", suite.name, outcome.said);
    to_pass(suite, name, attempts - 1)
}

fn trial(suite: &'static Suite, Case { name, expected }: Case) -> Trial {
    let full_name = format!("{}::{name}", suite.name);
    match expected {
        Expected::ToPass => Trial::test(full_name, move || to_pass(suite, name, 1)),
        Expected::Retried(reason) => Trial::test(full_name, move || to_pass(suite, name, ATTEMPTS))
            .with_kind(format!("at most {ATTEMPTS} attempts: {reason}")),
        Expected::NotYet(reason) => Trial::test(full_name, move || {
            let outcome = (suite.run)(name, SHORT_PATIENCE)?;
            if outcome.passed { Err("it passes: the list need not leave it out any more".into()) } else { Ok(()) }
        })
        .with_kind(format!("not yet: {reason}")),
        Expected::Nothing(reason) => Trial::test(full_name, || Ok(())).with_kind(reason).with_ignored_flag(true),
    }
}
