//! A request to an upstream on a stream of HTTP/2.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderValue, Request, Response, Uri, header, uri};
use http_body::Body;
use tokio::task::{AbortHandle, spawn_local};

use super::http2::Http2Lease;
use super::pool::Address;
use super::{UpstreamError, within};
use crate::body::{RequestBody, Sending};
use crate::config::Timeouts;

/// What is left of an exchange while its response's body is read. Dropped, the stream is reset if it has not ended.
#[derive(Debug)]
pub(super) struct Sent {
    _lease: Http2Lease,
    /// The rest of the request, which may go on for as long as the response does.
    _rest: Option<Rest>,
}

#[derive(Debug)]
struct Rest(AbortHandle);

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a request, and waits for the head of its response.
pub(super) async fn send(
    address: &Rc<Address>,
    request: Request<RequestBody>,
    sending: Option<&Rc<Sending>>,
    timeouts: Timeouts,
) -> Result<(Response<RecvStream>, Sent), (UpstreamError, Option<Request<RequestBody>>)> {
    let mut lease = match address.http2(timeouts.connect).await {
        Ok(lease) => lease,
        Err(error) => return Err((error, Some(request))),
    };
    let failed = |error| (error, None);
    let (mut head, body) = request.into_parts();
    let host = head.headers.remove(header::HOST);
    head.uri = absolute(&head.uri, host.as_ref(), address)
        .map_err(|_| failed(UpstreamError::Client(crate::head::Refusal::Host)))?;
    // The frames say what the body is.
    head.headers.remove(header::TRANSFER_ENCODING);
    let is_whole = body.is_end_stream();
    let request = Request::from_parts(head, ());
    let (response, stream) =
        lease.sender().send_request(request, is_whole).map_err(|error| failed(UpstreamError::Stream(error)))?;
    let rest = (!is_whole).then(|| Rest(spawn_local(send_body(stream, body)).abort_handle()));
    let answered = within(timeouts, sending, response).await.map_err(|error| {
        address.doubt_http2(&lease);
        failed(error)
    });
    match answered? {
        Ok(response) => Ok((response, Sent { _lease: lease, _rest: rest })),
        Err(error) => Err(failed(match sending.and_then(|sending| sending.failure()) {
            Some(refusal) => UpstreamError::Client(refusal),
            None => UpstreamError::Stream(error),
        })),
    }
}

/// The URI as HTTP/2 has it, with scheme and host.
fn absolute(uri: &Uri, host: Option<&HeaderValue>, address: &Address) -> Result<Uri, http::Error> {
    let host = host.map_or(address.name().as_bytes(), HeaderValue::as_bytes);
    let path = uri.path_and_query().cloned().unwrap_or_else(|| uri::PathAndQuery::from_static("/"));
    Uri::builder().scheme(address.scheme()).authority(host).path_and_query(path).build()
}

/// Sends a body as the upstream takes it.
async fn send_body(mut stream: SendStream<Bytes>, mut body: RequestBody) {
    loop {
        let frame = poll_fn(|cx| {
            if stream.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            Pin::new(&mut body).poll_frame(cx).map(Some)
        });
        let sent = match frame.await {
            // The response says why.
            None => return,
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => send_data(&mut stream, data).await,
                Err(frame) => {
                    let _ = stream.send_trailers(frame.into_trailers().unwrap_or_default());
                    return;
                }
            },
            Some(Some(Err(_))) => return stream.send_reset(Reason::CANCEL),
            Some(None) => {
                let _ = stream.send_data(Bytes::new(), true);
                return;
            }
        };
        if sent.is_none() {
            return;
        }
    }
}

async fn send_data(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Option<()> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        while stream.capacity() == 0 {
            poll_fn(|cx| stream.poll_capacity(cx)).await?.ok()?;
        }
        let piece = data.split_to(stream.capacity().min(data.len()));
        stream.send_data(piece, false).ok()?;
    }
    Some(())
}
