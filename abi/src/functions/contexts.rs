//! Contexts and the plugin's own life.

use chassis_engine_api::Caller;

use super::Outcome;
use crate::call::Call;
use crate::context::Context;
use crate::effects::Effect;
use crate::state::VmState;
use crate::status::Status;

/// Only contexts of this VM are known here, so no other plugin's stream can be reached.
pub(crate) fn set_effective_context<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let id = call.arg(0);
    let state = call.state();
    if state.contexts.get(id).is_none() {
        return Ok(Status::BadArgument);
    }
    state.effective = id;
    Ok(Status::Ok)
}

pub(crate) fn done<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let state = call.state();
    let Some(context) = state.plugin_context() else { return Ok(Status::NotFound) };
    let Some(Context::Plugin { pending_done, .. }) = state.contexts.get_mut(context) else {
        return Ok(Status::NotFound);
    };
    if !std::mem::take(pending_done) {
        return Ok(Status::NotFound);
    }
    call.board()?.push(Effect::Done { context });
    Ok(Status::Ok)
}
