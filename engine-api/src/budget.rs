//! What one guest call may spend, and the check that all engines share.

use std::time::Duration;

use crate::clock;

/// What one call into a guest may spend, everything that it causes included (host calls, re-entry).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Ticks (of 1 ms) until the deadline; 1 or more. See [`Meter`] for how they are counted.
    pub ticks: u32,
    /// Units of fuel, if the call is to be metered; needs [`Profile::Fuel`](crate::Profile::Fuel).
    pub fuel: Option<u64>,
}

impl Budget {
    /// No deadline and no fuel limit, for code that is trusted to end.
    pub const UNLIMITED: Budget = Budget { ticks: u32::MAX, fuel: None };

    /// A deadline only, rounded up to whole ticks.
    pub fn deadline(limit: Duration) -> Self {
        let ticks = limit.as_nanos().div_ceil(clock::TICK.as_nanos());
        Budget { ticks: u32::try_from(ticks).unwrap_or(u32::MAX).max(1), fuel: None }
    }
}

/// What one instance may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory in bytes, all memories together. A module that needs more at the start is refused, a later
    /// `memory.grow` beyond it answers -1.
    pub memory_bytes: u64,
    /// Elements of each table.
    pub table_elements: u32,
}

impl Default for Limits {
    /// 64 MiB of memory and 10,000 table elements.
    fn default() -> Self {
        Limits { memory_bytes: 64 << 20, table_elements: 10_000 }
    }
}

/// How many times its deadline a call may last on the wall clock when its thread did not get the CPU.
const STARVED: u64 = 4;

/// Counts one outer call against its deadline.
///
/// A call that spent its ticks on the wall clock is only over when its thread spent them on the CPU as well, or when
/// four times the deadline have passed: a guest that was merely not scheduled is not killed. The thread's CPU time is
/// read at the first tick after entry and then at the deadline, so that calls shorter than a tick never pay for it.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    start: u64,
    limit: u64,
    next_check: u64,
    first: Option<Duration>,
}

/// What a [`Meter`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The call may go on.
    Continue,
    /// The call is over.
    Expired,
}

impl Meter {
    /// Starts counting now.
    #[inline]
    pub fn start(budget: &Budget) -> Self {
        let start = clock::now();
        Meter { start, limit: u64::from(budget.ticks), next_check: start + 1, first: None }
    }

    /// Starts counting now, and says whether a tick went by since it last did.
    #[inline]
    pub fn restart(&mut self, budget: &Budget) -> bool {
        if clock::now() != self.start {
            self.restart_later(budget);
            return true;
        }
        // Nothing else has changed since: a check changes the meter at a later tick than its first only, and the clock
        // never goes back.
        self.limit = u64::from(budget.ticks);
        false
    }

    #[cold]
    #[inline(never)]
    fn restart_later(&mut self, budget: &Budget) {
        *self = Meter::start(budget);
    }

    /// A meter that never expires.
    pub const fn unlimited() -> Self {
        // At a tick that never comes, so that no restart takes it for one of its own.
        Meter { start: u64::MAX, limit: u64::MAX, next_check: u64::MAX, first: None }
    }

    /// The check for host-function entries, epochs and fuel slices: one load and one comparison unless a tick went by.
    #[inline]
    pub fn check(&mut self) -> Verdict {
        let now = clock::now();
        if now < self.next_check { Verdict::Continue } else { self.check_at(now, cpu_time(), 0) }
    }

    /// The check on behalf of another thread, the one that runs the guest. `cpu_time` says how much CPU time that thread
    /// has had, where the system can tell; it is asked only when a tick went by that matters. Unlike one that looks
    /// itself, that thread may not have run at all of late, so it gets a tick more, and no call is over of which it has
    /// not run a tick.
    pub fn check_for(&mut self, cpu_time: impl FnOnce() -> Option<Duration>) -> Verdict {
        let now = clock::now();
        if now < self.next_check { Verdict::Continue } else { self.check_at(now, cpu_time(), 1) }
    }

    #[cold]
    fn check_at(&mut self, now: u64, cpu: Option<Duration>, grace: u64) -> Verdict {
        let elapsed = now.saturating_sub(self.start);
        let Some(cpu) = cpu else {
            self.next_check = self.start.saturating_add(self.limit);
            return if elapsed >= self.limit { Verdict::Expired } else { Verdict::Continue };
        };
        let Some(first) = self.first else {
            self.first = Some(cpu);
            self.next_check = self.start.saturating_add(self.limit).max(now + 1);
            return Verdict::Continue;
        };
        if elapsed < self.limit {
            return Verdict::Continue;
        }
        let ran = ticks_in(cpu.saturating_sub(first));
        let used = ran + 1 - grace;
        if used >= self.limit || (elapsed >= self.limit.saturating_mul(STARVED) && ran >= grace) {
            return Verdict::Expired;
        }
        self.next_check = now + (self.limit - used);
        Verdict::Continue
    }
}

fn ticks_in(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / clock::TICK.as_nanos()).unwrap_or(u64::MAX)
}

