//! The body of a request that comes on a stream.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};

use crate::body::BodyError;
use crate::head::Refusal;
use crate::stall::Stall;

/// The body of a request. The client may send more as soon as a piece is taken.
#[derive(Debug)]
pub(crate) struct Received {
    stream: RecvStream,
    /// What its head says of its length, which HTTP/2 holds it to.
    length: Option<u64>,
    stall: Stall,
    /// Who tells the client that its body is asked for.
    asked: Option<Rc<Asked>>,
}

/// Whether a body was asked for that its client holds back until then.
#[derive(Debug, Default)]
pub(super) struct Asked {
    asked: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Asked {
    fn ask(&self) {
        self.asked.set(true);
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    /// Ready when it was.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.asked.get() {
            return Poll::Ready(());
        }
        self.waiting.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Received {
    /// The body of a request with these fields, whose pieces may be `limit` apart.
    pub(super) fn new(stream: RecvStream, fields: &HeaderMap, limit: Duration, asked: Option<Rc<Asked>>) -> Self {
        let length = fields.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Received { stream, length, stall: Stall::new(limit), asked }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(asked) = this.asked.take() {
            asked.ask();
        }
        let data = match this.stream.poll_data(cx) {
            Poll::Pending => {
                ready!(this.stall.poll(cx));
                return Poll::Ready(Some(Err(Refusal::BodyTimeout.into())));
            }
            Poll::Ready(data) => data,
        };
        this.stall.came();
        if let Some(data) = data {
            return Poll::Ready(Some(match data {
                Ok(data) => {
                    this.length = this.length.map(|length| length.saturating_sub(data.len() as u64));
                    // Fails only where the stream has ended, which is seen next.
                    let _ = this.stream.flow_control().release_capacity(data.len());
                    Ok(Frame::data(data))
                }
                Err(_) => Err(Refusal::Reset.into()),
            }));
        }
        Poll::Ready(match ready!(this.stream.poll_trailers(cx)) {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(_) => Some(Err(Refusal::Reset.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
