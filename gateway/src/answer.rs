//! Responses that the gateway makes itself.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::body::{Content, ResponseBody};
use crate::head::Exchange;
use crate::upstream::UpstreamBody;

/// A response with `{"error_msg": "..."}`, as APISIX words it.
pub(crate) fn error(status: StatusCode, message: &str, exchange: Exchange) -> Response<ResponseBody> {
    plain(status, message).map(|body| ResponseBody::new(Content::Whole(body), exchange))
}

/// A response in the place of an upstream's.
pub(crate) fn of_upstream(status: StatusCode) -> Response<UpstreamBody> {
    plain(status, &status.to_string()).map(UpstreamBody::from)
}

fn plain(status: StatusCode, message: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(error_body(message)));
    *response.status_mut() = status;
    // A map with one field has room.
    let _ = response.headers_mut().try_insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A response that says no more than its status does.
pub(crate) fn status(status: StatusCode, exchange: Exchange) -> Response<ResponseBody> {
    error(status, &status.to_string(), exchange)
}

/// `message` may have no character that JSON would have to escape.
pub(crate) fn error_body(message: &str) -> String {
    debug_assert!(!message.contains(['"', '\\']) && !message.contains(char::is_control));
    format!("{{\"error_msg\":\"{message}\"}}\n")
}
