//! Functions whose services this host does not offer: they check what they were given, and answer by their rows with a
//! status that the SDKs know.

use chassis_engine_api::Caller;

use super::Outcome;
use crate::call::{Call, Fault};
use crate::state::VmState;
use crate::status::Status;

/// Makes a function that checks the slices (by the parameter with the pointer) and the return slots (with their bytes)
/// and then answers the same status always.
macro_rules! unavailable {
    ($($name:ident [$($slice:literal)*] [$($slot:literal: $bytes:literal)*] => $status:ident;)*) => {
        $(
            pub(crate) fn $name<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
                $(call.slice($slice)?;)*
                $(call.slot($slot, $bytes)?;)*
                Ok(Status::$status)
            }
        )*
    };
}

unavailable! {
    grpc_call [0 2 4 6 8] [11: 4] => InternalFailure;
    grpc_stream [0 2 4 6] [8: 4] => InternalFailure;
    grpc_send [1] [] => NotFound;
}

/// There is nothing under this number.
pub(crate) fn not_found<C: Caller<VmState> + ?Sized>(_call: &mut Call<'_, C>) -> Outcome {
    Ok(Status::NotFound)
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
