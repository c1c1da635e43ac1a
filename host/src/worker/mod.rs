//! A worker: the streams and VMs of one thread.

mod answer;
mod crash;
mod events;
mod prepared;
mod reuse;
mod shutdown;
mod signals;
mod stats;
mod stream;
mod swap;
mod tcp;
mod timers;

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use chassis_abi::{
    Board, Callback, Configuration, ContextId, Dialect, Direction, EntryError, Exchange, HeaderList, Key, Observer,
    SecondaryMap, Services, StreamKind, enter,
};
use chassis_engine_api::clock::Running;
use chassis_engine_api::{HostError, clock};

pub use self::crash::Crash;
pub(crate) use self::prepared::Availability;
pub use self::stats::{CRASH_KINDS, PluginState, PluginStats, Totals, WorkerStats};
pub use self::stream::{DirectionProgress, Progress, StreamKey};
pub use self::swap::StartedPlugin;

pub(crate) use self::events::metadata_callback;

use self::prepared::{Slot, VmSlot};
use self::reuse::Spares;
use self::signals::Inbox;
use self::stream::Stream;
use self::timers::Timer;
use crate::callouts::CalloutQueue;
use crate::flow::Flow;
use crate::log::LogSink;
use crate::plugin::Plugin;
use crate::preparer::{Prepared, Preparer};
use crate::vm::{self, StartError, Vm};

/// A plugin of a worker. Once it was removed and has ended, another may get its id.
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
///
/// One guest can resume any number of streams at once. What that leaves to be done is done in turns: once a method has
/// entered guests more than a few hundred times, the rest waits for the next event. See [`has_work`](Worker::has_work).
pub struct Worker {
    /// Here whenever no guest runs.
    pub(crate) board: Option<Box<Board>>,
    pub(crate) streams: SecondaryMap<Box<Stream>>,
    slots: Vec<Slot>,
    dirty: VecDeque<(Key, Direction)>,
    /// What came from other threads, and from guests here for each other.
    inbox: Arc<Inbox>,
    timers: Vec<Timer>,
    pub(crate) callouts: CalloutQueue,
    /// Whether timers were taken out of `timers`, so that others are at another place there.
    timers_moved: bool,
    /// The time that timers are run for, while they are.
    timers_run_at: Option<timers::Nanos>,
    /// What streams were kept in that have ended.
    spares: Spares,
    sink: Arc<dyn LogSink>,
    preparer: Preparer,
    reply: Sender<Prepared>,
    prepared: Receiver<Prepared>,
    /// The plugin that was entered last, whose effects are the ones on the board.
    entered: PluginId,
    /// How many times guests were entered.
    entries: u64,
    waker: Option<Waker>,
    /// How many bytes of body all streams have here, and how many they may have together.
    buffered: usize,
    buffer_limit: usize,
    /// How many plugins are on their way out.
    ending: usize,
    stats: Arc<WorkerStats>,
    /// The time that timers go by.
    clock: Arc<dyn Fn() -> Instant + Send + Sync>,
    /// From when the times of timers are counted.
    epoch: Instant,
    /// Whether there is or was a plugin for APISIX.
    has_apisix: bool,
}

/// How many times guests are entered in one turn, before I/O is to have its turn. A direction that has begun is moved as
/// far as it goes, so it can be a few more.
const ENTRIES_PER_TURN: u64 = 256;

impl Worker {
    /// A worker without plugins.
    pub fn new(services: Box<dyn Services>, sink: Arc<dyn LogSink>, preparer: Preparer) -> Self {
        let (reply, prepared) = channel();
        Worker {
            board: Some(Board::new(services)),
            streams: SecondaryMap::default(),
            slots: Vec::new(),
            dirty: VecDeque::new(),
            inbox: Arc::default(),
            timers: Vec::new(),
            callouts: CalloutQueue::default(),
            timers_moved: false,
            timers_run_at: None,
            spares: Spares::default(),
            sink,
            preparer,
            reply,
            prepared,
            entered: 0,
            entries: 0,
            waker: None,
            buffered: 0,
            buffer_limit: usize::MAX,
            ending: 0,
            stats: Arc::default(),
            clock: Arc::new(Instant::now),
            epoch: Instant::now(),
            has_apisix: false,
        }
    }

    /// Adds a plugin and starts its VM on this thread, with a plugin context for each configuration.
    ///
    /// # Errors
    /// [`StartError`] if the plugin does not start or refuses a configuration.
    pub fn add_plugin(
        &mut self,
        plugin: Arc<Plugin>,
        configurations: Vec<impl Into<Configuration>>,
    ) -> Result<PluginId, StartError> {
        let configurations: Arc<[Configuration]> = configurations.into_iter().map(Into::into).collect();
        let started = vm::start(&plugin, &configurations, &mut self.board)?;
        let stats = self.stats.add(&plugin);
        let id = self.put(Slot::new(plugin, configurations, stats));
        self.install(id, started);
        self.replenish(id);
        Ok(id)
    }

