//! The header map calls.

use bytes::Bytes;
use chassis_engine_api::Caller;

use super::Outcome;
use crate::call::{Call, Fault};
use crate::exchange::Exchange;
use crate::headers::{HeaderList, InvalidHeader};
use crate::pairs::{MAX_MAP_BYTES, MAX_PAIRS};
use crate::state::VmState;
use crate::status::Status;
use crate::types::MapType;

pub(crate) fn get_size<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let map = map_type(call, 0)?;
    let out = call.slot(1, 4)?;
    let size = readable(call, map)?.byte_size();
    call.write_u32(out, u32::try_from(size).unwrap_or(u32::MAX));
    Ok(Status::Ok)
}

pub(crate) fn get_pairs<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let map = map_type(call, 0)?;
    let (pointer, size) = (call.slot(1, 4)?, call.slot(2, 4)?);
    let pairs = readable(call, map)?.encode();
    call.give(&pairs, pointer, size)
}

pub(crate) fn set_pairs<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let map = map_type(call, 0)?;
    let pairs = call.slice(1)?;
    let Ok(new) = HeaderList::decode(call.bytes(pairs).0) else { return Ok(Status::BadArgument) };
    change(call, map, 0, |list| list.replace_all(&new))
}

pub(crate) fn get<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let map = map_type(call, 0)?;
    let name = call.slice(1)?;
    let (pointer, size) = (call.slot(3, 4)?, call.slot(4, 4)?);
    let (name, state) = call.bytes(name);
    let list = state.exchange().and_then(|exchange| readable_in(exchange, map)).ok_or(Status::BadArgument)?;
    // A Bytes is a handle: the value itself is copied once, into the guest.
    let Some(value) = list.get(name).cloned() else { return missing(call, pointer, size) };
    call.give(&value, pointer, size)
}

/// A name that is not there: 0.1.0 has an empty value for it, later versions a status.
fn missing<C: Caller<VmState> + ?Sized>(
    call: &mut Call<'_, C>,
    pointer: crate::call::Slot,
    size: crate::call::Slot,
) -> Outcome {
    if call.state().answers_missing_as_empty {
        return call.give(&[], pointer, size);
    }
    Ok(Status::NotFound)
}

pub(crate) fn add<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (map, name, value) = entry(call)?;
    change(call, map, name.len() + value.len(), |list| list.add(&name, &value))
}

pub(crate) fn replace<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (map, name, value) = entry(call)?;
    change(call, map, name.len() + value.len(), |list| list.replace(&name, &value))
}

pub(crate) fn remove<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let map = map_type(call, 0)?;
    let name = call.slice(1)?;
    let name = call.copy(name);
    change(call, map, 0, |list| list.remove(&name))
}

fn entry<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Result<(MapType, Bytes, Bytes), Fault> {
    let map = map_type(call, 0)?;
    let (name, value) = (call.slice(1)?, call.slice(3)?);
    if name.len + value.len > MAX_MAP_BYTES {
        return Err(Status::BadArgument.into());
    }
    Ok((map, call.copy(name), call.copy(value)))
}

fn map_type<C: Caller<VmState> + ?Sized>(call: &Call<'_, C>, i: usize) -> Result<MapType, Status> {
    MapType::from_u32(call.arg(i)).ok_or(Status::BadArgument)
}

fn readable<'a, C: Caller<VmState> + ?Sized>(
    call: &'a mut Call<'_, C>,
    map: MapType,
) -> Result<&'a HeaderList, Status> {
    call.state().exchange().and_then(|exchange| readable_in(exchange, map)).ok_or(Status::BadArgument)
}

/// A map that has come and may be read: request headers in every later phase too.
fn readable_in(exchange: &Exchange, map: MapType) -> Option<&HeaderList> {
    match map {
        MapType::RequestHeaders if exchange.request.has_headers => Some(&exchange.request.headers),
        MapType::RequestTrailers if exchange.request.has_trailers => Some(&exchange.request.trailers),
        MapType::ResponseHeaders if exchange.response.has_headers => Some(&exchange.response.headers),
        MapType::ResponseTrailers if exchange.response.has_trailers => Some(&exchange.response.trailers),
        _ => None,
    }
}

/// Changes a map that has come and not left yet. An edit that adds `incoming` bytes must leave the map within its limits.
fn change<C: Caller<VmState> + ?Sized>(
    call: &mut Call<'_, C>,
    map: MapType,
    incoming: usize,
    edit: impl FnOnce(&mut HeaderList) -> Result<(), InvalidHeader>,
) -> Outcome {
    let list =
        call.state().exchange_mut().and_then(|exchange| writable_in(exchange, map)).ok_or(Status::BadArgument)?;
    if incoming > 0 && (list.len() >= MAX_PAIRS || list.byte_size() + incoming > MAX_MAP_BYTES) {
        return Ok(Status::BadArgument);
    }
    match edit(list) {
        Ok(()) => Ok(Status::Ok),
        Err(_) => Ok(Status::BadArgument),
    }
}

/// A map that has come and not left yet.
fn writable_in(exchange: &mut Exchange, map: MapType) -> Option<&mut HeaderList> {
    let (half, trailers) = match map {
        MapType::RequestHeaders => (&mut exchange.request, false),
        MapType::RequestTrailers => (&mut exchange.request, true),
        MapType::ResponseHeaders => (&mut exchange.response, false),
        MapType::ResponseTrailers => (&mut exchange.response, true),
        _ => return None,
    };
    if trailers {
        (half.has_trailers && !half.trailers_sent).then_some(&mut half.trailers)
    } else {
        (half.has_headers && !half.headers_sent).then_some(&mut half.headers)
    }
}
