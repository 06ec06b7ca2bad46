//! The minimum of HTTP for the management API.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

/// Status and body.
pub(crate) fn get(address: SocketAddr, path: &str, token: &str, patience: Duration) -> Result<(u16, String)> {
    call(address, &format!("GET {path}"), token, "", patience)
}

/// As [`get`], with JSON.
pub(crate) fn post(
    address: SocketAddr,
    path: &str,
    token: &str,
    body: &Value,
    patience: Duration,
) -> Result<(u16, String)> {
    call(address, &format!("POST {path}"), token, &body.to_string(), patience)
}

fn call(address: SocketAddr, what: &str, token: &str, body: &str, patience: Duration) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    write!(
        stream,
        "{what} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("{address} answers {answer:?} to {what}"))?;
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}