    /// The plugin of an id.
    pub fn plugin(&self, id: PluginId) -> Option<&Arc<Plugin>> {
        self.slots.get(id).map(|slot| &slot.plugin)
    }

    /// What is counted of the plugins here; may be read from any thread.
    pub fn stats(&self) -> &Arc<WorkerStats> {
        &self.stats
    }

    /// Watches callbacks and host calls from now on.
    pub fn set_observer(&mut self, observer: Option<Box<dyn Observer>>) {
        if let Some(board) = self.board.as_mut() {
            board.observer = observer;
        }
    }

    /// Wakes this when a VM was prepared, when items came into queues that plugins here consume, when a foreign function
    /// calls one of them back, when work was left for the next turn, or when there is something to be done for callouts;
    /// [`receive_prepared`](Worker::receive_prepared) and [`take_callout`](Worker::take_callout) are due then.
    pub fn set_waker(&mut self, waker: Option<Waker>) {
        self.inbox.set_waker(waker.clone());
        self.waker = waker;
    }

    /// How many bytes of body all streams may have here together, in the chain or passed and not taken; no limit by
    /// default. A stream that holds back more body above it is answered as one above its own limit.
    pub fn set_buffer_limit(&mut self, bytes: usize) {
        self.buffer_limit = bytes;
    }

    /// How many bytes of body all streams have here. What a guest changes in the body of another stream than the one it
    /// was called for counts when that stream gets its next event.
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// Whether work was left for the next turn, which any event is and [`receive_prepared`](Worker::receive_prepared).
    pub fn has_work(&self) -> bool {
        !self.dirty.is_empty() || self.has_signals()
    }

