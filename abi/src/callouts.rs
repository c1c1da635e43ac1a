//! Callouts: what a VM asks of other servers, and what it is told of their answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::callbacks::Callback;
use crate::context::ContextId;
use crate::effects::Effect;
use crate::headers::HeaderList;
use crate::types::MapType;

/// A callout's number as its guest sees it: unique in its VM while the callout is under way, and never 0.
pub type CalloutId = u32;

/// What kind a callout is: the lowest two bits of its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CalloutKind {
    /// One HTTP request.
    Http = 0,
    /// One gRPC message, and one in return.
    GrpcCall = 1,
    /// A gRPC stream.
    GrpcStream = 2,
}

/// Whom a plugin may call, and how much of it may be under way at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalloutRules {
    /// The names of upstreams as guests give them, compared as they are; none by default.
    pub upstreams: Arc<BTreeSet<String>>,
    /// Callouts that one stream context has started: 32 by default.
    pub per_stream: usize,
    /// Callouts in all: 1,024 by default.
    pub per_vm: usize,
    /// Bytes that all of them send together, headers included: 64 MiB by default.
    pub bytes: usize,
}

impl Default for CalloutRules {
    fn default() -> Self {
        CalloutRules { upstreams: Arc::default(), per_stream: 32, per_vm: 1024, bytes: 64 << 20 }
    }
}

/// The callouts of one VM that are under way. They end with it.
#[derive(Debug, Default)]
pub struct Callouts {
    /// What is allowed.
    pub rules: CalloutRules,
    last: u32,
    live: FxHashMap<CalloutId, Callout>,
    bytes: usize,
}

/// A callout that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Callout {
    /// The plugin context that owns it, whichever context has started it.
    pub context: ContextId,
    /// The stream context that has started it.
    pub stream: Option<ContextId>,
    bytes: usize,
    /// Whether its guest may send more on it.
    sends: bool,
    /// Whether its guest has cancelled it, which is to be carried out when it has returned.
    cancelled: bool,
}

impl Callout {
    /// What kind a callout with this number is.
    pub fn kind(id: CalloutId) -> Option<CalloutKind> {
        [CalloutKind::Http, CalloutKind::GrpcCall, CalloutKind::GrpcStream].get((id & KINDS) as usize).copied()
    }
}

impl Callouts {
    /// A callout that is under way.
    pub fn get(&self, id: CalloutId) -> Option<&Callout> {
        self.live.get(&id)
    }

    /// Ends a callout: nothing more comes of it.
    pub fn end(&mut self, id: CalloutId) -> Option<Callout> {
        let callout = self.live.remove(&id)?;
        self.bytes -= callout.bytes;
        Some(callout)
    }

    /// The numbers of all, in ascending order.
    pub fn ids(&self) -> Vec<CalloutId> {
        let mut ids: Vec<_> = self.live.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Gives back so many bytes of a callout that were sent.
    pub fn release(&mut self, id: CalloutId, bytes: usize) {
        if let Some(callout) = self.live.get_mut(&id) {
            let bytes = bytes.min(callout.bytes);
            callout.bytes -= bytes;
            self.bytes -= bytes;
        }
    }

    /// What a guest may still do with a gRPC call or stream that it has.
    pub(crate) fn grpc(&mut self, id: CalloutId) -> Option<Grpc<'_>> {
        let kind = Callout::kind(id).filter(|kind| *kind != CalloutKind::Http)?;
        let callout = self.live.get_mut(&id).filter(|callout| !callout.cancelled)?;
        Some(Grpc {
            is_stream: kind == CalloutKind::GrpcStream,
            callout,
            bytes: &mut self.bytes,
            limit: self.rules.bytes,
        })
    }

    /// Takes back what a guest that was stopped has left to be done.
    pub(crate) fn undo(&mut self, effect: &Effect) {
        match effect {
            Effect::HttpCall { id, .. } | Effect::GrpcCall { id, .. } => drop(self.end(*id)),
            Effect::GrpcSend { id, message, end_of_stream } => {
                self.release(*id, message.as_ref().map_or(0, message_bytes));
                if let Some(callout) = self.live.get_mut(id) {
                    callout.sends |= end_of_stream;
                }
            }
            Effect::GrpcCancel { id } => {
                if let Some(callout) = self.live.get_mut(id) {
                    callout.cancelled = false;
                }
            }
            _ => {}
        }
    }

    /// The name of an upstream that may be called.
    pub(crate) fn allowed(&self, upstream: &[u8]) -> Option<&str> {
        let upstream = std::str::from_utf8(upstream).ok()?;
        self.rules.upstreams.get(upstream).map(String::as_str)
    }

