//! The VMs of a worker's plugins: the one that runs, the spare, and those that the preparer is at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis_abi::{Configuration, Direction, Key};
use chassis_engine_api::Budget;

use super::shutdown::Ending;
use super::{Crash, PluginId, PluginState, PluginStats, Worker};
use crate::plugin::Plugin;
use crate::preparer::{Job, Prepared};
use crate::vm::Vm;

/// A plugin of the worker.
pub(super) struct Slot {
    pub(super) plugin: Arc<Plugin>,
    configurations: Arc<[Configuration]>,
    /// What each callback may spend.
    pub(super) budget: Budget,
    pub(super) vm: VmSlot,
    pub(super) spare: Option<Vm>,
    /// How many VMs it has had; tells what is for this one from what was for another.
    pub(super) installed: u64,
    /// How many times its guest was entered; others read of it in `stats`, where it is noted now and then.
    pub(super) entered: u64,
    pub(super) stats: Arc<PluginStats>,
    /// Whether it was removed.
    pub(super) ending: Option<Ending>,
    /// How many VMs the preparer was asked for and has not delivered.
    ordered: usize,
}

pub(super) enum VmSlot {
    Ready(Vm),
    /// The preparer is at it.
    Preparing,
    /// It could not be started; tried again at the first need after this time.
    Failed(Crash, Instant),
    /// It was removed, and its contexts have ended.
    Ended,
}

/// How long to wait after a start that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Whether a lane's plugin can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    Ready,
    /// It has no part in this direction.
    Skip,
    /// Its VM is being started.
    Wait,
    /// Its VM cannot be started, or there is no such plugin or configuration.
    Failed,
}

impl Slot {
    pub(super) fn new(plugin: Arc<Plugin>, configurations: Arc<[Configuration]>, stats: Arc<PluginStats>) -> Self {
        let budget = plugin.spec().limits.budget();
        Slot {
            plugin,
            configurations,
            budget,
            vm: VmSlot::Preparing,
            spare: None,
            installed: 0,
            entered: 0,
            stats,
            ending: None,
            ordered: 0,
        }
    }
}

impl Slot {
    /// Whether the preparer is at nothing for it.
    pub(super) fn is_idle(&self) -> bool {
        self.ordered == 0
    }
}

impl Worker {
    /// Takes over VMs that the preparer has started, lets streams go on that waited for one, delivers signals of queues
    /// and foreign functions, and does what was left for this turn.
    pub fn receive_prepared(&mut self) {
        while let Ok(prepared) = self.prepared.try_recv() {
            self.accept(prepared);
        }
        self.run();
    }

    /// Waits until no VM is being started, at most for `limit`, and does what was left for this turn. For embedders
    /// without an event loop.
    pub fn wait_prepared(&mut self, limit: Duration) {
        let start = Instant::now();
        while self.slots.iter().any(|slot| slot.ordered > 0) {
            let left = limit.saturating_sub(start.elapsed());
            let Ok(prepared) = self.prepared.recv_timeout(left) else { break };
            self.accept(prepared);
        }
        self.run();
    }

    /// The memory that the plugin's VM has now, in bytes.
    pub fn memory_bytes(&self, id: PluginId) -> Option<u64> {
        match &self.slots.get(id)?.vm {
            VmSlot::Ready(vm) => Some(vm.instance.memory_bytes()),
            VmSlot::Preparing | VmSlot::Failed(..) | VmSlot::Ended => None,
        }
    }

    /// Notes how often a plugin was entered and which memory its VM has, for others to read: once for many entries.
    pub(super) fn note(&self, id: PluginId) {
        let Some(slot) = self.slots.get(id) else { return };
        slot.stats.set_entered(slot.entered);
        if let Some(bytes) = self.memory_bytes(id) {
            slot.stats.set_memory(bytes);
        }
    }

    pub(crate) fn availability(&mut self, key: Key, lane: usize, direction: Direction) -> Availability {
        let Some(link) = self.link(key, lane) else { return Availability::Skip };
        let begun = self.exchange(key).is_some_and(|exchange| exchange.lanes[lane].context.is_some());
        if direction == Direction::Response && !begun {
            return Availability::Skip;
        }
        let Some(slot) = self.slots.get_mut(link.plugin) else { return Availability::Failed };
        if link.configuration >= slot.configurations.len() {
            return Availability::Failed;
        }
        let is_due = matches!(&slot.vm, VmSlot::Failed(_, since) if since.elapsed() >= RETRY);
        if is_due && slot.ending.is_none() {
            slot.vm = VmSlot::Preparing;
            slot.stats.set_state(PluginState::Starting);
            self.replenish(link.plugin);
        }
        let Some(stream) = self.streams.get_mut(key) else { return Availability::Skip };
        match &self.slots[link.plugin].vm {
            VmSlot::Ready(_) => Availability::Ready,
            VmSlot::Preparing => {
                stream.waits_for_vm = true;
                Availability::Wait
            }
            VmSlot::Failed(crash, _) => {
                stream.crash.get_or_insert_with(|| crash.clone());
                Availability::Failed
            }
            VmSlot::Ended => Availability::Failed,
        }
    }

    /// Makes a started VM the plugin's own.
    pub(super) fn install(&mut self, plugin: PluginId, mut vm: Vm) {
        let effects = std::mem::take(&mut vm.effects);
        let slot = &mut self.slots[plugin];
        slot.stats.started(vm.instance.memory_bytes());
        slot.vm = VmSlot::Ready(vm);
        slot.installed += 1;
        for effect in effects {
            self.apply(plugin, effect);
        }
    }

    /// Has the preparer start what a plugin lacks: a VM that runs, and one spare.
    pub(super) fn replenish(&mut self, plugin: PluginId) {
        let slot = &mut self.slots[plugin];
        if slot.ending.is_some() {
            return;
        }
        let lacks = usize::from(matches!(slot.vm, VmSlot::Preparing)) + usize::from(slot.spare.is_none());
        while slot.ordered < lacks {
            slot.ordered += 1;
            self.preparer.prepare(Job {
                plugin: slot.plugin.clone(),
                configurations: slot.configurations.clone(),
                slot: plugin,
                reply: self.reply.clone(),
                waker: self.waker.clone(),
            });
        }
    }

    fn accept(&mut self, prepared: Prepared) {
        let plugin = prepared.slot;
        let Some(slot) = self.slots.get_mut(plugin) else { return };
        slot.ordered = slot.ordered.saturating_sub(1);
        let runs = matches!(slot.vm, VmSlot::Ready(_));
        match prepared.vm {
            // It was removed meanwhile.
            _ if slot.ending.is_some() && (runs || matches!(slot.vm, VmSlot::Ended)) => return,
            Ok(vm) if runs => slot.spare = Some(vm),
            Ok(vm) => {
                self.install(plugin, vm);
                self.replenish(plugin);
            }
            Err(error) => {
                let crash = Crash::starting(slot.plugin.name(), &error);
                crash.report(&*self.sink);
                slot.stats.crashed(crash.kind);
                if !runs {
                    slot.stats.set_state(PluginState::Failed);
                    slot.vm = VmSlot::Failed(crash, Instant::now());
                }
            }
        }
        if !runs {
            self.wake_waiting();
        }
    }

    /// Has streams go on that wait for a VM; those that wait for another one will wait again.
    fn wake_waiting(&mut self) {
        let waiting = self.streams.iter_mut().filter(|(_, stream)| stream.waits_for_vm);
        for (key, stream) in waiting {
            stream.waits_for_vm = false;
            self.dirty.push_back((key, Direction::Request));
        }
    }
}