    /// Begins a stream with a request whose headers have come (pseudo-headers first); `attributes` are what properties
    /// answer by their Envoy names. Nothing runs until [`request_headers`](Worker::request_headers).
    pub fn open(
        &mut self,
        links: Arc<[Link]>,
        request: HeaderList,
        attributes: impl IntoIterator<Item = (&'static str, Bytes)>,
    ) -> StreamKey {
        let reversed = self.is_answered_in_reverse(&links);
        let stream = self.spares.stream(links, &request, reversed);
        let exchange = self.spares.exchange(request);
        self.begin(stream, exchange, attributes)
    }

    fn begin(
        &mut self,
        stream: Box<Stream>,
        mut exchange: Exchange,
        attributes: impl IntoIterator<Item = (&'static str, Bytes)>,
    ) -> StreamKey {
        // Between entries the board is always here; a stream without one would be over already.
        let Some(board) = self.board.as_mut() else { return Key::NEVER };
        let limits = stream.links.iter().filter_map(|link| self.slots.get(link.plugin));
        let body_limit = limits.map(|slot| slot.plugin.spec().limits.buffered_body).min().unwrap_or(usize::MAX);
        exchange.lanes.resize_with(stream.links.len(), Default::default);
        exchange.attributes.extend(attributes);
        exchange.body_limit = body_limit;
        let key = board.exchanges.insert(exchange);
        self.streams.insert(key, stream);
        key
    }
}

/// What the parts of a worker and the chain share.
impl Worker {
    pub(crate) fn exchange(&mut self, key: Key) -> Option<&mut Exchange> {
        self.board.as_mut()?.exchanges.get_mut(key)
    }

    pub(crate) fn flow(&mut self, key: Key, direction: Direction) -> Option<&mut Flow> {
        self.streams.get_mut(key).map(|stream| stream.flow(direction))
    }

    pub(crate) fn kind(&self, key: Key) -> StreamKind {
        self.streams.get(key).map_or(StreamKind::Http, |stream| stream.kind)
    }

    pub(crate) fn vm(&mut self, plugin: PluginId) -> Option<&mut Vm> {
        match &mut self.slots.get_mut(plugin)?.vm {
            VmSlot::Ready(vm) => Some(vm),
            VmSlot::Preparing | VmSlot::Failed(..) | VmSlot::Ended => None,
        }
    }

    /// A plugin's VM, if it is still this one of its VMs.
    pub(crate) fn vm_of(&mut self, plugin: PluginId, number: u64) -> Option<&mut Vm> {
        if self.vm_number(plugin) == number { self.vm(plugin) } else { None }
    }

    /// Which of a plugin's VMs the last one is that was installed.
    pub(crate) fn vm_number(&self, plugin: PluginId) -> u64 {
        self.slots.get(plugin).map_or(0, |slot| slot.installed)
    }

    /// Tells the embedder that there is something to be done.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    pub(crate) fn link(&self, key: Key, lane: usize) -> Option<Link> {
        self.streams.get(key)?.links.get(lane).copied()
    }

    pub(crate) fn lane_exports(&self, key: Key, lane: usize, callback: Callback) -> bool {
        let plugin = self.link(key, lane).and_then(|link| self.plugin(link.plugin));
        plugin.is_some_and(|plugin| plugin.exports(callback))
    }

    pub(crate) fn lane_is_of_apisix(&self, key: Key, lane: usize) -> bool {
        self.has_apisix && self.link(key, lane).is_some_and(|link| self.is_of_apisix(link))
    }

    fn is_of_apisix(&self, link: Link) -> bool {
        self.plugin(link.plugin).is_some_and(|plugin| plugin.spec().identity.dialect == Dialect::Apisix)
    }

    /// Whether responses pass a chain in reverse, which they do unless all of it is for APISIX.
    pub(crate) fn is_answered_in_reverse(&self, links: &[Link]) -> bool {
        !self.has_apisix || !links.iter().all(|link| self.is_of_apisix(*link))
    }

    pub(crate) fn lane_is_higress(&self, key: Key, lane: usize) -> bool {
        let plugin = self.link(key, lane).and_then(|link| self.plugin(link.plugin));
        plugin.is_some_and(|plugin| plugin.is_higress())
    }

    /// Whether a direction may go on: not after a reset, and the request not once it is answered or cut off.
    pub(crate) fn may_advance(&mut self, key: Key, direction: Direction) -> bool {
        let Some(exchange) = self.exchange(key) else { return false };
        let over = exchange.answered && direction == Direction::Request;
        !over && self.streams.get_mut(key).is_some_and(|stream| !stream.reset && !stream.flow(direction).cut)
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
        self.enter_while(&clock::enter(), plugin, callback, context, args)
    }

    /// As [`enter`](Worker::enter), for a row of entries while the clock runs.
    #[inline(always)]
    pub(crate) fn enter_while(
        &mut self,
        running: &Running,
        plugin: PluginId,
        callback: Callback,
        context: ContextId,
        args: &[u32],
    ) -> Option<Option<u32>> {
        let slot = self.slots.get_mut(plugin)?;
        let VmSlot::Ready(vm) = &mut slot.vm else { return None };
        self.entered = plugin;
        self.entries += 1;
        slot.entered += 1;
        // In two whole words: what is written in parts and read whole, on its way out of `catch_unwind`, is waited for.
        let entry = || match enter(&mut *vm.instance, running, &mut self.board, callback, context, args, &slot.budget) {
            Ok(Some(result)) => Ok(u64::from(result)),
            Ok(None) => Err(None),
            Err(error) => Err(Some(error)),
        };
        match catch_unwind(AssertUnwindSafe(entry)) {
            Ok(Ok(result)) => Some(Some(result as u32)),
            Ok(Err(None)) => Some(None),
            Ok(Err(Some(error))) => {
                self.failed(plugin, *error);
                None
            }
            Err(_) => {
                self.panicked(plugin, callback);
                None
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn failed(&mut self, plugin: PluginId, error: EntryError) {
        if let EntryError::Stopped { callback, stop } = error {
            self.crashed(plugin, callback, &stop);
        }
    }

    /// The host's own fault; the VM that it left half way must not be entered again.
    #[cold]
    #[inline(never)]
    fn panicked(&mut self, plugin: PluginId, callback: Callback) {
        self.crashed(plugin, callback, &HostError::new("the host failed while it ran the plugin").into());
    }

    /// Has a direction of a stream advanced in this turn or the next.
    pub(crate) fn mark(&mut self, key: Key, direction: Direction) {
        self.dirty.push_back((key, direction));
    }

    /// Advances streams that something was left to be done for, first come, first served, and delivers signals.
    #[inline]
    pub(crate) fn run(&mut self) {
        if self.has_work() {
            self.run_turn();
        }
    }

    fn run_turn(&mut self) {
        let end = self.entries + ENTRIES_PER_TURN;
        while self.entries < end {
            let Some((key, direction)) = self.dirty.pop_front() else {
                if !self.has_signals() {
                    return;
                }
                self.deliver_one();
                continue;
            };
            self.advance(key, direction);
            self.count(key);
            if let Some(waker) = self.streams.get_mut(key).and_then(|stream| stream.take_waker()) {
                waker.wake();
            }
        }
        if let Some(waker) = self.waker.as_ref().filter(|_| self.has_work()) {
            waker.wake_by_ref();
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("streams", &self.streams.len()).field("plugins", &self.slots.len()).finish()
    }
}