    /// Whether another one that sends so many bytes may be started.
    pub(crate) fn has_room(&self, stream: Option<ContextId>, bytes: usize) -> bool {
        let CalloutRules { per_stream, per_vm, bytes: most, .. } = self.rules;
        let of_stream = || self.live.values().filter(|callout| callout.stream == stream).count();
        self.live.len() < per_vm
            && self.bytes.saturating_add(bytes) <= most
            && (stream.is_none() || of_stream() < per_stream)
    }

    /// Starts one for which there is room.
    pub(crate) fn start(
        &mut self,
        kind: CalloutKind,
        context: ContextId,
        stream: Option<ContextId>,
        bytes: usize,
    ) -> CalloutId {
        loop {
            self.last = self.last.wrapping_add(1);
            let id = (self.last << KIND_BITS) | kind as u32;
            if id >> KIND_BITS != 0 && !self.live.contains_key(&id) {
                let sends = kind == CalloutKind::GrpcStream;
                self.live.insert(id, Callout { context, stream, bytes, sends, cancelled: false });
                self.bytes += bytes;
                return id;
            }
        }
    }
}

/// A gRPC call or stream that its guest has not cancelled.
pub(crate) struct Grpc<'a> {
    /// Whether messages can be sent on it.
    pub(crate) is_stream: bool,
    callout: &'a mut Callout,
    bytes: &'a mut usize,
    limit: usize,
}

/// Why a message is not sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// It is no stream, or its guest has ended its side.
    Ended,
    /// Too much is waiting to be sent.
    Full,
}

impl Grpc<'_> {
    /// Takes the room for a message, and ends the guest's side with it or without one.
    pub(crate) fn send(&mut self, message: Option<usize>, end_of_stream: bool) -> Result<(), Unsent> {
        if !self.callout.sends {
            return Err(Unsent::Ended);
        }
        let bytes = message.map_or(0, |len| len.saturating_add(MESSAGE_BYTES));
        if bytes > 0 && self.bytes.saturating_add(bytes) > self.limit {
            return Err(Unsent::Full);
        }
        self.callout.bytes += bytes;
        *self.bytes += bytes;
        self.callout.sends = !end_of_stream;
        Ok(())
    }

    /// Ends it.
    pub(crate) fn cancel(&mut self) {
        self.callout.cancelled = true;
    }
}

/// What a message on a stream counts among the bytes of [`CalloutRules`]: even an empty one costs something.
pub fn message_bytes(message: &Bytes) -> usize {
    message.len().saturating_add(MESSAGE_BYTES)
}

/// More than a message on a stream costs beside its bytes.
const MESSAGE_BYTES: usize = 128;

const KIND_BITS: u32 = 2;
const KINDS: u32 = (1 << KIND_BITS) - 1;

/// An HTTP request that a guest wants to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpCall {
    /// The name of the upstream, one of those that are allowed.
    pub upstream: String,
    /// The headers: `:method`, `:path` and `:authority` are there, framing and hop-by-hop fields are not.
    pub headers: HeaderList,
    /// The body; often empty.
    pub body: Bytes,
    /// The trailers; often none.
    pub trailers: HeaderList,
    /// How long it may take; `None` leaves that to the host.
    pub timeout: Option<Duration>,
}

/// A gRPC call or stream that a guest wants to be started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrpcCall {
    /// The name of the upstream, one of those that are allowed.
    pub upstream: String,
    /// The service's full name, of which a path can be made.
    pub service: String,
    /// The method's name, of which a path can be made.
    pub method: String,
    /// The initial metadata, without what belongs to the host. As in Envoy, values of names in `-bin` are base64.
    pub metadata: HeaderList,
    /// The message of a call, without a frame; a stream has none.
    pub message: Option<Bytes>,
    /// How long a call may take; `None` leaves that to the host. A stream has no limit.
    pub timeout: Option<Duration>,
}

/// What a callback that is about a callout lets its guest read, and nothing else does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CalloutAnswer {
    /// Response headers or initial metadata (maps 6 and 4).
    pub headers: HeaderList,
    /// A response's body or a message (buffers 4 and 5).
    pub body: Bytes,
    /// Response trailers or trailing metadata (maps 7 and 5).
    pub trailers: HeaderList,
    /// What `proxy_get_status` gives: 0, or why the callout failed.
    pub code: u32,
    /// The words for it.
    pub message: Bytes,
}

