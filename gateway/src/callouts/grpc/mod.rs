//! gRPC calls and streams over HTTP/2 without TLS (gRPC over HTTP/2).
//!
//! Nothing is compressed, and the values of `-bin` fields are left as base64. A task that is dropped resets its stream.

mod frame;
mod status;

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{GrpcCall, HeaderList};
use chassis_host::{GrpcAnswer, GrpcEvent, GrpcStatus};
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use tokio::sync::mpsc::UnboundedReceiver;

use self::frame::{BadFrame, Decoder};
use super::{Ending, Share};
use crate::chain::convert;
use crate::upstream::{Http2Lease, Node, Upstream};

/// What a stream sends: a message, its end, or both.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) message: Option<Bytes>,
    pub(super) end_of_stream: bool,
}

/// Makes a call within its timeout, and tells what came of it.
pub(super) async fn call(upstream: Option<Rc<Upstream>>, call: GrpcCall, limit: usize, share: Share, ending: Ending) {
    let name = call.upstream.clone();
    // The host gives each call a timeout.
    let timeout = call.timeout.unwrap_or(Duration::MAX);
    let outcome = tokio::time::timeout(timeout, exchange(upstream, call, limit, share)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(GrpcStatus::new(GrpcStatus::DEADLINE_EXCEEDED, "timeout")));
    if let Err(status) = &outcome {
        told(&name, status);
    }
    let key = ending.key;
    ending.tell(|worker| worker.grpc_call_answered(key, outcome));
}

/// Runs a stream to its end, and tells what comes on it.
pub(super) async fn stream(
    upstream: Option<Rc<Upstream>>,
    call: GrpcCall,
    limit: usize,
    share: Share,
    outgoing: UnboundedReceiver<Outgoing>,
    ending: Ending,
) {
    let name = call.upstream.clone();
    let key = ending.key;
    let Some(status) = converse(upstream, call, limit, share, outgoing, &ending).await else { return };
    if status.code != GrpcStatus::OK {
        told(&name, &status);
    }
    ending.tell(|worker| worker.grpc_stream(key, GrpcEvent::Closed(status)));
}

fn told(upstream: &str, status: &GrpcStatus) {
    tracing::info!(upstream, code = status.code, "a gRPC callout failed: {}", status.message.escape_ascii());
}

async fn exchange(
    upstream: Option<Rc<Upstream>>,
    call: GrpcCall,
    limit: usize,
    share: Share,
) -> Result<GrpcAnswer, GrpcStatus> {
    let Opened { _lease, response, mut sending } = open(upstream, &call).await?;
    let message = call.message.unwrap_or_default();
    let mut answer = pin!(answer(response, limit, share));
    tokio::select! {
        answer = &mut answer => answer,
        // How sending failed shows in the answer, which can also be there before all was sent.
        _ = send(&mut sending, &message, true) => answer.await,
    }
}

async fn answer(response: ResponseFuture, limit: usize, share: Share) -> Result<GrpcAnswer, GrpcStatus> {
    let (initial, mut messages) = match begin(response, limit, share).await? {
        Begin::Trailers(status, _) if status.code != GrpcStatus::OK => return Err(status),
        Begin::Trailers(..) => return Err(no_message()),
        Begin::Messages(initial, messages) => (initial, messages),
    };
    let message = messages.next(0).await?;
    if let Some(message) = &message
        && messages.next(message.len()).await?.is_some()
    {
        return Err(GrpcStatus::new(GrpcStatus::INTERNAL, "more than one message"));
    }
    let (status, trailing) = messages.end().await?;
    match message {
        _ if status.code != GrpcStatus::OK => Err(status),
        Some(message) => Ok(GrpcAnswer { initial, message, trailing }),
        None => Err(no_message()),
    }
}

fn no_message() -> GrpcStatus {
    GrpcStatus::new(GrpcStatus::INTERNAL, "no message")
}

