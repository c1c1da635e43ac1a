//! Bodies on their way out of the chain.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::Direction;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::stream::{Feed, Stream};
use crate::body::{BodyError, Sending, Waits};
use crate::proxy::Reset;
use crate::stall::Stall;
use crate::upstream::UpstreamBody;

/// How many pieces of body are put into the chain before other requests have their turn.
pub(crate) const PIECES_PER_TURN: usize = 8;

/// The body of a request: put into the chain as it comes from the client, sent on as it comes out.
#[derive(Debug)]
pub(crate) struct RequestThrough {
    pub(crate) stream: Rc<Stream>,
    pub(crate) feed: Feed<Incoming>,
    pub(crate) sending: Rc<Sending>,
    pub(crate) length: Option<u64>,
    pub(crate) ended: bool,
}

/// The body of a response: put into the chain as it comes from the upstream, sent on as it comes out.
#[derive(Debug)]
pub(crate) struct ResponseThrough {
    stream: Rc<Stream>,
    feed: Option<Feed<UpstreamBody>>,
    pause: Stall,
    length: Option<u64>,
    ended: bool,
}

impl Body for RequestThrough {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        for _ in 0..PIECES_PER_TURN {
            if this.ended {
                return Poll::Ready(None);
            }
            let progress = this.stream.progress()?;
            if progress.answered {
                // The client gets another answer than the upstream's.
                return Poll::Ready(Some(Err(Reset.into())));
            }
            let progress = progress.request;
            if let Some(data) = this.stream.take_body(Direction::Request) {
                this.sending.now(Waits::Send);
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if progress.ended {
                this.ended = true;
                this.sending.now(Waits::Response);
                return Poll::Ready(progress.trailers.then(|| Ok(this.stream.take_trailers(Direction::Request))));
            }
            match this.feed.poll(&this.stream, cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Err(error)) => {
                    this.sending.fail(&error);
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Pending | Poll::Ready(Ok(false)) => {
                    // How long a plugin may hold a body is decided where the response is waited for.
                    this.sending.now(Waits::Client);
                    this.stream.wait(Direction::Request, cx);
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl ResponseThrough {
    pub(crate) fn new(
        stream: Rc<Stream>,
        feed: Option<Feed<UpstreamBody>>,
        pause: Duration,
        length: Option<u64>,
    ) -> Self {
        ResponseThrough { stream, feed, pause: Stall::new(pause), length, ended: length == Some(0) }
    }
}

impl Body for ResponseThrough {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        for _ in 0..PIECES_PER_TURN {
            if this.ended {
                return Poll::Ready(None);
            }
            let progress = this.stream.progress()?.response;
            if let Some(data) = this.stream.take_body(Direction::Response) {
                this.pause.came();
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if progress.ended {
                this.ended = true;
                return Poll::Ready(progress.trailers.then(|| Ok(this.stream.take_trailers(Direction::Response))));
            }
            match this.feed.as_mut().map(|feed| feed.poll(&this.stream, cx)) {
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
            this.stream.wait(Direction::Response, cx);
            return Poll::Pending;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
