//! A worker: the streams and VMs of one thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chassis_abi::{
    Board, Callback, ContextId, Direction, Effect, EntryError, Exchange, HeaderList, Key, LocalResponse, LogLevel,
    Observer, Services, enter,
};
use chassis_engine_api::{Frame, Stop};
use rustc_hash::FxHashMap;

use crate::flow::{Flow, Headers};
use crate::log::{LogLine, LogSink, Reason};
use crate::plugin::Plugin;
use crate::preparer::{Job, Prepared, Preparer};
use crate::vm::{self, StartError, Vm};

/// A stream of a worker; never valid again after [`Worker::close`].
pub type StreamKey = Key;

/// A plugin of a worker, by the order in which it was added.
pub type PluginId = usize;

/// One plugin of a chain, with the configuration that it runs with there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The plugin.
    pub plugin: PluginId,
    /// Which of the configurations that the plugin was added with.
    pub configuration: usize,
}

/// The streams, VMs and timers of one thread.
///
/// Events go in by the methods named after them; [`progress`](Worker::progress) then says what has passed the chain and
/// may be taken. Nothing blocks except [`wait_prepared`](Worker::wait_prepared).
pub struct Worker {
    pub(crate) board: Option<Box<Board>>,
    pub(crate) streams: FxHashMap<Key, Stream>,
    slots: Vec<Slot>,
    dirty: VecDeque<(Key, Direction)>,
    timers: Vec<Timer>,
    sink: Arc<dyn LogSink>,
    preparer: Preparer,
    reply: Sender<Prepared>,
    prepared: Receiver<Prepared>,
    /// How many VMs the preparer was asked for and has not delivered.
    ordered: usize,
    /// The plugin that was entered last, whose effects are the ones on the board.
    entered: PluginId,
    waker: Option<Waker>,
    /// The time that timers go by.
    clock: Arc<dyn Fn() -> Instant + Send + Sync>,
}

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
}

/// What the chain has let pass of one direction.
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
    /// How many bytes of body are inside the chain.
    pub held: usize,
}

/// A plugin's end.
#[derive(Debug, Clone)]
pub struct Crash {
    /// The plugin's name.
    pub plugin: String,
    /// The export in which it ended.
    pub callback: &'static str,
    /// `trap`, `deadline`, `fuel`, `exit`, `host` or `start`.
    pub kind: &'static str,
    /// What happened.
    pub message: String,
    /// The guest's frames, innermost first.
    pub backtrace: Vec<Frame>,
}

pub(crate) struct Stream {
    pub(crate) links: Arc<[Link]>,
    request: Flow,
    response: Flow,
    reset: bool,
    waits_for_vm: bool,
    crash: Option<Crash>,
    waker: Option<Waker>,
}

impl Stream {
    pub(crate) fn flow(&mut self, direction: Direction) -> &mut Flow {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }
}

/// A plugin of the worker.
struct Slot {
    plugin: Arc<Plugin>,
    configurations: Arc<[Bytes]>,
    vm: VmSlot,
    spare: Option<Vm>,
}

enum VmSlot {
    Ready(Vm),
    /// The preparer is at it.
    Preparing,
    /// It could not be started; tried again at the first need after this time.
    Failed(Crash, Instant),
}

/// How long to wait after a start that failed.
const RETRY: Duration = Duration::from_secs(1);

struct Timer {
    plugin: PluginId,
    context: ContextId,
    period: Duration,
    next: Instant,
}

/// Whether a lane's plugin can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    Ready,
    /// It has no part in this direction.
    Skip,
    /// Its VM is being started.
    Wait,
    /// Its VM cannot be started.
    Failed,
}

impl Worker {
    /// A worker without plugins.
    pub fn new(services: Box<dyn Services>, sink: Arc<dyn LogSink>, preparer: Preparer) -> Self {
        let (reply, prepared) = channel();
        Worker {
            board: Some(Board::new(services)),
            streams: FxHashMap::default(),
            slots: Vec::new(),
            dirty: VecDeque::new(),
            timers: Vec::new(),
            sink,
            preparer,
            reply,
            prepared,
            ordered: 0,
            entered: 0,
            waker: None,
            clock: Arc::new(Instant::now),
        }
    }

