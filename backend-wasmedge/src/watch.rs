//! How a call ends at its deadline: the process clock looks at all calls that run, and cancels those that are over.
//!
//! Every thread that runs guests has a list of its calls, the nested ones of other instances included. A call's own
//! thread touches it twice, the clock's thread once a tick. Whether a call is over is for the CPU time of its thread to
//! say, which the clock's thread can ask for.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use chassis_engine_api::{Meter, Verdict, clock};
use wasmedge_sys::ffi;

/// Has the clock watch a call until the returned value is dropped.
///
/// # Safety
/// `cancel` must live for as long as the returned value does.
#[inline]
pub(crate) unsafe fn watch(meter: Meter, cancel: *mut ffi::WasmEdge_Async) -> Watch {
    let thread = THREAD.try_with(Clone::clone).unwrap_or_else(|_| Thread::register());
    lock(&thread.calls).push(Call { meter, cancel, cancelled: false });
    Watch { thread: Some(thread) }
}

/// A call that the clock watches; they end in the reverse order of their beginning.
pub(crate) struct Watch {
    /// `None` when it has ended.
    thread: Option<Arc<Thread>>,
}

impl Watch {
    /// Ends it. Answers whether the call was cancelled, heard of it or not; it will not be from now on.
    #[inline]
    pub(crate) fn end(mut self) -> bool {
        self.pop()
    }

    fn pop(&mut self) -> bool {
        let call = self.thread.take().and_then(|thread| lock(&thread.calls).pop());
        call.is_some_and(|call| call.cancelled)
    }
}

impl Drop for Watch {
    #[inline]
    fn drop(&mut self) {
        self.pop();
    }
}

struct Call {
    meter: Meter,
    cancel: *mut ffi::WasmEdge_Async,
    cancelled: bool,
}

// SAFETY: `cancel` is used on the clock's thread while the list is locked; by then `watch`'s caller keeps it alive.
// Cancelling is made for being done from another thread.
unsafe impl Send for Call {}

struct Thread {
    calls: Mutex<Vec<Call>>,
    cpu: CpuClock,
}

thread_local! {
    static THREAD: Arc<Thread> = Thread::register();
}

impl Thread {
    #[cold]
    fn register() -> Arc<Self> {
        let thread = Arc::new(Thread { calls: Mutex::new(Vec::new()), cpu: CpuClock::of_this_thread() });
        lock(&watcher().threads).push(Arc::downgrade(&thread));
        thread
    }

    fn tick(&self) {
        for call in lock(&self.calls).iter_mut() {
            // Again and again: a host function may have taken the first one for a nested call's failure.
            if call.meter.check_for(|| self.cpu.time()) == Verdict::Expired {
                call.cancelled = true;
                // SAFETY: the call is in the list, so the object lives.
                unsafe { ffi::WasmEdge_AsyncCancel(call.cancel) }
            }
        }
    }
}

#[derive(Default)]
struct Watcher {
    threads: Mutex<Vec<Weak<Thread>>>,
}

impl clock::Listener for Watcher {
    fn tick(&self) {
        lock(&self.threads).retain(|thread| match thread.upgrade() {
            Some(thread) => {
                thread.tick();
                true
            }
            None => false,
        });
    }
}

fn watcher() -> &'static Watcher {
    static WATCHER: OnceLock<Arc<Watcher>> = OnceLock::new();
    WATCHER.get_or_init(|| {
        let watcher = Arc::new(Watcher::default());
        let listener: Weak<Watcher> = Arc::downgrade(&watcher);
        clock::subscribe(listener);
        watcher
    })
}

/// The CPU time of one thread, to be read from any.
struct CpuClock {
    #[cfg(target_os = "linux")]
    id: Option<libc::clockid_t>,
}

#[cfg(target_os = "linux")]
impl CpuClock {
    fn of_this_thread() -> Self {
        let mut id = 0;
        // SAFETY: `id` is valid for the write; a thread may always ask for its own clock.
        let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut id) };
        CpuClock { id: (failed == 0).then_some(id) }
    }

    /// `None` also if the thread is no more.
    fn time(&self) -> Option<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is valid for the write; what is no clock is refused.
        let failed = unsafe { libc::clock_gettime(self.id?, &raw mut time) };
        if failed != 0 {
            return None;
        }
        Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
    }
}

#[cfg(not(target_os = "linux"))]
impl CpuClock {
    fn of_this_thread() -> Self {
        CpuClock {}
    }

    /// Nobody can tell, so the wall clock decides.
    fn time(&self) -> Option<Duration> {
        None
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn another_threads_cpu_time_can_be_read_until_it_ends() {
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(20) {
                std::hint::spin_loop();
            }
            tell.send(Thread::register()).unwrap();
            let _ = stopped.recv();
        });
        let registered = told.recv().unwrap();
        let busy = registered.cpu.time().unwrap();
        assert!(busy >= Duration::from_millis(1), "{busy:?}");
        std::thread::sleep(Duration::from_millis(20));
        let later = registered.cpu.time().unwrap();
        assert!(later - busy < Duration::from_millis(10), "{busy:?} and then {later:?}");
        drop(stop);
        thread.join().unwrap();
    }
}
