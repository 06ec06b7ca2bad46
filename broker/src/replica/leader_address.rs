//! The address at which a leader is followed. Pure.

use protocol::metadata_records::Endpoint;

/// The inter-broker listener has the same name on all brokers, unless `inter.broker.listener.name` is just being
/// changed: after a refusal the other listeners are tried.
pub(super) fn address<'a>(endpoints: &'a [Endpoint], own: &str, refusals: usize) -> Option<&'a Endpoint> {
    let (same, others): (Vec<_>, Vec<_>) = endpoints.iter().partition(|endpoint| endpoint.name == own);
    let all: Vec<_> = same.into_iter().chain(others).collect();
    all.get(refusals.checked_rem(all.len())?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_tries_the_other_listeners_in_turn() {
        let endpoint =
            |name: &str| Endpoint { name: name.to_owned(), host: "h".to_owned(), port: 1, security_protocol: 0 };
        let endpoints = ["CLIENTS", "OLD", "NEW"].map(endpoint);
        let tried =
            |own| (0..4).map(|refusals| address(&endpoints, own, refusals).unwrap().name.as_str()).collect::<Vec<_>>();
        assert_eq!(tried("NEW"), ["NEW", "CLIENTS", "OLD", "NEW"]);
        assert_eq!(tried("UNKNOWN"), ["CLIENTS", "OLD", "NEW", "CLIENTS"]);
        assert_eq!(address(&[], "NEW", 1), None);
    }
}