    /// Adds a plugin and starts its VM on this thread, with a plugin context for each configuration.
    ///
    /// # Errors
    /// [`StartError`] if the plugin does not start or refuses a configuration.
    pub fn add_plugin(&mut self, plugin: Arc<Plugin>, configurations: Vec<Bytes>) -> Result<PluginId, StartError> {
        let configurations: Arc<[Bytes]> = configurations.into();
        let started = vm::start(&plugin, &configurations, &mut self.board)?;
        self.slots.push(Slot { plugin, configurations, vm: VmSlot::Preparing, spare: None });
        let id = self.slots.len() - 1;
        self.install(id, started);
        self.order(id);
        Ok(id)
    }

    /// The plugin of an id.
    pub fn plugin(&self, id: PluginId) -> Option<&Arc<Plugin>> {
        self.slots.get(id).map(|slot| &slot.plugin)
    }

    /// Watches callbacks and host calls from now on.
    pub fn set_observer(&mut self, observer: Option<Box<dyn Observer>>) {
        if let Some(board) = self.board.as_mut() {
            board.observer = observer;
        }
    }

    /// Has timers go by another clock than the system's, for embedders that put the time forward. Timers that are set
    /// already keep their time.
    pub fn set_clock(&mut self, clock: Arc<dyn Fn() -> Instant + Send + Sync>) {
        self.clock = clock;
    }

