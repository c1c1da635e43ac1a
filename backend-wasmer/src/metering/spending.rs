//! The host's side of the counter.
//!
//! The counter belongs to the instance, so nested calls go on with what the outer call left over. The counter and the
//! reserve (what the budget still has to give) together are always what the whole call may yet spend.

use chassis_engine_api::{Budget, Stop, Verdict};
use wasmer::{AsStoreMut, FunctionEnvMut, Global, Value};

use crate::shared::Shared;
use crate::stop::{Parked, Unwinding, park};

/// Units that a guest gets at a time: some ten microseconds of work, so that asking for the next slice costs less than
/// one percent.
const SLICE: u64 = 32_768;

/// What a call may still get.
#[derive(Debug)]
pub(crate) struct Spending {
    counter: Global,
    /// `None` where no fuel limit was given.
    reserve: Option<u64>,
}

impl Spending {
    pub(crate) fn new(counter: Global) -> Self {
        Spending { counter, reserve: None }
    }

    /// Starts a call's accounting. Only where fuel is counted; else what the last call left over does as well.
    pub(crate) fn start(&mut self, store: &mut impl AsStoreMut, budget: &Budget) {
        let available = budget.fuel.unwrap_or(SLICE);
        let first = available.min(SLICE);
        self.reserve = budget.fuel.map(|_| available - first);
        self.set(store, first);
    }

    /// Gives the next slice, or nothing where the reserve does not make up for what was taken already.
    fn grant(&mut self, store: &mut impl AsStoreMut) -> Result<(), Stop> {
        let Some(reserve) = self.reserve else {
            self.set(store, SLICE);
            return Ok(());
        };
        let owed = match self.counter.get(store) {
            Value::I64(counter) => counter.min(0).unsigned_abs(),
            _ => 0,
        };
        let rest = reserve.checked_sub(owed).ok_or(Stop::Fuel)?;
        let slice = rest.min(SLICE);
        self.reserve = Some(rest - slice);
        self.set(store, slice);
        Ok(())
    }

    fn set(&self, store: &mut impl AsStoreMut, units: u64) {
        // It fails only where the global is not the counter, a mutable `i64`.
        let set = self.counter.set(store, Value::I64(units.cast_signed()));
        debug_assert!(set.is_ok());
    }
}

/// What a guest calls when it has used up its slice.
pub(crate) fn refill<S: Send + 'static>(
    mut caller: FunctionEnvMut<'_, ()>,
    mut shared: Shared<S>,
) -> Result<(), Unwinding> {
    if shared.meter().check() == Verdict::Expired {
        return Err(park(&mut shared, Parked::Stop(Stop::Deadline)));
    }
    let granted = match shared.spending() {
        Some(spending) => spending.grant(&mut caller),
        None => Ok(()),
    };
    granted.map_err(|stop| park(&mut shared, Parked::Stop(stop)))
}
