//! The state of one instance.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chassis_engine_api::Export;

use crate::board::Board;
use crate::callbacks::Callback;
use crate::callouts::{CalloutAnswer, Callouts};
use crate::context::{Context, ContextId, Contexts};
use crate::dialect::Dialect;
use crate::entry::Exports;
use crate::exchange::{Exchange, Lane, StreamKind};
use crate::functions::output::Output;
use crate::headers::HeaderList;
use crate::services::{Quotas, SharedServices};
use crate::slab::Key;
use crate::types::MapType;

/// What a plugin is called and configured with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The name under which it is configured; property `plugin_name`.
    pub name: String,
    /// Which root context of the module it is; property `plugin_root_id`.
    pub root_id: String,
    /// The namespace of shared data and queues; property `plugin_vm_id`.
    pub vm_id: String,
    /// The VM's configuration.
    pub vm_configuration: Bytes,
    /// The environment: `NAME=value`, all that the guest sees of one.
    pub environment: Vec<(String, String)>,
    /// What it may have in the stores that plugins share.
    pub quotas: Quotas,
    /// Whose names for properties it uses.
    pub dialect: Dialect,
}

/// What a plugin context is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Which root context of the module it is, where that is not the one of its plugin's [`Identity`].
    pub root_id: Option<String>,
    /// What `proxy_on_configure` can read.
    pub data: Bytes,
}

impl From<Bytes> for Configuration {
    fn from(data: Bytes) -> Self {
        Configuration { root_id: None, data }
    }
}

impl From<&'static str> for Configuration {
    fn from(data: &'static str) -> Self {
        Bytes::from_static(data.as_bytes()).into()
    }
}

/// What kind of guest code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A start function: the module's start section, `_initialize`, `main` or `_start`.
    Start,
    /// A callback.
    Callback,
    /// The allocator, on behalf of a host call.
    Allocator,
}

/// The state of an instance, and so of one VM: its contexts, and where in it the guest is now.
#[derive(Debug)]
pub struct VmState {
    /// The worker's board, here for as long as the guest runs.
    pub board: Option<Box<Board>>,
    /// The plugin.
    pub identity: Identity,
    /// The live contexts.
    pub contexts: Contexts,
    /// The configuration of each plugin context, by [`Context::Plugin::configuration`](crate::Context).
    pub configurations: Vec<Configuration>,
    /// The callouts that are under way.
    pub callouts: Callouts,
    /// What the callback that is entered next is about, if it is a callout's; taken away when it has returned.
    pub answer: Option<Box<CalloutAnswer>>,
    /// What a foreign function calls back with: buffer 8 in `proxy_on_foreign_function`.
    pub foreign_arguments: Bytes,
    pub(crate) phase: Phase,
    pub(crate) callback: Option<Callback>,
    pub(crate) effective: ContextId,
    pub(crate) exports: Exports,
    pub(crate) allocator: Option<Export>,
    /// Whether a header that is not there has an empty value, as 0.1.0 says.
    pub(crate) answers_missing_as_empty: bool,
    /// What was written of lines that have not ended.
    pub(crate) output: Output,
    /// Where the board goes if the state is dropped while it has it.
    rescue: Option<Rescue>,
}

/// A place for a board whose instance did not come to be.
pub(crate) type Rescue = Arc<Mutex<Option<Box<Board>>>>;

impl VmState {
    /// A VM that has not started; it lends from `board` at once, for the module's start section.
    pub(crate) fn new(identity: Identity, board: Box<Board>) -> Self {
        VmState {
            board: Some(board),
            identity,
            contexts: Contexts::default(),
            configurations: Vec::new(),
            callouts: Callouts::default(),
            answer: None,
            foreign_arguments: Bytes::new(),
            phase: Phase::Start,
            callback: None,
            effective: 0,
            exports: Exports::NONE,
            allocator: None,
            answers_missing_as_empty: false,
            output: Output::default(),
            rescue: None,
        }
    }

    /// As [`new`](VmState::new); a panic in the module's start section leaves the board in `rescue`.
    pub(crate) fn rescued(identity: Identity, board: Box<Board>, rescue: Rescue) -> Self {
        let mut state = VmState::new(identity, board);
        state.rescue = Some(rescue);
        state
    }

    /// The instance is there: from now on entries take care of the board.
    pub(crate) fn needs_no_rescue(&mut self) {
        self.rescue = None;
    }

    /// The context that host calls are about: the one of the callback, or what the guest chose instead.
    pub fn effective_context(&self) -> ContextId {
        self.effective
    }

    /// What plugins share, with the plugin that asks.
    pub(crate) fn shared(&mut self) -> Option<(&mut dyn SharedServices, &Identity)> {
        let shared = self.board.as_deref_mut()?.services.shared()?;
        Some((shared, &self.identity))
    }

    /// Whether an observer watches.
    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        self.board.as_ref().is_some_and(|board| board.observer.is_some())
    }

    /// A map of a callout's answer, in the callback that is about it.
    pub(crate) fn answer_map(&self, map: MapType) -> Option<&HeaderList> {
        self.answer.as_ref()?.map(map, self.callback)
    }

    /// The stream that host calls are about.
    #[inline]
    pub(crate) fn exchange(&self) -> Option<&Exchange> {
        self.exchange_of(self.exchange_key()?)
    }

    /// The key of the stream that host calls are about.
    #[inline]
    pub(crate) fn exchange_key(&self) -> Option<Key> {
        match self.contexts.get(self.effective) {
            Some(Context::Stream { exchange, .. }) => Some(*exchange),
            _ => None,
        }
    }

    /// A stream.
    #[inline]
    pub(crate) fn exchange_of(&self, key: Key) -> Option<&Exchange> {
        self.board.as_ref()?.exchanges.get(key)
    }

    /// The stream that host calls are about, to be changed.
    #[inline]
    pub(crate) fn exchange_mut(&mut self) -> Option<&mut Exchange> {
        let Some(Context::Stream { exchange, .. }) = self.contexts.get(self.effective) else { return None };
        self.board.as_mut()?.exchanges.get_mut(*exchange)
    }

    /// This plugin's part of the stream that host calls are about, and what the stream is.
    pub(crate) fn lane_mut(&mut self) -> Option<(StreamKind, &mut Lane)> {
        let Some(Context::Stream { exchange, lane, .. }) = self.contexts.get(self.effective).copied() else {
            return None;
        };
        let exchange = self.board.as_mut()?.exchanges.get_mut(exchange)?;
        Some((exchange.kind, exchange.lanes.get_mut(lane)?))
    }

    /// The plugin context that host calls are about.
    pub(crate) fn plugin_context(&self) -> Option<ContextId> {
        self.contexts.plugin_of(self.effective)
    }

    /// The name of the root context that host calls are about; property `plugin_root_id`.
    pub(crate) fn root_id(&self) -> &str {
        let own = self.plugin_configuration().and_then(|configuration| configuration.root_id.as_deref());
        own.unwrap_or(&self.identity.root_id)
    }

    /// The configuration of the plugin context that host calls are about.
    pub(crate) fn plugin_configuration(&self) -> Option<&Configuration> {
        let Some(Context::Plugin { configuration, .. }) = self.contexts.get(self.plugin_context()?) else {
            return None;
        };
        self.configurations.get(*configuration)
    }
}

impl Drop for VmState {
    fn drop(&mut self) {
        if let Some(rescue) = self.rescue.take() {
            *rescue.lock().unwrap_or_else(PoisonError::into_inner) = self.board.take();
        }
    }
}
