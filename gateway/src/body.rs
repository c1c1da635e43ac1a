//! Bodies in both directions.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::chain::{RequestThrough, ResponseThrough, Stream};
use crate::head::{Exchange, Refusal};
use crate::http2::Received;
use crate::metrics::Meter;
use crate::upstream::UpstreamBody;

/// An error of a body.
pub(crate) type BodyError = Box<dyn Error + Send + Sync>;

/// The body of a request on its way to an upstream.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// There is none.
    Empty,
    /// The client's, untouched.
    Client(ClientBody, Rc<Sending>),
    /// The client's, through a chain.
    Through(RequestThrough),
    /// A callout's.
    Whole(WholeBody),
}

/// The body of a request as it comes from the client.
#[derive(Debug)]
pub(crate) enum ClientBody {
    /// On a connection of its own.
    Http1(Incoming),
    /// On a stream of a connection.
    Http2(Received),
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            ClientBody::Http1(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(BodyError::from)))
            }
            ClientBody::Http2(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ClientBody::Http1(body) => body.is_end_stream(),
            ClientBody::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ClientBody::Http1(body) => body.size_hint(),
            ClientBody::Http2(body) => body.size_hint(),
        }
    }
}

/// A body that is here.
#[derive(Debug)]
pub(crate) struct WholeBody {
    data: Bytes,
    trailers: Option<HeaderMap>,
    sending: Rc<Sending>,
}

impl WholeBody {
    /// A body with these trailers, if there are any.
    pub(crate) fn new(data: Bytes, trailers: HeaderMap, sending: Rc<Sending>) -> Self {
        WholeBody { data, trailers: Some(trailers).filter(|trailers| !trailers.is_empty()), sending }
    }

    fn is_at_end(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn next(&mut self) -> Option<Frame<Bytes>> {
        let frame = match std::mem::take(&mut self.data) {
            data if data.is_empty() => self.trailers.take().map(Frame::trailers),
            data => Some(Frame::data(data)),
        };
        self.sending.now(if self.is_at_end() { Waits::Response } else { Waits::Send });
        frame
    }
}

/// How far a request has got on its way to an upstream; shared by its body and by who waits for the response.
#[derive(Debug)]
pub(crate) struct Sending {
    at: Cell<Instant>,
    waits: Cell<Waits>,
    failed: Cell<Option<Refusal>>,
    /// Who wants to know when the upstream is waited for, to answer.
    watcher: RefCell<Option<Waker>>,
}

/// Whom a request that is being sent waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// The client, for more of the body.
    Client,
    /// The upstream, to take what there is.
    Send,
    /// The upstream, to answer.
    Response,
}

impl Sending {
    /// A request whose head is sent first, then its body.
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Sending {
            at: Cell::new(Instant::now()),
            waits: Cell::new(Waits::Send),
            failed: Cell::new(None),
            watcher: RefCell::default(),
        })
    }

    /// Notes whom it waits for from now on.
    pub(crate) fn now(&self, waits: Waits) {
        self.at.set(Instant::now());
        let before = self.waits.replace(waits);
        if waits == Waits::Response && before != waits {
            self.watcher.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Has a future woken when the upstream is waited for, to answer.
    pub(crate) fn watch(&self, cx: &Context<'_>) {
        self.watcher.replace(Some(cx.waker().clone()));
    }

    /// Whom it waits for, and since when.
    pub(crate) fn state(&self) -> (Waits, Instant) {
        (self.waits.get(), self.at.get())
    }

    /// Whether all of it was handed to the connection.
    pub(crate) fn is_whole(&self) -> bool {
        self.waits.get() == Waits::Response
    }

    /// Notes that the client's body could not be read.
    pub(crate) fn fail(&self, error: &BodyError) {
        self.failed.set(Some(refusal_in(&**error)));
    }

    /// Why the client's body could not be read.
    pub(crate) fn failure(&self) -> Option<Refusal> {
        self.failed.get()
    }
}

/// What was wrong with a client's body: what the gate said, or that it broke off.
pub(crate) fn refusal_in(error: &(dyn Error + 'static)) -> Refusal {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            return *refusal;
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && let Some(refusal) = io.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>())
        {
            return *refusal;
        }
        next = error.source();
    }
    Refusal::Chunk
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Client(body, sending) => {
                let frame = Pin::new(&mut *body).poll_frame(cx);
                sending.now(match &frame {
                    Poll::Pending => Waits::Client,
                    Poll::Ready(Some(Ok(_))) if !body.is_end_stream() => Waits::Send,
                    Poll::Ready(_) => Waits::Response,
                });
                let frame = ready!(frame);
                if let Some(Err(error)) = &frame {
                    sending.fail(error);
                }
                Poll::Ready(frame)
            }
            RequestBody::Through(body) => Pin::new(body).poll_frame(cx),
            RequestBody::Whole(body) => Poll::Ready(body.next().map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Client(body, _) => body.is_end_stream(),
            RequestBody::Through(body) => body.is_end_stream(),
            RequestBody::Whole(body) => body.is_at_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Client(body, _) => body.size_hint(),
            RequestBody::Through(body) => body.size_hint(),
            RequestBody::Whole(body) if body.trailers.is_some() => SizeHint::default(),
            RequestBody::Whole(body) => SizeHint::with_exact(body.data.len() as u64),
        }
    }
}

/// The body of a response on its way to the client.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    content: Content,
    /// The stream of a chain, which ends with the response, even if no plugin looks at its body.
    _stream: Option<Rc<Stream>>,
    meter: Option<Meter>,
    /// The request counts as being answered until this is dropped.
    exchange: Exchange,
}

/// Where the bytes of a response come from.
#[derive(Debug)]
pub(crate) enum Content {
    /// They are here.
    Whole(Bytes),
    /// They come from an upstream.
    Upstream(UpstreamBody),
    /// They come out of a chain.
    Through(ResponseThrough),
}

impl Content {
    fn is_end_stream(&self) -> bool {
        match self {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Upstream(body) => body.is_end_stream(),
            Content::Through(body) => body.is_end_stream(),
        }
    }
}

impl ResponseBody {
    pub(crate) fn new(content: Content, exchange: Exchange) -> Self {
        ResponseBody { content, _stream: None, meter: None, exchange }
    }

    /// One that belongs to a stream of a chain.
    pub(crate) fn of_stream(content: Content, stream: Rc<Stream>, exchange: Exchange) -> Self {
        ResponseBody { content, _stream: Some(stream), meter: None, exchange }
    }

    /// Has its bytes counted, and its end noted.
    pub(crate) fn set_meter(&mut self, meter: Meter) {
        self.meter = Some(meter);
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = match &mut this.content {
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Upstream(body) => Pin::new(body).poll_frame(cx),
            Content::Through(body) => Pin::new(body).poll_frame(cx),
        };
        if let (Poll::Ready(Some(Ok(frame))), Some(meter)) = (&frame, &mut this.meter) {
            meter.sends(frame.data_ref().map_or(0, Bytes::len));
        }
        if let Some(record) = this.exchange.record() {
            match &frame {
                Poll::Ready(Some(Ok(frame))) => record.sends(frame.data_ref().map_or(0, Bytes::len)),
                Poll::Ready(_) => record.upstream_ended(),
                Poll::Pending => return Poll::Pending,
            }
            if this.content.is_end_stream() {
                record.upstream_ended();
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Upstream(body) => body.size_hint(),
            Content::Through(body) => body.size_hint(),
        }
    }
}
