//! One client connection: requests are handled and answered in order, one at a time, as Kafka does by muting the
//! channel. Later requests wait in the buffer or in the socket, so TCP slows down a client that sends without
//! reading.
//!
//! ```text
//! read once ─► handle every whole frame ─► answers collect ─► sent together, at the latest before anything waits
//! ```
//!
//! There are no timers here: the reactor checks [`Activity`] periodically and closes what is overdue.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use bytes::{BufMut as _, Bytes, BytesMut};
use protocol::frame;
use rustix::net::SendFlags;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::TcpStream;

use super::activity::{Activity, Phase};
use super::budget::Share;
use super::buffers::CAPACITY_DEFAULT;
use super::reactor::Shared;
use crate::handlers::{Answering, Outcome, Part, RequestContext, RequestError, admit};

/// Bytes read at once while nothing is known of the frame.
const READ_BYTES_MIN: usize = CAPACITY_DEFAULT;
/// Least growth of the buffer for a longer frame. Beyond that it grows with what has been received.
const READ_BYTES_STEP: usize = 64 * 1024;
/// Bytes of answers collected before they are sent; a longer answer is sent by itself.
const ANSWER_BYTES_MAX: usize = CAPACITY_DEFAULT;
/// Bytes that one `sendfile` may move, and that one connection may handle, before other connections get their turn.
const TURN_BYTES_MAX: usize = 1024 * 1024;
/// What a request counts towards that besides its bytes.
const REQUEST_BYTES: usize = 16 * 1024;
/// A request may be decoded to this size without being counted.
const UNCOUNTED_BYTES: usize = REQUEST_BYTES;
/// A frame up to this size is copied out of the buffer.
const SMALL_FRAME_BYTES: usize = 8 * 1024;

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) context: Rc<RequestContext>,
    pub(super) shared: Rc<Shared>,
    pub(super) activity: Rc<Activity>,
    pub(super) share: Share,
    /// Received, but not handled.
    pub(super) received: BytesMut,
    /// Answers that are not sent.
    pub(super) answers: BytesMut,
}

impl Connection {
    /// Serves until the client closes, sends a request that cannot be answered, or the broker stops.
    pub(super) async fn serve(mut self) -> io::Result<()> {
        let mut handled_bytes = 0;
        loop {
            while let Some(frame) = self.next_frame()? {
                handled_bytes += frame.len() + REQUEST_BYTES;
                self.activity.turn_to(Phase::Handling);
                let outcome = self.handle(frame).await?;
                self.share.end_turn();
                self.answer(outcome).await?;
                if TURN_BYTES_MAX < handled_bytes {
                    handled_bytes = 0;
                    tokio::task::yield_now().await;
                }
            }
            self.flush(SendFlags::empty()).await?;
            if self.shared.is_stopping() || !self.receive().await? {
                return Ok(());
            }
        }
    }

    /// The next whole frame that has been received, without its length.
    fn next_frame(&mut self) -> io::Result<Option<Bytes>> {
        let Some(length) = self.announced()? else { return Ok(None) };
        let whole = frame::LENGTH_BYTES + length;
        if self.received.len() < whole {
            return Ok(None);
        }
        let framed = self.received.split_to(whole);
        self.activity.begin_frame(self.shared.now());
        if SMALL_FRAME_BYTES < length {
            return Ok(Some(framed.freeze().split_off(frame::LENGTH_BYTES)));
        }
        // Copied, so that a request that waits, such as a fetch, holds no buffer.
        Ok(Some(Bytes::copy_from_slice(framed.get(frame::LENGTH_BYTES..).unwrap_or_default())))
    }

    fn announced(&self) -> io::Result<Option<usize>> {
        frame::announced(&self.received, self.shared.limits.frame_bytes_max)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }

