//! The socket as hyper sees it: only whole heads that were not refused, and bodies.
//!
//! A whole head that comes in one read is judged in hyper's own buffer and costs no copy. A part of a head is held until
//! the rest has come. When a head is refused, hyper is told that the client has ended, but not before all earlier
//! requests of the connection are answered; then, as the connection is shut down, the refusal is written. A body that is
//! refused is an error of the body, and the one who reads it answers.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::frames::PREFACE;
use super::{HeadLimits, Judge, Refusal, Verdict};
use crate::logs::Record;

/// How long may be waited for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientLimits {
    /// For a whole head, from its first byte; for the first head from the accept: 10 s by default.
    pub head: Duration,
    /// For the next byte, in or out, of a body, or for the next request: 60 s by default. It is looked at four times in
    /// that time, so that up to a quarter more may pass.
    pub idle: Duration,
    /// After a refusal, for the client to end what it sends: 1 s by default. Closing before would make its system throw
    /// the answer away.
    pub linger: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        ClientLimits { head: seconds(10), idle: seconds(60), linger: seconds(1) }
    }
}

/// The client of one connection: who it is, and which of its requests are being answered.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    local: SocketAddr,
    id: u64,
    attributes: Vec<(&'static str, Bytes)>,
    tls: Option<ClientTls>,
    requests: Cell<u64>,
    running: Cell<u32>,
    /// Who waits for the last request to be answered.
    waiting: RefCell<Option<Waker>>,
}

/// What is known of a client that speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// The number of the certificate that it was shown.
    pub certificate: usize,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The host that it asked for.
    pub server_name: Option<String>,
    /// Whether it has shown a certificate, which was verified.
    pub is_verified: bool,
}

/// A request that is being answered, from when it was taken to when its response's body was dropped.
#[derive(Debug)]
pub struct Exchange {
    client: Rc<Client>,
    /// What is known of the request, from when its head was read.
    record: Option<Rc<Record>>,
}

impl Client {
    /// A client that was accepted, on this address of the host, as the process's connection of this number.
    pub fn new(address: SocketAddr, local: SocketAddr, id: u64) -> Rc<Self> {
        Self::with(address, local, id, None)
    }

    /// The same, over TLS.
    pub fn secured(address: SocketAddr, local: SocketAddr, id: u64, tls: ClientTls) -> Rc<Self> {
        Self::with(address, local, id, Some(tls))
    }

    fn with(address: SocketAddr, local: SocketAddr, id: u64, tls: Option<ClientTls>) -> Rc<Self> {
        let text = |address: SocketAddr| Bytes::from(address.to_string());
        let int = |number: u64| Bytes::copy_from_slice(&number.to_le_bytes());
        let is_verified = tls.as_ref().is_some_and(|tls| tls.is_verified);
        let mut attributes = vec![
            ("source.address", text(address)),
            ("source.port", int(address.port().into())),
            ("destination.address", text(local)),
            ("destination.port", int(local.port().into())),
            ("connection.id", int(id)),
            ("connection.mtls", Bytes::from_static(if is_verified { &[1] } else { &[0] })),
        ];
        if let Some(tls) = &tls {
            attributes.push(("connection.tls_version", Bytes::from_static(tls.version.as_bytes())));
            let name = tls.server_name.as_ref();
            attributes.extend(name.map(|name| ("connection.requested_server_name", Bytes::from(name.clone()))));
        }
        Rc::new(Client {
            address,
            local,
            id,
            attributes,
            tls,
            requests: Cell::new(0),
            running: Cell::new(0),
            waiting: RefCell::new(None),
        })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the host that it has connected to.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The number of its connection.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What properties say of its connection, by Envoy's names.
    pub fn attributes(&self) -> impl Iterator<Item = (&'static str, Bytes)> {
        self.attributes.iter().cloned()
    }

    /// What is known of it if it speaks TLS.
    pub fn tls(&self) -> Option<&ClientTls> {
        self.tls.as_ref()
    }

    /// How many requests it has sent.
    pub fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Counts a request.
    pub fn begin(self: &Rc<Self>) -> Exchange {
        self.requests.set(self.requests.get() + 1);
        self.running.set(self.running.get() + 1);
        Exchange { client: Rc::clone(self), record: None }
    }

    /// Whether none of its requests is being answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.get() == 0
    }

    fn wake_if_idle(&self) {
        if self.is_idle()
            && let Some(waiting) = self.waiting.take()
        {
            waiting.wake();
        }
    }
}

impl Exchange {
    /// Whose request it is.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Keeps what is known of the request.
    pub(crate) fn set_record(&mut self, record: Rc<Record>) {
        self.record = Some(record);
    }

    /// What is known of the request.
    pub(crate) fn record(&self) -> Option<&Rc<Record>> {
        self.record.as_ref()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.client.running.set(self.client.running.get() - 1);
        self.client.wake_if_idle();
    }
}

