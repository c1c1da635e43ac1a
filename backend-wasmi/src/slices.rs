//! The run loop: guest calls get their fuel in slices, and between two slices the deadline is looked at.
//!
//! wasmi's fuel counter belongs to the store, so nested calls go on with what the outer call left over. The counter
//! and the reserve (what the budget still has to give) together are always what the whole call may yet spend: a
//! budget of N units is enough exactly if the call needs no more than N.

use chassis_engine_api::{Budget, Stop, Verdict};
use wasmi::{AsContextMut, Error, ResumableCall, StoreContextMut, TypedResumableCall, Val, WasmResults};

use crate::instance::Data;
use crate::stop;

/// Fuel units that a guest gets at a time: some ten microseconds of work, so that going in and out costs about one
/// percent. The slowest code there is (calls of functions with thousands of locals, which are cleared at each call)
/// takes some milliseconds for it.
const SLICE: u64 = 16_384;

/// Starts a call's accounting.
#[inline]
pub(crate) fn start<S>(ctx: &mut StoreContextMut<'_, Data<S>>, budget: &Budget) {
    let reserve = budget.fuel.unwrap_or(u64::MAX);
    let first = reserve.min(SLICE);
    let spending = &mut ctx.data_mut().spending;
    spending.unlimited = budget.fuel.is_none();
    spending.reserve = reserve - first;
    set_fuel(ctx, first);
}

/// What a call may still get.
#[derive(Debug, Default)]
pub(crate) struct Spending {
    unlimited: bool,
    reserve: u64,
}

/// Runs a call to its end.
#[inline]
pub(crate) fn run<S, R: WasmResults>(
    ctx: &mut StoreContextMut<'_, Data<S>>,
    call: Result<TypedResumableCall<R>, Error>,
) -> Result<R, Stop> {
    match call {
        Ok(TypedResumableCall::Finished(result)) => Ok(result),
        call => run_on(ctx, call),
    }
}

#[cold]
fn run_on<S, R: WasmResults>(
    ctx: &mut StoreContextMut<'_, Data<S>>,
    mut call: Result<TypedResumableCall<R>, Error>,
) -> Result<R, Stop> {
    loop {
        call = match call {
            Ok(TypedResumableCall::Finished(result)) => return Ok(result),
            Ok(TypedResumableCall::OutOfFuel(paused)) => {
                refill(ctx, paused.required_fuel())?;
                paused.resume(ctx.as_context_mut())
            }
            Ok(TypedResumableCall::HostTrap(stopped)) => return Err(stopped_by(ctx, stopped.host_error())),
            Err(error) => return Err(stopped_by(ctx, &error)),
        }
    }
}

/// Runs an untyped call to its end.
pub(crate) fn run_untyped<S>(
    ctx: &mut StoreContextMut<'_, Data<S>>,
    mut call: Result<ResumableCall, Error>,
    results: &mut [Val],
) -> Result<(), Stop> {
    loop {
        call = match call {
            Ok(ResumableCall::Finished) => return Ok(()),
            Ok(ResumableCall::OutOfFuel(paused)) => {
                refill(ctx, paused.required_fuel())?;
                paused.resume(ctx.as_context_mut(), results)
            }
            Ok(ResumableCall::HostTrap(stopped)) => return Err(stopped_by(ctx, stopped.host_error())),
            Err(error) => return Err(stopped_by(ctx, &error)),
        }
    }
}

/// Gives the guest its next slice, or at least the `required` units that its next step costs: a bulk operation asks
/// for all that it costs at once, after its own checks, so none of it is left for anything else.
fn refill<S>(ctx: &mut StoreContextMut<'_, Data<S>>, required: u64) -> Result<(), Stop> {
    let left = ctx.get_fuel().unwrap_or(0);
    let data = ctx.data_mut();
    if data.meter.check() == Verdict::Expired {
        return Err(Stop::Deadline);
    }
    let spending = &mut data.spending;
    let wanted = required.max(SLICE);
    let fuel = if spending.unlimited {
        wanted
    } else {
        let available = spending.reserve.saturating_add(left);
        if required > available {
            return Err(Stop::Fuel);
        }
        let fuel = wanted.min(available);
        spending.reserve = available - fuel;
        fuel
    };
    set_fuel(ctx, fuel);
    Ok(())
}

fn stopped_by<S>(ctx: &mut StoreContextMut<'_, Data<S>>, error: &Error) -> Stop {
    stop::from_call(error, ctx.data_mut().parked.take())
}

#[inline]
fn set_fuel<S>(ctx: &mut StoreContextMut<'_, Data<S>>, fuel: u64) {
    // It fails only where fuel metering is off, which `engine::config` turns on.
    let set = ctx.set_fuel(fuel);
    debug_assert!(set.is_ok());
}
