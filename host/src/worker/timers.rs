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
    /// In which run of the timers it was set; it does not go off in that one.
    set_in: u64,
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
        self.round += 1;
        let mut from = 0;
        loop {
            let round = self.round;
            let mut left = self.timers.get(from..).unwrap_or_default().iter();
            let Some(found) = left.position(|timer| timer.next <= now && timer.set_in != round) else {
                if from == 0 {
                    break;
                }
                // What a tick ended has moved others to where they would be overlooked.
                from = 0;
                continue;
            };
            from += found + 1;
            let timer = &mut self.timers[from - 1];
            timer.next = now + timer.period;
            let (plugin, context) = (timer.plugin, timer.context);
            self.enter(plugin, Callback::Tick, context, &[]);
            self.apply_effects();
        }
        self.run();
    }

    /// Sets the one timer of a plugin context; a period of zero ends it.
    pub(super) fn set_timer(&mut self, plugin: PluginId, context: ContextId, period: Duration) {
        self.timers.retain(|timer| timer.plugin != plugin || timer.context != context);
        if !period.is_zero() {
            let (next, set_in) = ((self.clock)() + period, self.round);
            self.timers.push(Timer { plugin, context, period, next, set_in });
        }
    }
}