    /// Begins a stream with a request whose headers have come (pseudo-headers first); `attributes` are what properties
    /// answer by their Envoy names. Nothing runs until [`request_headers`](Worker::request_headers).
    pub fn open(
        &mut self,
        links: Arc<[Link]>,
        request: HeaderList,
        attributes: impl IntoIterator<Item = (&'static str, Bytes)>,
    ) -> StreamKey {
        let mut exchange = Exchange::new(request);
        exchange.lanes.resize_with(links.len(), Default::default);
        exchange.attributes.extend(attributes);
        let stages = links.len();
        // Between entries the board is always here.
        let Some(board) = self.board.as_mut() else { return chassis_abi::Slab::default().insert(()) };
        let key = board.exchanges.insert(exchange);
        let stream = Stream {
            links,
            request: Flow::new(stages),
            response: Flow::new(stages),
            reset: false,
            waits_for_vm: false,
            crash: None,
            waker: None,
        };
        self.streams.insert(key, stream);
        key
    }

    /// The request's headers begin their way; `end_of_stream` if nothing follows them.
    pub fn request_headers(&mut self, key: StreamKey, end_of_stream: bool) {
        self.headers_come(key, Direction::Request, end_of_stream);
    }

    /// A part of the request's body came. The end of a body may come with it or after it, with no bytes.
    pub fn request_body(&mut self, key: StreamKey, data: Bytes, end_of_stream: bool) {
        self.body_comes(key, Direction::Request, data, end_of_stream);
    }

    /// The request's trailers came, which end it.
    pub fn request_trailers(&mut self, key: StreamKey, trailers: HeaderList) {
        self.trailers_come(key, Direction::Request, trailers);
    }

    /// The upstream's response headers came.
    pub fn response_headers(&mut self, key: StreamKey, headers: HeaderList, end_of_stream: bool) {
        let Some(exchange) = self.exchange(key) else { return };
        if exchange.answered {
            return;
        }
        exchange.response.headers = headers;
        exchange.response.has_headers = true;
        self.headers_come(key, Direction::Response, end_of_stream);
    }

    /// A part of the upstream's response body came.
    pub fn response_body(&mut self, key: StreamKey, data: Bytes, end_of_stream: bool) {
        if self.exchange(key).is_some_and(|exchange| !exchange.answered) {
            self.body_comes(key, Direction::Response, data, end_of_stream);
        }
    }

    /// The upstream's trailers came.
    pub fn response_trailers(&mut self, key: StreamKey, trailers: HeaderList) {
        if self.exchange(key).is_some_and(|exchange| !exchange.answered) {
            self.trailers_come(key, Direction::Response, trailers);
        }
    }

    /// What has passed the chain; `None` for a stream that was closed.
    pub fn progress(&mut self, key: StreamKey) -> Option<Progress> {
        let answered = self.exchange(key)?.answered;
        let held = |direction, exchange: &mut Exchange| -> usize {
            exchange.lanes.iter_mut().map(|lane| lane.half(direction).body.len()).sum()
        };
        let exchange = self.exchange(key)?;
        let (request_held, response_held) = (held(Direction::Request, exchange), held(Direction::Response, exchange));
        let stream = self.streams.get(&key)?;
        Some(Progress {
            request: direction_progress(&stream.request, request_held),
            response: direction_progress(&stream.response, response_held),
            answered,
            reset: stream.reset,
            waits_for_vm: stream.waits_for_vm,
        })
    }

    /// Takes headers that have passed; they cannot be changed any more after that.
    pub fn take_headers(&mut self, key: StreamKey, direction: Direction) -> HeaderList {
        let Some(exchange) = self.exchange(key) else { return HeaderList::default() };
        exchange.response_started |= direction == Direction::Response;
        let half = exchange.half(direction);
        half.headers_sent = true;
        half.headers.clone()
    }

    /// Takes the next piece of body that has passed.
    pub fn take_body(&mut self, key: StreamKey, direction: Direction) -> Option<Bytes> {
        self.flow(key, direction)?.out.pop()
    }

    /// Takes trailers that have passed.
    pub fn take_trailers(&mut self, key: StreamKey, direction: Direction) -> HeaderList {
        let Some(exchange) = self.exchange(key) else { return HeaderList::default() };
        let half = exchange.half(direction);
        half.trailers_sent = true;
        half.trailers.clone()
    }

    /// How a plugin ended that this stream failed of.
    pub fn crash(&self, key: StreamKey) -> Option<&Crash> {
        self.streams.get(&key)?.crash.as_ref()
    }

    /// Answers the stream from outside the chain, as for an upstream that failed or a pause that lasted too long: the
    /// response passes no plugin. Without effect once a response has begun.
    pub fn answer(&mut self, key: StreamKey, status: u16, body: Bytes) {
        let headers = [(Bytes::from("content-type"), Bytes::from("text/plain; charset=utf-8"))].into_iter().collect();
        let response = LocalResponse { status, headers, body, ..LocalResponse::default() };
        self.respond(key, &response, true);
        self.run();
    }

    /// Ends a stream: its contexts get done, log and delete. The key is invalid afterwards.
    pub fn close(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get(&key) else { return };
        let links = stream.links.clone();
        for (lane, link) in links.iter().enumerate() {
            let Some(context) = self.exchange(key).and_then(|exchange| exchange.lanes[lane].context) else { continue };
            for callback in [Callback::Done, Callback::Log, Callback::Delete] {
                if self.enter(link.plugin, callback, context, &[]).is_none() {
                    break;
                }
                self.apply_effects();
            }
            // After a crash there is another VM, which does not know this context.
            let still = self.exchange(key).and_then(|exchange| exchange.lanes[lane].context) == Some(context);
            if let Some(vm) = self.vm(link.plugin).filter(|_| still) {
                vm.instance.state().contexts.remove(context);
            }
        }
        self.streams.remove(&key);
        if let Some(board) = self.board.as_mut() {
            board.exchanges.remove(key);
        }
        self.run();
    }

    /// Wakes this when the stream got further by something else than its own events.
    pub fn set_stream_waker(&mut self, key: StreamKey, waker: &Waker) {
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.waker = Some(waker.clone());
        }
    }

    /// Wakes this when a VM was prepared; [`receive_prepared`](Worker::receive_prepared) is due then.
    pub fn set_waker(&mut self, waker: Option<Waker>) {
        self.waker = waker;
    }

