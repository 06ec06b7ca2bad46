use std::net::TcpListener;
use std::time::Duration;

use protocol::types::{ClusterId, DirectoryId};
use storage::faulty::FaultyDisk;
use tokio::time::timeout;
use uuid::Uuid;

use super::*;
use crate::config::{dev_settings, load};

const PATIENCE: Duration = Duration::from_mins(1);

/// One node on a formatted disk in memory.
fn site() -> (BrokerConfig, Arc<FaultyDisk>) {
    let sockets = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [clients, controllers, management] = sockets.map(|socket| socket.local_addr().unwrap());
    let settings = [
        "log.dirs=/data".to_owned(),
        "num.network.threads=1".to_owned(),
        format!("listeners=PLAINTEXT://{clients},CONTROLLER://{controllers}"),
        format!("controller.quorum.voters=1@{controllers}"),
        format!("millrace.management.listener={management}"),
    ];
    let values = load(dev_settings(), None, &settings).unwrap().values;
    let config = BrokerConfig::from_values(values, "localhost").unwrap();
    let directory_id = DirectoryId(Uuid::from_u128(2));
    let (host, port) = (controllers.ip().to_string(), controllers.port());
    let voters = vec![Voter { id: config.broker_id, directory_id, host, port }];
    let faulty = Arc::new(FaultyDisk::new());
    let disk: Arc<dyn Disk> = faulty.clone();
    let plan = FormatPlan { cluster_id: ClusterId::from_uuid(Uuid::from_u128(1)), directory_id, voters };
    format_directory(&disk, &config, &plan).unwrap();
    (config, faulty)
}

#[test]
fn whatever_panics_that_all_rely_on_ends_the_process_and_is_named() {
    for who in [
        "thread metadata-io",
        "thread controller",
        "thread metadata",
        "thread groups",
        "thread reactor-0",
        "thread reactor-1",
        "thread flusher",
        "thread syncer",
        "thread deleter",
        "thread cleaners",
        "thread cleaner-0",
        "thread replica-fetcher",
        "task management",
        "task acceptor",
        "task session",
        "task announcement",
        "task probes",
    ] {
        let (config, disk) = site();
        let failures = Failures::planted(who);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let startup = Startup::new(config, disk.clone(), failures);
        let ended = runtime.block_on(async { timeout(PATIENCE, startup.run(CancellationToken::new())).await });
        runtime.shutdown_background();
        match ended.expect(who) {
            Err(ServerError::Failed(Failure::Panic(found))) => assert_eq!(found, who),
            other => panic!("{who}: {other:?}"),
        }
        assert_eq!(disk.contents("/data/.kafka_cleanshutdown".as_ref()), None, "{who}: it was no clean stop");
    }
}
