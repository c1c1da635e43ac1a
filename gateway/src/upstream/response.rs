//! The body of an upstream's response.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::balance::Open;
use super::pool::Lease;
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
            Source::Connection { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Connection { body, .. } => body.size_hint(),
        }
    }
}