    /// When [`run_timers`](Worker::run_timers) is due.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.iter().map(|timer| timer.next).min()
    }

    /// Calls `proxy_on_tick` of each plugin context whose period is over. Ticks that were missed are not made up for.
    pub fn run_timers(&mut self, now: Instant) {
        let due: Vec<(PluginId, ContextId)> =
            self.timers.iter().filter(|timer| timer.next <= now).map(|timer| (timer.plugin, timer.context)).collect();
        for (plugin, context) in due {
            if let Some(timer) = self.timers.iter_mut().find(|timer| timer.plugin == plugin && timer.context == context)
            {
                timer.next = now + timer.period;
                self.enter(plugin, Callback::Tick, context, &[]);
                self.apply_effects();
            }
        }
        self.run();
    }

    /// Takes over VMs that the preparer has started, and lets streams go on that waited for one.
    pub fn receive_prepared(&mut self) {
        while self.ordered > 0 {
            let Ok(prepared) = self.prepared.try_recv() else { break };
            self.accept(prepared);
        }
        self.run();
    }

    /// Waits until no VM is being started, at most for `limit`. For embedders without an event loop.
    pub fn wait_prepared(&mut self, limit: Duration) {
        let until = Instant::now() + limit;
        while self.ordered > 0 {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(prepared) = self.prepared.recv_timeout(left) else { break };
            self.accept(prepared);
        }
        self.run();
    }

    /// The memory that the plugin's VM has now, in bytes.
    pub fn memory_bytes(&self, id: PluginId) -> Option<u64> {
        match &self.slots.get(id)?.vm {
            VmSlot::Ready(vm) => Some(vm.instance.memory_bytes()),
            VmSlot::Preparing | VmSlot::Failed(..) => None,
        }
    }
}

/// What the chain needs.
impl Worker {
    pub(crate) fn exchange(&mut self, key: Key) -> Option<&mut Exchange> {
        self.board.as_mut()?.exchanges.get_mut(key)
    }

    pub(crate) fn flow(&mut self, key: Key, direction: Direction) -> Option<&mut Flow> {
        self.streams.get_mut(&key).map(|stream| stream.flow(direction))
    }

    pub(crate) fn vm(&mut self, plugin: PluginId) -> Option<&mut Vm> {
        match &mut self.slots.get_mut(plugin)?.vm {
            VmSlot::Ready(vm) => Some(vm),
            VmSlot::Preparing | VmSlot::Failed(..) => None,
        }
    }

    /// Whether a direction may go on: not after a reset, and the request not once it is answered.
    pub(crate) fn may_advance(&mut self, key: Key, direction: Direction) -> bool {
        let answered = self.exchange(key).is_none_or(|exchange| exchange.answered);
        let reset = self.streams.get(&key).is_none_or(|stream| stream.reset);
        !reset && !(answered && direction == Direction::Request)
    }

    pub(crate) fn lane_exports(&self, key: Key, lane: usize, callback: Callback) -> bool {
        let link = self.streams.get(&key).map(|stream| stream.links[lane]);
        link.and_then(|link| self.plugin(link.plugin)).is_some_and(|plugin| plugin.exports(callback))
    }

    pub(crate) fn availability(&mut self, key: Key, lane: usize, direction: Direction) -> Availability {
        let Some(link) = self.streams.get(&key).map(|stream| stream.links[lane]) else { return Availability::Skip };
        let begun = self.exchange(key).is_some_and(|exchange| exchange.lanes[lane].context.is_some());
        if direction == Direction::Response && !begun {
            return Availability::Skip;
        }
        if let VmSlot::Failed(_, since) = &self.slots[link.plugin].vm
            && since.elapsed() >= RETRY
        {
            self.slots[link.plugin].vm = VmSlot::Preparing;
            self.order(link.plugin);
        }
        match &self.slots[link.plugin].vm {
            VmSlot::Ready(_) => Availability::Ready,
            VmSlot::Preparing => {
                if let Some(stream) = self.streams.get_mut(&key) {
                    stream.waits_for_vm = true;
                }
                Availability::Wait
            }
            VmSlot::Failed(crash, _) => {
                let crash = crash.clone();
                if let Some(stream) = self.streams.get_mut(&key) {
                    stream.crash = Some(crash);
                }
                Availability::Failed
            }
        }
    }

