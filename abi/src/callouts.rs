//! Callouts: what a VM asks of other servers, and what it is told of their answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::callbacks::Callback;
use crate::context::ContextId;
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
                self.live.insert(id, Callout { context, stream, bytes });
                self.bytes += bytes;
                return id;
            }
        }
    }
}

const KIND_BITS: u32 = 2;

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
