//! What comes to plugin contexts from other threads: items of queues, and calls back of foreign functions.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;

use bytes::Bytes;
use chassis_abi::{Callback, ContextId, ForeignCallback, QueueConsumer, QueueId};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::{PluginId, VmSlot, Worker};

/// The signals that wait for a worker. Any thread may add some.
#[derive(Default)]
pub(super) struct Inbox {
    /// Whether there are any, so that a worker without signals takes no lock.
    waits: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In turn, each once.
    order: VecDeque<Signal>,
    /// How many items of a queue have come for a context that is in `order`. They are counted, so that one that comes
    /// slowly to its turn needs no room.
    items: FxHashMap<(Address, QueueId), u32>,
    /// How many calls back wait.
    calls: usize,
    waker: Option<Waker>,
}

/// A plugin context of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Address {
    plugin: PluginId,
    /// Which of the instances that the plugin has had.
    generation: u64,
    context: ContextId,
}

enum Signal {
    Queue(Address, QueueId),
    Foreign(Address, u32, Bytes),
}

/// How many calls back of foreign functions wait for one worker.
const MOST_CALLS: usize = 1024;

impl Inbox {
    pub(super) fn set_waker(&self, waker: Option<Waker>) {
        self.state.lock().waker = waker;
    }

    /// Whether there are signals.
    #[inline]
    pub(super) fn waits(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }

    fn add(&self, change: impl FnOnce(&mut State) -> bool) -> bool {
        let mut state = self.state.lock();
        let added = change(&mut state);
        if added {
            self.waits.store(true, Ordering::Release);
        }
        let waker = state.waker.clone().filter(|_| added);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        added
    }

    fn items(&self, address: Address, queue: QueueId, items: u32) {
        self.add(|state| {
            let waiting = state.items.entry((address, queue)).or_default();
            let first = *waiting == 0;
            *waiting = waiting.saturating_add(items);
            if first {
                state.order.push_back(Signal::Queue(address, queue));
            }
            true
        });
    }

    fn call_back(&self, address: Address, function: u32, arguments: Bytes) -> bool {
        self.add(|state| {
            let room = state.calls < MOST_CALLS;
            if room {
                state.calls += 1;
                state.order.push_back(Signal::Foreign(address, function, arguments));
            }
            room
        })
    }

    /// Takes the next signal: of a queue with many items one, and the others come to their turn again.
    fn next(&self) -> Option<Signal> {
        let mut state = self.state.lock();
        let signal = state.order.pop_front();
        match &signal {
            Some(Signal::Queue(address, queue)) => {
                let key = (*address, *queue);
                let left = state.items.remove(&key).unwrap_or(1) - 1;
                if left > 0 {
                    state.items.insert(key, left);
                    state.order.push_back(Signal::Queue(*address, *queue));
                }
            }
            Some(Signal::Foreign(..)) => state.calls -= 1,
            None => {}
        }
        self.waits.store(!state.order.is_empty(), Ordering::Release);
        signal
    }

    /// Drops what waits for instances of a plugin, except for the one that lives.
    fn forget(&self, plugin: PluginId, living: Option<u64>) {
        let mut state = self.state.lock();
        let lives = |address: &Address| address.plugin != plugin || Some(address.generation) == living;
        let State { order, items, calls, .. } = &mut *state;
        items.retain(|(address, _), _| lives(address));
        order.retain(|signal| match signal {
            Signal::Queue(address, _) => lives(address),
            Signal::Foreign(address, ..) => {
                let lives = lives(address);
                *calls -= usize::from(!lives);
                lives
            }
        });
        self.waits.store(!state.order.is_empty(), Ordering::Release);
    }
}

/// The way to a plugin context of a worker. One to a worker that is gone leads nowhere.
struct Line {
    inbox: Weak<Inbox>,
    address: Address,
}

impl QueueConsumer for Line {
    fn ready(&self, queue: QueueId, items: u32) {
        if let Some(inbox) = self.inbox.upgrade() {
            inbox.items(self.address, queue, items);
        }
    }
}

impl Worker {
    /// Whether plugins of this worker have signals to be delivered.
    pub(super) fn has_signals(&self) -> bool {
        self.inbox.waits()
    }

    /// Delivers one signal. What is for an instance that has ended is dropped.
    pub(super) fn deliver_one(&mut self) {
        match self.inbox.next() {
            Some(Signal::Queue(address, queue)) if self.lives(address) => {
                self.enter(address.plugin, Callback::QueueReady, address.context, &[queue]);
                self.apply_effects();
            }
            Some(Signal::Foreign(address, function, arguments)) if self.lives(address) => {
                let size = u32::try_from(arguments.len()).unwrap_or(u32::MAX);
                self.set_foreign_arguments(address.plugin, arguments);
                self.enter(address.plugin, Callback::ForeignFunction, address.context, &[function, size]);
                self.set_foreign_arguments(address.plugin, Bytes::new());
                self.apply_effects();
            }
            _ => {}
        }
    }

    /// Makes a plugin context the consumer of a queue.
    pub(super) fn consume(&mut self, plugin: PluginId, context: ContextId, queue: QueueId) {
        let line = Arc::new(self.line(plugin, context));
        if let Some(shared) = self.board.as_mut().and_then(|board| board.services.shared()) {
            shared.consume_queue(queue, line);
        }
    }

    pub(super) fn wake_consumer(&mut self, queue: QueueId, items: u32) {
        if let Some(shared) = self.board.as_mut().and_then(|board| board.services.shared()) {
            shared.wake_consumer(queue, items);
        }
    }

    /// Has a foreign function's calls back come to a plugin context.
    pub(super) fn listen(&mut self, plugin: PluginId, context: ContextId, callback: &ForeignCallback) {
        let Line { inbox, address } = self.line(plugin, context);
        callback.connect(Arc::new(move |function, arguments| {
            inbox.upgrade().is_some_and(|inbox| inbox.call_back(address, function, arguments))
        }));
    }

    /// Drops what waits for instances of a plugin that have ended.
    pub(super) fn forget_signals(&self, plugin: PluginId) {
        if let Some(slot) = self.slots.get(plugin) {
            let lives = matches!(slot.vm, VmSlot::Ready(_)).then_some(slot.installed);
            self.inbox.forget(plugin, lives);
        }
    }

    fn line(&self, plugin: PluginId, context: ContextId) -> Line {
        let generation = self.slots.get(plugin).map_or(0, |slot| slot.installed);
        Line { inbox: Arc::downgrade(&self.inbox), address: Address { plugin, generation, context } }
    }

    fn lives(&mut self, address: Address) -> bool {
        let Some(slot) = self.slots.get_mut(address.plugin) else { return false };
        let VmSlot::Ready(vm) = &mut slot.vm else { return false };
        slot.installed == address.generation && vm.instance.state().contexts.get(address.context).is_some()
    }

    fn set_foreign_arguments(&mut self, plugin: PluginId, arguments: Bytes) {
        if let Some(vm) = self.vm(plugin) {
            vm.instance.state().foreign_arguments = arguments;
        }
    }
}
