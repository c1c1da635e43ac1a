//! The socket as HTTP/2 reads it: its frames are counted on their way.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::frames::Frames;

/// A socket whose frames are counted. After too many that carry nothing, no more is read.
#[derive(Debug)]
pub struct FrameGate<S> {
    io: S,
    /// Bytes that came before there was a gate, and were not read.
    early: Vec<u8>,
    watch: Rc<Watch>,
    /// After the last byte, how long is waited for the client to end what it sends. Closing before would make its system
    /// throw away what it was told.
    linger: Duration,
    lingering: Option<Pin<Box<Sleep>>>,
}

/// What is seen at the gate.
#[derive(Debug)]
pub struct Watch {
    frames: RefCell<Frames>,
    /// When the credit of time was given last.
    credited: Cell<Instant>,
    /// Since when something has begun that has not ended.
    open: Cell<Option<Instant>>,
    /// Whether bytes moved since that was asked last.
    moved: Cell<bool>,
    is_flooded: Cell<bool>,
    flooded: Notify,
}

impl<S> FrameGate<S> {
    /// A gate at the begin of a connection. `early` is what was read of it; the client has `linger` to end after our end.
    pub fn new(io: S, early: Vec<u8>, linger: Duration) -> Self {
        let now = Instant::now();
        let watch = Watch {
            frames: RefCell::default(),
            credited: Cell::new(now),
            open: Cell::new(Some(now)),
            moved: Cell::new(false),
            is_flooded: Cell::new(false),
            flooded: Notify::new(),
        };
        FrameGate { io, early, watch: Rc::new(watch), linger, lingering: None }
    }

    /// What is seen here.
    pub fn watch(&self) -> &Rc<Watch> {
        &self.watch
    }
}

impl Watch {
    /// Waits until the client has sent too many frames that carry nothing.
    pub async fn flooded(&self) {
        self.flooded.notified().await;
    }

    /// Since when the preface, headers, or a frame without data have begun and not ended.
    pub fn open_since(&self) -> Option<Instant> {
        self.open.get()
    }

    /// Whether bytes moved since the last call.
    pub fn moved(&self) -> bool {
        self.moved.take()
    }

    /// Notes that a request was answered to its end.
    pub fn answered(&self) {
        self.frames.borrow_mut().answered();
    }

    fn take(&self, bytes: &[u8]) {
        self.moved.set(true);
        let mut frames = self.frames.borrow_mut();
        if frames.is_low() {
            let now = Instant::now();
            let passed = now.duration_since(self.credited.replace(now)).as_millis();
            frames.passed(u32::try_from(passed).unwrap_or(u32::MAX));
        }
        if frames.follow(bytes).is_err() {
            self.is_flooded.set(true);
            self.flooded.notify_one();
        }
        self.open.set(frames.is_open().then(|| self.open.get().unwrap_or_else(Instant::now)));
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = result {
            self.moved.set(true);
            self.frames.borrow_mut().sent(*count);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameGate<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.watch.is_flooded.get() {
            // What is left to do is to say so; who waits for that is awake.
            return Poll::Pending;
        }
        let start = buf.filled().len();
        if self.early.is_empty() {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        } else {
            let count = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early[..count]);
            self.early.drain(..count);
        }
        if buf.filled().len() > start {
            self.watch.take(&buf.filled()[start..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for FrameGate<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let lingering = match &mut this.lingering {
            Some(lingering) => lingering,
            None => {
                ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
                this.lingering.insert(Box::pin(tokio::time::sleep(this.linger)))
            }
        };
        let mut space = [0; 4096];
        while lingering.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}
