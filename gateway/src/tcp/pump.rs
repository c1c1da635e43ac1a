//! Moving what two connections send to one another, through plugins or past them.
//!
//! Of each direction at most [`AHEAD`] bytes wait to be written, beside what plugins hold back, which the host limits. The
//! end of what one side sends is passed on as such; the other direction goes on. A connection that fails takes the other
//! one with it, which is reset, so that nobody takes what came for all there was.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use chassis_abi::{Direction, PeerType};
use socket2::SockRef;
use thiserror::Error;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::{Connected, told};
use crate::chain::{Chain, Stream};
use crate::head::Client;
use crate::stall::Stall;
use crate::upstream::{Turn, Upstream, UpstreamError};

/// The most that is read at once.
const PIECE: usize = 16 << 10;
/// How much that has passed may wait to be written before no more is read.
const AHEAD: usize = 64 << 10;
/// How often is gone round before other connections have their turn.
const ROUNDS_PER_TURN: usize = 8;

const BOTH: [Direction; 2] = [Direction::Request, Direction::Response];

/// Why a stream did not end by itself.
#[derive(Debug, Error)]
pub(super) enum BrokenOff {
    #[error("the upstream: {0}")]
    Connect(#[from] UpstreamError),
    #[error("the client's connection: {0}")]
    Client(io::Error),
    #[error("the upstream's connection: {0}")]
    Upstream(io::Error),
    #[error("nothing came or went for {0:?}")]
    Idle(Duration),
    #[error("a plugin failed or held back too much")]
    Reset,
    #[error("a plugin held it back for too long")]
    Paused,
}

/// The plugins that a stream passes.
pub(super) struct Through {
    stream: Rc<Stream>,
    pause: Stall,
    /// Of which connections they were told that they are closed.
    told: [bool; 2],
}

impl Through {
    /// Tells the plugins of a route that a client has connected.
    pub(super) fn begin(chain: &Chain, client: &Client) -> Self {
        let stream = chain.open_tcp(client.attributes());
        stream.with(|worker, key| worker.new_connection(key));
        Through { stream, pause: Stall::new(chain.pause()), told: [false; 2] }
    }

    fn put(&self, direction: Direction, data: Bytes, end: bool) {
        self.stream.with(|worker, key| match direction {
            Direction::Request => worker.downstream_data(key, data, end),
            Direction::Response => worker.upstream_data(key, data, end),
        });
    }

    fn closed(&mut self, from: Direction, peer: PeerType) {
        if !std::mem::replace(&mut self.told[from as usize], true) {
            self.stream.with(|worker, key| match from {
                Direction::Request => worker.downstream_closed(key, peer),
                Direction::Response => worker.upstream_closed(key, peer),
            });
        }
    }
}

/// One direction.
#[derive(Default)]
struct Lane {
    /// What is being written.
    out: Bytes,
    /// Where what is read is put; empty while nothing comes.
    space: BytesMut,
    /// Whether its sender has sent everything.
    ended: bool,
    /// Whether all of it is written, and its end.
    done: bool,
}

pub(super) struct Pump<'a> {
    client: TcpStream,
    upstream: Option<TcpStream>,
    connecting: Option<Pin<Box<dyn Future<Output = Connected> + 'a>>>,
    of: &'a Upstream,
    /// Counted for as long as the connection is open.
    turn: Option<Turn>,
    through: Option<Through>,
    /// From the client, and from the upstream.
    lanes: [Lane; 2],
    idle: Stall,
    limit: Duration,
}

impl<'a> Pump<'a> {
    pub(super) fn new(
        client: TcpStream,
        through: Option<Through>,
        connecting: Pin<Box<dyn Future<Output = Connected> + 'a>>,
        limit: Duration,
        of: &'a Upstream,
    ) -> Self {
        Pump {
            client,
            upstream: None,
            connecting: Some(connecting),
            of,
            turn: None,
            through,
            lanes: [Lane::default(), Lane::default()],
            idle: Stall::new(limit),
            limit,
        }
    }

