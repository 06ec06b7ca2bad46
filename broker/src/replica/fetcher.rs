//! Follows leaders, on a thread with its own runtime. There are a few connections to each leader; each fetches all
//! partitions of that leader that no other connection is fetching. So requests overlap only for different partitions,
//! and a partition that becomes ready while the others wait for news does not wait with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use protocol::types::{BrokerEpoch, BrokerId, IncarnationId};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::answers::{answered, follow_answer};
use super::fetcher_session::FetcherSession;
use super::following::{FetchPlan, Planned};
use super::isr_changes::IsrChanges;
use super::leader_address::address;
use super::manager::ReplicaManager;
use super::partition::{Partition, lock};
use crate::clock;
use crate::config::BrokerConfig;
use crate::metadata::Image;
use crate::peer::{
    Connection, ControllerChannel, FetchOutcome, PeerFailure, ReplicaAnswer, ReplicaFetch, ReplicaFetchError,
    ReplicaKey, ReplicaPosition, fetch_replicas,
};

/// Least connections to one leader: a partition that becomes ready while others wait for news must not wait with
/// them.
const CONNECTIONS_MIN: usize = 2;
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Interval of checks whether this process is registered.
const REGISTRATION_INTERVAL: Duration = Duration::from_millis(50);

/// `replica.fetch.*` and related options.
#[derive(Debug, Clone)]
pub(crate) struct FetcherConfig {
    pub(crate) inter_broker_listener: String,
    /// Connections to each leader: `num.replica.fetchers`
    pub(crate) connections: usize,
    pub(crate) wait_max: Duration,
    pub(crate) bytes_min: i32,
    pub(crate) response_bytes_max: i32,
    pub(crate) partition_bytes_max: i32,
    /// `replica.fetch.backoff.ms`
    pub(crate) backoff_max: Duration,
    /// `replica.socket.timeout.ms`
    pub(crate) answer_time_max: Duration,
}

impl FetcherConfig {
    pub(crate) fn from_config(config: &BrokerConfig) -> Self {
        let values = &config.values;
        Self {
            inter_broker_listener: config.inter_broker_listener.clone(),
            connections: values.get_count("num.replica.fetchers").max(CONNECTIONS_MIN),
            wait_max: values.get_millis("replica.fetch.wait.max.ms"),
            bytes_min: values.get_int("replica.fetch.min.bytes"),
            response_bytes_max: values.get_int("replica.fetch.response.max.bytes"),
            partition_bytes_max: values.get_int("replica.fetch.max.bytes"),
            backoff_max: values.get_millis("replica.fetch.backoff.ms"),
            answer_time_max: values.get_millis("replica.socket.timeout.ms"),
        }
    }
}

/// Shared by all fetchers.
pub(super) struct Context {
    pub(super) replicas: Arc<ReplicaManager>,
    image: Arc<ArcSwap<Image>>,
    incarnation: IncarnationId,
    config: FetcherConfig,
}

#[derive(Debug)]
pub(crate) struct Fetchers {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Fetchers {
    pub(crate) fn spawn(
        replicas: Arc<ReplicaManager>,
        image: Arc<ArcSwap<Image>>,
        incarnation: IncarnationId,
        config: FetcherConfig,
        controller: ControllerChannel,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let failures = replicas.failures().clone();
        let context = Arc::new(Context { replicas, image, incarnation, config });
        let run = move || {
            runtime.block_on(async {
                let isr_changes = IsrChanges::new(context.clone(), controller);
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = follow_all(&context) => {}
                    () = isr_changes.run() => {}
                }
            });
            runtime.shutdown_background();
        };
        let thread = failures.spawn("replica-fetcher", run)?;
        Ok(Self { stop, thread })
    }

    pub(crate) fn stop(self) {
        self.stop.cancel();
        // A panic has been reported as a failure already.
        let _told = self.thread.join();
    }
}

impl Context {
    /// The epoch of this process's own registration, once the metadata has it: an earlier process's epoch would vouch
    /// for that one's log.
    pub(super) fn broker_epoch(&self) -> Option<BrokerEpoch> {
        let image = self.image.load();
        let registered = image.brokers.get(&self.replicas.broker_id)?;
        (registered.incarnation == self.incarnation).then_some(registered.epoch)
    }

