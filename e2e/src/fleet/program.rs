//! What a node runs: Millrace, or Apache Kafka to compare with. Both read the same properties.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kafka_tools::KafkaTools;

/// What the start script of Kafka's release passes to the JVM, besides the heap and the place of the log of
/// collections.
const JVM_FLAGS: [&str; 9] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
    "-Dcom.sun.management.jmxremote=true",
    "-Dcom.sun.management.jmxremote.authenticate=false",
    "-Dcom.sun.management.jmxremote.ssl=false",
];

#[derive(Debug, Clone)]
pub enum Program {
    Millrace(PathBuf),
    Kafka { tools: KafkaTools, heap: [&'static str; 2] },
}

impl Program {
    /// Prepares the data directory that the properties name, to be given the id of the cluster and its controllers.
    pub fn format(&self, properties: &Path) -> Command {
        let mut command = match self {
            Self::Millrace(program) => Command::new(program),
            Self::Kafka { tools, .. } => tools.tool("kafka.tools.StorageTool"),
        };
        command.args(["format", "--config"]).arg(properties);
        command
    }

    /// Serves, with what it writes besides its data in `directory`.
    pub fn serve(&self, properties: &Path, directory: &Path) -> Command {
        let mut command = match self {
            Self::Millrace(program) => {
                let mut command = Command::new(program);
                command.arg("--config");
                command
            }
            Self::Kafka { tools, heap } => {
                let collections = directory.join("kafkaServer-gc.log");
                let log = format!("-Xlog:gc*:file={}:time,tags:filecount=10,filesize=100M", collections.display());
                tools.server(heap.iter().copied().chain(JVM_FLAGS).chain([log.as_str()]), "kafka.Kafka")
            }
        };
        command.arg(properties).current_dir(directory);
        command
    }
}
