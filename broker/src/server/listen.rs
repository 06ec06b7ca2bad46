//! The sockets of a listener: one for each address that its host resolves to.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tracing::warn;

use crate::config::{Listener, NetworkConfig};

/// A peer that has vanished silently is noticed after two minutes: long before `connections.max.idle.ms`, and before
/// middleboxes drop their mapping of an idle connection.
const KEEP_ALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_mins(1)).with_interval(Duration::from_secs(10)).with_retries(6);

#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    #[error("listener {listener}: the host cannot be resolved: {source}")]
    Resolve { listener: String, source: io::Error },
    #[error("listener {listener}: the host has no address that this machine can listen on")]
    NoAddress { listener: String },
    #[error("listener {listener}: {address} is in use by another process, or by another listener of this one")]
    InUse { listener: String, address: SocketAddr },
    #[error("listener {listener}: {address}: {source}")]
    Io { listener: String, address: SocketAddr, source: io::Error },
}

/// Bound, but not listening yet: connections are refused. An empty host means every address, IPv4 and IPv6 in one
/// socket. A name may have addresses that this machine lacks, like `localhost` without IPv6: one that can be bound is
/// enough.
pub(super) fn bind(listener: &Listener, config: &NetworkConfig) -> Result<Vec<Socket>, ListenError> {
    let name = || listener.to_string();
    let mut sockets = Vec::new();
    for address in addresses(listener).map_err(|source| ListenError::Resolve { listener: name(), source })? {
        match open(address, listener.host.is_empty(), config) {
            Ok(socket) => sockets.push(socket),
            Err(error) if is_lacking(&error) => warn!(%listener, %address, %error, "listener address skipped"),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                return Err(ListenError::InUse { listener: name(), address });
            }
            Err(source) => return Err(ListenError::Io { listener: name(), address, source }),
        }
        if listener.host.is_empty() && !sockets.is_empty() {
            break;
        }
    }
    if sockets.is_empty() { Err(ListenError::NoAddress { listener: name() }) } else { Ok(sockets) }
}

/// From now on connections are made, and wait to be accepted.
pub(super) fn listen(listener: &Listener, socket: &Socket, config: &NetworkConfig) -> Result<(), ListenError> {
    socket.listen(config.backlog).map_err(|source| {
        let (listener, address) =
            (listener.to_string(), socket.local_addr().ok().and_then(|address| address.as_socket()));
        let address = address.unwrap_or_else(|| (Ipv6Addr::UNSPECIFIED, 0).into());
        match source.kind() {
            ErrorKind::AddrInUse => ListenError::InUse { listener, address },
            _ => ListenError::Io { listener, address, source },
        }
    })
}

fn addresses(listener: &Listener) -> io::Result<Vec<SocketAddr>> {
    let port = listener.port;
    if listener.host.is_empty() {
        return Ok(vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]);
    }
    let mut addresses: Vec<_> = (listener.host.as_str(), port).to_socket_addrs()?.collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// Connections inherit the options of the listening socket, so none needs its own calls.
fn open(address: SocketAddr, both_families: bool, config: &NetworkConfig) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!both_families)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEP_ALIVE)?;
    if let Some(bytes) = config.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = config.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Whether the machine lacks this address family or address.
fn is_lacking(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    error.kind() == ErrorKind::AddrNotAvailable || code == Some(Errno::AFNOSUPPORT.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use protocol::config::{Scope, Values};

    use super::*;
    use crate::config::Roles;

    fn listener(host: &str, port: u16) -> Listener {
        let entry = format!("A://{host}:{port}");
        let settings = [
            ("listeners", entry.as_str()),
            ("advertised.listeners", "A://localhost:1"),
            ("controller.listener.names", "C"),
        ];
        let (values, errors) = Values::parse(Scope::Broker, settings);
        assert!(errors.is_empty(), "{errors:?}");
        Listener::from_values(&values, Roles::Broker, "machine").unwrap().remove(0)
    }

    fn config() -> NetworkConfig {
        NetworkConfig::from_values(&Values::defaults(Scope::Broker)).unwrap()
    }

    /// Bound and listening.
    fn open(listener: &Listener) -> Result<Vec<TcpListener>, ListenError> {
        let sockets = bind(listener, &config())?;
        let listening = sockets.into_iter().map(|socket| listen(listener, &socket, &config()).map(|()| socket.into()));
        listening.collect()
    }

    fn port(socket: &TcpListener) -> u16 {
        socket.local_addr().unwrap().port()
    }

    #[test]
    fn an_empty_host_is_reached_by_both_families() {
        let sockets = open(&listener("", 0)).unwrap();
        assert_eq!(sockets.len(), 1);
        TcpStream::connect((Ipv4Addr::LOCALHOST, port(&sockets[0]))).unwrap();
        if sockets[0].local_addr().unwrap().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port(&sockets[0]))).unwrap();
        }
    }

    #[test]
    fn every_address_of_a_name_is_bound() {
        let port = port(&open(&listener("localhost", 0)).unwrap()[0]);
        let sockets = open(&listener("localhost", port + 1));
        let known: Vec<_> = ("localhost", 0).to_socket_addrs().unwrap().map(|address| address.ip()).collect();
        for socket in sockets.unwrap() {
            assert!(known.contains(&socket.local_addr().unwrap().ip()), "{socket:?}");
            TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        }
    }

    #[test]
    fn a_port_in_use_is_told_with_listener_and_address() {
        let sockets = open(&listener("127.0.0.1", 0)).unwrap();
        let port = port(&sockets[0]);
        let error = bind(&listener("127.0.0.1", port), &config()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("listener A://127.0.0.1:{port}: 127.0.0.1:{port} is in use")), "{error}");
        let error = open(&listener("[::]", 0)).map(|sockets| sockets.len());
        assert!(matches!(error, Ok(1) | Err(ListenError::NoAddress { .. })), "{error:?}");
    }

    #[test]
    fn who_connects_to_what_does_not_listen_yet_is_refused() {
        let of = listener("127.0.0.1", 0);
        let socket = bind(&of, &config()).unwrap().remove(0);
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        listen(&of, &socket, &config()).unwrap();
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn two_that_were_bound_alike_cannot_both_listen() {
        let first = bind(&listener("127.0.0.1", 0), &config()).unwrap().remove(0);
        let port = first.local_addr().unwrap().as_socket().unwrap().port();
        let of = listener("127.0.0.1", port);
        let second = bind(&of, &config()).unwrap().remove(0);
        listen(&of, &first, &config()).unwrap();
        assert!(
            matches!(listen(&of, &second, &config()), Err(ListenError::InUse { address, .. }) if address.port() == port)
        );
    }

    #[test]
    fn a_host_that_is_not_here_is_told() {
        let error = bind(&listener("192.0.2.1", 0), &config()).unwrap_err().to_string();
        assert_eq!(error, "listener A://192.0.2.1:0: the host has no address that this machine can listen on");
    }
}
