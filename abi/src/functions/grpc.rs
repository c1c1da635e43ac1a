//! gRPC calls and streams.
//!
//! What cannot be understood of a call is a parse failure, as the SDKs know no other status for it: an upstream that may
//! not be called, names that no path can be made of, metadata that are not valid, a negative timeout.

use chassis_engine_api::Caller;

use super::Outcome;
use super::callouts::{fields, owner, timeout};
use crate::call::{Call, Slice, Slot};
use crate::callouts::{CalloutKind, GrpcCall, Unsent};
use crate::effects::Effect;
use crate::grpc_service;
use crate::headers::HeaderList;
use crate::state::VmState;
use crate::status::Status;

pub(crate) fn call<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let parts = Parts::of(call)?;
    let (message, out) = (call.slice(8)?, call.slot(11, 4)?);
    let mut grpc = parts.read(call).ok_or(Status::ParseFailure)?;
    grpc.timeout = timeout(call.arg(10)).map_err(|_| Status::ParseFailure)?;
    start(call, CalloutKind::GrpcCall, grpc, Some(message), out)
}

pub(crate) fn stream<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let parts = Parts::of(call)?;
    let out = call.slot(8, 4)?;
    let grpc = parts.read(call).ok_or(Status::ParseFailure)?;
    start(call, CalloutKind::GrpcStream, grpc, None, out)
}

pub(crate) fn send<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (id, message, end_of_stream) = (call.arg(0), call.slice(1)?, call.arg(3) != 0);
    let mut grpc = call.state().callouts.grpc(id).ok_or(Status::NotFound)?;
    match grpc.send(Some(message.len), end_of_stream) {
        Ok(()) => {}
        Err(Unsent::Ended) => return Ok(Status::BadArgument),
        Err(Unsent::Full) => return Ok(Status::InternalFailure),
    }
    let message = Some(call.copy(message));
    call.board()?.push(Effect::GrpcSend { id, message, end_of_stream });
    Ok(Status::Ok)
}

/// Ends the guest's side of a stream; a call is cancelled. To end what has ended already changes nothing.
pub(crate) fn close<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let id = call.arg(0);
    let mut grpc = call.state().callouts.grpc(id).ok_or(Status::NotFound)?;
    if !grpc.is_stream {
        return cancel(call);
    }
    if grpc.send(None, true).is_ok() {
        call.board()?.push(Effect::GrpcSend { id, message: None, end_of_stream: true });
    }
    Ok(Status::Ok)
}

pub(crate) fn cancel<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let id = call.arg(0);
    call.state().callouts.grpc(id).ok_or(Status::NotFound)?.cancel();
    call.board()?.push(Effect::GrpcCancel { id });
    Ok(Status::Ok)
}

/// What calls and streams are both started with.
struct Parts {
    upstream: Slice,
    service: Slice,
    method: Slice,
    metadata: Slice,
}

impl Parts {
    fn of<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Result<Self, Status> {
        let [upstream, service, method] = [call.slice(0)?, call.slice(2)?, call.slice(4)?];
        Ok(Parts { upstream, service, method, metadata: call.slice(6)? })
    }

    fn read<C: Caller<VmState> + ?Sized>(&self, call: &mut Call<'_, C>) -> Option<GrpcCall> {
        let (memory, state) = call.memory();
        let given = self.upstream.of(memory);
        let named = || state.callouts.allowed(grpc_service::target(given)?.as_bytes());
        let upstream = state.callouts.allowed(given).or_else(named)?.to_owned();
        let service = name(self.service.of(memory), true)?;
        let method = name(self.method.of(memory), false)?;
        let metadata = metadata(self.metadata.of(memory))?;
        Some(GrpcCall { upstream, service, method, metadata, ..GrpcCall::default() })
    }
}

fn start<C: Caller<VmState> + ?Sized>(
    call: &mut Call<'_, C>,
    kind: CalloutKind,
    mut grpc: GrpcCall,
    message: Option<Slice>,
    out: Slot,
) -> Outcome {
    let state = call.state();
    let Ok((context, stream)) = owner(state) else { return Ok(Status::InternalFailure) };
    let names = grpc.service.len() + grpc.method.len();
    let bytes = names + grpc.metadata.byte_size() + message.map_or(0, |message| message.len);
    if !state.callouts.has_room(stream, bytes) {
        return Ok(Status::InternalFailure);
    }
    grpc.message = message.map(|message| call.copy(message));
    let id = call.state().callouts.start(kind, context, stream, bytes);
    call.write_u32(out, id);
    call.board()?.push(Effect::GrpcCall { id, call: Box::new(grpc) });
    Ok(Status::Ok)
}

/// The name of a service or method. Some servers have services below a path of their own.
fn name(bytes: &[u8], with_slashes: bool) -> Option<String> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    let is_valid = |part: &[u8]| !part.is_empty() && part.iter().all(is_name);
    let valid = match with_slashes {
        true => bytes.split(|byte| *byte == b'/').all(is_valid),
        false => is_valid(bytes),
    };
    if !valid || bytes.len() > MAX_NAME_BYTES {
        return None;
    }
    String::from_utf8(bytes.to_vec()).ok()
}

/// Of a service and of a method.
const MAX_NAME_BYTES: usize = 1024;

/// Initial metadata. What belongs to the host is left out; binary values that are not base64 refuse the call.
fn metadata(bytes: &[u8]) -> Option<HeaderList> {
    let given = fields(bytes)?;
    let mut metadata = HeaderList::with_capacity(given.len());
    for (name, value) in given.iter().filter(|(name, _)| !OF_THE_HOST.contains(&&***name)) {
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=,".contains(byte);
        if name.ends_with(b"-bin") && !value.iter().all(is_base64) {
            return None;
        }
        metadata.push_unchecked(name.clone(), value.clone());
    }
    Some(metadata)
}

/// What a client says of itself and of its messages (gRPC over HTTP/2, "Requests").
const OF_THE_HOST: [&[u8]; 6] =
    [b"content-type", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding", b"grpc-message-type", b"grpc-status"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_make_a_path() {
        for good in ["a", "helloworld.Greeter", "below/a.B", "A_1-b"] {
            assert_eq!(name(good.as_bytes(), true).as_deref(), Some(good));
        }
        for bad in ["", "/", "/a", "a/", "a//b", "a b", "a?b", "a#b", "a\r\n", "\u{e4}", "a%2f"] {
            assert_eq!(name(bad.as_bytes(), true), None, "{bad}");
        }
        assert_eq!(name(b"a/b", false), None);
        assert_eq!(name(&[b'a'; MAX_NAME_BYTES + 1], true), None);
    }
}
