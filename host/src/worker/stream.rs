//! A stream of a worker: how far it has got, taking what has passed, and its end.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use chassis_abi::{Callback, Direction, HeaderList, Key, StreamKind};

use super::{Crash, Link, Worker};
use crate::flow::Flow;

/// A stream of a worker; never valid again after [`Worker::close`].
pub type StreamKey = Key;

/// What the chain has let pass of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The request, on its way to the upstream. Once `answered`, it goes no further.
    pub request: DirectionProgress,
    /// The response, on its way to the client.
    pub response: DirectionProgress,
    /// Whether the response is not the upstream's but a local one.
    pub answered: bool,
    /// Whether the stream is to be reset: the client gets no (further) answer.
    pub reset: bool,
    /// Whether it waits for a VM to be started.
    pub waits_for_vm: bool,
    /// Whether a plugin closed the client's connection of a TCP stream. Both directions are cut then; what has passed is
    /// still delivered.
    pub close_downstream: bool,
    /// Whether a plugin closed the upstream's connection of a TCP stream, likewise.
    pub close_upstream: bool,
}

/// What the chain has let pass of one direction. Nothing of it passes before its headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirectionProgress {
    /// Whether the headers may be taken.
    pub headers: bool,
    /// How many bytes of body may be taken.
    pub body: usize,
    /// Whether nothing of the body comes after those.
    pub ended: bool,
    /// Whether trailers may be taken, after the body.
    pub trailers: bool,
    /// Whether a plugin holds something back.
    pub paused: bool,
    /// How many bytes of body are inside the chain, or wait behind headers that are.
    pub held: usize,
    /// Whether nothing more of it passes, though it has not ended: of a request whose plugin failed or held too much
    /// once the response had passed, and of a TCP stream of which a plugin closed a connection.
    pub cut: bool,
}

/// What a worker has of a stream besides its exchange.
pub(crate) struct Stream {
    pub(crate) kind: StreamKind,
    pub(crate) links: Arc<[Link]>,
    pub(crate) request: Flow,
    pub(crate) response: Flow,
    pub(super) reset: bool,
    /// Which connections of a TCP stream a plugin closed.
    pub(super) close: Connections,
    /// Of which connections plugins were told that they are closed.
    pub(super) closed: Connections,
    pub(super) waits_for_vm: bool,
    pub(super) crash: Option<Crash>,
    /// Whether the client speaks gRPC, and so reads a local response from trailers.
    pub(super) is_grpc: bool,
    waker: Option<Waker>,
    /// What of the worker's buffered bytes is this stream's.
    buffered: usize,
}

/// Something that is so for one, both or none of a TCP stream's connections.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Connections {
    pub(super) downstream: bool,
    pub(super) upstream: bool,
}

impl Connections {
    /// The connection at which a direction begins.
    pub(super) fn of(&mut self, from: Direction) -> &mut bool {
        match from {
            Direction::Request => &mut self.downstream,
            Direction::Response => &mut self.upstream,
        }
    }
}

impl Stream {
    /// `reversed` says whether the response passes the chain in reverse.
    pub(super) fn new(links: Arc<[Link]>, request: &HeaderList, reversed: bool) -> Self {
        let stages = links.len();
        Stream {
            kind: StreamKind::Http,
            links,
            request: Flow::new(stages, false),
            response: Flow::new(stages, reversed),
            reset: false,
            close: Connections::default(),
            closed: Connections::default(),
            waits_for_vm: false,
            crash: None,
            is_grpc: super::answer::is_grpc(request),
            waker: None,
            buffered: 0,
        }
    }

    /// Forgets everything, but for its links, so that [`renew`](Stream::renew) can make it another stream.
    pub(super) fn clear(&mut self) {
        let Stream {
            kind,
            links: _,
            request,
            response,
            reset,
            close,
            closed,
            waits_for_vm,
            crash,
            is_grpc,
            waker,
            buffered,
        } = self;
        *kind = StreamKind::Http;
        *close = Connections::default();
        *closed = Connections::default();
        request.clear();
        response.clear();
        *reset = false;
        *waits_for_vm = false;
        *crash = None;
        *is_grpc = false;
        *waker = None;
        *buffered = 0;
    }

    /// Makes a stream that was cleared the one of another request.
    pub(super) fn renew(&mut self, links: Arc<[Link]>, request: &HeaderList, reversed: bool) {
        self.is_grpc = super::answer::is_grpc(request);
        self.request.set_stages(links.len(), false);
        self.response.set_stages(links.len(), reversed);
        self.links = links;
    }

    pub(crate) fn flow(&mut self, direction: Direction) -> &mut Flow {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }
}

impl Worker {
    /// What has passed the chain; `None` for a stream that was closed.
    pub fn progress(&mut self, key: StreamKey) -> Option<Progress> {
        let answered = self.exchange(key)?.answered;
        let (request, response) = (self.held(key, Direction::Request), self.held(key, Direction::Response));
        let stream = self.streams.get(key)?;
        Some(Progress {
            request: DirectionProgress {
                paused: stream.request.is_paused() && !answered,
                ..direction_progress(&stream.request, request)
            },
            response: direction_progress(&stream.response, response),
            answered,
            reset: stream.reset,
            waits_for_vm: stream.waits_for_vm,
            close_downstream: stream.close.downstream,
            close_upstream: stream.close.upstream,
        })
    }

