//! The body of an upstream's response.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::balance::Open;
use super::pool::Lease;
use super::stream::Sent;
use super::{UpstreamError, error};
use crate::body::{BodyError, Sending};
use crate::stall::Stall;

/// The body of a response, and the connection that it comes on. The connection is kept when the body was read to its
/// end and the request was sent to its end, and closed otherwise: an upstream that has answered does not wait for the rest.
#[derive(Debug)]
pub(crate) struct UpstreamBody(Source);

#[derive(Debug)]
enum Source {
    Whole(Bytes),
    /// On a stream of HTTP/2.
    Stream {
        body: RecvStream,
        /// What its head says of its length.
        length: Option<u64>,
        _sent: Sent,
        _open: Option<Open>,
        stall: Stall,
    },
    Connection {
        body: Incoming,
        lease: Option<Lease>,
        /// The request, if it has a body.
        sending: Option<Rc<Sending>>,
        /// What its node counts, until this is dropped.
        _open: Option<Open>,
        stall: Stall,
    },
}

impl UpstreamBody {
    pub(super) fn new(
        body: Incoming,
        lease: Lease,
        sending: Option<Rc<Sending>>,
        open: Option<Open>,
        limit: Duration,
    ) -> Self {
        let source = Source::Connection { body, lease: Some(lease), sending, _open: open, stall: Stall::new(limit) };
        let mut body = UpstreamBody(source);
        body.end_if_ended();
        body
    }

    pub(super) fn of_stream(
        body: RecvStream,
        length: Option<u64>,
        sent: Sent,
        open: Option<Open>,
        limit: Duration,
    ) -> Self {
        UpstreamBody(Source::Stream { body, length, _sent: sent, _open: open, stall: Stall::new(limit) })
    }

    pub(super) fn whole(bytes: Bytes) -> Self {
        UpstreamBody(Source::Whole(bytes))
    }

    fn end_if_ended(&mut self) {
        if let Source::Connection { body, lease, sending, .. } = &mut self.0
            && body.is_end_stream()
        {
            end(lease, sending.as_deref());
        }
    }
}

/// What comes on a stream: data, then trailers.
fn poll_stream(
    body: &mut RecvStream,
    length: &mut Option<u64>,
    stall: &mut Stall,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    let broken = |error| {
        let error = UpstreamError::Stream(error);
        tracing::warn!("the upstream's response broke off: {error}");
        Some(Err(error.into()))
    };
    let data = match body.poll_data(cx) {
        Poll::Pending => {
            ready!(stall.poll(cx));
            return Poll::Ready(Some(Err(UpstreamError::ReadTimeout.into())));
        }
        Poll::Ready(data) => data,
    };
    stall.came();
    match data {
        Some(Ok(data)) => {
            *length = length.map(|length| length.saturating_sub(data.len() as u64));
            // Fails only where the stream has ended, which is seen next.
            let _ = body.flow_control().release_capacity(data.len());
            Poll::Ready(Some(Ok(Frame::data(data))))
        }
        Some(Err(error)) => Poll::Ready(broken(error)),
        None => Poll::Ready(match ready!(body.poll_trailers(cx)) {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => broken(error),
        }),
    }
}

/// Keeps the connection if both messages have ended.
fn end(lease: &mut Option<Lease>, sending: Option<&Sending>) {
    if let Some(lease) = lease.take()
        && sending.is_none_or(Sending::is_whole)
    {
        lease.give_back();
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let (body, lease, sending, stall) = match &mut this.0 {
            Source::Whole(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Source::Whole(bytes) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Stream { body, length, stall, .. } => return poll_stream(body, length, stall, cx),
            Source::Connection { body, lease, sending, stall, .. } => (body, lease, sending, stall),
        };
        let frame = match Pin::new(body).poll_frame(cx) {
            Poll::Pending if stall.poll(cx).is_ready() => Some(Err(UpstreamError::ReadTimeout.into())),
            Poll::Pending => return Poll::Pending,
            Poll::Ready(frame) => frame.map(|frame| frame.map_err(BodyError::from)),
        };
        stall.came();
        match &frame {
            Some(Ok(frame)) if !frame.is_trailers() => this.end_if_ended(),
            // Nothing follows trailers, and who has read them need not ask.
            Some(Ok(_)) | None => end(lease, sending.as_deref()),
            Some(Err(error)) => {
                tracing::warn!("the upstream's response broke off: {}", error::chain(&**error));
                *lease = None;
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Stream { body, .. } => body.is_end_stream(),
            Source::Connection { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Stream { body, .. } if body.is_end_stream() => SizeHint::with_exact(0),
            Source::Stream { length, .. } => length.map_or_else(SizeHint::default, SizeHint::with_exact),
            Source::Connection { body, .. } => body.size_hint(),
        }
    }
}
