//! The body of an upstream's response.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Lease;
use super::{UpstreamError, error};
use crate::body::BodyError;
use crate::stall::Stall;

/// The body of a response, and the connection that it comes on. The connection is kept when the body was read to its
/// end, and closed when it is dropped before.
#[derive(Debug)]
pub struct UpstreamBody(Source);

#[derive(Debug)]
enum Source {
    Whole(Bytes),
    Connection { body: Incoming, lease: Option<Lease>, stall: Stall },
}

impl UpstreamBody {
    pub(super) fn new(body: Incoming, lease: Lease, limit: Duration) -> Self {
        let mut body = UpstreamBody(Source::Connection { body, lease: Some(lease), stall: Stall::new(limit) });
        body.keep_if_ended();
        body
    }

    pub(super) fn whole(bytes: Bytes) -> Self {
        UpstreamBody(Source::Whole(bytes))
    }

    fn keep_if_ended(&mut self) {
        if let Source::Connection { body, lease, .. } = &mut self.0
            && body.is_end_stream()
            && let Some(lease) = lease.take()
        {
            lease.give_back();
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let (body, lease, stall) = match &mut this.0 {
            Source::Whole(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Source::Whole(bytes) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Connection { body, lease, stall } => (body, lease, stall),
        };
        let frame = match Pin::new(body).poll_frame(cx) {
            Poll::Pending if stall.poll(cx).is_ready() => Some(Err(UpstreamError::ReadTimeout.into())),
            Poll::Pending => return Poll::Pending,
            Poll::Ready(frame) => frame.map(|frame| frame.map_err(BodyError::from)),
        };
        stall.came();
        match &frame {
            Some(Ok(frame)) if !frame.is_trailers() => this.keep_if_ended(),
            // Nothing follows trailers, and who has read them need not ask.
            Some(Ok(_)) | None => {
                if let Some(lease) = lease.take() {
                    lease.give_back();
                }
            }
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