    async fn connect(&self, leader: BrokerId, link: &mut Link) -> Option<Connection> {
        let (host, port) = {
            let image = self.image.load();
            let endpoints = &image.brokers.get(&leader)?.endpoints;
            let endpoint = address(endpoints, &self.config.inter_broker_listener, link.refusals)?;
            (endpoint.host.clone(), endpoint.port)
        };
        let client_id = format!("broker-{}-fetcher", self.replicas.broker_id);
        let cluster = &self.replicas.directory().properties().cluster_id;
        let connected = Connection::connect(&host, port, &client_id, Instant::now() + CONNECT_MAX).await;
        let connected = connected.and_then(|connection| connection.to(cluster, Some(leader)));
        let is_misdirected = connected.as_ref().is_err_and(|error| error.failure.is_misdirected());
        let is_news = !std::mem::replace(&mut link.is_misdirected, is_misdirected) && is_misdirected;
        let lost = &self.replicas.shared.lost_leaders;
        match &connected {
            Ok(_) => lost.find(leader),
            Err(error) if is_news => warn!(%leader, %error, "leader not reached"),
            Err(error) => {
                debug!(%leader, %error, "leader not reached");
                if error.failure == PeerFailure::Refused {
                    lost.lose(leader, clock::monotonic());
                }
            }
        }
        connected.ok()
    }
}

