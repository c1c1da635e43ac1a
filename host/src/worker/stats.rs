//! What is counted of a worker's plugins, for other threads to read.
//!
//! Only the worker writes, so counting is a load and a store; nothing on the way of a request takes a lock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::plugin::Plugin;

/// The ways in which a plugin can end, as [`Crash::kind`](super::Crash::kind) names them.
pub const CRASH_KINDS: [&str; 6] = ["trap", "deadline", "fuel", "exit", "host", "start"];

/// What is counted of the plugins of one worker.
#[derive(Debug, Default)]
pub struct WorkerStats(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    live: Vec<Arc<PluginStats>>,
    /// What was counted of plugins that have been removed, by name; as many as there have ever been names.
    past: BTreeMap<String, Totals>,
}

/// What is counted of a plugin on one worker. It may be there more than once: with two configurations, for a while.
#[derive(Debug)]
pub struct PluginStats {
    plugin: Arc<Plugin>,
    callbacks: AtomicU64,
    crashes: [AtomicU64; CRASH_KINDS.len()],
    starts: AtomicU64,
    memory_bytes: AtomicU64,
    state: AtomicU8,
}

/// Whether a plugin can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PluginState {
    /// Its VM is being started.
    Starting,
    /// It has a VM.
    Running,
    /// Its VM could not be started; that is tried again.
    Failed,
    /// It was removed.
    Ended,
}

/// What only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// How often its guest was entered, until a stream ended last, timers were run or it crashed.
    pub callbacks: u64,
    /// How often it was stopped or did not start, by [`CRASH_KINDS`].
    pub crashes: [u64; CRASH_KINDS.len()],
    /// How many VMs of it took over.
    pub starts: u64,
}

impl Totals {
    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Totals) {
        self.callbacks += other.callbacks;
        self.starts += other.starts;
        self.crashes.iter_mut().zip(other.crashes).for_each(|(sum, count)| *sum += count);
    }
}

impl WorkerStats {
    /// The plugins that the worker has.
    pub fn plugins(&self) -> Vec<Arc<PluginStats>> {
        self.0.lock().live.clone()
    }

    /// What has been counted, by name of plugin, of plugins that are gone too.
    pub fn totals(&self) -> BTreeMap<String, Totals> {
        let kept = self.0.lock();
        let mut all = kept.past.clone();
        for plugin in &kept.live {
            all.entry(plugin.plugin.name().to_owned()).or_default().add(&plugin.totals());
        }
        all
    }

    pub(super) fn add(&self, plugin: &Arc<Plugin>) -> Arc<PluginStats> {
        let stats = Arc::new(PluginStats {
            plugin: Arc::clone(plugin),
            callbacks: AtomicU64::new(0),
            crashes: Default::default(),
            starts: AtomicU64::new(0),
            memory_bytes: AtomicU64::new(0),
            state: AtomicU8::new(PluginState::Starting as u8),
        });
        self.0.lock().live.push(Arc::clone(&stats));
        stats
    }

    /// Keeps only what was counted of a plugin.
    pub(super) fn remove(&self, stats: &Arc<PluginStats>) {
        stats.set_state(PluginState::Ended);
        let mut kept = self.0.lock();
        kept.live.retain(|other| !Arc::ptr_eq(other, stats));
        kept.past.entry(stats.plugin.name().to_owned()).or_default().add(&stats.totals());
    }
}

impl PluginStats {
    /// The plugin.
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// What only grows.
    pub fn totals(&self) -> Totals {
        Totals {
            callbacks: self.callbacks.load(Relaxed),
            crashes: std::array::from_fn(|kind| self.crashes[kind].load(Relaxed)),
            starts: self.starts.load(Relaxed),
        }
    }

    /// The memory of its VM, in bytes, as it was when a stream ended last; 0 without a VM.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Relaxed)
    }

    /// Whether it can be called.
    pub fn state(&self) -> PluginState {
        const { assert!(PluginState::Ended as u8 == 3) };
        [PluginState::Starting, PluginState::Running, PluginState::Failed, PluginState::Ended]
            [usize::from(self.state.load(Relaxed) & 3)]
    }

    pub(super) fn set_entered(&self, callbacks: u64) {
        self.callbacks.store(callbacks, Relaxed);
    }

    pub(super) fn crashed(&self, kind: &str) {
        if let Some(kind) = CRASH_KINDS.iter().position(|known| *known == kind) {
            count(&self.crashes[kind]);
        }
    }

    pub(super) fn started(&self, memory_bytes: u64) {
        count(&self.starts);
        self.set_memory(memory_bytes);
        self.set_state(PluginState::Running);
    }

    pub(super) fn set_memory(&self, bytes: u64) {
        self.memory_bytes.store(bytes, Relaxed);
    }

    /// Notes that it has no VM any more, or none yet.
    pub(super) fn set_state(&self, state: PluginState) {
        if state != PluginState::Running {
            self.set_memory(0);
        }
        self.state.store(state as u8, Relaxed);
    }
}

/// Adds 1 where nobody else writes.
#[inline]
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}
