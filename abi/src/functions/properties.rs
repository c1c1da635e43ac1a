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

/// Where paths of Envoy's attributes begin. What guests set there is kept, but never read: an attribute that this stream
/// does not have, such as a client certificate, cannot be made up for another plugin (Envoy keeps such values apart too).
const ATTRIBUTES: [&[u8]; 20] = [
    b"request",
    b"response",
    b"connection",
    b"connection_id",
    b"source",
    b"destination",
    b"upstream",
    b"upstream_host_metadata",
    b"metadata",
    b"node",
    b"xds",
    b"cluster_name",
    b"cluster_metadata",
    b"route_name",
    b"route_metadata",
    b"listener_direction",
    b"listener_metadata",
    b"plugin_name",
    b"plugin_root_id",
    b"plugin_vm_id",
];

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

/// Sets what the host has no answer for itself: a guest cannot make another one believe in another client or host.
pub(crate) fn set<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (path, value) = (call.slice(0)?, call.slice(2)?);
    let path = if path.len > MAX_PATH { None } else { Some(call.copy(path)) };
    let Some(path) = path.as_deref().map(without_last_nul).filter(|path| !path.is_empty()) else {
        return Ok(Status::NotFound);
    };
    let state = call.state();
    if state.exchange().is_none() || known(state, path) != Property::NotFound {
        return Ok(Status::NotFound);
    }
    if !state.exchange().is_some_and(|exchange| exchange.properties.has_room(path, value.len)) {
        return Ok(Status::InternalFailure);
    }
    let value = call.copy(value);
    if let Some(exchange) = call.state().exchange_mut() {
        exchange.properties.set(path, value);
    }
    Ok(Status::Ok)
}

/// What the host knows, then what guests have set.
fn look_up(state: &mut VmState, path: &[u8]) -> Property {
    match known(state, path) {
        Property::NotFound if is_attribute(path) => return Property::NotFound,
        Property::NotFound => {}
        found => return found,
    }
    match state.exchange().and_then(|exchange| exchange.properties.get(path)) {
        Some(value) => Property::Value(value.clone()),
        None => Property::NotFound,
    }
}

/// The plugin's own names, then what the embedder answers.
fn known(state: &mut VmState, path: &[u8]) -> Property {
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
    let parts: Vec<&[u8]> = path.split(|byte| *byte == 0).collect();
    board.services.property(exchange, &parts)
}

fn is_attribute(path: &[u8]) -> bool {
    path.split(|byte| *byte == 0).next().is_some_and(|first| ATTRIBUTES.contains(&first))
}

/// Envoy tolerates a NUL after the last part, so SDKs send one.
fn without_last_nul(path: &[u8]) -> &[u8] {
    path.strip_suffix(&[0]).unwrap_or(path)
}
