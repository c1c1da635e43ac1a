//! Logging, time and the tick.

use chassis_engine_api::Caller;

use super::Outcome;
use crate::call::{Call, Slice};
use crate::context::Context;
use crate::effects::Effect;
use crate::services::LogRecord;
use crate::state::VmState;
use crate::status::Status;
use crate::types::LogLevel;

/// How many bytes of a line are kept.
pub(crate) const MAX_LINE: usize = 64 << 10;

pub(crate) fn log<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let Some(level) = LogLevel::from_u32(call.arg(0)) else { return Ok(Status::BadArgument) };
    let message = call.slice(1)?;
    let shown = Slice { len: message.len.min(MAX_LINE), ..message };
    // The sink needs the whole state, so the line is copied out of the guest's memory.
    let line = call.copy(shown);
    emit(call.state(), level, &line);
    Ok(Status::Ok)
}

/// Hands a line to the log sink.
pub(crate) fn emit(state: &mut VmState, level: LogLevel, message: &[u8]) {
    let context = state.effective;
    let stream = match state.contexts.get(context) {
        Some(Context::Stream { exchange, .. }) => Some(*exchange),
        _ => None,
    };
    let Some(board) = state.board.as_deref_mut() else { return };
    let record = LogRecord {
        plugin: &state.identity,
        level,
        message: &message[..message.len().min(MAX_LINE)],
        context,
        callback: state.callback,
        exchange: stream.and_then(|key| board.exchanges.get(key)),
    };
    board.services.log(record);
}

pub(crate) fn get_log_level<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let out = call.slot(0, 4)?;
    let state = call.state();
    let level = match state.board.as_deref_mut() {
        Some(board) => board.services.log_level(&state.identity),
        None => LogLevel::Info,
    };
    call.write_u32(out, level as u32);
    Ok(Status::Ok)
}

pub(crate) fn current_time<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let out = call.slot(0, 8)?;
    let now = call.board()?.services.realtime_nanos();
    call.write_u64(out, now);
    Ok(Status::Ok)
}

pub(crate) fn set_tick_period<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let milliseconds = call.arg(0);
    // There is one timer per plugin context, whichever context asks for it.
    let Some(context) = call.state().plugin_context() else { return Ok(Status::Ok) };
    call.board()?.push(Effect::TickPeriod { context, milliseconds });
    Ok(Status::Ok)
}
