//! gRPC calls and streams. A call ends with its one answer: the message, or why there is none. A stream ends when it is
//! closed. Nothing is told of one that its guest has cancelled.

use bytes::Bytes;
use chassis_abi::{
    Callback, Callout, CalloutAnswer, CalloutId, CalloutKind, Context, GrpcCall, HeaderList, message_bytes,
};

use super::{CalloutKey, CalloutWork};
use crate::worker::{PluginId, Worker};

/// How a gRPC call or stream has ended: what `proxy_get_status` gives in `proxy_on_grpc_close`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrpcStatus {
    /// One of gRPC's numbers, 0 to 16.
    pub code: u8,
    /// The words for it; often none.
    pub message: Bytes,
}

impl GrpcStatus {
    /// 0: it went well.
    pub const OK: u8 = 0;
    /// 2: nothing is known of it.
    pub const UNKNOWN: u8 = 2;
    /// 4: it took too long.
    pub const DEADLINE_EXCEEDED: u8 = 4;
    /// 8: more came than may be held.
    pub const RESOURCE_EXHAUSTED: u8 = 8;
    /// 12: the server does not have it.
    pub const UNIMPLEMENTED: u8 = 12;
    /// 13: one of both sides is broken.
    pub const INTERNAL: u8 = 13;
    /// 14: there is no connection (any more).
    pub const UNAVAILABLE: u8 = 14;

    /// A status with words.
    pub fn new(code: u8, message: impl Into<Bytes>) -> Self {
        GrpcStatus { code, message: message.into() }
    }

    fn too_large() -> Self {
        GrpcStatus::new(GrpcStatus::RESOURCE_EXHAUSTED, "message too large")
    }
}

/// What a gRPC call was answered. Values of names in `-bin` are base64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrpcAnswer {
    /// `:status` and the response's fields.
    pub initial: HeaderList,
    /// The message without its frame.
    pub message: Bytes,
    /// The trailers.
    pub trailing: HeaderList,
}

/// What happens on a gRPC stream, in this order, of which anything but the end can be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrpcEvent {
    /// Initial metadata has come: `:status` and the response's fields.
    Initial(HeaderList),
    /// A message has come, without its frame. There can be any number of them.
    Message(Bytes),
    /// Trailing metadata has come.
    Trailing(HeaderList),
    /// The stream has ended.
    Closed(GrpcStatus),
}

impl Worker {
    /// What came of a gRPC call: calls `proxy_on_grpc_receive` between `proxy_on_grpc_receive_initial_metadata` and
    /// `proxy_on_grpc_receive_trailing_metadata`, or only `proxy_on_grpc_close`. A message above the plugin's limit of
    /// held body is a failure. `false` if nobody waits for it (any more), or if it is no call.
    pub fn grpc_call_answered(&mut self, key: CalloutKey, answer: Result<GrpcAnswer, GrpcStatus>) -> bool {
        if Callout::kind(key.id) != Some(CalloutKind::GrpcCall) {
            return false;
        }
        let limit = self.answer_limit(key);
        let answer = match answer {
            Ok(answer) if answer.message.len() > limit => Err(GrpcStatus::too_large()),
            // To a guest this would not be the end that it is.
            Err(status) if status.code == GrpcStatus::OK => Err(GrpcStatus { code: GrpcStatus::UNKNOWN, ..status }),
            other => other,
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(status) => return self.close_grpc(key, status),
        };
        if !self.tell_metadata(key, Callback::GrpcReceiveInitialMetadata, answer.initial) {
            return false;
        }
        // The guest may have cancelled it meanwhile.
        let Some(context) = self.end_callout(key) else { return true };
        let args = [key.id, size(answer.message.len())];
        self.tell(key, Callback::GrpcReceive, context, &args, with_body(answer.message));
        if self.has_context(key, context) {
            let args = [key.id, size(answer.trailing.len())];
            let trailing = CalloutAnswer { trailers: answer.trailing, ..CalloutAnswer::default() };
            self.tell(key, Callback::GrpcReceiveTrailingMetadata, context, &args, trailing);
        }
        true
    }

