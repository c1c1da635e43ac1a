//! What a host function sees, and the entry that all host functions share.

use std::panic::{AssertUnwindSafe, catch_unwind};

use chassis_engine_api::{Caller, Export, HostFn, Stop, TrapKind, Verdict};
use wasmer::FunctionEnvMut;

use crate::instance;
use crate::shared::Shared;
use crate::stop::{Parked, Unwinding, park};

/// How deep guest calls may be nested in host functions. Each level takes a stack for the guest and some kilobytes of
/// the thread's own.
const NESTING: u32 = 16;

/// Runs host function `F` for a guest. Panics wait aside while the guest's frames are taken down.
#[inline]
pub(crate) fn enter<S: Send + 'static, F: HostFn<S>>(
    caller: FunctionEnvMut<'_, ()>,
    mut shared: Shared<S>,
    slots: &mut [u64],
) -> Result<(), Unwinding> {
    if shared.meter().check() == Verdict::Expired {
        return Err(park(&mut shared, Parked::Stop(Stop::Deadline)));
    }
    let mut view = View { caller, shared };
    // What a panic leaves half done is seen by those only who catch it from the outer call.
    match catch_unwind(AssertUnwindSafe(|| F::call(&mut view, slots))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(stop)) => Err(park(&mut shared, Parked::Stop(stop))),
        Err(panic) => Err(park(&mut shared, Parked::Panic(panic))),
    }
}

struct View<'a, S> {
    caller: FunctionEnvMut<'a, ()>,
    shared: Shared<S>,
}

impl<S: Send + 'static> Caller<S> for View<'_, S> {
    #[inline]
    fn state(&mut self) -> &mut S {
        self.shared.state()
    }

    #[inline]
    fn memory(&mut self) -> (&mut [u8], &mut S) {
        self.shared.memory(&mut self.caller)
    }

    #[inline]
    fn has(&self, export: Export) -> bool {
        self.shared.has(export)
    }

    #[inline]
    fn call(&mut self, export: Export, slots: &mut [u64]) -> Result<(), Stop> {
        if *self.shared.nesting() == NESTING {
            return Err(Stop::trap(TrapKind::StackOverflow));
        }
        // A panic passes on to the outer call, which sets this back.
        *self.shared.nesting() += 1;
        let result = instance::call(&mut self.caller, self.shared, export, slots);
        *self.shared.nesting() -= 1;
        result
    }
}
