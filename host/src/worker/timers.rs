//! The timers of plugin contexts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis_abi::{Callback, ContextId};
use chassis_engine_api::clock;

use super::{PluginId, Worker};

/// The timer of a plugin context. It ends with its VM.
pub(super) struct Timer {
    pub(super) plugin: PluginId,
    context: ContextId,
    period: Nanos,
    next: Nanos,
}

/// A time span, or a time after the worker's epoch (before it, if negative): a single number is soon compared. At most
/// [`MOST`] either way, so that two can be added.
pub(super) type Nanos = i64;

/// 146 years.
const MOST: Nanos = Nanos::MAX / 2;

impl Timer {
    pub(super) fn is_of(&self, plugin: PluginId, context: ContextId) -> bool {
        self.plugin == plugin && self.context == context
    }
}

impl Worker {
    /// Has timers go by another clock than the system's, for embedders that put the time forward. Timers that are set
    /// already keep their time.
    pub fn set_clock(&mut self, clock: Arc<dyn Fn() -> Instant + Send + Sync>) {
        self.clock = clock;
    }

    /// When [`run_timers`](Worker::run_timers) is due: for a tick, or for a plugin that was removed and is out of time.
    pub fn next_timer(&self) -> Option<Instant> {
        let tick = self.timers.iter().map(|timer| timer.next).min().and_then(|next| {
            let distance = Duration::from_nanos(next.unsigned_abs());
            if next < 0 { self.epoch.checked_sub(distance) } else { self.epoch.checked_add(distance) }
        });
        tick.into_iter().chain(self.next_ending()).min()
    }

    /// Calls `proxy_on_tick` of each plugin context whose period is over. Ticks that were missed are not made up for. Ends
    /// plugins that were removed and have deferred their end for too long.
    pub fn run_timers(&mut self, now: Instant) {
        let (time, now) = (now, self.nanos(now));
        self.timers_moved = false;
        self.timers_run_at = Some(now);
        let mut at = 0;
        let running = clock::enter();
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
            if timer.next > now {
                continue;
            }
            timer.next = now + timer.period;
            let (plugin, context) = (timer.plugin, timer.context);
            self.enter_while(&running, plugin, Callback::Tick, context, &[]);
            self.apply_effects();
        }
        drop(running);
        (0..self.slots.len()).for_each(|plugin| self.note(plugin));
        self.timers_run_at = None;
        self.end_overdue(time);
        self.run();
    }

    /// Sets the one timer of a plugin context; a period of zero ends it.
    pub(super) fn set_timer(&mut self, plugin: PluginId, context: ContextId, period: Duration) {
        self.end_timers(|timer| timer.is_of(plugin, context));
        if !period.is_zero() {
            // What is set while timers are run does not go off in that run, even if its time is ahead of the clock.
            let now = self.timers_run_at.unwrap_or(Nanos::MIN).max(self.nanos((self.clock)()));
            let period = nanos(period);
            self.timers.push(Timer { plugin, context, period, next: now + period });
        }
    }

    fn nanos(&self, time: Instant) -> Nanos {
        match time.checked_duration_since(self.epoch) {
            Some(after) => nanos(after),
            None => -nanos(self.epoch.duration_since(time)),
        }
    }

    pub(super) fn end_timers(&mut self, mut ends: impl FnMut(&Timer) -> bool) {
        let before = self.timers.len();
        self.timers.retain(|timer| !ends(timer));
        self.timers_moved |= self.timers.len() < before;
    }
}

fn nanos(span: Duration) -> Nanos {
    Nanos::try_from(span.as_nanos()).unwrap_or(MOST).min(MOST)
}