    /// Enters a guest. The outer `None` says that it was stopped, and that this was dealt with; the inner one that there
    /// is nothing to call.
    pub(crate) fn enter(
        &mut self,
        plugin: PluginId,
        callback: Callback,
        context: ContextId,
        args: &[u32],
    ) -> Option<Option<u32>> {
        let slot = self.slots.get_mut(plugin)?;
        let VmSlot::Ready(vm) = &mut slot.vm else { return None };
        let budget = slot.plugin.spec().limits.budget();
        self.entered = plugin;
        match enter(&mut *vm.instance, &mut self.board, callback, context, args, budget) {
            Ok(result) => Some(result),
            Err(EntryError::Stopped { callback, stop }) => {
                self.crashed(plugin, callback, stop);
                None
            }
            Err(_) => None,
        }
    }

    /// Has a direction of a stream advanced before control returns to the embedder.
    pub(crate) fn mark(&mut self, key: Key, direction: Direction) {
        self.dirty.push_back((key, direction));
        if let Some(waker) = self.streams.get_mut(&key).and_then(|stream| stream.waker.take()) {
            waker.wake();
        }
    }

    /// Carries out what the last entry left to be done.
    pub(crate) fn apply_effects(&mut self) {
        let Some(board) = self.board.as_mut() else { return };
        if board.effects.is_empty() {
            return;
        }
        let plugin = self.entered;
        for effect in std::mem::take(&mut board.effects) {
            self.apply(plugin, effect);
        }
    }

    /// Answers a stream whose plugin failed, or resets it if its response has begun.
    pub(crate) fn fail(&mut self, key: Key) {
        let body = Bytes::from_static(b"Service Unavailable\n");
        let headers = [(Bytes::from("content-type"), Bytes::from("text/plain; charset=utf-8"))].into_iter().collect();
        let response = LocalResponse { status: 503, headers, body, ..LocalResponse::default() };
        self.respond(key, &response, true);
    }
}

impl Worker {
    fn headers_come(&mut self, key: Key, direction: Direction, end_of_stream: bool) {
        let Some(flow) = self.flow(key, direction) else { return };
        if flow.headers_come {
            return;
        }
        flow.headers_come = true;
        flow.headers_end = end_of_stream;
        self.mark(key, direction);
        self.run();
    }

