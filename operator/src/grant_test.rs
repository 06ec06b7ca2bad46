use std::sync::Mutex;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::*;
use crate::admin::{BrokerView, ClusterView, FormatRequest, ManagementToken, OptionChange, VoterChange};

/// Brokers that give prepared answers in order, and record who was asked.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<Vec<Result<RestartGrant, AdminError>>>,
    asked: Mutex<Vec<String>>,
}

impl BrokerAdmin for Script {
    fn broker(&self, _: AdminTarget) -> BoxFuture<'_, Result<BrokerView, AdminError>> {
        panic!("not asked for")
    }

    fn cluster(&self, _: AdminTarget) -> BoxFuture<'_, Result<ClusterView, AdminError>> {
        panic!("not asked for")
    }

    fn format(&self, _: AdminTarget, _: FormatRequest) -> BoxFuture<'_, Result<(), AdminError>> {
        panic!("not asked for")
    }

    fn options(&self, _: AdminTarget) -> BoxFuture<'_, Result<BTreeMap<String, String>, AdminError>> {
        panic!("not asked for")
    }

    fn set_options(&self, _: AdminTarget, _: Vec<OptionChange>) -> BoxFuture<'_, Result<(), AdminError>> {
        panic!("not asked for")
    }

    fn change_voters(&self, _: AdminTarget, _: VoterChange) -> BoxFuture<'_, Result<(), AdminError>> {
        panic!("not asked for")
    }

    fn restart_grant(
        &self,
        target: AdminTarget,
        _: RestartGrantRequest,
    ) -> BoxFuture<'_, Result<RestartGrant, AdminError>> {
        self.asked.lock().unwrap().push(target.pod_ip);
        let answer = self.answers.lock().unwrap().remove(0);
        async { answer }.boxed()
    }
}

fn granted(controller_epoch: i32, leaders_left: u64) -> RestartGrant {
    RestartGrant { controller_epoch, leaders_left, safe_to_stop: leaders_left == 0, obstacles: Vec::new() }
}

fn refused(status: u16, detail: &str) -> Result<RestartGrant, AdminError> {
    Err(AdminError::Refused { url: "u".to_owned(), status, detail: detail.to_owned() })
}

fn elsewhere(controller: Option<i32>) -> Result<RestartGrant, AdminError> {
    Err(AdminError::NotController { url: "u".to_owned(), controller })
}

#[tokio::test]
async fn a_pod_is_deleted_only_on_the_word_of_one_controller() {
    let yes = || Ok(granted(5, 0));
    let hindered = || {
        let obstacles = vec!["voter 2 is behind".to_owned()];
        Ok(RestartGrant { safe_to_stop: false, obstacles, ..yes()? })
    };
    for (answers, expected, asked) in [
        (vec![yes(), yes()], Ok(Ok(())), "0 0"),
        (vec![Ok(granted(5, 3))], Ok(Err("partitions that it leads and hands over first: 3")), "0"),
        (vec![refused(409, "topic-0 would be under min ISR")], Ok(Err("topic-0 would be under min ISR")), "0"),
        (vec![yes(), Ok(granted(6, 0))], Ok(Err("the controller changed")), "0 0"),
        (vec![yes(), Ok(granted(5, 1))], Ok(Err("partitions that it leads and hands over first: 1")), "0 0"),
        (vec![hindered()], Ok(Err("voter 2 is behind")), "0"),
        (vec![yes(), refused(409, "voter 2 is behind")], Ok(Err("voter 2 is behind")), "0 0"),
        (vec![elsewhere(Some(1)), yes(), elsewhere(Some(1)), yes()], Ok(Ok(())), "0 1 0 1"),
        (vec![elsewhere(Some(7))], Ok(Err("the active controller is broker 7, which does not run")), "0"),
        (vec![elsewhere(None)], Ok(Err("no controller is active")), "0"),
        (vec![elsewhere(Some(1)), elsewhere(Some(0)), elsewhere(Some(1))], Ok(Err("no controller is active")), "0 1 0"),
        (vec![refused(404, "no such resource")], Err("u: answered 404: no such resource"), "0"),
    ] {
        let admin = Script { answers: Mutex::new(answers), ..Script::default() };
        let target = |id: i32| AdminTarget { pod_ip: id.to_string(), token: ManagementToken(String::new()) };
        let targets = [0, 1].map(|id| (BrokerId(id), target(id))).into();
        let call = GrantCall::new(BrokerId(0), targets, BrokerId(2), 100, "a reason".to_owned());
        let answer = ask(&admin, &call).await.map_err(|error| error.to_string());
        let answer = answer.map(|inner| inner.map_err(|not_yet| not_yet.to_string()));
        assert_eq!(answer, expected.map(|inner| inner.map_err(str::to_owned)).map_err(str::to_owned));
        assert_eq!(admin.asked.lock().unwrap().join(" "), asked);
        assert!(admin.answers.lock().unwrap().is_empty());
    }
}
