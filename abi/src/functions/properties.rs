//! Properties.

use bytes::Bytes;
use chassis_engine_api::Caller;

use super::Outcome;
use crate::call::Call;
use crate::context::Context;
use crate::services::Property;
use crate::state::VmState;
use crate::status::Status;

/// How long a path may be.
const MAX_PATH: usize = 4096;
/// How many properties guests may set on one stream, and how many bytes in all.
const MAX_PROPERTIES: usize = 1000;
const MAX_PROPERTY_BYTES: usize = 1 << 20;

pub(crate) fn get<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let path = call.slice(0)?;
    let (pointer, size) = (call.slot(2, 4)?, call.slot(3, 4)?);
    if path.len > MAX_PATH {
        return Ok(Status::NotFound);
    }
    let (path, state) = call.bytes(path);
    match look_up(state, without_last_nul(path)) {
        Property::Value(value) => call.give(&value, pointer, size),
        Property::NotFound => Ok(Status::NotFound),
        Property::Unserializable => Ok(Status::SerializationFailure),
    }
}

pub(crate) fn set<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (path, value) = (call.slice(0)?, call.slice(2)?);
    if path.len > MAX_PATH || path.len == 0 || call.state().exchange().is_none() {
        return Ok(Status::NotFound);
    }
    let path = without_last_nul(call.bytes(path).0).to_vec();
    let value_len = value.len;
    let Some(exchange) = call.state().exchange() else { return Ok(Status::NotFound) };
    let others = exchange.properties.iter().filter(|(known, _)| **known != path);
    let (count, bytes) =
        others.fold((0, 0), |(count, bytes), (path, value)| (count + 1, bytes + path.len() + value.len()));
    if count >= MAX_PROPERTIES || bytes + path.len() + value_len > MAX_PROPERTY_BYTES {
        return Ok(Status::InternalFailure);
    }
    let value = call.copy(value);
    if let Some(exchange) = call.state().exchange_mut() {
        exchange.properties.insert(path, value);
    }
    Ok(Status::Ok)
}

/// The plugin's own names, then what guests have set, then what the host knows.
fn look_up(state: &mut VmState, path: &[u8]) -> Property {
    let own = match path {
        b"plugin_name" => Some(&state.identity.name),
        b"plugin_root_id" => Some(&state.identity.root_id),
        b"plugin_vm_id" => Some(&state.identity.vm_id),
        _ => None,
    };
    if let Some(own) = own {
        return Property::Value(Bytes::copy_from_slice(own.as_bytes()));
    }
    let key = match state.contexts.get(state.effective) {
        Some(Context::Stream { exchange, .. }) => Some(*exchange),
        _ => None,
    };
    let Some(board) = state.board.as_deref_mut() else { return Property::NotFound };
    let exchange = key.and_then(|key| board.exchanges.get(key));
    if let Some(set) = exchange.and_then(|exchange| exchange.properties.get(path)) {
        return Property::Value(set.clone());
    }
    let parts: Vec<&[u8]> = path.split(|byte| *byte == 0).collect();
    board.services.property(exchange, &parts)
}

/// Envoy tolerates a NUL after the last part, so SDKs send one.
fn without_last_nul(path: &[u8]) -> &[u8] {
    path.strip_suffix(&[0]).unwrap_or(path)
}
