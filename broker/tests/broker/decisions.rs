//! Management calls that the active controller decides.

use std::fs;

use serde_json::Value;

use crate::harness::http::{Answer, call, get};
use crate::harness::wire::{Wire, create};
use crate::harness::{Site, eventually};

const TOKEN: &str = "right";

fn post(site: &Site, path: &str, body: &Value) -> Answer {
    call(site.management_port, "POST", path, Some(TOKEN), &body.to_string())
}

fn delete(site: &Site, path: &str) -> Answer {
    call(site.management_port, "DELETE", path, Some(TOKEN), "")
}

/// The broker epoch and the directory id of the only broker.
fn only_broker(site: &Site) -> (i64, String) {
    eventually("ready", || (get(site.management_port, "/readyz", None).status == 200).then_some(()));
    let cluster = get(site.management_port, "/v1/cluster", Some(TOKEN)).json();
    let broker = &cluster["brokers"][0];
    assert_eq!((&broker["id"], &broker["state"], &cluster["controllerId"]), (&1.into(), &"Unfenced".into(), &1.into()));
    assert!(0 < cluster["controllerEpoch"].as_i64().unwrap());
    (broker["epoch"].as_i64().unwrap(), broker["directories"][0].as_str().unwrap().to_owned())
}

#[test]
fn a_restart_is_granted_to_the_process_that_runs_and_can_be_taken_back() {
    let site = Site::new(&[]).with_token(TOKEN);
    let _broker = site.start();
    create(&mut Wire::connect(site.port), "single", &[]);
    let (epoch, _) = only_broker(&site);
    let wish = |broker: i32, epoch: i64| serde_json::json!({"broker": broker, "brokerEpoch": epoch, "ttlMs": 60_000, "reason": "test"});
    assert_eq!(get(site.management_port, "/v1/restart-grants/1", Some(TOKEN)).status, 404);
    let grant = post(&site, "/v1/restart-grants", &wish(1, epoch));
    assert_eq!(grant.status, 200, "{}", grant.body);
    let grant = grant.json();
    assert_eq!((&grant["broker"], &grant["brokerEpoch"]), (&1.into(), &epoch.into()));
    assert_eq!(grant["willBeUnavailable"], serde_json::json!(["single-0"]), "nobody else has it");
    assert_eq!(get(site.management_port, "/v1/restart-grants/1", Some(TOKEN)).status, 200);
    let granted = || get(site.management_port, "/v1/cluster", Some(TOKEN)).json()["grants"].clone();
    assert_eq!(granted(), serde_json::json!([1]));
    let stale = post(&site, "/v1/restart-grants", &wish(1, epoch - 1));
    assert_eq!((stale.status, post(&site, "/v1/restart-grants", &wish(9, 1)).status), (409, 404), "{}", stale.body);
    assert_eq!(post(&site, "/v1/restart-grants", &serde_json::json!({"broker": 1})).status, 422);
    for _ in 0..2 {
        assert_eq!(delete(&site, "/v1/restart-grants/1").status, 200, "repeating it is harmless");
    }
    assert_eq!(get(site.management_port, "/v1/restart-grants/1", Some(TOKEN)).status, 404);
    assert_eq!(granted(), serde_json::json!([]));
}

#[test]
fn what_would_lose_data_or_move_it_nowhere_is_refused_with_its_reason() {
    let site = Site::new(&[]).with_token(TOKEN);
    let _broker = site.start();
    create(&mut Wire::connect(site.port), "single", &[]);
    let (epoch, directory) = only_broker(&site);
    let nowhere = post(&site, "/v1/decommissions/1", &Value::Null);
    assert_eq!(nowhere.status, 409, "{}", nowhere.body);
    assert!(nowhere.json()["detail"].as_str().unwrap().contains("single-0"), "{}", nowhere.body);
    assert_eq!(get(site.management_port, "/v1/decommissions/1", Some(TOKEN)).status, 404);
    assert_eq!(delete(&site, "/v1/decommissions/1").status, 200);

    let last = post(&site, "/v1/discards", &serde_json::json!({"broker": 1, "directory": directory}));
    assert_eq!(last.status, 409, "{}", last.body);
    assert!(last.json()["detail"].as_str().unwrap().contains("single-0"), "{}", last.body);
    let strange = serde_json::json!({"broker": 1, "directory": "b1b5a1f0-8d3c-4a68-9e55-0123456789ab"});
    assert_eq!(post(&site, "/v1/discards", &strange).status, 404);
    assert_eq!(post(&site, "/v1/discards", &serde_json::json!({"broker": 1, "directory": "x"})).status, 400);

    let hint = |epoch: i64| serde_json::json!({"broker": 1, "brokerEpoch": epoch, "cause": "test"});
    assert_eq!(
        (post(&site, "/v1/fence-hints", &hint(epoch)).status, post(&site, "/v1/fence-hints", &hint(0)).status),
        (200, 409)
    );
    assert_eq!(only_broker(&site).0, epoch, "the probe found it alive");
}

#[test]
fn a_stopping_broker_asks_the_controller_and_leaves_its_epoch_for_the_next_start() {
    let site = Site::new(&[]).with_token(TOKEN);
    let broker = site.start();
    let (epoch, _) = only_broker(&site);
    let log = broker.log_of();
    assert!(broker.stop().success());
    assert!(log.lock().unwrap().contains("controlled shutdown granted"), "{}", log.lock().unwrap());
    let left: Value = serde_json::from_slice(&fs::read(site.data().join(".kafka_cleanshutdown")).unwrap()).unwrap();
    assert_eq!(left["brokerEpoch"], epoch);
    let _again = site.start();
    assert!(epoch < only_broker(&site).0, "a registration of its own for every process");
}