/// Runs the connections to every leader that is followed.
async fn follow_all(context: &Arc<Context>) {
    let mut changes = context.replicas.shared.followed.changes();
    let mut running: BTreeMap<BrokerId, JoinSet<()>> = BTreeMap::new();
    loop {
        let leaders = context.replicas.shared.followed.leaders();
        running.retain(|leader, _| leaders.contains(leader));
        for leader in leaders {
            running.entry(leader).or_insert_with(|| {
                let asked = Arc::new(Mutex::new(Asked::default()));
                let follower = || follow(context.clone(), leader, asked.clone());
                let failures = context.replicas.failures();
                (0..context.config.connections).map(|_| failures.watched("follower", follower())).collect()
            });
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// The partitions being fetched from one leader, and which comes first next.
#[derive(Debug, Default)]
struct Asked {
    partitions: BTreeSet<ReplicaKey>,
    turn: usize,
}

/// The partitions of one request; released when dropped.
struct Claim {
    asked: Arc<Mutex<Asked>>,
    planned: BTreeMap<ReplicaKey, (Arc<Partition>, FetchPlan)>,
    positions: Vec<ReplicaPosition>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut asked = lock(&self.asked);
        for key in self.planned.keys() {
            asked.partitions.remove(key);
        }
    }
}

async fn follow(context: Arc<Context>, leader: BrokerId, asked: Arc<Mutex<Asked>>) {
    let mut changes = context.replicas.shared.followed.changes();
    let mut link = Link::default();
    loop {
        changes.mark_unchanged();
        let Some(epoch) = context.broker_epoch() else {
            sleep(REGISTRATION_INTERVAL).await;
            continue;
        };
        let (claim, retry_at) = claim(&context, leader, &asked);
        let Some(mut claim) = claim else {
            let retry = retry_at.map_or(context.config.wait_max, |at| at.saturating_sub(clock::monotonic()));
            tokio::select! {
                outcome = changes.changed() => if outcome.is_err() { return },
                () = sleep(retry.min(context.config.wait_max)) => {}
            }
            continue;
        };
        let answers = fetch(&context, leader, &mut link, &mut claim, epoch).await;
        match answers {
            Ok(answers) => take(&context, &claim, answers),
            Err(Unreached) => pause(&claim, &context.config),
        }
        drop(claim);
    }
}

/// What can be fetched now, or when to look again.
fn claim(context: &Context, leader: BrokerId, asked: &Arc<Mutex<Asked>>) -> (Option<Claim>, Option<Duration>) {
    let now = clock::monotonic();
    let mut followed = context.replicas.shared.followed.of(leader);
    let mut locked = lock(asked);
    // Every request begins with another partition: a leader fills its answer with the first ones.
    if !followed.is_empty() {
        let first = locked.turn % followed.len();
        followed.rotate_left(first);
        locked.turn = locked.turn.wrapping_add(1);
    }
    let (mut planned, mut positions, mut retry_at) = (BTreeMap::new(), Vec::new(), None::<Duration>);
    for partition in followed {
        let key = (partition.topic_id, partition.name.partition);
        if locked.partitions.contains(&key) {
            continue;
        }
        match partition.plan_fetch(leader, now) {
            Planned::Fetch(plan) => {
                positions.push(position(key, &plan));
                planned.insert(key, (partition, plan));
            }
            Planned::Later(at) => retry_at = Some(retry_at.map_or(at, |earlier| earlier.min(at))),
            Planned::NotNow => {}
        }
    }
    locked.partitions.extend(planned.keys().copied());
    drop(locked);
    let claim = Claim { asked: asked.clone(), planned, positions };
    ((!claim.positions.is_empty()).then_some(claim), retry_at)
}

fn position(key: ReplicaKey, plan: &FetchPlan) -> ReplicaPosition {
    let FetchPlan { epoch: leader_epoch, offset, last_epoch, log_start, high_watermark } = *plan;
    ReplicaPosition { key, leader_epoch, offset, last_epoch, log_start, high_watermark }
}

/// The connection to a leader, if there is one, and the session on it.
#[derive(Default)]
struct Link {
    connection: Option<Connection>,
    session: FetcherSession,
    /// Another node answered at the leader's address last; logged once.
    is_misdirected: bool,
    /// Listeners of the leader that refused followers.
    refusals: usize,
}

/// The leader did not answer.
struct Unreached;

async fn fetch(
    context: &Context,
    leader: BrokerId,
    link: &mut Link,
    claim: &mut Claim,
    broker_epoch: BrokerEpoch,
) -> Result<Vec<ReplicaAnswer>, Unreached> {
    let connected = match link.connection.take() {
        Some(connected) => connected,
        None => context.connect(leader, link).await.ok_or(Unreached)?,
    };
    let config = &context.config;
    let fetch = ReplicaFetch {
        broker: context.replicas.broker_id,
        broker_epoch,
        directory: context.replicas.directory_id,
        wait_max: config.wait_max,
        bytes_min: config.bytes_min,
        bytes_max: config.response_bytes_max,
        partition_bytes_max: config.partition_bytes_max,
        changes: link.session.changes(std::mem::take(&mut claim.positions)),
    };
    let deadline = Instant::now() + config.answer_time_max.max(config.wait_max.saturating_mul(2));
    match fetch_replicas(&connected, &fetch, deadline).await {
        Ok((_, answers)) if is_denied(&answers) => {
            info!(%leader, "leader accepts no followers on this listener; trying the next one");
            link.session.restart();
            link.refusals = link.refusals.wrapping_add(1);
            Err(Unreached)
        }
        Ok((session, answers)) => {
            link.session.answered(session);
            link.connection = Some(connected);
            Ok(answers)
        }
        // Everything is requested again at once: a request that begins a session cannot fail this way.
        Err(ReplicaFetchError::UnknownSession(error_code)) if fetch.changes.session.1 != 0 => {
            debug!(%leader, error_code, "fetch session with the leader has ended");
            link.session.restart();
            link.connection = Some(connected);
            Ok(Vec::new())
        }
        Err(error) => {
            debug!(%leader, %error, "fetch from the leader failed");
            link.session.restart();
            // Silence may be the network's: clients may still reach the leader.
            if connected.has_ended() {
                context.replicas.shared.lost_leaders.lose(leader, clock::monotonic());
            }
            Err(Unreached)
        }
    }
}

fn is_denied(answers: &[ReplicaAnswer]) -> bool {
    !answers.is_empty() && answers.iter().all(|answer| answer.outcome == FetchOutcome::Denied)
}

fn pause(claim: &Claim, config: &FetcherConfig) {
    let now = clock::monotonic();
    for (partition, plan) in claim.planned.values() {
        partition.pause_fetching(plan.epoch, now, config.backoff_max);
    }
}

/// An error of one partition does not stop the others.
fn take(context: &Context, claim: &Claim, answers: Vec<ReplicaAnswer>) {
    for ReplicaAnswer { key, outcome } in answers {
        if let Some((partition, plan)) = claim.planned.get(&key) {
            let answered = answered(outcome, partition);
            follow_answer(&context.replicas, partition, plan, answered, context.config.backoff_max);
        }
    }
}