impl CalloutAnswer {
    /// A map, in the callback that is about it.
    pub(crate) fn map(&self, map: MapType, callback: Option<Callback>) -> Option<&HeaderList> {
        match (map, callback?) {
            (MapType::HttpCallResponseHeaders, Callback::HttpCallResponse)
            | (MapType::GrpcInitialMetadata, Callback::GrpcReceiveInitialMetadata) => Some(&self.headers),
            (MapType::HttpCallResponseTrailers, Callback::HttpCallResponse)
            | (MapType::GrpcTrailingMetadata, Callback::GrpcReceiveTrailingMetadata) => Some(&self.trailers),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callouts(per_stream: usize, per_vm: usize, bytes: usize) -> Callouts {
        Callouts { rules: CalloutRules { per_stream, per_vm, bytes, ..CalloutRules::default() }, ..Callouts::default() }
    }

    #[test]
    fn numbers_tell_the_kind_and_are_not_given_twice() {
        let mut callouts = callouts(9, 9, 9);
        assert_eq!(callouts.start(CalloutKind::Http, 1, None, 0), 4);
        assert_eq!(callouts.start(CalloutKind::GrpcCall, 1, None, 0), 9);
        assert_eq!(callouts.start(CalloutKind::GrpcStream, 1, Some(2), 0), 14);
        assert_eq!(callouts.ids(), [4, 9, 14]);
        // The counter wraps: 0 and the living are left out.
        callouts.last = (1 << 30) - 1;
        assert_eq!(callouts.start(CalloutKind::Http, 1, None, 0), 8);
        assert_eq!(callouts.end(14).unwrap().stream, Some(2));
        assert_eq!(callouts.end(14), None);
    }

    #[test]
    fn a_stream_takes_messages_until_it_is_full_ended_or_cancelled() {
        let mut callouts = callouts(9, 9, 2 * MESSAGE_BYTES + 10);
        let call = callouts.start(CalloutKind::GrpcCall, 1, None, 0);
        let stream = callouts.start(CalloutKind::GrpcStream, 1, None, 0);
        let http = callouts.start(CalloutKind::Http, 1, None, 0);
        assert!(callouts.grpc(http).is_none() && callouts.grpc(stream + 4).is_none() && callouts.grpc(3).is_none());
        let mut send = |id, bytes, end| callouts.grpc(id).unwrap().send(bytes, end);
        assert_eq!(send(call, Some(1), false), Err(Unsent::Ended));
        assert_eq!(send(stream, Some(usize::MAX), false), Err(Unsent::Full));
        assert_eq!(send(stream, Some(10), false), Ok(()));
        assert_eq!(send(stream, Some(1), false), Err(Unsent::Full));
        assert_eq!(send(stream, Some(0), false), Ok(()));
        callouts.release(stream, message_bytes(&Bytes::from_static(b"0123456789")));
        let mut send = |id, bytes, end| callouts.grpc(id).unwrap().send(bytes, end);
        assert_eq!(send(stream, None, true), Ok(()));
        assert_eq!(send(stream, Some(1), false), Err(Unsent::Ended));
        callouts.grpc(stream).unwrap().cancel();
        assert!(callouts.grpc(stream).is_none() && callouts.get(stream).is_some());
        callouts.release(stream, usize::MAX);
        assert_eq!((callouts.bytes, callouts.ids()), (0, vec![call, stream, http]));
    }

    #[test]
    fn what_a_stopped_guest_left_is_taken_back() {
        let mut callouts = callouts(9, 9, 1000);
        let stream = callouts.start(CalloutKind::GrpcStream, 1, None, 5);
        let message = Bytes::from_static(b"abc");
        callouts.grpc(stream).unwrap().send(Some(3), true).unwrap();
        callouts.grpc(stream).unwrap().cancel();
        callouts.undo(&Effect::GrpcSend { id: stream, message: Some(message), end_of_stream: true });
        callouts.undo(&Effect::GrpcCancel { id: stream });
        assert_eq!(callouts.bytes, 5);
        assert_eq!(callouts.grpc(stream).unwrap().send(Some(1), false), Ok(()));
        callouts.undo(&Effect::GrpcCall { id: stream, call: Box::default() });
        assert!(callouts.is_empty() && callouts.bytes == 0);
    }

    #[test]
    fn there_is_room_up_to_each_limit() {
        let mut callouts = callouts(1, 3, 10);
        assert!(callouts.has_room(Some(2), 10) && !callouts.has_room(Some(2), 11));
        assert!(!callouts.has_room(Some(2), usize::MAX));
        let id = callouts.start(CalloutKind::Http, 1, Some(2), 10);
        assert!(!callouts.has_room(Some(2), 0) && callouts.has_room(Some(3), 0) && !callouts.has_room(Some(3), 1));
        callouts.end(id);
        assert!(callouts.has_room(Some(2), 10));
        for _ in 0..3 {
            callouts.start(CalloutKind::Http, 1, None, 0);
        }
        assert!(!callouts.has_room(None, 0));
    }
}
