//! Why a call to another node failed.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use protocol::client::{DecodeError, EncodeError};
use protocol::frame::FrameError;
use protocol::schema::Versions;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{peer}: {failure}")]
pub(crate) struct PeerError {
    /// `host:port`.
    pub(crate) peer: Arc<str>,
    pub(crate) failure: PeerFailure,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerFailure {
    #[error("the name cannot be resolved: {0}")]
    Unresolved(String),
    /// Nothing listens there: the process is not up.
    #[error("the connection is refused")]
    Refused,
    /// The process has ended, or has closed the connection.
    #[error("the connection is closed by the other side")]
    Reset,
    #[error("no answer in time")]
    TimedOut,
    /// Another node answers at the address.
    #[error("{found} answers there, {meant} was meant")]
    Misdirected { found: String, meant: String },
    #[error("{message}")]
    Io { kind: ErrorKind, message: String },
    /// The other side does not serve the request; nothing was sent.
    #[error("{request} version {version} is not served there; versions {served} are")]
    NotServed { request: &'static str, version: i16, served: Versions },
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The connection is closed: what follows cannot be trusted.
    #[error("an answer cannot be understood: {0}")]
    Malformed(#[from] AnswerFault),
}

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerFault {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it has correlation id {found}, {expected} is the next to be answered")]
    Correlation { found: i32, expected: i32 },
    #[error("it has correlation id {found}, nothing was asked")]
    Unasked { found: i32 },
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("error {error_code} in answer to ApiVersions version {version}")]
    ApiVersions { version: i16, error_code: i16 },
}

impl PeerFailure {
    pub(crate) fn is_misdirected(&self) -> bool {
        matches!(self, Self::Misdirected { .. })
    }
}

impl From<io::Error> for PeerFailure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof => Self::Reset,
            ErrorKind::TimedOut => Self::TimedOut,
            kind => Self::Io { kind, message: error.to_string() },
        }
    }
}