/// How a stream ended; `None` if nobody waits for it any more.
async fn converse(
    upstream: Option<Rc<Upstream>>,
    call: GrpcCall,
    limit: usize,
    share: Share,
    mut outgoing: UnboundedReceiver<Outgoing>,
    ending: &Ending,
) -> Option<GrpcStatus> {
    let Opened { _lease, response, mut sending } = match open(upstream, &call).await {
        Ok(opened) => opened,
        Err(status) => return Some(status),
    };
    let receiving = receive(response, limit, share, ending);
    let sending = async {
        while let Some(Outgoing { message, end_of_stream }) = outgoing.recv().await {
            let sent = match &message {
                Some(message) => send(&mut sending, message, end_of_stream).await,
                None => sending.send_data(Bytes::new(), true),
            };
            if let Some(message) = message {
                ending.guests.with(|worker| worker.grpc_sent(ending.key, &message));
            }
            if sent.is_err() || end_of_stream {
                break;
            }
        }
        // Whatever happened, it ends by what comes.
        pending::<()>().await;
    };
    tokio::select! {
        status = receiving => match status {
            Ok(status) => status,
            Err(status) => Some(status),
        },
        () = sending => None,
    }
}

/// Tells what comes on a stream until it ends.
async fn receive(
    response: ResponseFuture,
    limit: usize,
    share: Share,
    ending: &Ending,
) -> Result<Option<GrpcStatus>, GrpcStatus> {
    let tell = |event| ending.guests.with(|worker| worker.grpc_stream(ending.key, event));
    let (status, trailing) = match begin(response, limit, share).await? {
        Begin::Trailers(status, trailing) => (status, trailing),
        Begin::Messages(initial, mut messages) => {
            if !tell(GrpcEvent::Initial(initial)) {
                return Ok(None);
            }
            while let Some(message) = messages.next(0).await? {
                if !tell(GrpcEvent::Message(message)) {
                    return Ok(None);
                }
                // A server that sends one after the other does not keep the rest waiting.
                tokio::task::yield_now().await;
            }
            messages.end().await?
        }
    };
    if !tell(GrpcEvent::Trailing(trailing)) {
        return Ok(None);
    }
    Ok(Some(status))
}

/// A request that was begun.
struct Opened {
    _lease: Http2Lease,
    response: ResponseFuture,
    sending: SendStream<Bytes>,
}

async fn open(upstream: Option<Rc<Upstream>>, call: &GrpcCall) -> Result<Opened, GrpcStatus> {
    let unavailable = || GrpcStatus::new(GrpcStatus::UNAVAILABLE, "connection failure");
    let upstream = upstream.ok_or_else(unavailable)?;
    let Node::Tcp(address) = upstream.pick() else {
        return Err(GrpcStatus::new(GrpcStatus::UNIMPLEMENTED, "no gRPC there"));
    };
    let request = request(call, address.name()).map_err(|error| {
        tracing::debug!("a gRPC callout cannot be made: {error}");
        GrpcStatus::new(GrpcStatus::INTERNAL, "invalid request")
    })?;
    let mut lease = address.http2(upstream.connect_timeout()).await.map_err(|error| {
        tracing::debug!("a gRPC callout's upstream failed: {error}");
        unavailable()
    })?;
    let (response, sending) = lease.sender().send_request(request, false).map_err(|error| status::of_error(&error))?;
    Ok(Opened { _lease: lease, response, sending })
}

