//! Functions that have nothing to do here.

use chassis_engine_api::Caller;

use super::Outcome;
use crate::call::{Call, Fault};
use crate::state::VmState;
use crate::status::Status;

/// Nothing needs to be done.
pub(crate) fn ok<C: Caller<VmState> + ?Sized>(_call: &mut Call<'_, C>) -> Outcome {
    Ok(Status::Ok)
}

/// Nothing needs to be done, and nothing answered.
pub(crate) fn nothing<C: Caller<VmState> + ?Sized>(_call: &mut Call<'_, C>) -> Result<(), Fault> {
    Ok(())
}

/// Whether two thread numbers are the same one.
pub(crate) fn pthread_equal<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Result<u32, Fault> {
    Ok(u32::from(call.arg(0) == call.arg(1)))
}
