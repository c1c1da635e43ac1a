//! The buffer calls.

use bytes::Bytes;
use chassis_engine_api::Caller;

use super::Outcome;
use crate::buffer::Buffer;
use crate::call::Call;
use crate::callbacks::Callback;
use crate::exchange::StreamKind;
use crate::state::VmState;
use crate::status::Status;
use crate::types::BufferType;

pub(crate) fn get<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let kind = BufferType::from_u32(call.arg(0)).ok_or(Status::BadArgument)?;
    let (start, max) = (call.arg(1) as usize, call.arg(2) as usize);
    let (pointer, size) = (call.slot(3, 4)?, call.slot(4, 4)?);
    let state = call.state();
    if let Some(whole) = whole(state, kind) {
        let start = start.min(whole.len());
        let piece = whole.slice(start..start.saturating_add(max).min(whole.len()));
        if piece.is_empty() && call.arg(4) == 0 {
            return call.give_empty_object(pointer, size);
        }
        return call.give(&piece, pointer, size);
    }
    let range = body(state, kind).ok_or(Status::NotFound)?.range(start, max);
    call.give_with(range.len(), pointer, size, |out, state| {
        if let Some(buffer) = body(state, kind) {
            buffer.copy_to(range, out);
        }
    })
}

pub(crate) fn get_status<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let kind = BufferType::from_u32(call.arg(0)).ok_or(Status::BadArgument)?;
    let (size, flags) = (call.slot(1, 4)?, call.slot(2, 4)?);
    let state = call.state();
    let len = match whole(state, kind) {
        Some(whole) => whole.len(),
        None => body(state, kind).ok_or(Status::NotFound)?.len(),
    };
    call.write_u32(size, u32::try_from(len).unwrap_or(u32::MAX));
    call.write_u32(flags, 0);
    Ok(Status::Ok)
}

pub(crate) fn set<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let kind = BufferType::from_u32(call.arg(0)).filter(|kind| is_writable(*kind)).ok_or(Status::BadArgument)?;
    let (start, size) = (call.arg(1) as usize, call.arg(2) as usize);
    let value = call.slice(3)?;
    let state = call.state();
    let limit = state.exchange().map_or(0, |exchange| exchange.body_limit);
    let Some(buffer) = body(state, kind) else { return Ok(Status::NotFound) };
    let removed = buffer.range(start, size).len();
    // What came too large may be made smaller.
    if buffer.len() - removed + value.len > limit.max(buffer.len()) {
        return Ok(Status::InternalFailure);
    }
    let value = call.copy(value);
    if let Some(buffer) = body(call.state(), kind) {
        buffer.splice(start, size, value);
    }
    Ok(Status::Ok)
}

/// `proxy_get_configuration` of 0.1.0: the VM's in `proxy_on_vm_start`, the plugin's in `proxy_on_configure`.
pub(crate) fn get_configuration<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (pointer, size) = (call.slot(0, 4)?, call.slot(1, 4)?);
    let state = call.state();
    let found = [BufferType::VmConfiguration, BufferType::PluginConfiguration]
        .into_iter()
        .find_map(|kind| whole(state, kind))
        .unwrap_or_default();
    call.give(&found, pointer, size)
}

/// What is there in one piece and can only be read, in the callback that is about it.
fn whole(state: &VmState, kind: BufferType) -> Option<Bytes> {
    match (kind, state.callback) {
        (BufferType::VmConfiguration, Some(Callback::VmStart)) => Some(state.identity.vm_configuration.clone()),
        (BufferType::PluginConfiguration, Some(Callback::Configure | Callback::ValidateConfiguration)) => {
            Some(state.plugin_configuration().map(|configuration| configuration.data.clone()).unwrap_or_default())
        }
        (BufferType::HttpCallResponseBody, Some(Callback::HttpCallResponse))
        | (BufferType::GrpcCallMessage, Some(Callback::GrpcReceive)) => {
            state.answer.as_ref().map(|answer| answer.body.clone())
        }
        (BufferType::ForeignFunctionArguments, Some(Callback::ForeignFunction)) => {
            Some(state.foreign_arguments.clone())
        }
        _ => None,
    }
}

/// Whether a buffer is one that guests can change when it is there.
fn is_writable(kind: BufferType) -> bool {
    use BufferType::{DownstreamData, RequestBody, ResponseBody, UpstreamData};
    matches!(kind, RequestBody | ResponseBody | DownstreamData | UpstreamData)
}

/// A body, or data of a TCP stream, that the guest may look at now.
fn body(state: &mut VmState, kind: BufferType) -> Option<&mut Buffer> {
    let (stream, lane) = state.lane_mut()?;
    let half = match (kind, stream) {
        (BufferType::RequestBody, StreamKind::Http) | (BufferType::DownstreamData, StreamKind::Tcp) => {
            &mut lane.request
        }
        (BufferType::ResponseBody, StreamKind::Http) | (BufferType::UpstreamData, StreamKind::Tcp) => {
            &mut lane.response
        }
        _ => return None,
    };
    half.body_open.then_some(&mut half.body)
}
