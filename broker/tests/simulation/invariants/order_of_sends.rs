//! `nonmonotonic-send`: the order of a producer's records is kept. Its numbers are ascending.

use std::collections::BTreeMap;

use super::super::history::History;

pub(in super::super) fn check(history: &History) -> Result<(), String> {
    let mut by_producer: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for send in &history.sends {
        let sent = (send.number, send.offset);
        by_producer.entry((send.client, send.key, send.generation)).or_default().push(sent);
    }
    for ((client, key, _), mut sent) in by_producer {
        sent.sort_unstable();
        if let Some(pair) = sent.windows(2).find(|pair| pair[1].1 <= pair[0].1) {
            return Err(format!(
                "client {client} sent {} before {} to {key:?}, and they are at {} and {}",
                pair[0].0, pair[1].0, pair[0].1, pair[1].1
            ));
        }
    }
    Ok(())
}