    /// What happened on a gRPC stream: calls the callback for it. A message above the plugin's limit of held body closes
    /// the stream. `false` if nobody waits for it (any more), or if it is no stream.
    pub fn grpc_stream(&mut self, key: CalloutKey, event: GrpcEvent) -> bool {
        if Callout::kind(key.id) != Some(CalloutKind::GrpcStream) {
            return false;
        }
        match event {
            GrpcEvent::Initial(metadata) => self.tell_metadata(key, Callback::GrpcReceiveInitialMetadata, metadata),
            GrpcEvent::Trailing(metadata) => self.tell_metadata(key, Callback::GrpcReceiveTrailingMetadata, metadata),
            GrpcEvent::Message(message) if message.len() > self.answer_limit(key) => {
                let closed = self.close_grpc(key, GrpcStatus::too_large());
                if closed {
                    self.leave(CalloutWork::Cancel { key });
                }
                closed
            }
            GrpcEvent::Message(message) => {
                let Some(context) = self.owner(key) else { return false };
                let args = [key.id, size(message.len())];
                self.tell(key, Callback::GrpcReceive, context, &args, with_body(message));
                true
            }
            GrpcEvent::Closed(status) => self.close_grpc(key, status),
        }
    }

    /// A message of a stream was handed on: there is room for others.
    pub fn grpc_sent(&mut self, key: CalloutKey, message: &Bytes) {
        if let Some(vm) = self.vm_of(key.plugin, key.vm) {
            vm.instance.state().callouts.release(key.id, message_bytes(message));
        }
    }

    fn close_grpc(&mut self, key: CalloutKey, status: GrpcStatus) -> bool {
        let Some(context) = self.end_callout(key) else { return false };
        let GrpcStatus { code, message } = status;
        let code = u32::from(code);
        let answer = CalloutAnswer { code, message, ..CalloutAnswer::default() };
        self.tell(key, Callback::GrpcClose, context, &[key.id, code], answer);
        true
    }

    fn tell_metadata(&mut self, key: CalloutKey, callback: Callback, metadata: HeaderList) -> bool {
        let Some(context) = self.owner(key) else { return false };
        let args = [key.id, size(metadata.len())];
        let mut answer = CalloutAnswer::default();
        match callback {
            Callback::GrpcReceiveInitialMetadata => answer.headers = metadata,
            _ => answer.trailers = metadata,
        }
        self.tell(key, callback, context, &args, answer);
        true
    }

    fn has_context(&mut self, key: CalloutKey, context: u32) -> bool {
        let vm = self.vm_of(key.plugin, key.vm);
        vm.is_some_and(|vm| matches!(vm.instance.state().contexts.get(context), Some(Context::Plugin { .. })))
    }

    /// Leaves a gRPC call or stream to the embedder.
    pub(crate) fn start_grpc(&mut self, plugin: PluginId, id: CalloutId, mut call: Box<GrpcCall>) {
        let Some(limits) = self.plugin(plugin).map(|plugin| &plugin.spec().limits) else { return };
        if call.message.is_some() {
            call.timeout = call.timeout.or(Some(limits.callout_timeout));
        }
        let limit = limits.buffered_body;
        self.add_trace(plugin, id, &mut call.metadata);
        let key = self.callout_key(plugin, id);
        self.leave(CalloutWork::Grpc { key, call, limit });
    }

    pub(crate) fn send_grpc(&mut self, plugin: PluginId, id: CalloutId, message: Option<Bytes>, end_of_stream: bool) {
        let key = self.callout_key(plugin, id);
        self.leave(CalloutWork::GrpcSend { key, message, end_of_stream });
    }

    pub(crate) fn cancel_grpc(&mut self, plugin: PluginId, id: CalloutId) {
        let key = self.callout_key(plugin, id);
        if self.end_callout(key).is_some() {
            self.leave(CalloutWork::Cancel { key });
        }
    }
}

fn with_body(body: Bytes) -> CalloutAnswer {
    CalloutAnswer { body, ..CalloutAnswer::default() }
}

fn size(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
