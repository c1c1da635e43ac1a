//! Foreign functions: what the embedder gives plugins to call by name.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::context::ContextId;
use crate::exchange::Exchange;
use crate::state::Identity;
use crate::status::Status;
use crate::types::LogLevel;

/// A call of a foreign function in progress.
#[derive(Debug)]
pub struct ForeignCall<'a> {
    /// The function's name, any bytes.
    pub name: &'a [u8],
    /// The arguments, in whatever form the function wants them.
    pub arguments: &'a [u8],
    /// The plugin that calls.
    pub plugin: &'a Identity,
    /// The context that the call is about.
    pub context: ContextId,
    /// The stream that the call is about, if it is about one. Its framing is not to be touched; headers are checked by
    /// their own methods.
    pub exchange: Option<&'a mut Exchange>,
    /// The level below which log lines of the plugin are dropped.
    pub log_level: LogLevel,
    pub(crate) callback: Option<ForeignCallback>,
}

impl<'a> ForeignCall<'a> {
    /// A call that is about no stream and no context, as an embedder would make it to try a function.
    pub fn new(name: &'a [u8], arguments: &'a [u8], plugin: &'a Identity, log_level: LogLevel) -> Self {
        ForeignCall { name, arguments, plugin, context: 0, exchange: None, log_level, callback: None }
    }

    /// A way to call the plugin back later, by `proxy_on_foreign_function` on its plugin context. The same one each time
    /// that it is asked for in one call.
    pub fn callback(&mut self) -> ForeignCallback {
        self.callback.get_or_insert_default().clone()
    }
}

/// Why a foreign function failed. These are the statuses that the SDKs know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignError {
    /// There is no such function, or not what it was asked for.
    NotFound,
    /// The arguments are not what it takes.
    BadArgument,
    /// A value could not be read or written in its form.
    SerializationFailure,
    /// It failed, or a limit is reached.
    InternalFailure,
}

impl From<ForeignError> for Status {
    fn from(error: ForeignError) -> Self {
        match error {
            ForeignError::NotFound => Status::NotFound,
            ForeignError::BadArgument => Status::BadArgument,
            ForeignError::SerializationFailure => Status::SerializationFailure,
            ForeignError::InternalFailure => Status::InternalFailure,
        }
    }
}

/// Calls a plugin back, from any thread and as often as wanted. What is called before the plugin's own callback has
/// returned waits for that; what is called after the plugin's instance ended is dropped.
#[derive(Clone, Default)]
pub struct ForeignCallback(Arc<Mutex<Line>>);

/// Takes a foreign function's number and arguments to the plugin; `false` if they are dropped.
pub type ForeignSink = Arc<dyn Fn(u32, Bytes) -> bool + Send + Sync>;

enum Line {
    /// Nobody listens yet; these wait.
    Waiting(Vec<(u32, Bytes)>),
    Open(ForeignSink),
}

impl Default for Line {
    fn default() -> Self {
        Line::Waiting(Vec::new())
    }
}

/// How many callbacks wait for a plugin that does not listen yet.
const MOST_WAITING: usize = 1024;

impl ForeignCallback {
    /// Has `proxy_on_foreign_function` called with this number and these arguments in buffer 8. `false` if that is
    /// certain not to happen: the plugin's instance has ended, or too many callbacks wait already.
    pub fn call(&self, function: u32, arguments: Bytes) -> bool {
        let sink = match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Line::Waiting(waiting) => {
                let room = waiting.len() < MOST_WAITING;
                if room {
                    waiting.push((function, arguments));
                }
                return room;
            }
            Line::Open(sink) => Arc::clone(sink),
        };
        sink(function, arguments)
    }

    /// Has callbacks go to this from now on, those that wait first. For hosts, when they carry out
    /// [`Effect::ListenForeign`](crate::Effect::ListenForeign).
    pub fn connect(&self, sink: ForeignSink) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Line::Waiting(waiting) = &mut *line {
            for (function, arguments) in mem::take(waiting) {
                sink(function, arguments);
            }
        }
        *line = Line::Open(sink);
    }

    /// What tells it from others that are alive.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl PartialEq for ForeignCallback {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for ForeignCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeignCallback")
    }
}