    /// False: the client has closed its side between frames.
    async fn receive(&mut self) -> io::Result<bool> {
        loop {
            self.readable().await?;
            let length = self.announced()?.unwrap_or(0);
            let missing = (frame::LENGTH_BYTES + length).saturating_sub(self.received.len()).max(READ_BYTES_MIN);
            let wanted = missing.min(READ_BYTES_STEP.max(2 * self.received.len()));
            if !self.share.admits(wanted, length) {
                self.activity.turn_to(Phase::Waiting);
                self.share.admitted(wanted, length).await;
            }
            // Reclaimed memory may be more than needed now, which avoids growing later.
            if !self.received.try_reclaim(missing) {
                self.received.reserve(wanted);
            }
            let mut buffer = (&mut self.received).limit(wanted);
            // If there was nothing to read it asks again: others may have taken the budget by then.
            let Poll::Ready(read) = at_once(pin!(self.stream.read_buf(&mut buffer))).await else { continue };
            if read? == 0 {
                return if self.received.is_empty() { Ok(false) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
            self.share.holds(self.received.len());
            self.activity.moved(Phase::Receiving, self.shared.now());
            return Ok(true);
        }
    }

    /// Waits for bytes; for the first ones of a request without holding memory.
    async fn readable(&mut self) -> io::Result<()> {
        self.share.holds(self.received.len());
        if !self.received.is_empty() {
            self.activity.turn_to(Phase::Receiving);
            return self.stream.readable().await;
        }
        self.activity.turn_to(Phase::Idle);
        self.shared.buffers.give_back(std::mem::take(&mut self.received));
        self.shared.answer_buffers.give_back(std::mem::take(&mut self.answers));
        self.stream.readable().await?;
        self.activity.begin_frame(self.shared.now());
        self.received = self.shared.buffers.take();
        self.answers = self.shared.answer_buffers.take();
        Ok(())
    }

    /// Before a request waits all earlier answers are sent; it waits only as long as its client is there.
    async fn handle(&mut self, frame: Bytes) -> io::Result<Outcome> {
        let (began, request_bytes) = (Instant::now(), frame.len());
        let (shared, context) = (self.shared.clone(), self.context.clone());
        let mut is_counted = false;
        let (api, answering) = match admit(&frame, &context) {
            Ok(request) if UNCOUNTED_BYTES < request.decoded_bytes => {
                // Boxed, so that not every connection has room for it.
                let (api, request) = (request.api, Box::new(request));
                self.hold_decoded(request.decoded_bytes, request_bytes).await?;
                is_counted = true;
                (api, shared.broker.answer(*request, frame))
            }
            Ok(request) => (request.api, shared.broker.answer(request, frame)),
            Err(refused) => return Ok(self.unanswered(&refused)),
        };
        let (answered, waited) = match answering {
            Answering::Answered(answered) => (answered, None),
            Answering::Waiting(mut answering) => match at_once(answering.as_mut()).await {
                Poll::Ready(answered) => (answered, None),
                Poll::Pending => {
                    if context.take_frame_is_free() {
                        self.share.holds(self.received.len());
                        self.share.end_turn();
                    }
                    let waits_since = Instant::now();
                    self.flush(SendFlags::empty()).await?;
                    self.activity.turn_to(Phase::Handling);
                    let answered = tokio::select! {
                        biased;
                        answered = &mut answering => answered,
                        // Only the end of the client's stream completes this: urgent data is not asked for.
                        _gone = self.stream.ready(Interest::PRIORITY) => {
                            context.hurry.notify_one();
                            answering.await
                        }
                    };
                    (answered, Some(waits_since.elapsed()))
                }
            },
        };
        if context.take_frame_is_free() || is_counted {
            self.share.holds(self.received.len());
        }
        match answered {
            Ok(outcome) => {
                shared.requests.observe(api, began.elapsed(), waited, request_bytes, outcome.length());
                Ok(outcome)
            }
            Err(error) => Ok(self.unanswered(&error)),
        }
    }

    fn unanswered(&self, error: &RequestError) -> Outcome {
        self.shared.broker.metrics.unanswered();
        Outcome::Close(error.to_string())
    }

    /// A decoded request may be many times its frame: it counts like received bytes.
    async fn hold_decoded(&mut self, decoded_bytes: usize, frame_bytes: usize) -> io::Result<()> {
        if !self.share.admits(decoded_bytes, frame_bytes) {
            self.flush(SendFlags::empty()).await?;
            self.activity.turn_to(Phase::Waiting);
            self.share.admitted(decoded_bytes, frame_bytes).await;
            self.activity.turn_to(Phase::Handling);
        }
        self.share.holds(self.received.len() + frame_bytes + decoded_bytes);
        Ok(())
    }

    async fn answer(&mut self, outcome: Outcome) -> io::Result<()> {
        let parts = match outcome {
            Outcome::Respond(parts) => parts,
            Outcome::Silent => return Ok(()),
            Outcome::Close(reason) => {
                self.flush(SendFlags::empty()).await?;
                return Err(io::Error::new(ErrorKind::InvalidData, reason));
            }
        };
        for part in parts {
            match part {
                Part::Bytes(bytes) => self.collect(bytes).await?,
                Part::File(slice) => {
                    self.flush(SendFlags::MORE).await?;
                    self.send_file(&slice).await?;
                }
            }
        }
        Ok(())
    }

    async fn collect(&mut self, bytes: Bytes) -> io::Result<()> {
        if ANSWER_BYTES_MAX < self.answers.len() + bytes.len() {
            self.flush(SendFlags::MORE).await?;
        }
        if ANSWER_BYTES_MAX < bytes.len() {
            return self.send(&bytes, SendFlags::empty()).await;
        }
        self.answers.extend_from_slice(&bytes);
        Ok(())
    }

    /// Sends the collected answers.
    async fn flush(&mut self, flags: SendFlags) -> io::Result<()> {
        if self.answers.is_empty() {
            return Ok(());
        }
        let mut answers = std::mem::take(&mut self.answers);
        self.send(&answers, flags).await?;
        answers.clear();
        self.answers = answers;
        Ok(())
    }

    async fn send(&mut self, mut bytes: &[u8], flags: SendFlags) -> io::Result<()> {
        let flags = flags | SendFlags::NOSIGNAL;
        while !bytes.is_empty() {
            let attempt = || Ok(rustix::net::send(self.stream.as_fd(), bytes, flags)?);
            let sent = match self.stream.try_io(Interest::WRITABLE, attempt) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.share.holds(self.received.len() + bytes.len());
                    self.writable().await?;
                    continue;
                }
                sent => sent?,
            };
            bytes = bytes.get(sent..).unwrap_or_default();
            self.activity.moved(Phase::Sending, self.shared.now());
        }
        Ok(())
    }

    /// The length is already in the response head: if the file has shrunk since, the connection must be closed.
    async fn send_file(&mut self, slice: &storage::LogSlice) -> io::Result<()> {
        let mut position = slice.start.position;
        let end = position + u64::from(slice.length);
        let file = slice.file.as_fd().ok_or(ErrorKind::Unsupported)?;
        while position < end {
            let count = usize::try_from(end - position).unwrap_or(usize::MAX).min(TURN_BYTES_MAX);
            let attempt = || Ok(rustix::fs::sendfile(self.stream.as_fd(), file, Some(&mut position), count)?);
            let sent = match self.stream.try_io(Interest::WRITABLE, attempt) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.writable().await?;
                    continue;
                }
                sent => sent?,
            };
            if sent == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.activity.moved(Phase::Sending, self.shared.now());
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn writable(&self) -> io::Result<()> {
        self.activity.turn_to(Phase::Sending);
        self.stream.writable().await
    }
}

/// Polls a future once.
async fn at_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}
