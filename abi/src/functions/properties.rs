//! Properties.

use bytes::Bytes;
use chassis_engine_api::Caller;

use super::Outcome;
use crate::call::Call;
use crate::dialect::{self, Known, Source};
use crate::exchange::Exchange;
use crate::services::{Property, Services};
use crate::state::VmState;
use crate::status::Status;

/// How long a path may be.
const MAX_PATH: usize = 4096;

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
    if state.exchange().is_none() || matches!(known(state, path), Known::Answer(_)) {
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

/// What the host knows, then what guests have set. Of what is the host's to know nothing is read that guests have set: an
/// attribute that this stream does not have, such as a client certificate, cannot be made up for another plugin (Envoy
/// keeps such values apart too).
fn look_up(state: &mut VmState, path: &[u8]) -> Property {
    match known(state, path) {
        Known::Answer(found) => return found,
        Known::Nothing => return Property::NotFound,
        Known::Unknown => {}
    }
    // Envoy has what guests set in its filter state too.
    let own = path.strip_prefix(b"filter_state\0wasm.").unwrap_or(path);
    match state.exchange().and_then(|exchange| exchange.properties.get(own)) {
        Some(value) => Property::Value(value.clone()),
        None => Property::NotFound,
    }
}

/// The plugin's own names, then what the embedder answers.
fn known(state: &mut VmState, path: &[u8]) -> Known {
    let own = match path {
        b"plugin_name" => Some(&*state.identity.name),
        b"plugin_root_id" => Some(state.root_id()),
        b"plugin_vm_id" => Some(&*state.identity.vm_id),
        _ => None,
    };
    if let Some(own) = own {
        return Property::Value(Bytes::copy_from_slice(own.as_bytes())).into();
    }
    let (key, dialect) = (state.exchange_key(), state.identity.dialect);
    let Some(board) = state.board.as_deref_mut() else { return Known::Unknown };
    let exchange = key.and_then(|key| board.exchanges.get(key));
    dialect::answer(dialect, path, &mut Outside { services: &mut *board.services, exchange })
}

/// The services, asked about a stream.
struct Outside<'a> {
    services: &'a mut dyn Services,
    exchange: Option<&'a Exchange>,
}

impl Source for Outside<'_> {
    fn attribute(&mut self, path: &[&[u8]]) -> Property {
        self.services.property(self.exchange, path)
    }

    fn realtime_nanos(&mut self) -> u64 {
        self.services.realtime_nanos()
    }
}

/// Envoy tolerates a NUL after the last part, so SDKs send one.
fn without_last_nul(path: &[u8]) -> &[u8] {
    path.strip_suffix(&[0]).unwrap_or(path)
}
