//! HTTP callouts, and why a callout failed.

use std::time::Duration;

use chassis_engine_api::Caller;

use super::Outcome;
use crate::call::Call;
use crate::callouts::{CalloutKind, HttpCall};
use crate::context::{Context, ContextId};
use crate::effects::Effect;
use crate::headers::{HeaderList, is_host_owned};
use crate::state::VmState;
use crate::status::Status;

pub(crate) fn http_call<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let [upstream, headers, body, trailers] = [call.slice(0)?, call.slice(2)?, call.slice(4)?, call.slice(6)?];
    let (timeout, out) = (timeout(call.arg(8))?, call.slot(9, 4)?);
    let (memory, state) = call.memory();
    let upstream = state.callouts.allowed(upstream.of(memory)).ok_or(Status::BadArgument)?.to_owned();
    let headers = request_headers(headers.of(memory)).ok_or(Status::BadArgument)?;
    let trailers = fields(trailers.of(memory)).ok_or(Status::BadArgument)?;
    let (context, stream) = owner(state)?;
    let bytes = headers.byte_size() + body.len + trailers.byte_size();
    if !state.callouts.has_room(stream, bytes) {
        return Ok(Status::InternalFailure);
    }
    let body = call.copy(body);
    let id = call.state().callouts.start(CalloutKind::Http, context, stream, bytes);
    call.write_u32(out, id);
    let request = Box::new(HttpCall { upstream, headers, body, trailers, timeout });
    call.board()?.push(Effect::HttpCall { id, call: request });
    Ok(Status::Ok)
}

/// Of the callout that the callback is about; elsewhere there is none.
pub(crate) fn get_status<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (code, pointer, size) = (call.slot(0, 4)?, call.slot(1, 4)?, call.slot(2, 4)?);
    let (number, message) = match &call.state().answer {
        Some(answer) => (answer.code, answer.message.clone()),
        None => Default::default(),
    };
    let status = call.give(&message, pointer, size)?;
    call.write_u32(code, number);
    Ok(status)
}

/// A timeout in milliseconds; 0 leaves it to the host, and what is negative as a signed number is none.
pub(super) fn timeout(milliseconds: u32) -> Result<Option<Duration>, Status> {
    match milliseconds {
        0 => Ok(None),
        1..=MAX_TIMEOUT => Ok(Some(Duration::from_millis(u64::from(milliseconds)))),
        _ => Err(Status::BadArgument),
    }
}

const MAX_TIMEOUT: u32 = i32::MAX as u32;

/// Whose a callout is that is started now: a plugin context's always, and the stream context that it counts for.
pub(super) fn owner(state: &VmState) -> Result<(ContextId, Option<ContextId>), Status> {
    let context = state.plugin_context().ok_or(Status::BadArgument)?;
    let is_stream = matches!(state.contexts.get(state.effective), Some(Context::Stream { .. }));
    Ok((context, is_stream.then_some(state.effective)))
}

/// The headers of a request. What belongs to the host is left out, anything else that is not valid refuses the call.
fn request_headers(bytes: &[u8]) -> Option<HeaderList> {
    let given = HeaderList::decode(bytes).ok()?;
    let mut headers = HeaderList::with_capacity(given.len());
    for (name, value) in given.iter().filter(|(name, _)| name.starts_with(b":")) {
        let known = [b":method".as_slice(), b":path", b":authority", b":scheme"].contains(&name.as_ref());
        if !known || headers.get(name).is_some() {
            return None;
        }
        headers.add_pseudo(name, value).ok()?;
    }
    let is_whole = [b":method".as_slice(), b":path", b":authority"].iter().all(|name| headers.get(name).is_some());
    // A tunnel would be open for whatever follows.
    if !is_whole || headers.get(b":method").is_some_and(|method| method == "CONNECT") {
        return None;
    }
    add_fields(&mut headers, &given)?;
    Some(headers)
}

/// Trailers or metadata, by the same rules, without pseudo-headers.
pub(super) fn fields(bytes: &[u8]) -> Option<HeaderList> {
    let given = HeaderList::decode(bytes).ok()?;
    if given.iter().any(|(name, _)| name.starts_with(b":")) {
        return None;
    }
    let mut fields = HeaderList::with_capacity(given.len());
    add_fields(&mut fields, &given)?;
    Some(fields)
}

fn add_fields(list: &mut HeaderList, given: &HeaderList) -> Option<()> {
    for (name, value) in given.iter().filter(|(name, _)| !name.starts_with(b":")) {
        let framing = [b"host".as_slice(), b"content-length", b"expect"];
        if !is_host_owned(name) && !framing.iter().any(|field| field.eq_ignore_ascii_case(name)) {
            list.add(name, value).ok()?;
        }
    }
    Some(())
}