fn request(call: &GrpcCall, authority: &str) -> http::Result<Request<()>> {
    let path = format!("/{}/{}", call.service, call.method);
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query(path).build()?;
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if let Some(timeout) = call.timeout {
        headers.insert("grpc-timeout", HeaderValue::from_str(&status::timeout(timeout))?);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    for (name, value) in call.metadata.iter() {
        headers.try_append(HeaderName::from_bytes(name)?, HeaderValue::from_maybe_shared(value.clone())?)?;
    }
    Ok(request)
}

/// How an answer begins.
enum Begin {
    /// It is nothing but headers, which are its trailers.
    Trailers(GrpcStatus, HeaderList),
    /// With initial metadata, which messages may follow.
    Messages(HeaderList, Messages),
}

async fn begin(response: ResponseFuture, limit: usize, share: Share) -> Result<Begin, GrpcStatus> {
    let response = response.await.map_err(|error| status::of_error(&error))?;
    let (head, stream) = response.into_parts();
    if stream.is_end_stream()
        && let Some(status) = status::in_trailers(&head.headers)
    {
        return Ok(Begin::Trailers(status, convert::trailer_list(head.headers)));
    }
    if head.status != StatusCode::OK || !has_grpc_type(&head.headers) {
        return Err(status::of_http(head.status));
    }
    let is_coded = head.headers.contains_key("grpc-encoding");
    let mut initial = HeaderList::default();
    convert::response_list(&mut initial, head.status, head.headers);
    Ok(Begin::Messages(initial, Messages { stream, decoder: Decoder::new(limit), share, is_coded }))
}

fn has_grpc_type(headers: &HeaderMap) -> bool {
    let name = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let rest = name.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The messages that come, and what follows them.
struct Messages {
    stream: RecvStream,
    decoder: Decoder,
    share: Share,
    /// Whether the server has said in which way messages are compressed.
    is_coded: bool,
}

impl Messages {
    /// The next message, while `kept` bytes of those before are still here.
    async fn next(&mut self, kept: usize) -> Result<Option<Bytes>, GrpcStatus> {
        loop {
            let message = self.decoder.next().map_err(|bad| self.refused(bad))?;
            if !self.share.hold(self.decoder.held() + message.as_ref().map_or(0, Bytes::len) + kept) {
                return Err(GrpcStatus::new(GrpcStatus::RESOURCE_EXHAUSTED, "too many answers at once"));
            }
            if message.is_some() {
                return Ok(message);
            }
            let Some(data) = poll_fn(|cx| self.stream.poll_data(cx)).await else { return Ok(None) };
            let data = data.map_err(|error| status::of_error(&error))?;
            // Fails only where the stream has ended, which is seen next.
            let _ = self.stream.flow_control().release_capacity(data.len());
            self.decoder.push(&data);
        }
    }

    fn refused(&self, bad: BadFrame) -> GrpcStatus {
        let code = match bad {
            BadFrame::TooLarge => GrpcStatus::RESOURCE_EXHAUSTED,
            BadFrame::Compressed if self.is_coded => GrpcStatus::UNIMPLEMENTED,
            BadFrame::Compressed | BadFrame::Invalid => GrpcStatus::INTERNAL,
        };
        GrpcStatus::new(code, bad.to_string())
    }

    /// The status and the trailers, when there is no message any more.
    async fn end(&mut self) -> Result<(GrpcStatus, HeaderList), GrpcStatus> {
        let trailers = poll_fn(|cx| self.stream.poll_trailers(cx)).await.map_err(|error| status::of_error(&error))?;
        let trailers = trailers.unwrap_or_default();
        let status = status::in_trailers(&trailers).unwrap_or(GrpcStatus::new(GrpcStatus::UNKNOWN, "no status"));
        if status.code == GrpcStatus::OK && self.decoder.held() > 0 {
            return Err(GrpcStatus::new(GrpcStatus::INTERNAL, "incomplete message"));
        }
        Ok((status, convert::trailer_list(trailers)))
    }
}

/// Sends a message in its frame, as the server takes it.
async fn send(stream: &mut SendStream<Bytes>, message: &Bytes, end_of_stream: bool) -> Result<(), h2::Error> {
    // A message that no frame can say the length of is none that a guest of 32 bits could have.
    let Some(head) = frame::head(message) else { return Ok(()) };
    if message.len() <= TOGETHER {
        return send_data(stream, [&head[..], message].concat().into(), end_of_stream).await;
    }
    send_data(stream, head, false).await?;
    send_data(stream, message.clone(), end_of_stream).await
}

/// Up to which size a message is copied, so that it goes out with its frame.
const TOGETHER: usize = 8 << 10;

async fn send_data(stream: &mut SendStream<Bytes>, mut data: Bytes, end_of_stream: bool) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        while stream.capacity() == 0 {
            match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(capacity) => drop(capacity?),
                // It has ended.
                None => return Err(h2::Reason::STREAM_CLOSED.into()),
            }
        }
        let piece = data.split_to(stream.capacity().min(data.len()));
        let is_last = data.is_empty();
        stream.send_data(piece, end_of_stream && is_last)?;
    }
    Ok(())
}
