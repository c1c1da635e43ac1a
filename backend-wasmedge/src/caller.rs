//! What a host function sees, and the entry that all host functions share.

use std::panic::{AssertUnwindSafe, catch_unwind};

use chassis_engine_api::{Caller, Export, HostFn, Stop, TrapKind, Verdict};

use crate::instance::{Inner, invoke};
use crate::stop::Parked;

/// How deep guest calls may be nested in host functions. Each level takes some kilobytes of the thread's own stack.
const NESTING: u32 = 16;

/// Runs host function `F` for a guest; an error says that its reason is parked. Panics are parked too: WasmEdge's
/// frames must not be unwound by one.
///
/// # Safety
/// `inner` must be that of the instance whose guest calls, and nobody else may use it before the return.
#[inline]
pub(crate) unsafe fn enter<S: Send + 'static, F: HostFn<S>>(inner: *mut Inner<S>, slots: &mut [u64]) -> Result<(), ()> {
    // SAFETY: this is the only use of it, and over at once.
    if unsafe { &mut *inner }.meter.check() == Verdict::Expired {
        // SAFETY: as above.
        unsafe { park(inner, Parked::Stop(Stop::Deadline)) };
        return Err(());
    }
    let mut caller = HostCaller { inner };
    // What a panic leaves half done is seen by those only who catch it from the outer call.
    let parked = match catch_unwind(AssertUnwindSafe(|| F::call(&mut caller, slots))) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(stop)) => Parked::Stop(stop),
        Err(panic) => Parked::Panic(panic),
    };
    // SAFETY: as above; the caller is not used any more.
    unsafe { park(inner, parked) };
    Err(())
}

/// # Safety
/// As for [`enter`].
#[cold]
unsafe fn park<S>(inner: *mut Inner<S>, parked: Parked) {
    // SAFETY: as the caller promises.
    unsafe { (*inner).parked = Some(parked) };
}

/// The pointer is made a reference for the length of one access only: while a nested call runs, other host functions
/// have it.
struct HostCaller<S> {
    inner: *mut Inner<S>,
}

impl<S: Send + 'static> Caller<S> for HostCaller<S> {
    #[inline]
    fn state(&mut self) -> &mut S {
        // SAFETY: the guest waits for this host function, so nobody else uses the state while `self` is borrowed.
        unsafe { &mut (*self.inner).state }
    }

    #[inline]
    fn memory(&mut self) -> (&mut [u8], &mut S) {
        // SAFETY: as above; the guest, which could move the memory, runs again only after this borrow.
        unsafe { &mut *self.inner }.memory_and_state()
    }

    #[inline]
    fn has(&self, export: Export) -> bool {
        // SAFETY: as above.
        unsafe { &*self.inner }.handle(export).is_some()
    }

    fn call(&mut self, export: Export, slots: &mut [u64]) -> Result<(), Stop> {
        // SAFETY: as above; the reference ends before the guest runs.
        let inner = unsafe { &mut *self.inner };
        if inner.nesting == NESTING {
            return Err(Stop::trap(TrapKind::StackOverflow));
        }
        inner.nesting += 1;
        let left = inner.stack_left();
        let handle = inner.expect_handle(export);
        // SAFETY: no reference to the inner part is left, and the instance's thread is this one.
        let ended = unsafe { invoke(self.inner, handle, slots) };
        // SAFETY: the guest waits again.
        let inner = unsafe { &mut *self.inner };
        inner.nesting -= 1;
        ended.map_err(|code| inner.stopped(code, left))
    }
}
