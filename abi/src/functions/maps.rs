//! The header map calls.

use chassis_engine_api::Caller;

use super::Outcome;
use crate::call::{Call, Slice, Slot};
use crate::exchange::Exchange;
use crate::headers::{HeaderList, InvalidHeader};
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
    let len = readable(call, map)?.encoded_len();
    // As for one value.
    call.give_with(len, pointer, size, |out, state| {
        let list = list_of(state, map);
        if let Some(list) = list.filter(|list| list.encoded_len() == len) {
            list.encode_into(out);
        }
    })
}

pub(crate) fn set_pairs<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let map = map_type(call, 0)?;
    let pairs = call.slice(1)?;
    let (memory, state) = call.memory();
    let Ok(new) = HeaderList::decode(pairs.of(memory)) else { return Ok(Status::BadArgument) };
    change(state, map, |list| list.replace_all(&new))
}

pub(crate) fn get<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let map = map_type(call, 0)?;
    let [name, len, pointer, size] = [1, 2, 3, 4].map(|i| call.arg(i));
    // What plugins call most: one look at the memory for all pointers and the name.
    let (memory, state) = call.memory();
    let name = Slice::within(memory.len(), name, len)?;
    let (pointer, size) = (Slot::within(memory.len(), pointer)?, Slot::within(memory.len(), size)?);
    if !is_of_stream(map) {
        return get_of_answer(call, map, name, pointer, size);
    }
    let name = name.of(memory);
    let key = state.exchange_key().ok_or(Status::BadArgument)?;
    let list = state.exchange_of(key).and_then(|exchange| readable_in(exchange, map)).ok_or(Status::BadArgument)?;
    let Some((index, value)) = list.find(name) else { return missing(call, pointer, size) };
    let len = value.len();
    // Looked up again behind the allocator, which may not change maps: the value is copied once, into the guest.
    call.give_with(len, pointer, size, |out, state| {
        let list = state.exchange_of(key).and_then(|exchange| readable_in(exchange, map));
        if let Some((_, value)) = list.and_then(|list| list.at(index)).filter(|(_, value)| value.len() == len) {
            out.copy_from_slice(value);
        }
    })
}

/// As [`get`], of a map of a callout's answer.
#[cold]
fn get_of_answer<C: Caller<VmState> + ?Sized>(
    call: &mut Call<'_, C>,
    map: MapType,
    name: Slice,
    pointer: Slot,
    size: Slot,
) -> Outcome {
    let (memory, state) = call.memory();
    match state.answer_map(map).ok_or(Status::BadArgument)?.get(name.of(memory)).cloned() {
        Some(value) => call.give(&value, pointer, size),
        None => missing(call, pointer, size),
    }
}

/// A name that is not there: 0.1.0 has an empty value for it, later versions a status.
fn missing<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>, pointer: Slot, size: Slot) -> Outcome {
    if call.state().answers_missing_as_empty {
        return call.give(&[], pointer, size);
    }
    Ok(Status::NotFound)
}

pub(crate) fn add<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (map, name, value) = entry(call)?;
    let (memory, state) = call.memory();
    change(state, map, |list| list.add(name.of(memory), value.of(memory)))
}

pub(crate) fn replace<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (map, name, value) = entry(call)?;
    let (memory, state) = call.memory();
    change(state, map, |list| list.replace(name.of(memory), value.of(memory)))
}

pub(crate) fn remove<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let map = map_type(call, 0)?;
    let name = call.slice(1)?;
    let (memory, state) = call.memory();
    change(state, map, |list| list.remove(name.of(memory)))
}

fn entry<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Result<(MapType, Slice, Slice), Status> {
    Ok((map_type(call, 0)?, call.slice(1)?, call.slice(3)?))
}

#[inline]
fn map_type<C: Caller<VmState> + ?Sized>(call: &Call<'_, C>, i: usize) -> Result<MapType, Status> {
    MapType::from_u32(call.arg(i)).ok_or(Status::BadArgument)
}

fn readable<'a, C: Caller<VmState> + ?Sized>(
    call: &'a mut Call<'_, C>,
    map: MapType,
) -> Result<&'a HeaderList, Status> {
    list_of(call.state(), map).ok_or(Status::BadArgument)
}

fn list_of(state: &VmState, map: MapType) -> Option<&HeaderList> {
    match is_of_stream(map) {
        true => state.exchange().and_then(|exchange| readable_in(exchange, map)),
        false => state.answer_map(map),
    }
}

/// Whether a map is a stream's, not a callout's.
#[inline]
fn is_of_stream(map: MapType) -> bool {
    (map as u32) < MapType::GrpcInitialMetadata as u32
}

/// A map that has come and may be read: request headers in every later phase too.
#[inline]
fn readable_in(exchange: &Exchange, map: MapType) -> Option<&HeaderList> {
    match map {
        MapType::RequestHeaders if exchange.request.has_headers => Some(&exchange.request.headers),
        MapType::RequestTrailers if exchange.request.has_trailers => Some(&exchange.request.trailers),
        MapType::ResponseHeaders if exchange.response.has_headers => Some(&exchange.response.headers),
        MapType::ResponseTrailers if exchange.response.has_trailers => Some(&exchange.response.trailers),
        _ => None,
    }
}

/// Changes a map that has come and not left yet.
fn change(
    state: &mut VmState,
    map: MapType,
    edit: impl FnOnce(&mut HeaderList) -> Result<(), InvalidHeader>,
) -> Outcome {
    let list = state.exchange_mut().and_then(|exchange| writable_in(exchange, map)).ok_or(Status::BadArgument)?;
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
