//! Brokers, and Apache Kafka's tools that are pointed at them.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use e2e::broker::Broker;
use e2e::command;
use e2e::fleet::{Fleet, Plan, Program};
use e2e::kafka_tools::KafkaTools;
use e2e::programs::{Profile, Programs};
use e2e::progress::{Progress, show_progress};

pub(crate) const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
pub(crate) const RECORD_BYTES: usize = 1000;
/// Far more than anything here takes.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// The classes behind the scripts of Kafka's release, which no package holds.
const SCRIPTS: [(&str, &str); 17] = [
    ("kafka-broker-api-versions", "org.apache.kafka.tools.BrokerApiVersionsCommand"),
    ("kafka-cluster", "org.apache.kafka.tools.ClusterTool"),
    ("kafka-configs", "kafka.admin.ConfigCommand"),
    ("kafka-console-consumer", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
    ("kafka-console-producer", "org.apache.kafka.tools.ConsoleProducer"),
    ("kafka-consumer-groups", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
    ("kafka-consumer-perf-test", "org.apache.kafka.tools.ConsumerPerformance"),
    ("kafka-delete-records", "org.apache.kafka.tools.DeleteRecordsCommand"),
    ("kafka-dump-log", "org.apache.kafka.tools.DumpLogSegments"),
    ("kafka-features", "org.apache.kafka.tools.FeatureCommand"),
    ("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
    ("kafka-leader-election", "org.apache.kafka.tools.LeaderElectionCommand"),
    ("kafka-log-dirs", "org.apache.kafka.tools.LogDirsCommand"),
    ("kafka-metadata-quorum", "org.apache.kafka.tools.MetadataQuorumCommand"),
    ("kafka-producer-perf-test", "org.apache.kafka.tools.ProducerPerformance"),
    ("kafka-reassign-partitions", "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"),
    ("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
];

struct World {
    tools: KafkaTools,
    broker: PathBuf,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    show_progress();
    let progress = Progress::start();
    let broker = Programs::broker(Profile::Dev, &progress).unwrap();
    World { tools: KafkaTools::fetch(&progress).unwrap(), broker }
});

/// For tests that use only their own topics.
static SHARED: LazyLock<(Site, Mutex<Option<Broker>>)> = LazyLock::new(|| {
    let site = Site::new(&[]);
    let broker = site.start();
    (site, Mutex::new(Some(broker)))
});

/// The tool behind a script, to be given its arguments.
pub(crate) fn tool(script: &str) -> Command {
    let class = SCRIPTS.iter().find(|(name, _)| *name == script);
    WORLD.tools.tool(class.unwrap_or_else(|| panic!("{script} is not in the table of scripts")).1)
}

/// A script with whitespace-separated arguments, pointed at these brokers.
pub(crate) fn tool_at(bootstrap: &str, command: &str) -> Command {
    let mut words: Vec<_> = command.split_whitespace().collect();
    let script = words.remove(0);
    // Only this one has the option after its subcommand, others before it.
    let at = if script == "kafka-cluster" { words.len() } else { 0 };
    words.splice(at..at, ["--bootstrap-server", bootstrap]);
    let mut tool = tool(script);
    tool.args(words);
    tool
}

/// The output of a script that succeeds.
pub(crate) fn run(tool: &mut Command) -> String {
    let output = tool.output().unwrap();
    assert!(output.status.success(), "{tool:?} failed: {}", all_said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Three brokers with some settings in addition.
pub(crate) fn three_brokers(settings: &[&str]) -> Fleet {
    let plan = Plan::new(Program::Millrace(WORLD.broker.clone()), 3);
    Fleet::start(plan.with_settings(settings.iter().copied())).unwrap()
}

/// One node with `--dev` and some settings in addition.
pub(crate) struct Site(e2e::broker::Site);

impl Site {
    pub(crate) fn new(settings: &[&str]) -> Self {
        Self(e2e::broker::Site::new(&WORLD.broker, &env::temp_dir(), settings).unwrap())
    }

    /// Its broker runs until [`Site::end_shared`].
    pub(crate) fn shared() -> &'static Self {
        &SHARED.0
    }

    pub(crate) fn end_shared() {
        if let Some((_, broker)) = LazyLock::get(&SHARED) {
            broker.lock().unwrap().take().unwrap().stop().unwrap();
        }
    }

    pub(crate) fn start(&self) -> Broker {
        self.0.start().unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port()
    }

    /// A path in the data directory.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.0.data(name)
    }

    pub(crate) fn tool(&self, command: &str) -> Command {
        tool_at(&self.0.bootstrap(), command)
    }

    pub(crate) fn run(&self, command: &str) -> String {
        run(&mut self.tool(command))
    }

    /// The output of a script that fails, on either stream.
    pub(crate) fn refused(&self, command: &str) -> String {
        let output = self.tool(command).output().unwrap();
        let said = all_said(&output);
        assert!(!output.status.success(), "{command} succeeded: {said}");
        said
    }

    /// The output of a script, whether or not it succeeds.
    pub(crate) fn told(&self, command: &str) -> String {
        all_said(&self.tool(command).output().unwrap())
    }

    /// Produces lines as `kafka-console-producer` reads them.
    pub(crate) fn produce(&self, options: &str, lines: &str) {
        command::output_with_input(&mut self.tool(&format!("kafka-console-producer {options}")), lines).unwrap();
    }

    /// The load generator; its producer is idempotent, as Kafka's are unless told otherwise.
    pub(crate) fn load(&self, topic: &str, records: usize, records_per_second: i32, codec: &str) -> Command {
        self.tool(&format!(
            "kafka-producer-perf-test --topic {topic} --command-property compression.type={codec} \
             --num-records {records} --record-size {RECORD_BYTES} --throughput {records_per_second}"
        ))
    }
}

/// The load generator counts what was acknowledged in its last line, and in between when it takes longer.
pub(crate) fn assert_sent(output: &Output, records: usize) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let total = stdout.lines().last().unwrap_or_default();
    assert!(total.starts_with(&format!("{records} records sent, ")), "{output:?}");
}

fn all_said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}
