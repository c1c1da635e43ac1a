//! Resuming, closing and answering streams.

use chassis_engine_api::Caller;

use super::{Outcome, log};
use crate::call::{Call, Fault, Slice};
use crate::context::Context;
use crate::effects::{Effect, LocalResponse};
use crate::exchange::{Direction, StreamKind};
use crate::headers::{HeaderList, is_host_owned};
use crate::slab::Key;
use crate::state::VmState;
use crate::status::Status;
use crate::types::{LogLevel, StreamType};

/// How much of a local response's details is kept.
const MAX_DETAILS: usize = 1024;

pub(crate) fn continue_request<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    resume(call, Direction::Request)
}

pub(crate) fn continue_response<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    resume(call, Direction::Response)
}

/// 0.1.0's calls in the form in which the specification writes them, without a result.
pub(crate) fn continue_request_silently<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Result<(), Fault> {
    resume(call, Direction::Request).map(|_| ())
}

/// As [`continue_request_silently`].
pub(crate) fn continue_response_silently<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Result<(), Fault> {
    resume(call, Direction::Response).map(|_| ())
}

pub(crate) fn continue_stream<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (kind, direction) = stream_type(call)?;
    resume_kind(call, kind, direction)
}

pub(crate) fn close_stream<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (kind, from) = stream_type(call)?;
    if let Some((exchange, _)) = stream_of(call, kind) {
        call.board()?.push(match kind {
            StreamKind::Http => Effect::Close { exchange },
            StreamKind::Tcp => Effect::CloseConnection { exchange, from },
        });
    }
    Ok(Status::Ok)
}

pub(crate) fn send_local_response<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (status, grpc_status) = (call.arg(0), call.arg(7) as i32);
    let (details, body, headers) = (call.slice(1)?, call.slice(3)?, call.slice(5)?);
    if !(200..=599).contains(&status) {
        return Ok(Status::BadArgument);
    }
    let Some(headers) = local_headers(call.bytes(headers).0) else { return Ok(Status::BadArgument) };
    let state = call.state();
    let context = state.effective;
    let Some(Context::Stream { exchange, .. }) = state.contexts.get(context).copied() else {
        return Ok(Status::BadArgument);
    };
    let board = call.board()?;
    let Some(stream) = board.exchanges.get(exchange).filter(|stream| stream.kind == StreamKind::Http) else {
        return Ok(Status::BadArgument);
    };
    if stream.answered || board.is_being_answered(exchange) {
        log::emit(call.state(), LogLevel::Warn, b"a second local response on one stream has no effect");
        return Ok(Status::Ok);
    }
    if stream.response_started {
        return Ok(Status::BadArgument);
    }
    if body.len > stream.body_limit {
        return Ok(Status::InternalFailure);
    }
    let details = Slice { len: details.len.min(MAX_DETAILS), ..details };
    let response = Box::new(LocalResponse {
        status: status as u16,
        details: call.copy(details),
        headers,
        body: call.copy(body),
        grpc_status: u8::try_from(grpc_status).ok().filter(|code| *code <= 16),
    });
    call.board()?.push(Effect::LocalResponse { exchange, context, response });
    Ok(Status::Ok)
}

/// The headers of a local response: pseudo-headers and what belongs to the host are left out, anything else that is not
/// valid refuses the call.
fn local_headers(bytes: &[u8]) -> Option<HeaderList> {
    let given = HeaderList::decode(bytes).ok()?;
    let mut headers = HeaderList::with_capacity(given.len());
    for (name, value) in given.iter() {
        if name.starts_with(b":") || is_host_owned(name) || name.eq_ignore_ascii_case(b"content-length") {
            continue;
        }
        headers.add(name, value).ok()?;
    }
    Some(headers)
}

/// Leaves the resumption of the effective context's HTTP stream to the host; without one it has no effect.
fn resume<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>, direction: Direction) -> Outcome {
    resume_kind(call, StreamKind::Http, direction)
}

/// As [`resume`], of a stream of a kind.
fn resume_kind<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>, kind: StreamKind, direction: Direction) -> Outcome {
    if let Some((exchange, lane)) = stream_of(call, kind) {
        call.board()?.push(Effect::Continue { exchange, lane, direction });
    }
    Ok(Status::Ok)
}

/// The effective context's stream, and the context's lane there, if the stream is of this kind. A guest that names a
/// direction which its stream does not have asks for nothing that could be done or refused: SDKs take no status but
/// [`Status::Ok`].
fn stream_of<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>, kind: StreamKind) -> Option<(Key, usize)> {
    let state = call.state();
    let Some(Context::Stream { exchange, lane, .. }) = state.contexts.get(state.effective).copied() else {
        return None;
    };
    let stream = state.exchange_of(exchange)?;
    (stream.kind == kind).then_some((exchange, lane))
}

/// The stream type that a call is given, as a kind of stream and a direction of it.
fn stream_type<C: Caller<VmState> + ?Sized>(call: &Call<'_, C>) -> Result<(StreamKind, Direction), Status> {
    let direction = match StreamType::from_u32(call.arg(0)).ok_or(Status::BadArgument)? {
        StreamType::HttpRequest => (StreamKind::Http, Direction::Request),
        StreamType::HttpResponse => (StreamKind::Http, Direction::Response),
        StreamType::Downstream => (StreamKind::Tcp, Direction::Request),
        StreamType::Upstream => (StreamKind::Tcp, Direction::Response),
    };
    Ok(direction)
}