    fn body_comes(&mut self, key: Key, direction: Direction, data: Bytes, end_of_stream: bool) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let Some(exchange) = self.board.as_mut().and_then(|board| board.exchanges.get_mut(key)) else { return };
        if exchange.answered && direction == Direction::Request {
            return;
        }
        let limit = stream.links.iter().filter_map(|link| self.slots.get(link.plugin));
        let limit = limit.map(|slot| slot.plugin.spec().limits.buffered_body).min().unwrap_or(usize::MAX);
        let flow = stream.flow(direction);
        let stages = flow.stages.len();
        let Some(first) = flow.stages.first_mut() else {
            flow.out.push(data);
            flow.ended |= end_of_stream;
            return;
        };
        if first.ended {
            return;
        }
        first.fresh |= !data.is_empty() || end_of_stream;
        first.ended |= end_of_stream;
        exchange.lanes[crate::chain::lane_of(0, direction, stages)].half(direction).body.push(data);
        self.mark(key, direction);
        self.run();
        let held: usize = match self.exchange(key) {
            Some(exchange) => exchange.lanes.iter_mut().map(|lane| lane.half(direction).body.len()).sum(),
            None => 0,
        };
        if held > limit {
            let (status, text) = match direction {
                Direction::Request => (413, "Content Too Large\n"),
                Direction::Response => (502, "Bad Gateway\n"),
            };
            self.answer(key, status, Bytes::from_static(text.as_bytes()));
        }
    }

    fn trailers_come(&mut self, key: Key, direction: Direction, trailers: HeaderList) {
        let Some(exchange) = self.exchange(key) else { return };
        let half = exchange.half(direction);
        half.trailers = trailers;
        half.has_trailers = true;
        let Some(flow) = self.flow(key, direction) else { return };
        let Some(first) = flow.stages.first_mut() else {
            flow.ended = true;
            flow.trailers = true;
            return;
        };
        if !first.ended {
            first.ended = true;
            // A body without any bytes is not shown before its trailers.
            first.trailers = crate::flow::Trailers::Arrived;
            self.mark(key, direction);
            self.run();
        }
    }

    /// Advances every stream that something was left to be done for.
    fn run(&mut self) {
        while let Some((key, direction)) = self.dirty.pop_front() {
            self.advance(key, direction);
        }
    }

    fn apply(&mut self, plugin: PluginId, effect: Effect) {
        match effect {
            Effect::LocalResponse { exchange, response, .. } => self.respond(exchange, &response, false),
            Effect::Continue { exchange, lane, direction } => self.resume(exchange, lane, direction),
            Effect::Close { exchange } => {
                if let Some(stream) = self.streams.get_mut(&exchange) {
                    stream.reset = true;
                }
                self.mark(exchange, Direction::Response);
            }
            Effect::TickPeriod { context, milliseconds } => {
                self.set_timer(plugin, context, Duration::from_millis(u64::from(milliseconds)));
            }
            _ => {}
        }
    }

    /// Makes a response the stream's own; `bypass` leaves all plugins out.
    fn respond(&mut self, key: Key, response: &LocalResponse, bypass: bool) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let Some(exchange) = self.board.as_mut().and_then(|board| board.exchanges.get_mut(key)) else { return };
        if exchange.response_started {
            stream.reset = true;
            return self.mark(key, Direction::Response);
        }
        exchange.answered = true;
        let mut headers = HeaderList::with_capacity(response.headers.len() + 1);
        headers.push_unchecked(":status", response.status.to_string());
        response.headers.iter().for_each(|(name, value)| headers.push_unchecked(name.clone(), value.clone()));
        exchange.response = chassis_abi::Half { headers, has_headers: true, ..Default::default() };
        for lane in &mut exchange.lanes {
            lane.request = Default::default();
            lane.response = Default::default();
        }
        let stages = stream.links.len();
        let flow = &mut stream.response;
        let before = std::mem::replace(flow, Flow::new(stages));
        flow.headers_come = true;
        flow.headers_end = response.body.is_empty();
        for (stage, before) in flow.stages.iter_mut().zip(before.stages) {
            // A plugin that has seen response headers is not shown others.
            stage.bypassed = bypass || before.bypassed || before.headers != Headers::Waiting;
        }
        match flow.stages.first_mut() {
            Some(first) => {
                first.fresh = !response.body.is_empty();
                first.ended = true;
                let lane = crate::chain::lane_of(0, Direction::Response, stages);
                exchange.lanes[lane].response.body.push(response.body.clone());
            }
            None => {
                flow.out.push(response.body.clone());
                flow.ended = true;
            }
        }
        self.mark(key, Direction::Response);
    }

    /// Ends a VM whose guest was stopped, and what depended on it; the spare takes over.
    fn crashed(&mut self, plugin: PluginId, callback: Callback, stop: Stop) {
        let Some(slot) = self.slots.get_mut(plugin) else { return };
        let crash = Crash::new(slot.plugin.name(), callback.name(), &stop);
        let VmSlot::Ready(mut dead) = std::mem::replace(&mut slot.vm, VmSlot::Preparing) else { return };
        report(&*self.sink, &crash);
        let lost: Vec<_> = dead.instance.state().contexts.streams().collect();
        drop(dead);
        self.timers.retain(|timer| timer.plugin != plugin);
        if let Some(spare) = self.slots[plugin].spare.take() {
            self.install(plugin, spare);
        }
        self.order(plugin);
        for (_, key, lane) in lost {
            if let Some(exchange) = self.exchange(key) {
                exchange.lanes[lane].context = None;
            }
            if let Some(stream) = self.streams.get_mut(&key) {
                stream.crash.get_or_insert_with(|| crash.clone());
            }
            self.fail(key);
        }
    }

    /// Makes a started VM the plugin's own.
    fn install(&mut self, plugin: PluginId, mut vm: Vm) {
        let effects = std::mem::take(&mut vm.effects);
        self.slots[plugin].vm = VmSlot::Ready(vm);
        for effect in effects {
            self.apply(plugin, effect);
        }
    }

    /// Has the preparer start a VM for a plugin.
    fn order(&mut self, plugin: PluginId) {
        let slot = &self.slots[plugin];
        self.ordered += 1;
        self.preparer.prepare(Job {
            plugin: slot.plugin.clone(),
            configurations: slot.configurations.clone(),
            slot: plugin,
            reply: self.reply.clone(),
            waker: self.waker.clone(),
        });
    }

    fn accept(&mut self, prepared: Prepared) {
        self.ordered -= 1;
        let plugin = prepared.slot;
        let needed = !matches!(self.slots[plugin].vm, VmSlot::Ready(_));
        match prepared.vm {
            Ok(vm) if needed => self.install(plugin, vm),
            Ok(vm) => self.slots[plugin].spare = Some(vm),
            Err(error) => {
                let crash = Crash::starting(self.slots[plugin].plugin.name(), &error);
                report(&*self.sink, &crash);
                if needed {
                    self.slots[plugin].vm = VmSlot::Failed(crash, Instant::now());
                }
            }
        }
        if !needed {
            return;
        }
        let waiting: Vec<Key> =
            self.streams.iter().filter(|(_, stream)| stream.waits_for_vm).map(|(key, _)| *key).collect();
        for key in waiting {
            if let Some(stream) = self.streams.get_mut(&key) {
                stream.waits_for_vm = false;
            }
            self.mark(key, Direction::Request);
        }
        if self.slots[plugin].spare.is_none() && matches!(self.slots[plugin].vm, VmSlot::Ready(_)) {
            self.order(plugin);
        }
    }

    fn set_timer(&mut self, plugin: PluginId, context: ContextId, period: Duration) {
        self.timers.retain(|timer| timer.plugin != plugin || timer.context != context);
        if !period.is_zero() {
            self.timers.push(Timer { plugin, context, period, next: (self.clock)() + period });
        }
    }
}