    /// Moves everything until both sides have ended.
    pub(super) async fn run(mut self) -> Result<(), BrokenOff> {
        let ended = std::future::poll_fn(|cx| self.poll(cx)).await;
        let (client, upstream) = match &ended {
            Ok(()) => (self.peer(Direction::Request), self.peer(Direction::Response)),
            Err(BrokenOff::Client(_)) => (PeerType::Remote, PeerType::Local),
            Err(BrokenOff::Upstream(_) | BrokenOff::Connect(_)) => (PeerType::Local, PeerType::Remote),
            Err(_) => (PeerType::Local, PeerType::Local),
        };
        if let Some(through) = &mut self.through {
            through.closed(Direction::Request, client);
            through.closed(Direction::Response, upstream);
        }
        if ended.is_err() {
            for stream in [Some(&self.client), self.upstream.as_ref()].into_iter().flatten() {
                // Else it would look like an end.
                let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
        }
        ended
    }

    /// Who has closed the connection at which a direction begins.
    fn peer(&self, from: Direction) -> PeerType {
        if self.lanes[from as usize].ended { PeerType::Remote } else { PeerType::Local }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BrokenOff>> {
        for _ in 0..ROUNDS_PER_TURN {
            let mut moved = self.poll_connecting(cx)?;
            for direction in BOTH {
                moved |= self.poll_write(direction, cx)?;
                moved |= self.poll_read(direction, cx)?;
            }
            let closed = self.poll_plugins(cx)?;
            if self.lanes.iter().all(|lane| lane.done) || (closed && self.is_flushed()) {
                return Poll::Ready(Ok(()));
            }
            if moved {
                self.idle.came();
                continue;
            }
            if self.idle.poll(cx).is_ready() {
                return Poll::Ready(Err(BrokenOff::Idle(self.limit)));
            }
            if let Some(through) = &self.through {
                through.stream.wait(Direction::Response, cx);
            }
            return Poll::Pending;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Connects once plugins have let the connection go on.
    fn poll_connecting(&mut self, cx: &mut Context<'_>) -> Result<bool, BrokenOff> {
        let Some(connecting) = &mut self.connecting else { return Ok(false) };
        if let Some(through) = &self.through {
            let progress = through.stream.progress().map_err(|_| BrokenOff::Reset)?;
            if !progress.request.headers || progress.close_downstream || progress.close_upstream {
                return Ok(false);
            }
        }
        let Poll::Ready((connected, turn)) = connecting.as_mut().poll(cx) else { return Ok(false) };
        self.connecting = None;
        let connected = connected?;
        if let Some(through) = &self.through {
            let (name, port) = told(self.of.node(&turn));
            through.stream.with(|worker, key| {
                worker.set_attribute(key, "upstream.address", Bytes::copy_from_slice(name.as_bytes()));
                let port = port.map(|port| Bytes::copy_from_slice(&port.to_le_bytes()));
                port.into_iter().for_each(|port| worker.set_attribute(key, "upstream.port", port));
            });
        }
        self.turn = Some(turn);
        self.upstream = Some(connected);
        Ok(true)
    }

    /// Reads a piece if there is room for it. Whether anything came.
    fn poll_read(&mut self, direction: Direction, cx: &mut Context<'_>) -> Result<bool, BrokenOff> {
        let lane = &mut self.lanes[direction as usize];
        let source = match direction {
            Direction::Request => Some(&self.client),
            Direction::Response => self.upstream.as_ref(),
        };
        let Some(source) = source.filter(|_| !lane.ended) else { return Ok(false) };
        let waits = match &self.through {
            None => lane.out.len(),
            Some(through) => {
                let progress = through.stream.progress().map_err(|_| BrokenOff::Reset)?;
                let progress = if direction == Direction::Request { progress.request } else { progress.response };
                if progress.cut {
                    return Ok(false);
                }
                lane.out.len() + progress.body
            }
        };
        if waits > if self.through.is_some() { AHEAD } else { 0 } {
            return Ok(false);
        }
        loop {
            let Poll::Ready(ready) = source.poll_read_ready(cx) else {
                // Who says nothing needs no space for it.
                lane.space = BytesMut::new();
                return Ok(false);
            };
            let mut piece = std::mem::take(&mut lane.space);
            piece.reserve(PIECE);
            let read = ready.and_then(|()| source.try_read_buf(&mut bytes::BufMut::limit(&mut piece, PIECE)));
            let count = match read {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(of(direction, error)),
            };
            let data = piece.split().freeze();
            lane.space = piece;
            lane.ended = count == 0;
            match &self.through {
                Some(through) => through.put(direction, data, count == 0),
                None => lane.out = data,
            }
            return Ok(true);
        }
    }

    /// Writes what has passed, and its end. Whether anything went.
    fn poll_write(&mut self, direction: Direction, cx: &mut Context<'_>) -> Result<bool, BrokenOff> {
        let lane = &mut self.lanes[direction as usize];
        let (sink, other) = match direction {
            Direction::Request => (self.upstream.as_mut(), Direction::Response),
            Direction::Response => (Some(&mut self.client), Direction::Request),
        };
        let Some(sink) = sink.filter(|_| !lane.done) else { return Ok(false) };
        let mut moved = false;
        loop {
            let mut ended = lane.ended;
            if let (true, Some(through)) = (lane.out.is_empty(), &self.through) {
                let progress = through.stream.progress().map_err(|_| BrokenOff::Reset)?;
                let progress = if direction == Direction::Request { progress.request } else { progress.response };
                ended = progress.ended;
                lane.out = through.stream.take_body(direction).unwrap_or_default();
            }
            if lane.out.is_empty() {
                if ended {
                    match Pin::new(&mut *sink).poll_shutdown(cx) {
                        Poll::Ready(Ok(())) => {}
                        // It has gone by itself.
                        Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::NotConnected => {}
                        Poll::Ready(Err(error)) => return Err(of(other, error)),
                        Poll::Pending => return Ok(moved),
                    }
                    lane.done = true;
                    moved = true;
                }
                return Ok(moved);
            }
            match Pin::new(&mut *sink).poll_write(cx, &lane.out) {
                Poll::Ready(Ok(count)) => lane.out.advance(count),
                Poll::Ready(Err(error)) => return Err(of(other, error)),
                Poll::Pending => return Ok(moved),
            }
            moved = true;
        }
    }

    /// Whether plugins have closed it; an error if they have held it back for too long.
    fn poll_plugins(&mut self, cx: &mut Context<'_>) -> Result<bool, BrokenOff> {
        let Some(through) = &mut self.through else { return Ok(false) };
        let progress = through.stream.progress().map_err(|_| BrokenOff::Reset)?;
        if progress.request.paused || progress.response.paused || progress.waits_for_vm {
            if through.pause.poll(cx).is_ready() {
                return Err(BrokenOff::Paused);
            }
        } else {
            through.pause.came();
        }
        Ok(progress.close_downstream || progress.close_upstream)
    }

    /// Whether all that has passed is written, as far as there is anybody who takes it.
    fn is_flushed(&self) -> bool {
        let Some(through) = &self.through else { return true };
        let Ok(progress) = through.stream.progress() else { return true };
        let [from_client, from_upstream] = &self.lanes;
        let to_upstream = from_client.out.len() + progress.request.body;
        let to_client = from_upstream.out.len() + progress.response.body;
        (to_upstream == 0 || self.upstream.is_none()) && to_client == 0
    }
}

/// An error of the connection at which a direction begins.
fn of(from: Direction, error: io::Error) -> BrokenOff {
    match from {
        Direction::Request => BrokenOff::Client(error),
        Direction::Response => BrokenOff::Upstream(error),
    }
}
