//! One HTTP callout.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chassis_abi::{HeaderList, HttpCall};
use chassis_host::{CalloutFailure, HttpAnswer};
use http::{Method, Request};
use http_body::Body;

use super::Share;
use crate::body::{RequestBody, Sending, WholeBody};
use crate::chain::convert::{self, Kept};
use crate::headers::set_framing;
use crate::proxy::outgoing;
use crate::upstream::{Subject, Upstream, UpstreamBody, UpstreamError};

/// Makes a request and reads the whole response, within the call's timeout.
pub(super) async fn answer(upstream: &Upstream, call: HttpCall, share: Share) -> Result<HttpAnswer, CalloutFailure> {
    let limit = call.timeout.unwrap_or(LONGEST);
    let made = tokio::time::timeout(limit, exchange(upstream, call, share));
    made.await.unwrap_or(Err(CalloutFailure::Timeout))
}

/// The host gives each call a timeout.
const LONGEST: Duration = Duration::from_secs(3600);

async fn exchange(upstream: &Upstream, call: HttpCall, share: Share) -> Result<HttpAnswer, CalloutFailure> {
    let HttpCall { headers, body, trailers, .. } = call;
    let mut head = convert::request_head(&headers, Kept::default()).map_err(|_| CalloutFailure::Request)?;
    let length = trailers.is_empty().then_some(body.len() as u64);
    if length != Some(0) || matches!(head.method, Method::POST | Method::PUT | Method::PATCH) {
        set_framing(&mut head.headers, length, true);
    }
    convert::announce(&mut head.headers, &trailers);
    let sending = Sending::new();
    let body = match length {
        Some(0) => RequestBody::Empty,
        _ => RequestBody::Whole(WholeBody::new(body, convert::trailer_map(&trailers), sending.clone())),
    };
    let mut turn = upstream.begin(&Subject { client: None, head: &head });
    let request: Request<_> = outgoing(head, body).map_err(|_| CalloutFailure::Request)?;
    let sending = (length != Some(0)).then_some(sending);
    let response = upstream.send(&mut turn, request, sending).await.map_err(|error| {
        tracing::debug!("a callout's upstream failed: {error}");
        failure(&error)
    })?;
    let (head, body) = response.into_parts();
    let mut headers = HeaderList::default();
    convert::response_list(&mut headers, head.status, head.headers);
    let (body, trailers) = read(body, share).await?;
    Ok(HttpAnswer { headers, body, trailers })
}

async fn read(mut body: UpstreamBody, mut share: Share) -> Result<(Bytes, HeaderList), CalloutFailure> {
    let mut whole = BytesMut::new();
    let mut trailers = HeaderList::default();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| match error.downcast_ref() {
            Some(error) => failure(error),
            None => CalloutFailure::Reset,
        })?;
        match frame.into_data() {
            Ok(data) if share.take(data.len()) => whole.extend_from_slice(&data),
            Ok(_) => return Err(CalloutFailure::TooLarge),
            Err(frame) => trailers = frame.into_trailers().map(convert::trailer_list).unwrap_or_default(),
        }
    }
    Ok((whole.freeze(), trailers))
}

fn failure(error: &UpstreamError) -> CalloutFailure {
    match error {
        UpstreamError::Connect(_) => CalloutFailure::Connect,
        UpstreamError::ConnectTimeout | UpstreamError::SendTimeout | UpstreamError::ReadTimeout => {
            CalloutFailure::Timeout
        }
        UpstreamError::Broken(_) | UpstreamError::Stream(_) | UpstreamError::Switching | UpstreamError::Coding => {
            CalloutFailure::Reset
        }
        UpstreamError::Client(_) => CalloutFailure::Request,
    }
}
