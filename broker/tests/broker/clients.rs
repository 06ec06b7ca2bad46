//! librdkafka against one broker.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::{Broker, DEADLINE, Site, eventually};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::{Offset, Timestamp};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

fn producer(site: &Site, settings: &[(&str, &str)]) -> FutureProducer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", site.bootstrap())
        .set("message.timeout.ms", "30000")
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "50")
        .set("retry.backoff.ms", "10")
        .set("retry.backoff.max.ms", "50");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

/// Reads a partition from its beginning until there are `count` records.
fn consume(site: &Site, topic: &str, count: usize) -> Vec<(i64, Vec<u8>)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", site.bootstrap())
        .set("group.id", "librdkafka wants one, though partitions are assigned")
        .set("enable.auto.commit", "false")
        .set("check.crcs", "true")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let mut records = Vec::new();
    eventually("all records are read", || {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.unwrap();
            records.push((message.offset(), message.payload().unwrap_or_default().to_vec()));
        }
        (count <= records.len()).then_some(())
    });
    records
}

#[tokio::test]
async fn records_of_every_codec_come_back_with_keys_headers_and_times() {
    let site = Site::new(&[]);
    let _broker = site.start();
    for codec in CODECS {
        let producer = producer(&site, &[("compression.type", codec), ("linger.ms", "20")]);
        let value = format!("{codec} ").repeat(100);
        let headers = || OwnedHeaders::new().insert(Header { key: "same", value: Some("1") });
        let sends = (0..50).map(|i| {
            let record =
                FutureRecord::to(codec).key("key").payload(&value).partition(0).timestamp(1_700_000_000_000 + i);
            producer.send(record.headers(headers().insert(Header { key: "same", value: Some("2") })), DEADLINE)
        });
        for sent in futures(sends).await {
            sent.unwrap();
        }
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", site.bootstrap()).set("group.id", "unused").create().unwrap();
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset(codec, 0, Offset::Offset(49)).unwrap();
        consumer.assign(&partitions).unwrap();
        let last = eventually("the last record", || consumer.poll(Duration::from_millis(100))).unwrap();
        assert_eq!(last.offset(), 49, "{codec}: the batch holds more, the client reads from the offset asked for");
        assert_eq!(last.key(), Some(&b"key"[..]));
        assert_eq!(last.payload(), Some(value.as_bytes()));
        assert_eq!(last.timestamp(), Timestamp::CreateTime(1_700_000_000_049));
        assert_eq!(last.headers().unwrap().count(), 2, "header keys may repeat");
        let written = codec_on_disk(&site, codec);
        assert_eq!(written, codec, "librdkafka sends plain batches to a broker that it thinks too old");
    }
}

/// The codec in the first batch of a topic's log.
fn codec_on_disk(site: &Site, topic: &str) -> String {
    let log = std::fs::read(site.data().join(format!("{topic}-0/00000000000000000000.log"))).unwrap();
    let header = protocol::batch::BatchHeader::decode(log.first_chunk().unwrap());
    format!("{:?}", header.attributes.compression().unwrap()).to_lowercase()
}

/// Awaits all at once, in the order of the sends.
async fn futures<T>(sends: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = sends.map(Box::pin).collect();
    let mut done = Vec::new();
    for send in &mut pending {
        done.push(send.await);
    }
    done
}

#[tokio::test]
async fn a_clean_restart_keeps_records_topics_and_producers() {
    let site = Site::new(&[]);
    let broker = site.start();
    let producer = producer(&site, &[("enable.idempotence", "true")]);
    for i in 0..100 {
        let value = i.to_string();
        producer.send(FutureRecord::<(), _>::to("kept").payload(&value).partition(0), DEADLINE).await.unwrap();
    }
    assert!(broker.stop().success());
    assert!(site.data().join(".kafka_cleanshutdown").exists());
    let broker = site.start();
    assert!(!site.data().join(".kafka_cleanshutdown").exists(), "the mark has to be earned again");
    producer.send(FutureRecord::<(), _>::to("kept").payload("100").partition(0), DEADLINE).await.unwrap();
    let expected: Vec<_> = (0..=100).map(|i: i64| (i, i.to_string().into_bytes())).collect();
    assert_eq!(consume(&site, "kept", 101), expected);
    assert!(broker.stop().success());
}

#[tokio::test]
async fn sigkill_under_load_loses_nothing_that_was_acknowledged() {
    const ROUNDS: usize = 4;
    const ACKED_PER_ROUND: usize = 400;
    let site = Site::new(&["log.segment.bytes=1048576"]);
    let producer = producer(&site, &[("enable.idempotence", "true"), ("linger.ms", "1"), ("acks", "all")]);
    let mut broker: Broker = site.start();
    let mut acknowledged = BTreeMap::new();
    let mut next = 0;
    for _ in 0..ROUNDS {
        let mut sends = Vec::new();
        for _ in 0..2 * ACKED_PER_ROUND {
            let value = format!("{next:08}{}", "x".repeat(1500));
            sends.push(tokio::spawn({
                let producer = producer.clone();
                async move {
                    let sent =
                        producer.send(FutureRecord::<(), _>::to("kill").payload(&value).partition(0), DEADLINE).await;
                    (value, sent.map(|delivery| delivery.offset))
                }
            }));
            next += 1;
        }
        let mut sends = sends.into_iter();
        for send in sends.by_ref().take(ACKED_PER_ROUND) {
            let (value, sent) = send.await.unwrap();
            acknowledged.insert(sent.unwrap(), value);
        }
        broker.kill();
        broker = site.start();
        for send in sends {
            let (value, sent) = send.await.unwrap();
            acknowledged.insert(sent.unwrap(), value);
        }
    }
    assert_eq!(acknowledged.len(), next, "every record has an offset of its own");
    let read = consume(&site, "kill", next);
    assert_eq!(read.len(), next, "an idempotent producer's records are there once");
    for (offset, value) in read {
        assert_eq!(acknowledged.get(&offset).map(String::as_bytes), Some(&value[..]), "offset {offset}");
    }
    assert!(broker.stop().success());
}
