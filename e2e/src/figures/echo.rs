//! The minimum cost of a single request: a thread that reads so many bytes and writes so many, and nothing else. If
//! client and server have a core each, both cores become idle between requests, and waking one again is most of the
//! cost of a small request on a virtual machine.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use rustix::time::{ClockId, clock_gettime};

use super::bench::Bench;

/// About the size of an OffsetCommit of one partition, and of its answer.
const REQUEST_BYTES: usize = 120;
const ANSWER_BYTES: usize = 48;

/// CPU time of the server per request, with client and server on a core each.
pub(super) fn cpu_per_echo(bench: &Bench<'_>, requests: u32) -> Result<Duration> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::scope(|scope| {
        let server = bench.on_broker_core(|| Ok(scope.spawn(|| serve(&listener, requests))))?;
        bench.on_client_core(|| ask(address, requests))?;
        server.join().map_err(|_| anyhow!("the server has panicked"))?
    })
}

fn serve(listener: &TcpListener, requests: u32) -> Result<Duration> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut request = [0; REQUEST_BYTES];
    let before = thread_cpu_time()?;
    for _ in 0..requests {
        stream.read_exact(&mut request)?;
        stream.write_all(&[0; ANSWER_BYTES])?;
    }
    Ok(thread_cpu_time()?.saturating_sub(before) / requests)
}

fn ask(address: SocketAddr, requests: u32) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answer = [0; ANSWER_BYTES];
    for _ in 0..requests {
        stream.write_all(&[0; REQUEST_BYTES])?;
        stream.read_exact(&mut answer)?;
    }
    Ok(())
}

fn thread_cpu_time() -> Result<Duration> {
    Ok(Duration::try_from(clock_gettime(ClockId::ThreadCPUTime))?)
}
