//! Callouts: what guests ask of other servers goes to the embedder, who makes the calls, and its answers to the guests.
//!
//! A callout belongs to the plugin context that it was started for, and ends with it; what comes for it afterwards is
//! dropped. Each is answered once. Answers are events as any other, so none is delivered while a guest runs.

mod grpc;

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use chassis_abi::{Callback, Callout, CalloutAnswer, CalloutId, CalloutKind, Context, GrpcCall, HeaderList, HttpCall};
use thiserror::Error;

pub use self::grpc::{GrpcAnswer, GrpcEvent, GrpcStatus};
use crate::worker::{PluginId, Worker};

/// A callout of a worker; never valid again after it was answered or has ended otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CalloutKey {
    plugin: PluginId,
    /// Which of the plugin's VMs.
    vm: u64,
    id: CalloutId,
}

/// What the embedder has to do.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum CalloutWork {
    /// Make an HTTP request, and tell [`http_call_answered`](Worker::http_call_answered) what came of it within the
    /// call's timeout, which is always there.
    Http {
        /// Under which it is to be answered.
        key: CalloutKey,
        /// The request.
        call: Box<HttpCall>,
        /// How many bytes of body the response may have.
        limit: usize,
    },
    /// Make a gRPC call, which has a message and a timeout, and tell [`grpc_call_answered`](Worker::grpc_call_answered)
    /// what came of it; or start a stream, which has neither, and tell [`grpc_stream`](Worker::grpc_stream) what comes.
    Grpc {
        /// Under which it is to be answered.
        key: CalloutKey,
        /// What is to be started.
        call: Box<GrpcCall>,
        /// How many bytes a message of the answer may have.
        limit: usize,
    },
    /// Send on a gRPC stream, after all that was to be sent before. Messages that were handed on are to be told to
    /// [`grpc_sent`](Worker::grpc_sent), so that there is room for others.
    GrpcSend {
        /// The stream.
        key: CalloutKey,
        /// A message; none where only the end is to be sent.
        message: Option<Bytes>,
        /// Whether nothing comes after it.
        end_of_stream: bool,
    },
    /// Nobody waits for this one any more.
    Cancel {
        /// The callout, whose work was taken before.
        key: CalloutKey,
    },
}

/// A response to an HTTP callout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpAnswer {
    /// `:status` and the response's fields.
    pub headers: HeaderList,
    /// The whole body.
    pub body: Bytes,
    /// The trailers.
    pub trailers: HeaderList,
}

/// Why a callout has no answer. The plugin sees a response without headers, and the words by `proxy_get_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CalloutFailure {
    /// There is no such upstream (any more), or no connection to it.
    #[error("connection failure")]
    Connect,
    /// The connection broke off, or what came was no HTTP.
    #[error("reset")]
    Reset,
    /// It took too long.
    #[error("timeout")]
    Timeout,
    /// More came than may be held.
    #[error("response too large")]
    TooLarge,
    /// What the plugin wanted to be sent cannot be sent.
    #[error("invalid request")]
    Request,
}

/// What `proxy_get_status` gives for an HTTP callout that failed: the C++ host's number for a broken connection.
const BROKEN_CONNECTION: u32 = 11;

/// The headers that say of which trace a request is a part (W3C, Trace Context).
const TRACE: [&[u8]; 2] = [b"traceparent", b"tracestate"];

/// What the embedder has not taken yet, in order.
#[derive(Debug, Default)]
pub(crate) struct CalloutQueue(VecDeque<CalloutWork>);

impl CalloutWork {
    fn key(&self) -> CalloutKey {
        match self {
            CalloutWork::Http { key, .. }
            | CalloutWork::Grpc { key, .. }
            | CalloutWork::GrpcSend { key, .. }
            | CalloutWork::Cancel { key } => *key,
        }
    }
}

impl Worker {
    /// The next thing to be done for callouts. The worker's waker is woken when there is something.
    pub fn take_callout(&mut self) -> Option<CalloutWork> {
        self.callouts.0.pop_front()
    }

    /// What came of an HTTP callout: calls `proxy_on_http_call_response`. A body above the plugin's limit of held body is
    /// a failure. `false` if nobody waits for it (any more), or if it is no HTTP callout.
    pub fn http_call_answered(&mut self, key: CalloutKey, answer: Result<HttpAnswer, CalloutFailure>) -> bool {
        if Callout::kind(key.id) != Some(CalloutKind::Http) {
            return false;
        }
        let limit = self.answer_limit(key);
        let answer = answer.and_then(|answer| match answer.body.len() <= limit {
            true => Ok(CalloutAnswer {
                headers: answer.headers,
                body: answer.body,
                trailers: answer.trailers,
                ..CalloutAnswer::default()
            }),
            false => Err(CalloutFailure::TooLarge),
        });
        let answer = answer.unwrap_or_else(|failure| CalloutAnswer {
            code: BROKEN_CONNECTION,
            message: failure.to_string().into(),
            ..CalloutAnswer::default()
        });
        let args = [answer.headers.len(), answer.body.len(), answer.trailers.len()];
        let args = args.map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        let Some(context) = self.end_callout(key) else { return false };
        let args = [key.id, args[0], args[1], args[2]];
        self.tell(key, Callback::HttpCallResponse, context, &args, answer);
        true
    }

