//! One client connection: requests are read, handled and answered in order, one at a time, as Kafka does by muting
//! the channel. Later requests wait in the socket, so a client that sends without reading is held back by TCP.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use protocol::frame;
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::buffers::Buffers;
use super::reactor::ConnectionLimits;
use crate::handlers::{Broker, Outcome, Part, RequestContext};

/// Bytes asked of the socket at once while a frame is incomplete.
const READ_BYTES_MIN: usize = 16 * 1024;
/// Bytes that one `sendfile` may move before other connections of the reactor get their turn.
const SENDFILE_BYTES_MAX: usize = 1024 * 1024;
/// A frame up to this size does not count against the budget.
const SMALL_FRAME_BYTES: usize = 8 * 1024;
/// Unit of the in-flight budget: permits are counted in 32 bits, bytes are not.
const BUDGET_UNIT_BYTES: usize = 1024;

/// Memory that request frames of all connections may take together; a further request waits for it.
#[derive(Debug, Clone)]
pub(crate) struct InFlightBudget {
    permits: Arc<Semaphore>,
    units_max: u32,
}

impl InFlightBudget {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let units_max = u32::try_from(bytes_max / BUDGET_UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        Self { permits: Arc::new(Semaphore::new(units_max as usize)), units_max }
    }

    /// A frame larger than the whole budget takes all of it, so that it can be served alone.
    async fn reserve(&self, bytes: usize) -> io::Result<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).unwrap_or(u32::MAX).min(self.units_max);
        self.permits.clone().acquire_many_owned(units).await.map_err(io::Error::other)
    }
}

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) context: RequestContext,
    pub(super) broker: Arc<Broker>,
    pub(super) buffers: Buffers,
    pub(super) limits: ConnectionLimits,
    pub(super) shutdown: CancellationToken,
}

impl Connection {
    /// Serves until the client goes, falls silent for `idle_max`, or sends what cannot be answered.
    pub(super) async fn serve(mut self) -> io::Result<()> {
        let mut buffer = self.buffers.take();
        loop {
            let Some((frame, permit)) = self.next_frame(&mut buffer).await? else { return Ok(()) };
            let outcome = self.broker.handle(frame, &self.context).await;
            drop(permit);
            match outcome {
                Outcome::Respond(parts) => self.write(parts).await?,
                Outcome::Silent => {}
                Outcome::Close(reason) => return Err(io::Error::new(ErrorKind::InvalidData, reason)),
            }
        }
    }

    /// The next whole frame without its length, and its share of the budget. `None`: the client closed between frames.
    async fn next_frame(&mut self, buffer: &mut BytesMut) -> io::Result<Option<(Bytes, Option<OwnedSemaphorePermit>)>> {
        while frame::announced(buffer, self.limits.frame_bytes_max).map_err(invalid_data)?.is_none() {
            if !self.read_some(buffer, READ_BYTES_MIN).await? {
                return if buffer.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        }
        let length = frame::announced(buffer, self.limits.frame_bytes_max).map_err(invalid_data)?.unwrap_or(0);
        let permit = if length <= SMALL_FRAME_BYTES { None } else { Some(self.limits.budget.reserve(length).await?) };
        let whole = frame::LENGTH_BYTES + length;
        while buffer.len() < whole {
            let missing = whole - buffer.len();
            if !self.read_some(buffer, missing).await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let framed = buffer.split_to(whole);
        if permit.is_some() {
            return Ok(Some((framed.freeze().split_off(frame::LENGTH_BYTES), permit)));
        }
        // Copied, so that a request that waits, as fetches do, holds no buffer.
        let frame = Bytes::copy_from_slice(framed.get(frame::LENGTH_BYTES..).unwrap_or_default());
        drop(framed);
        if buffer.is_empty() {
            self.buffers.give_back(std::mem::take(buffer));
        }
        Ok(Some((frame, None)))
    }

    /// Waits for bytes without holding memory if none are buffered. False: the client has closed its side, or the broker
    /// shuts down and no request is in progress.
    async fn read_some(&mut self, buffer: &mut BytesMut, wanted: usize) -> io::Result<bool> {
        loop {
            if buffer.is_empty() {
                self.buffers.give_back(std::mem::take(buffer));
                tokio::select! {
                    readable = self.readable() => readable?,
                    () = self.shutdown.cancelled() => return Ok(false),
                }
                *buffer = self.buffers.take();
            }
            buffer.reserve(wanted);
            match self.stream.try_read_buf(buffer) {
                Ok(read) => return Ok(read != 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable().await?,
                Err(error) => return Err(error),
            }
        }
    }

    async fn readable(&self) -> io::Result<()> {
        timeout(self.limits.idle_max, self.stream.readable()).await.map_err(|_| ErrorKind::TimedOut)?
    }

    async fn write(&self, parts: Vec<Part>) -> io::Result<()> {
        let last = parts.len().saturating_sub(1);
        for (index, part) in parts.into_iter().enumerate() {
            match part {
                Part::Bytes(bytes) => self.send(&bytes, index < last).await?,
                Part::File(slice) => self.send_file(&slice).await?,
            }
        }
        Ok(())
    }

    async fn send(&self, mut bytes: &[u8], more_follows: bool) -> io::Result<()> {
        let flags = if more_follows { SendFlags::MORE | SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL };
        while !bytes.is_empty() {
            let sent = self.when_writable(|| Ok(rustix::net::send(self.stream.as_fd(), bytes, flags)?)).await?;
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// The length was promised in the response head: if the file has shrunk since, only closing is left.
    async fn send_file(&self, slice: &storage::LogSlice) -> io::Result<()> {
        let mut position = slice.start.position;
        let end = position + u64::from(slice.length);
        let file = slice.file.as_fd().ok_or(ErrorKind::Unsupported)?;
        while position < end {
            let count = usize::try_from(end - position).unwrap_or(usize::MAX).min(SENDFILE_BYTES_MAX);
            let sent = self
                .when_writable(|| Ok(rustix::fs::sendfile(self.stream.as_fd(), file, Some(&mut position), count)?))
                .await?;
            if sent == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn when_writable<T>(&self, attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        timeout(self.limits.idle_max, self.stream.async_io(Interest::WRITABLE, attempt))
            .await
            .map_err(|_| ErrorKind::TimedOut)?
    }
}

fn invalid_data(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
