//! What is in the metadata and changed by Kafka's own protocol: options that all brokers share and that change
//! without a restart, and the voters. One connection per call, to the inter-broker listener; brokers forward what the
//! active controller decides.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::add_raft_voter_request::Listener;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    AddRaftVoterRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, RemoveRaftVoterRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};
use protocol::client;
use protocol::metadata_records::ConfigResourceType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{AdminError, AdminTarget, OptionChange, Vote, VoterChange};
use crate::names::{LISTENER_CONTROLLERS, MANAGER, PORT_BROKERS, PORT_CONTROLLERS};

const CALL_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long the controller waits for a new voter to catch up. Shorter than the call's timeout, so that it can answer.
const CAUGHT_UP_WITHIN_MS: i32 = 1500;
/// The resource for all brokers has no name.
const ALL_BROKERS: StrBytes = StrBytes::from_static_str("");
const SET: i8 = 0;
const DELETE: i8 = 1;

pub(super) async fn options(target: AdminTarget) -> Result<BTreeMap<String, String>, AdminError> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(ConfigResourceType::Broker as i8)
        .with_resource_name(ALL_BROKERS)
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let call = Call::new(&target);
    let answer = call.make(4, &request).await?;
    let mut options = BTreeMap::new();
    for result in answer.results {
        call.check(result.error_code, result.error_message)?;
        let set =
            result.configs.into_iter().filter_map(|entry| Some((entry.name.to_string(), entry.value?.to_string())));
        options.extend(set);
    }
    Ok(options)
}

pub(super) async fn set_options(target: AdminTarget, changes: Vec<OptionChange>) -> Result<(), AdminError> {
    let change = |change: OptionChange| {
        AlterableConfig::default()
            .with_name(StrBytes::from_string(change.name))
            .with_config_operation(if change.value.is_some() { SET } else { DELETE })
            .with_value(change.value.map(StrBytes::from_string))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(ConfigResourceType::Broker as i8)
        .with_resource_name(ALL_BROKERS)
        .with_configs(changes.into_iter().map(change).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let call = Call::new(&target);
    let answer = call.make(1, &request).await?;
    answer.responses.into_iter().try_for_each(|result| call.check(result.error_code, result.error_message))
}

pub(super) async fn change_voters(target: AdminTarget, change: VoterChange) -> Result<(), AdminError> {
    let call = Call::new(&target);
    let cluster_id = Some(StrBytes::from_string(change.cluster_id.to_string()));
    let (code, message) = match change.vote {
        Vote::Add { host } => {
            let listener = Listener::default()
                .with_name(StrBytes::from_static_str(LISTENER_CONTROLLERS))
                .with_host(StrBytes::from_string(host))
                .with_port(PORT_CONTROLLERS);
            let request = AddRaftVoterRequest::default()
                .with_cluster_id(cluster_id)
                .with_timeout_ms(CAUGHT_UP_WITHIN_MS)
                .with_voter_id(change.broker.0)
                .with_voter_directory_id(change.directory.0)
                .with_listeners(vec![listener]);
            let answer = call.make(0, &request).await?;
            (answer.error_code, answer.error_message)
        }
        Vote::Remove => {
            let request = RemoveRaftVoterRequest::default()
                .with_cluster_id(cluster_id)
                .with_voter_id(change.broker.0)
                .with_voter_directory_id(change.directory.0);
            let answer = call.make(0, &request).await?;
            (answer.error_code, answer.error_message)
        }
    };
    call.check(code, message)
}

struct Call<'a> {
    host: &'a str,
    url: String,
}

impl<'a> Call<'a> {
    fn new(target: &'a AdminTarget) -> Self {
        Self { host: &target.pod_ip, url: format!("{}:{PORT_BROKERS}", target.pod_ip) }
    }

    async fn make<R: Request>(&self, version: i16, request: &R) -> Result<R::Response, AdminError> {
        let client_id = StrBytes::from_static_str(MANAGER);
        let frame = client::encode(&client_id, 0, version, request).map_err(|error| self.unreadable(&error))?;
        let limit_ms = u64::try_from(CALL_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        let exchanged = tokio::time::timeout(CALL_TIMEOUT, self.exchange(&frame)).await;
        let answer = exchanged.map_err(|_| AdminError::TimedOut { url: self.url.clone(), limit_ms })?;
        let answer =
            answer.map_err(|error| AdminError::Unreachable { url: self.url.clone(), reason: error.to_string() })?;
        client::decode::<R>(&answer, version).map_err(|fault| self.unreadable(&fault))
    }

    async fn exchange(&self, frame: &[u8]) -> std::io::Result<Bytes> {
        let mut stream = TcpStream::connect((self.host, PORT_BROKERS)).await?;
        stream.set_nodelay(true)?;
        stream.write_all(frame).await?;
        let length = usize::try_from(stream.read_i32().await?).ok().filter(|length| *length <= ANSWER_BYTES_MAX);
        let too_long = || std::io::Error::other(format!("an answer of more than {ANSWER_BYTES_MAX} bytes"));
        let mut answer = vec![0; length.ok_or_else(too_long)?];
        stream.read_exact(&mut answer).await?;
        Ok(answer.into())
    }

    /// Fails unless Kafka's error code is the one for success.
    fn check(&self, code: i16, message: Option<StrBytes>) -> Result<(), AdminError> {
        let reason = || message.map_or_else(|| format!("error {code}"), |message| message.to_string());
        if code == 0 { Ok(()) } else { Err(AdminError::Kafka { url: self.url.clone(), reason: reason() }) }
    }

    fn unreadable(&self, reason: &impl ToString) -> AdminError {
        AdminError::Unreadable { url: self.url.clone(), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use protocol::schema;

    use super::*;

    #[test]
    fn every_answer_can_be_understood() {
        for (key, version) in [
            (DescribeConfigsRequest::KEY, 4),
            (IncrementalAlterConfigsRequest::KEY, 1),
            (AddRaftVoterRequest::KEY, 0),
            (RemoveRaftVoterRequest::KEY, 0),
        ] {
            assert!(schema::response(key).is_some_and(|answer| answer.versions.contains(version)), "{key}");
        }
    }
}
