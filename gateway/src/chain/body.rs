//! Bodies on their way out of the chain.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::Direction;
use chassis_host::DirectionProgress;
use http_body::{Body, Frame, SizeHint};

use super::stream::{Feed, Stream};
use crate::body::{BodyError, ClientBody, Sending, Waits};
use crate::proxy::Reset;
use crate::stall::Stall;
use crate::upstream::UpstreamBody;

/// How many pieces of body are put into the chain before other requests have their turn.
pub(crate) const PIECES_PER_TURN: usize = 8;

/// The body of a request: put into the chain as it comes from the client, sent on as it comes out.
#[derive(Debug)]
pub(crate) struct RequestThrough {
    passing: Passing,
    feed: Feed<ClientBody>,
    sending: Rc<Sending>,
}

/// The body of a response: put into the chain as it comes from the upstream, sent on as it comes out.
#[derive(Debug)]
pub(crate) struct ResponseThrough {
    passing: Passing,
    feed: Option<Feed<UpstreamBody>>,
    pause: Stall,
}

/// A body that comes out of the chain.
#[derive(Debug)]
pub(crate) struct Passing {
    stream: Rc<Stream>,
    /// How many bytes are to come, if its head tells its length.
    left: Option<u64>,
    ended: bool,
}

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

impl Passing {
    pub(crate) fn new(stream: Rc<Stream>, length: Option<u64>) -> Self {
        Passing { stream, left: length, ended: length == Some(0) }
    }

    /// What has come out; pending, without being woken, if nothing has.
    fn take(&mut self, direction: Direction, progress: &DirectionProgress) -> Polled {
        // All that is there counts: who has got as many bytes as were told does not ask for more.
        if self.left.is_some_and(|left| progress.body as u64 > left) {
            return Poll::Ready(Some(Err(self.other_length())));
        }
        if let Some(data) = self.stream.take_body(direction) {
            self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if !progress.ended {
            return Poll::Pending;
        }
        self.ended = true;
        if self.left.is_some_and(|left| left > 0) {
            return Poll::Ready(Some(Err(self.other_length())));
        }
        Poll::Ready(progress.trailers.then(|| Ok(self.stream.take_trailers(direction))))
    }

    /// A message that is not as long as its head says would be taken for another one.
    fn other_length(&self) -> BodyError {
        tracing::warn!("a plugin changed the length of a body and left its content-length: broken off");
        Reset.into()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl RequestThrough {
    pub(crate) fn new(passing: Passing, feed: Feed<ClientBody>, sending: Rc<Sending>) -> Self {
        RequestThrough { passing, feed, sending }
    }
}

impl Body for RequestThrough {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        for _ in 0..PIECES_PER_TURN {
            if this.passing.ended {
                return Poll::Ready(None);
            }
            let progress = this.passing.stream.progress()?;
            if progress.answered || progress.request.cut {
                // The client gets another answer than the upstream's, or has the whole of it and its plugin is gone.
                return Poll::Ready(Some(Err(Reset.into())));
            }
            if let Poll::Ready(frame) = this.passing.take(Direction::Request, &progress.request) {
                // hyper asks for no more than the length that was told.
                let whole = this.passing.ended || this.passing.left == Some(0);
                this.sending.now(if whole { Waits::Response } else { Waits::Send });
                return Poll::Ready(frame);
            }
            match this.feed.poll(&this.passing.stream, cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Err(error)) => {
                    this.sending.fail(&error);
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Pending | Poll::Ready(Ok(false)) => {
                    // How long a plugin may hold a body is decided where the response is waited for.
                    this.sending.now(Waits::Client);
                    this.passing.stream.wait(Direction::Request, cx);
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.passing.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.passing.size_hint()
    }
}

impl ResponseThrough {
    pub(crate) fn new(passing: Passing, feed: Option<Feed<UpstreamBody>>, pause: Duration) -> Self {
        ResponseThrough { passing, feed, pause: Stall::new(pause) }
    }
}

impl Body for ResponseThrough {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        for _ in 0..PIECES_PER_TURN {
            if this.passing.ended {
                return Poll::Ready(None);
            }
            let progress = this.passing.stream.progress()?.response;
            if let Poll::Ready(frame) = this.passing.take(Direction::Response, &progress) {
                this.pause.came();
                return Poll::Ready(frame);
            }
            match this.feed.as_mut().map(|feed| feed.poll(&this.passing.stream, cx)) {
                Some(Poll::Ready(Ok(true))) => {
                    this.pause.came();
                    continue;
                }
                Some(Poll::Ready(Err(error))) => return Poll::Ready(Some(Err(error))),
                Some(Poll::Pending | Poll::Ready(Ok(false))) | None => {}
            }
            if !progress.paused {
                this.pause.came();
            } else if this.pause.poll(cx).is_ready() {
                tracing::warn!("a response was held back for too long by a plugin");
                return Poll::Ready(Some(Err(Reset.into())));
            }
            this.passing.stream.wait(Direction::Response, cx);
            return Poll::Pending;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.passing.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.passing.size_hint()
    }
}
