//! The program of a node: Millrace, or Apache Kafka for comparison. Both read the same properties.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kafka_tools::KafkaTools;

/// JVM flags of the start script of Kafka's release, except for the heap and the garbage collection log.
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
    /// Formats the data directory given by the properties; the cluster id and the controllers must be added.
    pub fn format(&self, properties: &Path) -> Command {
        let mut command = match self {
            Self::Millrace(program) => Command::new(program),
            Self::Kafka { tools, .. } => tools.tool("kafka.tools.StorageTool"),
        };
        command.args(["format", "--config"]).arg(properties);
        command
    }

    /// Serves, with output other than data in `directory`.
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
