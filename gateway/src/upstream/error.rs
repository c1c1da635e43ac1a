//! What can go wrong with an upstream.

use std::error::Error;
use std::io;

use http::StatusCode;
use thiserror::Error;

use crate::head::Refusal;

/// Why there is no response of an upstream.
#[derive(Debug, Error)]
pub(crate) enum UpstreamError {
    /// No connection: the upstream's fault, or the network's.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The connection was not accepted in time.
    #[error("timed out while connecting")]
    ConnectTimeout,
    /// It did not take the request in time.
    #[error("timed out while sending the request")]
    SendTimeout,
    /// It did not answer in time.
    #[error("timed out while waiting for the response")]
    ReadTimeout,
    /// It closed the connection, or what it sent is not HTTP.
    #[error("{}", chain(.0))]
    Broken(hyper::Error),
    /// The same, on a stream of HTTP/2.
    #[error("{}", chain(.0))]
    Stream(h2::Error),
    /// It wants to leave HTTP, which nobody asked for.
    #[error("answered with 101 Switching Protocols")]
    Switching,
    /// Its body has a transfer coding that would be lost on the way.
    #[error("answered with a transfer coding other than chunked")]
    Coding,
    /// The request's body could not be read: the client's fault.
    #[error("the client's request broke off: {0}")]
    Client(Refusal),
}

impl UpstreamError {
    /// What the client gets.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            UpstreamError::Connect(_)
            | UpstreamError::Broken(_)
            | UpstreamError::Stream(_)
            | UpstreamError::Switching
            | UpstreamError::Coding => StatusCode::BAD_GATEWAY,
            UpstreamError::ConnectTimeout | UpstreamError::SendTimeout | UpstreamError::ReadTimeout => {
                StatusCode::GATEWAY_TIMEOUT
            }
            UpstreamError::Client(refusal) => refusal.status(),
        }
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
