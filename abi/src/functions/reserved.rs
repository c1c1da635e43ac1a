//! Functions whose services this host does not offer: they answer by their rows, with a status that the SDKs know.

use chassis_engine_api::Caller;

use super::Outcome;
use crate::call::{Call, Fault};
use crate::state::VmState;
use crate::status::Status;

/// There is nothing under this name or number.
pub(crate) fn not_found<C: Caller<VmState> + ?Sized>(_call: &mut Call<'_, C>) -> Outcome {
    Ok(Status::NotFound)
}

/// The host cannot do it.
pub(crate) fn internal_failure<C: Caller<VmState> + ?Sized>(_call: &mut Call<'_, C>) -> Outcome {
    Ok(Status::InternalFailure)
}

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
