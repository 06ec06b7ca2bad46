//! The cluster itself.

use std::collections::BTreeMap;

use crate::site::Site;

pub(crate) fn kafka_broker_api_versions_finds_what_it_needs() {
    let site = Site::shared();
    let said = site.run("kafka-broker-api-versions");
    assert!(
        said.starts_with(&format!("127.0.0.1:{} (id: 1 rack: null isFenced: false) -> (\n", site.port())),
        "{said}"
    );
    for api in ["Produce(0)", "Fetch(1)", "ListOffsets(2)", "Metadata(3)", "ApiVersions(18)", "InitProducerId(22)"] {
        assert!(said.lines().any(|line| line.contains(api) && line.contains("usable: ")), "{api}: {said}");
    }
}

pub(crate) fn kafka_features_describes_the_levels_of_the_cluster() {
    let said = Site::shared().run("kafka-features describe");
    let level = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let value = |name: &str| words.iter().skip_while(|word| **word != name).nth(1).unwrap().to_string();
        (value("Feature:"), value("FinalizedVersionLevel:"))
    };
    let levels: BTreeMap<_, _> = said.lines().map(level).collect();
    for (feature, expected) in
        [("metadata.version", "4.1-IV1"), ("kraft.version", "1"), ("eligible.leader.replicas.version", "1")]
    {
        assert_eq!(levels.get(feature).map(String::as_str), Some(expected), "{feature}: {said}");
    }
}

pub(crate) fn kafka_metadata_quorum_describes_its_only_voter() {
    let site = Site::shared();
    let status = site.run("kafka-metadata-quorum describe --status");
    let status: BTreeMap<_, _> = status.lines().map(|line| line.split_once(':').unwrap()).collect();
    let value = |name: &str| status[name].trim();
    assert_eq!(
        ["LeaderId", "MaxFollowerLag", "MaxFollowerLagTimeMs", "CurrentObservers"].map(value),
        ["1", "0", "0", "[]"]
    );
    assert!(1 <= value("LeaderEpoch").parse::<i32>().unwrap());
    assert!(0 < value("HighWatermark").parse::<i64>().unwrap());
    let directory = std::fs::read_to_string(site.data("meta.properties")).unwrap();
    let property = |name: &str| directory.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    let (cluster_id, directory_id) = (property("cluster.id="), property("directory.id="));
    assert_eq!(value("ClusterId"), cluster_id);
    let voter = format!(r#"[{{"id": 1, "directoryId": "{directory_id}", "endpoints": ["CONTROLLER://127.0.0.1:"#);
    assert!(value("CurrentVoters").starts_with(&voter), "{status:?}");

    let replication = site.run("kafka-metadata-quorum describe --replication");
    let rows: Vec<Vec<_>> = replication.lines().map(|line| line.split_whitespace().collect()).collect();
    let [titles, row] = rows.try_into().unwrap();
    let row: BTreeMap<_, _> = titles.into_iter().zip(row).collect();
    assert_eq!(["NodeId", "DirectoryId", "Lag", "Status"].map(|title| row[title]), ["1", &directory_id, "0", "Leader"]);
}

pub(crate) fn kafka_cluster_knows_its_id_and_its_brokers() {
    let site = Site::shared();
    let properties = std::fs::read_to_string(site.data("meta.properties")).unwrap();
    let id = properties.lines().find_map(|line| line.strip_prefix("cluster.id=")).unwrap();
    assert_eq!(site.run("kafka-cluster cluster-id"), format!("Cluster ID: {id}\n"));
    let endpoints = site.run("kafka-cluster list-endpoints --include-fenced-brokers");
    let rows: Vec<Vec<_>> = endpoints.lines().map(|line| line.split_whitespace().collect()).collect();
    let port = site.port().to_string();
    let expected = [
        ["ID", "HOST", "PORT", "RACK", "STATE", "ENDPOINT_TYPE"],
        ["1", "127.0.0.1", &port, "null", "unfenced", "broker"],
    ];
    assert_eq!(rows, expected);
}