/// A socket whose bytes are judged on their way in.
#[derive(Debug)]
pub struct Gate<S> {
    io: S,
    judge: Judge,
    client: Rc<Client>,
    /// Bytes that came and were not handed on: `passed` that may be, then a part of a head.
    held: Vec<u8>,
    passed: usize,
    ending: Ending,
    patience: Patience,
    /// Whether bytes were written that are not flushed.
    unflushed: bool,
}

/// How the connection comes to its end.
#[derive(Debug)]
enum Ending {
    /// It does not.
    Open,
    /// A body was refused, or the client was waited for too long: all reads fail.
    Failed(Refusal),
    /// A head was refused; nothing more is read.
    Refused(Refusal),
    /// The client speaks HTTP/2; what came is held.
    Http2,
    /// The answer to the refused head is being written; so much is out.
    Answering { answer: Vec<u8>, written: usize },
    /// What the client still sends is thrown away.
    Lingering(Pin<Box<Sleep>>),
    /// All was said.
    Closed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gate<S> {
    /// A gate at the begin of a connection.
    pub fn new(io: S, head: HeadLimits, limits: ClientLimits, client: Rc<Client>) -> Self {
        Gate {
            io,
            judge: Judge::new(head),
            client,
            held: Vec::new(),
            passed: 0,
            ending: Ending::Open,
            patience: Patience::new(limits),
            unflushed: false,
        }
    }

    /// The socket and what was read of it, if the client speaks HTTP/2, which is known when reading has ended.
    pub fn into_http2(self) -> Option<(S, Vec<u8>)> {
        matches!(self.ending, Ending::Http2).then_some((self.io, self.held))
    }

    /// Judges what came in `bytes`; answers how many of them may be handed on.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while passed < bytes.len() {
            match self.judge.judge(&bytes[passed..]) {
                Verdict::Pass(count) => passed += count,
                Verdict::Hold => break,
                // Its first line is one of a request.
                Verdict::RefuseHead(Refusal::Version)
                    if passed == 0 && self.client.requests() == 0 && bytes.starts_with(&PREFACE[..PREFACE_LINE]) =>
                {
                    self.ending = Ending::Http2;
                    break;
                }
                Verdict::RefuseHead(refusal) => {
                    self.refuse(refusal);
                    break;
                }
                Verdict::RefuseBody(refusal) => {
                    self.fail(refusal);
                    break;
                }
            }
        }
        passed
    }

    fn refuse(&mut self, refusal: Refusal) {
        tracing::info!(
            connection = self.client.id,
            client = %self.client.address,
            server = "_",
            "request refused: {refusal}"
        );
        self.ending = Ending::Refused(refusal);
    }

    fn fail(&mut self, refusal: Refusal) {
        tracing::info!(
            connection = self.client.id,
            client = %self.client.address,
            server = "_",
            "connection closed: {refusal}"
        );
        self.ending = Ending::Failed(refusal);
    }

    /// Takes what was read into `buf` behind `start`. Leaves there what may be handed on.
    fn take(&mut self, buf: &mut ReadBuf<'_>, start: usize) {
        self.patience.moved();
        if self.held.is_empty() {
            let passed = self.pass(&buf.filled()[start..]);
            if passed > 0 {
                self.patience.head_ended();
            }
            let rest = &buf.filled()[start + passed..];
            if !rest.is_empty() && matches!(self.ending, Ending::Open | Ending::Http2) {
                self.held.extend_from_slice(rest);
                self.patience.head_begins();
            }
            buf.set_filled(start + passed);
            return;
        }
        self.held.extend_from_slice(&buf.filled()[start..]);
        buf.set_filled(start);
        let held = std::mem::take(&mut self.held);
        self.passed = self.pass(&held);
        self.held = held;
        if self.passed > 0 {
            self.patience.head_ended();
            if self.passed < self.held.len() {
                self.patience.head_begins();
            }
        }
    }

    /// Hands on held bytes that may be.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.passed.min(buf.remaining());
        buf.put_slice(&self.held[..count]);
        self.held.drain(..count);
        self.passed -= count;
        if self.held.is_empty() {
            // Heads in pieces are rare: keep no memory for the next one.
            self.held = Vec::new();
        }
    }

    /// The end of the input, as soon as all that came before is answered and on its way.
    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.client.is_idle() && !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        self.client.waiting.replace(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// While nothing comes: whether that has lasted too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.client.is_idle();
        let waited_for = match (idle, self.judge.in_head()) {
            (true, _) | (_, false) => true,
            (false, true) => self.unflushed,
        };
        match ready!(self.patience.poll(cx, idle, waited_for)) {
            Expired::Head if self.held.is_empty() => self.ending = Ending::Closed,
            Expired::Head => self.refuse(Refusal::HeadTimeout),
            Expired::Idle if idle && !self.unflushed => self.ending = Ending::Closed,
            Expired::Idle => self.fail(Refusal::BodyTimeout),
        }
        Poll::Ready(())
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.ending {
                Ending::Refused(refusal) => {
                    self.ending = Ending::Answering { answer: refusal.response(), written: 0 };
                }
                Ending::Answering { answer, written } if *written < answer.len() => {
                    let count = ready!(Pin::new(&mut self.io).poll_write(cx, &answer[*written..]))?;
                    if count == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    *written += count;
                }
                Ending::Answering { .. } => {
                    ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
                    self.ending = self.patience.linger();
                }
                Ending::Lingering(until) => {
                    let mut space = [0; 4096];
                    let mut buf = ReadBuf::new(&mut space);
                    if until.as_mut().poll(cx).is_pending() {
                        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
                        if !buf.filled().is_empty() {
                            continue;
                        }
                    }
                    self.ending = Ending::Closed;
                }
                // The client is in the middle of a body that nobody reads any more.
                Ending::Open | Ending::Failed(_) if !self.judge.in_head() => {
                    ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
                    self.ending = self.patience.linger();
                }
                Ending::Http2 => return Poll::Ready(Ok(())),
                Ending::Open | Ending::Failed(_) | Ending::Closed => return Pin::new(&mut self.io).poll_shutdown(cx),
            }
        }
    }

    fn wrote(&mut self, result: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        match result {
            Poll::Ready(Ok(_)) => self.patience.moved(),
            Poll::Pending => {
                if self.poll_patience(cx).is_ready() {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
            Poll::Ready(Err(_)) => {}
        }
        result
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gate<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let start = buf.filled().len();
        loop {
            if this.passed > 0 {
                this.hand_on(buf);
                return Poll::Ready(Ok(()));
            }
            match this.ending {
                Ending::Open => {}
                Ending::Failed(refusal) => return Poll::Ready(Err(failed(refusal))),
                _ => return this.poll_end(cx),
            }
            match Pin::new(&mut this.io).poll_read(cx, buf) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    ready!(this.poll_patience(cx));
                    continue;
                }
            }
            if buf.filled().len() == start {
                return Poll::Ready(Ok(()));
            }
            this.take(buf, start);
            if buf.filled().len() > start {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(result, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(result, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.unflushed = false;
        self.client.wake_if_idle();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_answer(cx)
    }
}

/// The length of the first line of HTTP/2's preface.
const PREFACE_LINE: usize = "PRI * HTTP/2.0\r\n".len();

fn failed(refusal: Refusal) -> io::Error {
    let kind = match refusal {
        Refusal::BodyTimeout => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, refusal)
}

/// One timer per connection, which whole requests that come and go never touch.
#[derive(Debug)]
struct Patience {
    limits: ClientLimits,
    timer: Pin<Box<Sleep>>,
    /// When the head that has begun must be complete.
    head: Option<Instant>,
    /// Whether bytes moved since the timer was looked at.
    moved: bool,
    /// How often the timer was looked at, and the client was waited for, and nothing had moved.
    quiet: u32,
}

enum Expired {
    Head,
    Idle,
}

/// How often in the idle limit the timer is looked at.
const LOOKS: u32 = 4;

impl Patience {
    fn new(limits: ClientLimits) -> Self {
        let now = Instant::now();
        let head = now + limits.head;
        let timer = Box::pin(tokio::time::sleep_until(head.min(now + limits.idle / LOOKS)));
        Patience { limits, timer, head: Some(head), moved: false, quiet: 0 }
    }

    fn moved(&mut self) {
        self.moved = true;
    }

    fn head_begins(&mut self) {
        let until = Instant::now() + self.limits.head;
        self.head = Some(until);
        if until < self.timer.deadline() {
            self.timer.as_mut().reset(until);
        }
    }

    fn head_ended(&mut self) {
        self.head = None;
    }

    fn poll(&mut self, cx: &mut Context<'_>, idle: bool, waited_for: bool) -> Poll<Expired> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            // A head that comes behind a request has time until that is answered.
            if idle && self.head.is_some_and(|head| head <= now) {
                return Poll::Ready(Expired::Head);
            }
            self.quiet = if self.moved || !waited_for { 0 } else { self.quiet + 1 };
            self.moved = false;
            if self.quiet >= LOOKS {
                return Poll::Ready(Expired::Idle);
            }
            let look = now + self.limits.idle / LOOKS;
            let next = self.head.filter(|head| *head > now).map_or(look, |head| head.min(look));
            self.timer.as_mut().reset(next);
        }
    }

    fn linger(&self) -> Ending {
        Ending::Lingering(Box::pin(tokio::time::sleep(self.limits.linger)))
    }
}

#[cfg(test)]
mod tests;
