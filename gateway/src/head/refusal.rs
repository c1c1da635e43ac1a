//! Why bytes of a client are refused, and how it is told.

use http::StatusCode;
use thiserror::Error;

/// What is wrong with a request; the client's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The first byte cannot begin a request: most often TLS on a plain-text port.
    #[error("this is not HTTP/1.1")]
    NotHttp,
    /// The request line is not `METHOD URI HTTP/1.x`.
    #[error("malformed request line")]
    RequestLine,
    /// A version that is not spoken here.
    #[error("the HTTP version is not supported")]
    Version,
    /// A line that ends without a carriage return.
    #[error("a line ends without a carriage return")]
    BareLineFeed,
    /// A header line that continues the one before it.
    #[error("folded header line")]
    Folding,
    /// A `Content-Length` that is not one number.
    #[error("malformed content-length")]
    ContentLength,
    /// More than one `Content-Length`, equal ones included.
    #[error("content-length is given twice")]
    RepeatedLength,
    /// Both `Content-Length` and `Transfer-Encoding`.
    #[error("content-length and transfer-encoding are given together")]
    LengthAndEncoding,
    /// `Transfer-Encoding` twice, or in HTTP/1.0.
    #[error("malformed transfer-encoding")]
    TransferEncoding,
    /// A transfer coding other than `chunked`.
    #[error("the transfer coding is not supported")]
    UnknownCoding,
    /// No `Host` in HTTP/1.1, more than one, or one that is no host.
    #[error("host must be given once")]
    Host,
    /// A request line whose URI is too long.
    #[error("the URI is too long")]
    UriTooLong,
    /// Too many or too long header lines.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// A path that does not begin with a slash.
    #[error("malformed path")]
    Path,
    /// The client has ended a stream of HTTP/2 in the middle of its body.
    #[error("the stream was reset")]
    Reset,
    /// A chunk that does not begin or end as it must.
    #[error("malformed chunk")]
    Chunk,
    /// The head did not come in time.
    #[error("the request head did not come in time")]
    HeadTimeout,
    /// The body stopped coming.
    #[error("the request body stopped coming")]
    BodyTimeout,
}

impl Refusal {
    /// The status that the client gets.
    pub fn status(self) -> StatusCode {
        match self {
            Refusal::UriTooLong => StatusCode::URI_TOO_LONG,
            Refusal::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refusal::HeadTimeout | Refusal::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Refusal::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Refusal::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The whole response, as it is written to the socket.
    pub(crate) fn response(self) -> Vec<u8> {
        let status = self.status();
        let body = format!("{{\"error_msg\":\"{status}: {self}\"}}\n");
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}