impl Crash {
    fn new(plugin: &str, callback: &'static str, stop: &Stop) -> Self {
        let backtrace = match stop {
            Stop::Trap(trap) => trap.backtrace.clone(),
            _ => Vec::new(),
        };
        Crash { plugin: plugin.to_owned(), callback, kind: stop.kind(), message: stop.to_string(), backtrace }
    }

    /// A start that failed.
    pub fn starting(plugin: &str, error: &StartError) -> Self {
        match error {
            StartError::Stopped { callback, stop } => Crash::new(plugin, callback, stop),
            refused => Crash {
                plugin: plugin.to_owned(),
                callback: "",
                kind: "start",
                message: refused.to_string(),
                backtrace: Vec::new(),
            },
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("streams", &self.streams.len()).field("plugins", &self.slots.len()).finish()
    }
}

fn report(sink: &dyn LogSink, crash: &Crash) {
    let mut message = crash.message.clone();
    for frame in &crash.backtrace {
        message.push_str(&format!("; at {frame}"));
    }
    sink.log(&LogLine {
        reason: Reason::Crash,
        level: LogLevel::Error,
        message: crate::log::escape(message.as_bytes()),
        plugin: &crash.plugin,
        context: 0,
        callback: crash.callback,
    });
}

fn direction_progress(flow: &Flow, held: usize) -> DirectionProgress {
    DirectionProgress {
        headers: flow.released,
        body: flow.out.len(),
        ended: flow.is_done(),
        trailers: flow.trailers,
        paused: flow.is_paused(),
        held,
    }
}
