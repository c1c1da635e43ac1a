//! What a host call leaves to be done when the guest has returned.

use bytes::Bytes;

use crate::callouts::{CalloutId, GrpcCall, HttpCall};
use crate::context::ContextId;
use crate::exchange::Direction;
use crate::headers::HeaderList;
use crate::services::{ForeignCallback, QueueId};
use crate::slab::Key;

/// Something that touches a stream, a timer or another plugin. The host carries effects out in order; those of an entry that was
/// stopped are dropped.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Effect {
    /// Answer the client instead of the upstream.
    LocalResponse {
        /// The stream.
        exchange: Key,
        /// The context that asked for it.
        context: ContextId,
        /// The answer.
        response: Box<LocalResponse>,
    },
    /// Go on with a direction that this context paused.
    Continue {
        /// The stream.
        exchange: Key,
        /// The paused context's place in the chain.
        lane: usize,
        /// What to go on with.
        direction: Direction,
    },
    /// End the stream: the client sees a reset.
    Close {
        /// The stream.
        exchange: Key,
    },
    /// Close a connection of a TCP stream; what has passed the chain is still delivered on it.
    CloseConnection {
        /// The stream.
        exchange: Key,
        /// The direction that begins at the connection: the request's at the client's, the response's at the upstream's.
        from: Direction,
    },
    /// Call `proxy_on_tick` of a plugin context at this period from now on; 0 ends it.
    TickPeriod {
        /// The plugin context.
        context: ContextId,
        /// The period in milliseconds.
        milliseconds: u32,
    },
    /// A plugin context has finished what it deferred.
    Done {
        /// The plugin context.
        context: ContextId,
    },
    /// Make an HTTP request that was reserved.
    HttpCall {
        /// Its number, one of the VM's [`Callouts`](crate::Callouts).
        id: CalloutId,
        /// The request.
        call: Box<HttpCall>,
    },
    /// Call `proxy_on_queue_ready` of a plugin context for each item that comes into a queue from now on; it is the only
    /// consumer.
    ConsumeQueue {
        /// The plugin context.
        context: ContextId,
        /// The queue.
        queue: QueueId,
    },
    /// Tell the consumer of a queue of items that came.
    WakeConsumer {
        /// The queue.
        queue: QueueId,
        /// How many, 1 or more.
        items: u32,
    },
    /// Call `proxy_on_foreign_function` of a plugin context whenever a foreign function calls back.
    ListenForeign {
        /// The plugin context.
        context: ContextId,
        /// What the function calls.
        callback: ForeignCallback,
    },
    /// Start a gRPC call or stream that was reserved.
    GrpcCall {
        /// Its number, one of the VM's [`Callouts`](crate::Callouts), which tells what it is.
        id: CalloutId,
        /// What is to be started.
        call: Box<GrpcCall>,
    },
    /// Send on a gRPC stream.
    GrpcSend {
        /// The stream.
        id: CalloutId,
        /// A message without its frame; none where only the end is sent.
        message: Option<Bytes>,
        /// Whether nothing is sent after it.
        end_of_stream: bool,
    },
    /// End a gRPC call or stream, of which nothing is told any more.
    GrpcCancel {
        /// The call or stream.
        id: CalloutId,
    },
}

/// What an effect is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Response(Key),
    Continue(Key, usize, Direction),
    Close(Key),
    CloseConnection(Key, Direction),
    Timer(ContextId),
    Done(ContextId),
    Consumer(QueueId),
    Items(QueueId),
    /// One for each: they are as many as the calls of the embedder's functions that asked for one.
    Foreign(usize),
}

impl Effect {
    /// What only one effect of an entry can be about; `None` if each counts.
    pub(crate) fn subject(&self) -> Option<Subject> {
        Some(match self {
            Effect::LocalResponse { exchange, .. } => Subject::Response(*exchange),
            Effect::Continue { exchange, lane, direction } => Subject::Continue(*exchange, *lane, *direction),
            Effect::Close { exchange } => Subject::Close(*exchange),
            Effect::CloseConnection { exchange, from } => Subject::CloseConnection(*exchange, *from),
            Effect::TickPeriod { context, .. } => Subject::Timer(*context),
            Effect::Done { context } => Subject::Done(*context),
            Effect::ConsumeQueue { queue, .. } => Subject::Consumer(*queue),
            Effect::WakeConsumer { queue, .. } => Subject::Items(*queue),
            Effect::ListenForeign { callback, .. } => Subject::Foreign(callback.address()),
            Effect::HttpCall { .. } | Effect::GrpcCall { .. } | Effect::GrpcSend { .. } | Effect::GrpcCancel { .. } => {
                return None;
            }
        })
    }
}

/// A response that a plugin made (ABI 0.2.1, `proxy_send_local_response`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalResponse {
    /// The status, 200 to 599.
    pub status: u16,
    /// Why, for logs; at most 1 KiB of any bytes.
    pub details: Bytes,
    /// The headers that the plugin wants, without pseudo-headers and framing.
    pub headers: HeaderList,
    /// The body, within the stream's body limit.
    pub body: Bytes,
    /// The gRPC status, if it is one.
    pub grpc_status: Option<u8>,
}
