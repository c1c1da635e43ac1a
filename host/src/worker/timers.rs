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
        self.timers_moved = false;
        let mut at = 0;
        // Nearly all timers of a plugin have the same period.
        let (mut period, mut next) = (Duration::ZERO, now);
        loop {
            let Some(timer) = self.timers.get_mut(at) else {
                if !self.timers_moved {
                    break;
                }
                // What a tick ended has moved others to where they were overlooked.
                self.timers_moved = false;
                at = 0;
                continue;
            };
            at += 1;
            if timer.next > now || timer.set_in == self.round {
                continue;
            }
            if timer.period != period {
                (period, next) = (timer.period, now + timer.period);
            }
            timer.next = next;
            let (plugin, context) = (timer.plugin, timer.context);
            self.enter(plugin, Callback::Tick, context, &[]);
            self.apply_effects();
        }
        self.run();
    }

    /// Sets the one timer of a plugin context; a period of zero ends it.
    pub(super) fn set_timer(&mut self, plugin: PluginId, context: ContextId, period: Duration) {
        self.end_timers(|timer| timer.plugin == plugin && timer.context == context);
        if !period.is_zero() {
            let (next, set_in) = ((self.clock)() + period, self.round);
            self.timers.push(Timer { plugin, context, period, next, set_in });
        }
    }

    pub(super) fn end_timers(&mut self, mut ends: impl FnMut(&Timer) -> bool) {
        let before = self.timers.len();
        self.timers.retain(|timer| !ends(timer));
        self.timers_moved |= self.timers.len() < before;
    }
}