/// The CPU time of this thread, where the system can tell.
fn cpu_time() -> Option<Duration> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
    }
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(limit: u64) -> Meter {
        Meter { start: 100, limit, next_check: 101, first: None }
    }

    fn ms(n: u64) -> Option<Duration> {
        Some(Duration::from_millis(n))
    }

    #[test]
    fn a_busy_guest_expires_at_its_deadline() {
        let mut meter = meter(50);
        assert_eq!(meter.check_at(101, ms(7), 0), Verdict::Continue);
        assert_eq!(meter.next_check, 150);
        assert_eq!(meter.check_at(149, ms(55), 0), Verdict::Continue);
        assert_eq!(meter.check_at(150, ms(56), 0), Verdict::Expired);
    }

    #[test]
    fn a_starved_guest_is_extended_by_what_it_lacks() {
        let mut meter = meter(50);
        assert_eq!(meter.check_at(101, ms(0), 0), Verdict::Continue);
        assert_eq!(meter.check_at(150, ms(9), 0), Verdict::Continue);
        assert_eq!(meter.next_check, 190);
        assert_eq!(meter.check_at(190, ms(49), 0), Verdict::Expired);
    }

    #[test]
    fn a_guest_that_never_gets_the_cpu_ends_at_four_deadlines() {
        let mut meter = meter(50);
        assert_eq!(meter.check_at(120, ms(0), 0), Verdict::Continue);
        assert_eq!(meter.check_at(299, ms(1), 0), Verdict::Continue);
        assert_eq!(meter.check_at(300, ms(1), 0), Verdict::Expired);
    }

    /// Its first look and its next check are of an earlier start, and must not count for a later one.
    #[test]
    fn a_meter_that_was_looked_at_begins_anew() {
        let _running = clock::enter();
        let budget = Budget { ticks: 7, fuel: None };
        let mut meter = Meter { start: clock::now(), limit: 1, next_check: 0, first: None };
        while clock::now() == meter.start {
            std::thread::yield_now();
        }
        assert_eq!(meter.check_at(meter.start + 1, ms(3), 0), Verdict::Continue);
        assert!(meter.first.is_some());
        assert!(meter.restart(&budget));
        assert!(meter.start > 0 && meter.next_check == meter.start + 1);
        assert_eq!((meter.first, meter.limit), (None, 7));
    }

    #[test]
    fn a_restart_at_the_same_tick_takes_the_budget_alone() {
        let _running = clock::enter();
        // As the clock may tick at any time: some of these see the same tick twice.
        let restarted = (0..1_000).any(|_| {
            let mut meter = Meter::start(&Budget::UNLIMITED);
            let before = meter;
            !meter.restart(&Budget { ticks: 7, fuel: None })
                && (meter.start, meter.limit, meter.next_check, meter.first)
                    == (before.start, 7, before.start + 1, None)
        });
        assert!(restarted);
        // Whatever the tick is, a meter without a deadline is not taken for one of it.
        let mut meter = Meter::unlimited();
        assert!(meter.restart(&Budget { ticks: 7, fuel: None }));
        assert_eq!((meter.limit, meter.next_check), (7, meter.start + 1));
    }

    #[test]
    fn a_clock_that_slept_does_not_kill_at_the_first_look() {
        let mut meter = meter(50);
        assert_eq!(meter.check_at(5_000, ms(3), 0), Verdict::Continue);
    }

    #[test]
    fn a_thread_that_did_not_run_is_not_over_when_another_looks() {
        let mut meter = meter(1);
        assert_eq!(meter.check_at(101, ms(7), 1), Verdict::Continue);
        for now in [102, 104, 150, 1_000] {
            assert_eq!(meter.check_at(now, ms(7), 1), Verdict::Continue);
        }
        assert_eq!(meter.check_at(1_001, ms(8), 1), Verdict::Expired);
    }

    #[test]
    fn another_threads_cpu_time_is_asked_for_only_when_it_matters() {
        let mut meter = meter(50);
        meter.next_check = u64::MAX;
        assert_eq!(meter.check_for(|| panic!("asked")), Verdict::Continue);
        meter = Meter { start: clock::now(), limit: 1, next_check: 0, first: None };
        let mut asked = false;
        let verdict = meter.check_for(|| {
            asked = true;
            ms(3)
        });
        assert!(asked && verdict == Verdict::Continue);
    }

    #[test]
    fn without_cpu_time_the_wall_decides() {
        let mut meter = meter(50);
        assert_eq!(meter.check_at(149, None, 0), Verdict::Continue);
        assert_eq!(meter.check_at(150, None, 0), Verdict::Expired);
    }

    #[test]
    fn a_deadline_is_rounded_up_to_ticks_and_never_zero() {
        assert_eq!(Budget::deadline(Duration::from_micros(1)).ticks, 1);
        assert_eq!(Budget::deadline(Duration::ZERO).ticks, 1);
        assert_eq!(Budget::deadline(Duration::from_millis(50)).ticks, 50);
        assert_eq!(Budget::deadline(Duration::MAX).ticks, u32::MAX);
    }
}
