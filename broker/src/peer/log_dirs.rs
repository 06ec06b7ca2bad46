//! Asks another broker for the sizes of its partitions.

use kafka_protocol::messages::DescribeLogDirsRequest;
use protocol::metadata_records::Endpoint;
use protocol::types::{BrokerId, ClusterId};
use tokio::time::Instant;

use super::connection::Connection;
use super::error::PeerError;

const VERSION: i16 = 4;

/// The bytes of all partitions that the broker has.
pub(crate) async fn bytes_of_partitions(
    (cluster, broker): (&ClusterId, BrokerId),
    endpoint: &Endpoint,
    deadline: Instant,
) -> Result<u64, PeerError> {
    let connection = Connection::connect(&endpoint.host, endpoint.port, "controller", deadline).await?;
    let connection = connection.to(cluster, Some(broker))?;
    let described = connection.call(VERSION, &DescribeLogDirsRequest::default().with_topics(None), deadline).await?;
    let topics = described.results.iter().flat_map(|directory| &directory.topics);
    let sizes = topics.flat_map(|topic| &topic.partitions).map(|partition| partition.partition_size);
    Ok(sizes.filter_map(|size| u64::try_from(size).ok()).sum())
}
