//! Producing and consuming.

use e2e::command;

use crate::site::{CODECS, Site, assert_sent};

pub(crate) fn console_clients_pass_on_records_of_every_codec() {
    let site = Site::shared();
    for codec in CODECS {
        let lines = format!("{codec}:first\n{codec}:\n{codec}:third\n");
        let reader = "--reader-property parse.key=true --reader-property key.separator=:";
        site.produce(&format!("--topic lines --compression-codec {codec} {reader}"), &lines);
    }
    let said = site.run(
        "kafka-console-consumer --topic lines --partition 0 --offset earliest --isolation-level read_committed \
         --max-messages 15 --timeout-ms 30000 --formatter-property print.key=true \
         --formatter-property print.offset=true",
    );
    let records = CODECS.iter().flat_map(|codec| ["first", "", "third"].map(|value| format!("{codec}\t{value}")));
    let expected: Vec<_> = (0..).zip(records).map(|(offset, record)| format!("Offset:{offset}\t{record}")).collect();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

pub(crate) fn kafka_console_consumer_reads_one_partition_from_an_offset() {
    let site = Site::shared();
    site.run("kafka-topics --create --topic parts --partitions 3");
    let keyed = "--topic parts --reader-property parse.key=true --reader-property key.separator=:";
    // Six keys over three partitions: one partition has at least two of them.
    site.produce(keyed, "a:a\nb:b\nc:c\nd:d\ne:e\nf:f\n");
    let consume = |partition: i32, options: &str| {
        let properties = "--formatter-property print.partition=true --formatter-property print.offset=true";
        site.run(&format!("kafka-console-consumer --topic parts --partition {partition} {options} {properties}"))
    };
    let ends = site.run("kafka-get-offsets --topic parts");
    let end = |partition: usize| ends.lines().nth(partition).unwrap().rsplit(':').next().unwrap().to_owned();
    assert_eq!([end(0), end(1), end(2)].map(|end| end.parse::<i32>().unwrap()).iter().sum::<i32>(), 6, "{ends}");
    let fullest = (0..3).max_by_key(|partition| end(*partition)).unwrap();
    let second = consume(i32::try_from(fullest).unwrap(), "--offset 1 --max-messages 1");
    assert!(second.starts_with(&format!("Partition:{fullest}\tOffset:1\t")), "{second}");
}

pub(crate) fn kafka_producer_perf_test_sends_what_it_counts() {
    const RECORDS: usize = 5000;
    let site = Site::shared();
    assert_sent(&site.load("load", RECORDS, -1, "none").output().unwrap(), RECORDS);
    assert_eq!(site.run("kafka-get-offsets --topic load"), format!("load:0:{RECORDS}\n"));
    let mut acknowledged_by_nobody = site.tool("kafka-producer-perf-test --topic load --num-records 1 --throughput -1");
    acknowledged_by_nobody.args(["--record-size", "10", "--command-property", "acks=0"]);
    assert!(command::output(&mut acknowledged_by_nobody).unwrap().starts_with("1 records sent, "));
}
