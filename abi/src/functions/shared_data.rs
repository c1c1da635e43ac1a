//! Shared data.

use chassis_engine_api::Caller;

use super::Outcome;
use crate::call::Call;
use crate::services::SharedDataError;
use crate::state::VmState;
use crate::status::Status;

pub(crate) fn get<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let key = call.slice(0)?;
    let (pointer, size, cas) = (call.slot(2, 4)?, call.slot(3, 4)?, call.slot(4, 4)?);
    let (key, state) = call.bytes(key);
    let found = state.shared().and_then(|(shared, plugin)| shared.shared_data(plugin, key));
    let Some(found) = found else { return Ok(Status::NotFound) };
    let given = call.give(&found.value, pointer, size)?;
    call.write_u32(cas, found.cas);
    Ok(given)
}

pub(crate) fn set<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (key, value, cas) = (call.slice(0)?, call.slice(2)?, call.arg(4));
    let (memory, state) = call.memory();
    let Some((shared, plugin)) = state.shared() else { return Ok(Status::InternalFailure) };
    Ok(match shared.set_shared_data(plugin, key.of(memory), value.of(memory), cas) {
        Ok(()) => Status::Ok,
        Err(SharedDataError::CasMismatch) => Status::CasMismatch,
        Err(SharedDataError::Full) => Status::InternalFailure,
    })
}
