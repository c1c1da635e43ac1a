//! One request in the chain, shared by the futures that work on it.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::Bytes;
use chassis_abi::{Direction, HeaderList};
use chassis_host::{Progress, StreamKey, Worker};
use http_body::{Body, Frame};

use super::convert::{trailer_list, trailer_map};
use super::guests::Guests;
use crate::body::BodyError;
use crate::proxy::Reset;

/// A stream of the worker. It is closed when nothing holds it any more.
#[derive(Debug)]
pub(crate) struct Stream {
    guests: Rc<Guests>,
    key: StreamKey,
    waiting: Arc<Waiting>,
}

/// The futures that wait for the stream to get further: the one that answers the client, and the one that sends the
/// request to the upstream.
#[derive(Debug, Default)]
struct Waiting(Mutex<[Option<Waker>; 2]>);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        let wakers = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Stream {
    pub(crate) fn new(guests: &Rc<Guests>, key: StreamKey) -> Rc<Self> {
        Rc::new(Stream { guests: Rc::clone(guests), key, waiting: Arc::default() })
    }

    /// Gives the worker to `work`, with the stream's key.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Worker, StreamKey) -> R) -> R {
        self.guests.with(|worker| work(worker, self.key))
    }

    /// How far it has got.
    pub(crate) fn progress(&self) -> Result<Progress, Reset> {
        let progress = self.with(|worker, key| worker.progress(key)).filter(|progress| !progress.reset);
        progress.ok_or(Reset)
    }

    /// Has the future of a direction woken when the stream gets further.
    pub(crate) fn wait(&self, direction: Direction, cx: &Context<'_>) {
        let mut wakers = self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
        wakers[usize::from(direction == Direction::Response)] = Some(cx.waker().clone());
        drop(wakers);
        self.with(|worker, key| worker.set_stream_waker(key, &Waker::from(Arc::clone(&self.waiting))));
    }

    /// Gives `read` the headers that have passed the chain; none if the stream was closed.
    pub(crate) fn pass_headers<R>(&self, direction: Direction, read: impl FnOnce(&HeaderList) -> R) -> R {
        self.with(|worker, key| read(worker.pass_headers(key, direction).unwrap_or(&HeaderList::default())))
    }

    /// The next piece of body that has passed the chain.
    pub(crate) fn take_body(&self, direction: Direction) -> Option<Bytes> {
        self.with(|worker, key| worker.take_body(key, direction))
    }

    /// Trailers that have passed the chain.
    pub(crate) fn take_trailers(&self, direction: Direction) -> Frame<Bytes> {
        Frame::trailers(trailer_map(&self.with(|worker, key| worker.take_trailers(key, direction))))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.guests.end(self.key);
    }
}

/// A body on its way into the chain.
#[derive(Debug)]
pub(crate) struct Feed<B> {
    /// Gone when it has ended.
    body: Option<B>,
    direction: Direction,
}

impl<B> Feed<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    pub(crate) fn new(body: B, direction: Direction) -> Self {
        Feed { body: (!body.is_end_stream()).then_some(body), direction }
    }

    /// Puts the next piece into the chain. `false` if there is none any more.
    pub(crate) fn poll(&mut self, stream: &Stream, cx: &mut Context<'_>) -> Poll<Result<bool, BodyError>> {
        let Some(body) = &mut self.body else { return Poll::Ready(Ok(false)) };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx)).transpose().map_err(Into::into)?;
        let ended = body.is_end_stream();
        let Some(frame) = frame else {
            self.body = None;
            self.put(stream, Bytes::new(), true);
            return Poll::Ready(Ok(true));
        };
        match frame.into_data() {
            Ok(data) => self.put(stream, data, ended),
            Err(frame) => {
                self.body = None;
                let trailers = trailer_list(frame.into_trailers().unwrap_or_default());
                stream.with(|worker, key| match self.direction {
                    Direction::Request => worker.request_trailers(key, trailers),
                    Direction::Response => worker.response_trailers(key, trailers),
                });
            }
        }
        if ended {
            self.body = None;
        }
        Poll::Ready(Ok(true))
    }

    fn put(&self, stream: &Stream, data: Bytes, end: bool) {
        stream.with(|worker, key| match self.direction {
            Direction::Request => worker.request_body(key, data, end),
            Direction::Response => worker.response_body(key, data, end),
        });
    }
}
