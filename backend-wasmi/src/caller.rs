//! What a host function sees, and the entry that all host functions share.

use std::panic::{AssertUnwindSafe, catch_unwind};

use chassis_engine_api::{Caller, Export, HostFn, Stop, TrapKind, Verdict};
use wasmi::{AsContextMut, Error};

use crate::instance::{self, Data};
use crate::stop::{Parked, Unwinding};

/// How deep guest calls may be nested in host functions. Each level takes some kilobytes of the thread's own stack,
/// which no recursion limit of wasmi knows of.
const NESTING: u32 = 16;

/// Runs host function `F` for a guest. Panics wait aside too: wasmi's own frames abort the process if one unwinds
/// through them.
#[inline]
pub(crate) fn enter<S: 'static, F: HostFn<S>>(
    mut caller: wasmi::Caller<'_, Data<S>>,
    slots: &mut [u64],
) -> Result<(), Error> {
    if caller.data_mut().meter.check() == Verdict::Expired {
        return Err(park(caller.data_mut(), Parked::Stop(Stop::Deadline)));
    }
    let mut host_caller = HostCaller(&mut caller);
    // What a panic leaves half done is seen by those only who catch it from the outer call.
    match catch_unwind(AssertUnwindSafe(|| F::call(&mut host_caller, slots))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(stop)) => Err(park(caller.data_mut(), Parked::Stop(stop))),
        Err(panic) => Err(park(caller.data_mut(), Parked::Panic(panic))),
    }
}

#[cold]
fn park<S>(data: &mut Data<S>, parked: Parked) -> Error {
    data.parked = Some(parked);
    Error::host(Unwinding)
}

struct HostCaller<'a, 'b, S>(&'a mut wasmi::Caller<'b, Data<S>>);

impl<S: 'static> Caller<S> for HostCaller<'_, '_, S> {
    #[inline]
    fn state(&mut self) -> &mut S {
        &mut self.0.data_mut().state
    }

    #[inline]
    fn memory(&mut self) -> (&mut [u8], &mut S) {
        match self.0.data().memory {
            Some(memory) => {
                let (bytes, data) = memory.data_and_store_mut(&mut *self.0);
                (bytes, &mut data.state)
            }
            None => (&mut [], self.state()),
        }
    }

    #[inline]
    fn has(&self, export: Export) -> bool {
        self.0.data().handle(export).is_some()
    }

    #[inline]
    fn call(&mut self, export: Export, slots: &mut [u64]) -> Result<(), Stop> {
        let data = self.0.data_mut();
        if data.nesting == NESTING {
            return Err(Stop::trap(TrapKind::StackOverflow));
        }
        data.nesting += 1;
        let result = instance::call(&mut self.0.as_context_mut(), export, slots);
        self.0.data_mut().nesting -= 1;
        result
    }
}
