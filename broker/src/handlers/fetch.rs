//! Fetch by consumers and followers.
//!
//! A follower's fetch tells its position, with its broker epoch (KIP-903), and is answered up to the log end.
//!
//! The partitions to read are in a [`Session`], which ends with the request or continues (KIP-227). A request that
//! waits looks again only at partitions that have notified it.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::FetchTopic;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::fetch_read::{Reader, Room};
use super::fetch_response::{FetchedPartition, FetchedTopic, NextLook};
use super::fetch_session::{Session, Slot};
use super::fetch_sessions::{Place, SessionError, SessionId, SessionKind};
use super::leader_hints::LeaderHints;
use super::{Broker, Outcome, Request, RequestError, fetch_response, topics};
use crate::clock;

/// First version that carries topic ids instead of names (KIP-516).
pub(super) const VERSION_WITH_TOPIC_IDS: i16 = 13;
const READ_COMMITTED: i8 = 1;
/// A client that asks to wait longer gets an empty answer by then, and asks again.
const WAIT_MAX: Duration = Duration::from_mins(5);
/// A follower's whole session is checked this often per `replica.lag.time.max.ms`.
const LOOKS_PER_LAG: u32 = 6;

/// What has been found for a request so far.
#[derive(Default)]
struct Fetched {
    partitions: Vec<(Slot, FetchedPartition)>,
    bytes: u64,
    /// A partition failed, its log has diverged, its records continue in another segment, or a follower has news
    /// without records: the client shall come back at once.
    urgent: bool,
    /// When the throttle admits what it holds back.
    resumes_at: Option<Duration>,
}

/// The reader, its session, and the place where the session is kept.
struct Visit<'a> {
    reader: Reader<'a>,
    /// Topics are named by id.
    by_id: bool,
    session: Box<Session>,
    place: Option<Place<'a>>,
    /// Only changes are answered.
    is_incremental: bool,
}

impl Broker {
    pub(super) async fn fetch(&self, mut request: Request<'_>) -> Result<Outcome, RequestError> {
        let mut body: FetchRequest = request.decode()?;
        let named = std::mem::take(&mut body.topics);
        let read_committed = body.isolation_level == READ_COMMITTED;
        let reader = self.reader(&body, request.version);
        if reader.is_follower() && !self.is_for_followers(&request) {
            return Ok(fetch_response::encode(&request, Ok(SessionId::NONE), false, denied(&named), &[]));
        }
        let by_id = VERSION_WITH_TOPIC_IDS <= request.version;
        let mut visit = match self.visit(&body, named, reader, by_id) {
            Ok(visit) => visit,
            Err(error) => return Ok(fetch_response::encode(&request, Err(error), read_committed, Vec::new(), &[])),
        };
        let fetched = self.fetch_until_satisfied(&mut visit, &body, &request).await;
        self.count_fetched(&request, &fetched, reader);
        let mut found = visit.topics(fetched);
        let mut hints = LeaderHints::new(self.image.load_full(), &request.context.listener.name);
        name_leaders(&mut hints, &mut found, by_id);
        let session = Ok(self.keep(visit));
        Ok(fetch_response::encode(&request, session, read_committed, found, &hints.addresses()))
    }

    /// A follower's position moves the high watermark, so it is accepted on the inter-broker listener only. If
    /// clients use the same listener, only the broker epoch distinguishes them from brokers.
    fn is_for_followers(&self, request: &Request<'_>) -> bool {
        request.context.listener.name == self.config.inter_broker_listener
    }

