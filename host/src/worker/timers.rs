//! The timers of plugin contexts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis_abi::{Callback, ContextId};

use super::{PluginId, Worker};

/// The timer of a plugin context. It ends with its VM.
pub(super) struct Timer {
    pub(super) plugin: PluginId,
    context: ContextId,
    period: Duration,
    next: Instant,
}

impl Worker {
    /// Has timers go by another clock than the system's, for embedders that put the time forward. Timers that are set
    /// already keep their time.
    pub fn set_clock(&mut self, clock: Arc<dyn Fn() -> Instant + Send + Sync>) {
        self.clock = clock;
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
            // An earlier tick may have ended this timer, or the VM that it was of.
            let timer = self.timers.iter_mut().find(|timer| timer.plugin == plugin && timer.context == context);
            let Some(timer) = timer.filter(|timer| timer.next <= now) else { continue };
            timer.next = now + timer.period;
            self.enter(plugin, Callback::Tick, context, &[]);
            self.apply_effects();
        }
        self.run();
    }

    /// Sets the one timer of a plugin context; a period of zero ends it.
    pub(super) fn set_timer(&mut self, plugin: PluginId, context: ContextId, period: Duration) {
        self.timers.retain(|timer| timer.plugin != plugin || timer.context != context);
        if !period.is_zero() {
            self.timers.push(Timer { plugin, context, period, next: (self.clock)() + period });
        }
    }
}
