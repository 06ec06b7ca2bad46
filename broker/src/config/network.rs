//! Limits and buffers of connections.

use protocol::config::Values;

/// Kafka's value for "no limit".
const UNLIMITED: i32 = i32::MAX;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetworkConfig {
    pub(crate) connections: ConnectionConfig,
    /// `None`: the kernel's default.
    pub(crate) send_buffer_bytes: Option<usize>,
    pub(crate) receive_buffer_bytes: Option<usize>,
    /// Connections that the kernel queues until they are accepted.
    pub(crate) backlog: i32,
    /// `None`: a share of the memory limit.
    pub(crate) in_flight_bytes_max: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectionConfig {
    pub(crate) total_max: usize,
    pub(crate) per_address_max: usize,
    /// By host name or address.
    pub(crate) per_address_overrides: Vec<(String, usize)>,
    pub(crate) per_second_max: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("max.connections.per.ip.overrides: {0:?} is not host:count")]
pub(crate) struct OverrideError(String);

impl NetworkConfig {
    pub(crate) fn from_values(values: &Values) -> Result<Self, OverrideError> {
        let positive = |name| usize::try_from(values.get_long(name)).ok().filter(|bytes| 0 < *bytes);
        let rate = values.get_int("max.connection.creation.rate");
        let overrides = values.get_string("max.connections.per.ip.overrides").unwrap_or_default();
        let entries = overrides.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        Ok(Self {
            connections: ConnectionConfig {
                total_max: values.get_count("max.connections"),
                per_address_max: values.get_count("max.connections.per.ip"),
                per_address_overrides: entries.map(parse_override).collect::<Result<_, _>>()?,
                per_second_max: u32::try_from(rate).ok().filter(|_| 0 < rate && rate != UNLIMITED),
            },
            send_buffer_bytes: positive("socket.send.buffer.bytes"),
            receive_buffer_bytes: positive("socket.receive.buffer.bytes"),
            backlog: values.get_int("socket.listen.backlog.size"),
            in_flight_bytes_max: positive("queued.max.request.bytes"),
        })
    }
}

#[cfg(test)]
impl ConnectionConfig {
    pub(crate) fn unlimited() -> Self {
        let max = usize::MAX;
        Self { total_max: max, per_address_max: max, per_address_overrides: Vec::new(), per_second_max: None }
    }
}

fn parse_override(entry: &str) -> Result<(String, usize), OverrideError> {
    let malformed = || OverrideError(entry.to_owned());
    let (host, count) = entry.rsplit_once(':').ok_or_else(malformed)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let count = count.trim().parse().map_err(|_| malformed())?;
    if bare.is_empty() { Err(malformed()) } else { Ok((bare.to_owned(), count)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_name_a_host_and_a_count() {
        for (entry, expected) in [
            ("client.example:5", Some(("client.example", 5))),
            ("127.0.0.1:0", Some(("127.0.0.1", 0))),
            ("[::1]:7", Some(("::1", 7))),
            ("127.0.0.1", None),
            (":5", None),
            ("host:many", None),
            ("host:-1", None),
        ] {
            let expected = expected.map(|(host, count)| (host.to_owned(), count));
            assert_eq!(parse_override(entry).ok(), expected, "{entry}");
        }
    }
}