    /// Takes over the partitions that the request names.
    fn visit<'a>(
        &'a self,
        body: &FetchRequest,
        named: Vec<FetchTopic>,
        reader: Reader<'a>,
        by_id: bool,
    ) -> Result<Visit<'a>, SessionError> {
        let (now, id, is_follower) = (clock::monotonic(), SessionId(body.session_id), reader.is_follower());
        let kind = SessionKind { is_follower, by_id };
        if 0 < body.session_epoch {
            let (place, mut session) = self.fetch_sessions.take((id, body.session_epoch), kind, now)?;
            session.update(named, &body.forgotten_topics_data, is_follower);
            // Without a controller this broker does not learn of a new leader.
            let is_alone = !self.contact.is_alive();
            let interval = if is_alone { Duration::ZERO } else { self.replicas.lag_max() / LOOKS_PER_LAG };
            session.refresh(now, reader.epoch(), interval);
            return Ok(Visit { reader, by_id, session, place: Some(place), is_incremental: true });
        }
        if id != SessionId::NONE {
            self.fetch_sessions.end(id);
        }
        let mut session = Box::new(Session::new(now, reader.epoch()));
        session.update(named, &[], is_follower);
        let begins = body.session_epoch == 0;
        let random = || Uuid::new_v4().as_fields().0;
        let place = begins.then(|| self.fetch_sessions.begin(kind, session.len(), now, random())).flatten();
        Ok(Visit { reader, by_id, session, place, is_incremental: false })
    }

    fn keep(&self, visit: Visit<'_>) -> SessionId {
        match visit.place {
            Some(place) if !visit.session.is_empty() && visit.session.is_worth_keeping => {
                self.fetch_sessions.keep(place, visit.session)
            }
            _ => SessionId::NONE,
        }
    }

    /// Waits until `min_bytes` can be read or `max_wait_ms` has passed, and at most until the client is gone.
    async fn fetch_until_satisfied(
        &self,
        visit: &mut Visit<'_>,
        body: &FetchRequest,
        request: &Request<'_>,
    ) -> Fetched {
        let bytes_min = u64::try_from(body.min_bytes).unwrap_or(0);
        let wait = Duration::from_millis(u64::try_from(body.max_wait_ms).unwrap_or(0));
        let mut fetched = Fetched::default();
        let returns_at_once = wait.is_zero() || visit.session.is_empty();
        let is_satisfied = |fetched: &Fetched| returns_at_once || bytes_min <= fetched.bytes || fetched.urgent;
        // Followers and sessions mostly keep up and wait: they register at the first look instead of looking twice.
        let waits = visit.place.is_some() || visit.reader.is_follower();
        if !waits {
            self.look(visit, body, Registers::No, &mut fetched).await;
            if is_satisfied(&fetched) {
                return fetched;
            }
        }
        let deadline = Instant::now() + wait.min(WAIT_MAX);
        let waiter = visit.session.waiter.clone();
        loop {
            visit.session.hear();
            self.look(visit, body, Registers::Yes, &mut fetched).await;
            if is_satisfied(&fetched) {
                return fetched;
            }
            let pause = fetched.resumes_at.map(|at| at.saturating_sub(clock::monotonic()));
            let until = pause.map_or(deadline, |pause| deadline.min(Instant::now() + pause));
            tokio::select! {
                biased;
                () = waiter.woken() => {}
                () = request.context.hurry.notified() => return fetched,
                () = sleep_until(until) => if until == deadline { return fetched },
            }
        }
    }

    /// Reads of followers do not count as the topic's outgoing traffic.
    fn count_fetched(&self, request: &Request<'_>, fetched: &Fetched, reader: Reader<'_>) {
        for (_, partition) in &fetched.partitions {
            if let (Some(records), Some(metrics)) = (&partition.records, &partition.metrics)
                && !reader.is_follower()
            {
                request.context.requests.fetched(metrics, u64::from(records.length));
            }
            if partition.error_code != 0 {
                self.metrics.error(request.api, partition.error_code);
            }
        }
    }

    /// Looks at the due partitions. Their earlier results are replaced.
    async fn look(&self, visit: &mut Visit<'_>, body: &FetchRequest, registers: Registers, fetched: &mut Fetched) {
        let image = self.image.load_full();
        let Visit { reader, by_id, session, .. } = visit;
        let bytes_max = body.max_bytes.min(self.config.fetch_bytes_max);
        let mut left = u32::try_from(bytes_max).unwrap_or(0);
        fetched.partitions.retain(|(slot, _)| !session.is_due(*slot));
        (fetched.bytes, fetched.urgent, fetched.resumes_at) = (0, false, None);
        let waiter = session.waiter.clone();
        let (mut empty, mut full) = (Vec::new(), Vec::new());
        for slot in session.take_due() {
            let Some(entry) = session.entry(slot) else { continue };
            let topic = topics::find(&image, &entry.topic.name, entry.topic.id, *by_id);
            let registration = (registers == Registers::Yes).then_some((slot, &waiter));
            let room = Room { bytes: left, at_least_one_batch: fetched.bytes == 0 };
            let found = self.fetch_partition(topic, &entry.wanted, *reader, room, registration).await;
            let resumes_at = if let NextLook::At(at) = found.next_look { Some(at) } else { None };
            // A throttled follower is not told of news: it would ask in a busy loop.
            let is_news = reader.is_follower() && resumes_at.is_none() && entry.has_advanced(&found);
            let length = found.records.as_ref().map_or(0, |slice| slice.length);
            left = left.saturating_sub(length);
            fetched.bytes += u64::from(length);
            fetched.urgent |= found.is_urgent() || is_news;
            fetched.resumes_at = [fetched.resumes_at, resumes_at].into_iter().flatten().min();
            match (registers, found.next_look) {
                (Registers::Yes, NextLook::WhenTold) => session.settle(slot),
                _ if length == 0 => empty.push(slot),
                _ => full.push(slot),
            }
            fetched.partitions.push((slot, found));
        }
        session.look_again(empty.into_iter().chain(full));
    }
}

/// Whether partitions shall notify the reader of news. Registering costs more than looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Registers {
    Yes,
    No,
}

impl Visit<'_> {
    /// In the order in which the client named them.
    fn topics(&mut self, fetched: Fetched) -> Vec<FetchedTopic> {
        let mut partitions = fetched.partitions;
        partitions.retain(|(slot, found)| self.session.tell(*slot, found) || !self.is_incremental);
        partitions.sort_unstable_by_key(|(slot, _)| *slot);
        let mut topics: Vec<FetchedTopic> = Vec::new();
        let mut last = None;
        for (slot, found) in partitions {
            let Some(entry) = self.session.entry(slot) else { continue };
            if last != Some(&entry.topic) {
                last = Some(&entry.topic);
                let (name, id) = (entry.topic.name.to_string(), entry.topic.id);
                topics.push(FetchedTopic { name, id, partitions: Vec::new() });
            }
            if let Some(topic) = topics.last_mut() {
                topic.partitions.push(found);
            }
        }
        topics
    }
}

/// Kafka's answer to an unauthorized follower.
fn denied(named: &[FetchTopic]) -> Vec<FetchedTopic> {
    let code = ResponseError::TopicAuthorizationFailed.code();
    let denied = |topic: &FetchTopic| FetchedTopic {
        name: topic.topic.to_string(),
        id: topic.topic_id,
        partitions: topic.partitions.iter().map(|wanted| FetchedPartition::failed(wanted.partition, code)).collect(),
    };
    named.iter().map(denied).collect()
}

fn name_leaders(hints: &mut LeaderHints<'_>, fetched: &mut [FetchedTopic], by_id: bool) {
    let image = hints.image();
    for topic in fetched {
        let Ok(found) = topics::find(&image, &topic.name, topic.id, by_id) else { continue };
        for partition in &mut topic.partitions {
            partition.leader = hints.leader(found, partition.index, partition.error_code);
        }
    }
}