    /// Ends a callout; the plugin context that owns it, if both are still there.
    fn end_callout(&mut self, key: CalloutKey) -> Option<u32> {
        let state = self.vm_of(key.plugin, key.vm)?.instance.state();
        let callout = state.callouts.end(key.id)?;
        matches!(state.contexts.get(callout.context), Some(Context::Plugin { .. })).then_some(callout.context)
    }

    /// How many bytes a body or a message may have that is an answer.
    fn answer_limit(&self, key: CalloutKey) -> usize {
        self.plugin(key.plugin).map_or(0, |plugin| plugin.spec().limits.buffered_body)
    }

    /// The plugin context that owns a callout, if both are there.
    fn owner(&mut self, key: CalloutKey) -> Option<u32> {
        let state = self.vm_of(key.plugin, key.vm)?.instance.state();
        let context = state.callouts.get(key.id)?.context;
        matches!(state.contexts.get(context), Some(Context::Plugin { .. })).then_some(context)
    }

    /// Enters a plugin context with an answer, which is gone when that has returned.
    fn tell(&mut self, key: CalloutKey, callback: Callback, context: u32, args: &[u32], answer: CalloutAnswer) {
        if let Some(vm) = self.vm(key.plugin) {
            vm.instance.state().answer = Some(Box::new(answer));
        }
        self.enter(key.plugin, callback, context, args);
        // Its VM may be another one now, which has none.
        if let Some(vm) = self.vm(key.plugin) {
            vm.instance.state().answer = None;
        }
        self.apply_effects();
        self.run();
    }

    /// Leaves an HTTP callout to the embedder.
    pub(crate) fn start_http_call(&mut self, plugin: PluginId, id: CalloutId, mut call: Box<HttpCall>) {
        let Some(limits) = self.plugin(plugin).map(|plugin| &plugin.spec().limits) else { return };
        call.timeout = call.timeout.or(Some(limits.callout_timeout));
        let limit = limits.buffered_body;
        self.add_trace(plugin, id, &mut call.headers);
        let key = self.callout_key(plugin, id);
        self.leave(CalloutWork::Http { key, call, limit });
    }

    fn callout_key(&self, plugin: PluginId, id: CalloutId) -> CalloutKey {
        CalloutKey { plugin, vm: self.vm_number(plugin), id }
    }

    /// Has a call be a part of the trace of the stream that it is made for, unless the plugin has said of which it is.
    pub(super) fn add_trace(&mut self, plugin: PluginId, id: CalloutId, headers: &mut HeaderList) {
        if headers.get(TRACE[0]).is_some() {
            return;
        }
        let Some(vm) = self.vm(plugin) else { return };
        let state = vm.instance.state();
        let context = state.callouts.get(id).and_then(|callout| callout.stream);
        let Some(Context::Stream { exchange, .. }) = context.and_then(|context| state.contexts.get(context).copied())
        else {
            return;
        };
        let Some(exchange) = self.exchange(exchange) else { return };
        let request = &exchange.request.headers;
        for name in TRACE {
            request.get_all(name).for_each(|value| headers.push_unchecked(name, value.clone()));
        }
    }

    fn leave(&mut self, work: CalloutWork) {
        self.callouts.0.push_back(work);
        self.wake();
    }

    /// Ends the callouts of a VM that has ended: those that have not begun never do.
    pub(crate) fn end_callouts(&mut self, plugin: PluginId, vm: u64, ids: &[CalloutId]) {
        if ids.is_empty() {
            return;
        }
        let mut unbegun = HashSet::new();
        self.callouts.0.retain(|work| {
            let key = work.key();
            let stays = (key.plugin, key.vm) != (plugin, vm);
            if !stays && matches!(work, CalloutWork::Http { .. } | CalloutWork::Grpc { .. }) {
                unbegun.insert(key.id);
            }
            stays
        });
        for id in ids.iter().filter(|id| !unbegun.contains(id)) {
            self.leave(CalloutWork::Cancel { key: CalloutKey { plugin, vm, id: *id } });
        }
    }
}