    /// Takes headers that have passed; they cannot be changed any more after that.
    pub fn take_headers(&mut self, key: StreamKey, direction: Direction) -> HeaderList {
        self.pass_headers(key, direction).cloned().unwrap_or_default()
    }

    /// As [`take_headers`](Worker::take_headers), without a copy; `None` for a stream that was closed.
    pub fn pass_headers(&mut self, key: StreamKey, direction: Direction) -> Option<&HeaderList> {
        let exchange = self.exchange(key)?;
        exchange.response_started |= direction == Direction::Response;
        let half = exchange.half(direction);
        half.headers_sent = true;
        Some(&half.headers)
    }

    /// Takes the next piece of body that has passed.
    pub fn take_body(&mut self, key: StreamKey, direction: Direction) -> Option<Bytes> {
        let flow = self.flow(key, direction).filter(|flow| flow.released)?;
        let piece = flow.out.pop();
        self.count(key);
        piece
    }

    /// Takes trailers that have passed.
    pub fn take_trailers(&mut self, key: StreamKey, direction: Direction) -> HeaderList {
        let Some(exchange) = self.exchange(key) else { return HeaderList::default() };
        let half = exchange.half(direction);
        half.trailers_sent = true;
        half.trailers.clone()
    }

    /// Says more of a stream: what properties answer by this Envoy name.
    pub fn set_attribute(&mut self, key: StreamKey, name: &'static str, value: Bytes) {
        if let Some(exchange) = self.exchange(key) {
            exchange.attributes.insert(name, value);
        }
    }

    /// How a plugin ended that this stream failed of.
    pub fn crash(&self, key: StreamKey) -> Option<&Crash> {
        self.streams.get(key)?.crash.as_ref()
    }

    /// Wakes this once when the stream got further.
    pub fn set_stream_waker(&mut self, key: StreamKey, waker: &Waker) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.waker = Some(waker.clone());
        }
    }

    /// Ends a stream: its contexts get done, log and delete, in the order of the chain. The key is invalid afterwards.
    pub fn close(&mut self, key: StreamKey) {
        let Some(lanes) = self.streams.get(key).map(|stream| stream.links.len()) else { return };
        for lane in 0..lanes {
            if let Some(link) = self.link(key, lane) {
                self.end_context(key, lane, link);
                self.note(link.plugin);
            }
        }
        if let Some(stream) = self.streams.remove(key) {
            self.buffered -= stream.buffered;
            self.spares.keep_stream(stream);
        }
        if let Some(exchange) = self.board.as_mut().and_then(|board| board.exchanges.remove(key)) {
            self.spares.keep_exchange(exchange);
        }
        self.end_unneeded();
        self.run();
    }

    /// Counts the bytes of body that a stream has here, in both directions.
    pub(super) fn count(&mut self, key: Key) {
        let Some(exchange) = self.exchange(key) else { return };
        let lanes: usize = exchange.lanes.iter().map(|lane| lane.request.body.len() + lane.response.body.len()).sum();
        let Some(stream) = self.streams.get_mut(key) else { return };
        let now = lanes + stream.request.out.len() + stream.response.out.len();
        self.buffered = self.buffered - stream.buffered + now;
        stream.buffered = now;
    }

    /// Whether an answer of this many bytes of body may take the place of what a stream has here.
    pub(super) fn has_room_for_answer(&self, key: Key, bytes: usize) -> bool {
        let own = self.streams.get(key).map_or(0, |stream| stream.buffered);
        bytes <= SMALL_ANSWER || (self.buffered - own).saturating_add(bytes) <= self.buffer_limit
    }

    /// Bytes of body that the chain holds in one direction.
    pub(super) fn held(&mut self, key: Key, direction: Direction) -> usize {
        let lanes: usize = match self.exchange(key) {
            Some(exchange) => exchange.lanes.iter_mut().map(|lane| lane.half(direction).body.len()).sum(),
            None => 0,
        };
        let behind_headers = self.flow(key, direction).filter(|flow| !flow.released).map_or(0, |flow| flow.out.len());
        lanes + behind_headers
    }

    fn end_context(&mut self, key: Key, lane: usize, link: Link) {
        for callback in [Callback::Done, Callback::Log, Callback::Delete] {
            // After a crash there is another VM, which does not know this context.
            let Some(context) = self.context(key, lane) else { return };
            self.enter(link.plugin, callback, context, &[]);
            self.apply_effects();
        }
        let Some(context) = self.context(key, lane) else { return };
        if let Some(vm) = self.vm(link.plugin) {
            vm.instance.state().contexts.remove(context);
        }
    }

    pub(super) fn context(&mut self, key: Key, lane: usize) -> Option<u32> {
        self.exchange(key)?.lanes.get(lane)?.context
    }
}

/// An answer of so few bytes of body is given even above the limit: it is what tells the client.
const SMALL_ANSWER: usize = 16 << 10;

fn direction_progress(flow: &Flow, held: usize) -> DirectionProgress {
    DirectionProgress {
        headers: flow.released,
        body: if flow.released { flow.out.len() } else { 0 },
        ended: flow.is_done() || (flow.gone && flow.released && held == 0),
        trailers: flow.released && flow.trailers,
        paused: flow.is_paused(),
        held,
        cut: flow.cut,
    }
}
