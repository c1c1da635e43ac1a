//! The process clock: one counter of 1 ms ticks that drives the deadlines of every engine.
//!
//! A single thread advances it while a guest runs anywhere in the process, and sleeps otherwise. Reading it is one
//! relaxed load, which is why nothing on the call path asks the system for the time.
//!
//! Threads say that they run a guest by a store to a slot of their own ([`enter`]); no locked instruction is needed.
//! The clock thread looks at all slots before it goes to sleep, and once more a tick after it announced that it will:
//! a store that a thread made before it read the announcement has long reached memory by then. Should it be missed
//! all the same, the clock wakes by itself within a second, and a [`Meter`](crate::Meter) never expires at its first
//! look.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// The length of a tick.
pub const TICK: Duration = Duration::from_millis(1);

/// Ticks since the clock was first used. Does not advance while no guest runs.
#[inline]
pub fn now() -> u64 {
    NOW.load(Ordering::Relaxed)
}

/// Says that this thread runs a guest until the returned value is dropped. Calls may nest.
#[inline]
pub fn enter() -> Running {
    let slot = SLOT.with(|slot| match slot.get() {
        Some(slot) => slot,
        None => register_thread(slot),
    });
    let depth = slot.depth.load(Ordering::Relaxed);
    slot.depth.store(depth + 1, Ordering::Relaxed);
    if ASLEEP.load(Ordering::Relaxed) {
        wake();
    }
    Running { slot, not_send: PhantomData }
}

/// A guest runs on this thread while this value lives.
#[must_use]
#[derive(Debug)]
pub struct Running {
    slot: &'static Slot,
    not_send: PhantomData<*const ()>,
}

impl Drop for Running {
    #[inline]
    fn drop(&mut self) {
        let depth = self.slot.depth.load(Ordering::Relaxed);
        self.slot.depth.store(depth - 1, Ordering::Relaxed);
    }
}

/// Something that must hear each tick: an engine whose running code looks at a counter of its own.
pub trait Listener: Send + Sync {
    /// Called on the clock's thread at each tick; must return at once.
    fn tick(&self);
}

/// Calls `listener` at each tick for as long as it lives.
pub fn subscribe(listener: Weak<dyn Listener>) {
    lock(&shared().listeners).push(listener);
}

static NOW: AtomicU64 = AtomicU64::new(0);
static ASLEEP: AtomicBool = AtomicBool::new(true);

/// How long nothing must have run before the clock sleeps.
const IDLE_TICKS: u32 = 50;
/// How long it sleeps when nobody wakes it.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Slot {
    depth: AtomicU32,
    taken: AtomicBool,
}

struct Shared {
    start: Instant,
    thread: OnceLock<Thread>,
    slots: Mutex<Vec<&'static Slot>>,
    listeners: Mutex<Vec<Weak<dyn Listener>>>,
}

thread_local! {
    static SLOT: Cell<Option<&'static Slot>> = const { Cell::new(None) };
    static LEASE: Cell<Option<Lease>> = const { Cell::new(None) };
}

/// Gives a thread's slot back when the thread ends.
struct Lease(&'static Slot);

impl Drop for Lease {
    fn drop(&mut self) {
        // What runs a guest later in the thread's teardown must not use a slot that is another thread's by then.
        let _ = SLOT.try_with(|slot| slot.set(None));
        self.0.depth.store(0, Ordering::Relaxed);
        self.0.taken.store(false, Ordering::Release);
    }
}

#[cold]
fn register_thread(cell: &Cell<Option<&'static Slot>>) -> &'static Slot {
    let mut slots = lock(&shared().slots);
    let free = slots.iter().find(|slot| !slot.taken.swap(true, Ordering::Acquire)).copied();
    let slot = free.unwrap_or_else(|| {
        // Slots are reused, so this leaks as many as there ever were threads at once.
        let slot: &'static Slot = Box::leak(Box::new(Slot { taken: AtomicBool::new(true), ..Slot::default() }));
        slots.push(slot);
        slot
    });
    drop(slots);
    // While a thread is being torn down its lease can no longer be stored; the slot is then simply not given back.
    let _ = LEASE.try_with(|lease| lease.set(Some(Lease(slot))));
    cell.set(Some(slot));
    slot
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| Shared {
        start: Instant::now(),
        thread: OnceLock::new(),
        slots: Mutex::new(Vec::new()),
        listeners: Mutex::new(Vec::new()),
    })
}

#[cold]
fn wake() {
    advance();
    ASLEEP.store(false, Ordering::Relaxed);
    let shared = shared();
    let thread = shared.thread.get_or_init(|| {
        let spawned = std::thread::Builder::new().name("chassis-clock".into()).spawn(run);
        // Without a clock no deadline would hold: better not to run guests at all.
        #[allow(clippy::expect_used)]
        spawned.expect("the clock thread could not be started").thread().clone()
    });
    thread.unpark();
}

fn advance() {
    let ticks = shared().start.elapsed().as_nanos() / TICK.as_nanos();
    NOW.fetch_max(u64::try_from(ticks).unwrap_or(u64::MAX), Ordering::Relaxed);
}

fn run() {
    loop {
        ASLEEP.store(false, Ordering::Relaxed);
        let mut idle = 0;
        while idle < IDLE_TICKS {
            std::thread::sleep(TICK);
            advance();
            notify();
            idle = if guest_runs() { 0 } else { idle + 1 };
        }
        ASLEEP.store(true, Ordering::SeqCst);
        std::thread::sleep(TICK);
        while ASLEEP.load(Ordering::Relaxed) && !guest_runs() {
            std::thread::park_timeout(LONGEST_SLEEP);
        }
        advance();
    }
}

fn guest_runs() -> bool {
    lock(&shared().slots).iter().any(|slot| slot.depth.load(Ordering::Relaxed) > 0)
}

fn notify() {
    lock(&shared().listeners).retain(|listener| match listener.upgrade() {
        Some(listener) => {
            listener.tick();
            true
        }
        None => false,
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Listener for Count {
        fn tick(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_runs_while_a_guest_does_and_wakes_from_sleep() {
        let count = Arc::new(Count::default());
        let listener: Arc<dyn Listener> = count.clone();
        subscribe(Arc::downgrade(&listener));
        for _ in 0..2 {
            let running = enter();
            let before = now();
            let heard = count.0.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(60));
            assert!(now() >= before + 10, "{before} -> {}", now());
            assert!(now() <= before + 2_000, "{before} -> {}", now());
            assert!(count.0.load(Ordering::Relaxed) > heard);
            drop(running);
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    #[test]
    fn a_slot_that_was_given_back_is_not_used_by_its_thread_any_more() {
        struct Late(std::sync::mpsc::Sender<bool>);

        impl Drop for Late {
            fn drop(&mut self) {
                let running = enter();
                let _ = self.0.send(running.slot.taken.load(Ordering::Acquire));
            }
        }

        thread_local! {
            static LATE: Cell<Option<Late>> = const { Cell::new(None) };
        }

        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            // What is set up first is torn down last.
            LATE.with(|late| late.set(Some(Late(sender))));
            drop(enter());
        });
        thread.join().unwrap();
        assert_eq!(receiver.recv(), Ok(true));
    }

    #[test]
    fn slots_are_reused_by_later_threads() {
        let before = {
            let _running = enter();
            lock(&shared().slots).len()
        };
        for _ in 0..20 {
            std::thread::spawn(|| drop(enter())).join().unwrap();
        }
        assert!(lock(&shared().slots).len() <= before + 8);
    }
}
