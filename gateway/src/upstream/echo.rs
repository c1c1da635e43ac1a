//! The node `builtin:echo`: answers with the request that it got, in this process.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use serde_json::{Value, json};

use super::{UpstreamBody, UpstreamError};
use crate::body::{RequestBody, refusal_in};

/// The most that is read of a request's body.
const MAX_BODY: usize = 1 << 20;

/// Answers with `{ "method", "path", "headers": [["k","v"],...], "body", "body_encoding" }`; the encoding is `utf-8`, or
/// `base64` when the body is something else. A body of more than 1 MiB is 413.
pub(super) async fn answer(request: Request<RequestBody>) -> Result<Response<UpstreamBody>, UpstreamError> {
    let (head, body) = request.into_parts();
    let body = match read(body).await? {
        Some(body) => body,
        None => {
            return Ok(respond(StatusCode::PAYLOAD_TOO_LARGE, "{\"error_msg\":\"413 Payload Too Large\"}\n".into()));
        }
    };
    let (text, encoding) = match str::from_utf8(&body) {
        Ok(text) => (text.to_owned(), "utf-8"),
        Err(_) => (base64(&body), "base64"),
    };
    let echo = json!({
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map_or("/", |path| path.as_str()),
        "headers": fields(&head.headers),
        "body": text,
        "body_encoding": encoding,
    });
    let mut text = echo.to_string();
    text.push('\n');
    Ok(respond(StatusCode::OK, text))
}

fn respond(status: StatusCode, text: String) -> Response<UpstreamBody> {
    let mut response = Response::new(UpstreamBody::from(Bytes::from(text)));
    *response.status_mut() = status;
    let _ = response.headers_mut().try_insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The whole body; `None` if it is too large.
async fn read(mut body: RequestBody) -> Result<Option<Bytes>, UpstreamError> {
    let mut whole = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| UpstreamError::Client(refusal_in(&*error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > MAX_BODY {
            return Ok(None);
        }
        whole.extend_from_slice(&data);
    }
    Ok(Some(whole.freeze()))
}

fn fields(headers: &HeaderMap) -> Vec<Value> {
    let pair = |(name, value): (&header::HeaderName, &HeaderValue)| {
        json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
    };
    headers.iter().map(pair).collect()
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for position in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * position)) as usize & 63];
            out.push(if position <= group.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_the_rfc() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(b"\xff\xfe\xfd\xfc"), "//79/A==");
    }
}
