//! Foreign functions.

use bytes::Bytes;
use chassis_engine_api::Caller;

use super::Outcome;
use crate::call::{Call, Slot};
use crate::effects::Effect;
use crate::services::{ForeignCall, ForeignError, Services};
use crate::state::VmState;
use crate::status::Status;

/// A return pointer of 0 says that the guest does not want to know; bytes without their size are of no use, and not
/// given.
pub(crate) fn call<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (name, arguments) = (call.slice(0)?, call.slice(2)?);
    let (pointer, size) = (wanted(call, 4)?, wanted(call, 5)?);
    let (memory, state) = call.memory();
    let (key, context, plugin_context) = (state.exchange_key(), state.effective, state.plugin_context());
    let VmState { board, identity, .. } = state;
    let Some(board) = board.as_deref_mut() else { return Ok(Status::NotFound) };
    let mut foreign = ForeignCall {
        name: name.of(memory),
        arguments: arguments.of(memory),
        plugin: identity,
        context,
        log_level: board.services.log_level(identity),
        exchange: key.and_then(|key| board.exchanges.get_mut(key)),
        callback: None,
    };
    let answer = run(&mut *board.services, &mut foreign);
    if let (Some(context), Some(callback)) = (plugin_context, foreign.callback) {
        board.push(Effect::ListenForeign { context, callback });
    }
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Ok(error.into()),
    };
    match (pointer, size) {
        (Some(pointer), Some(size)) => call.give(&answer, pointer, size),
        (_, Some(size)) => {
            call.write_u32(size, u32::try_from(answer.len()).unwrap_or(u32::MAX));
            Ok(Status::Ok)
        }
        (_, None) => Ok(Status::Ok),
    }
}

/// The place that a return pointer tells of, which is checked in any case.
fn wanted<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>, i: usize) -> Result<Option<Slot>, Status> {
    if call.arg(i) == 0 { Ok(None) } else { call.slot(i, 4).map(Some) }
}

fn run(services: &mut dyn Services, call: &mut ForeignCall<'_>) -> Result<Bytes, ForeignError> {
    services.shared().map_or(Err(ForeignError::NotFound), |shared| shared.call_foreign_function(call))
}
