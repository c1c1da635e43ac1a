//! The one hook through which callbacks and host calls can be watched.

use chassis_engine_api::Stop;

use crate::callbacks::Callback;
use crate::context::ContextId;
use crate::table::Row;

/// Watches what passes between host and guest: for timelines, traces and metrics.
pub trait Observer: Send {
    /// The guest is about to be entered.
    fn callback_begins(&mut self, callback: Callback, context: ContextId, args: &[u32]);

    /// The guest has returned its result (0 where it has none), or was stopped.
    fn callback_ends(&mut self, callback: Callback, result: Result<u32, &Stop>);

    /// A host call was answered.
    fn host_call(&mut self, call: HostCall<'_>);
}

/// A host call with what it was given.
#[derive(Debug)]
pub struct HostCall<'a> {
    /// The function.
    pub row: &'static Row,
    /// The arguments that the guest gave, readable; return pointers are left out.
    pub args: &'a [String],
    /// The number that it answered; `None` if it has no result or stopped the guest.
    pub result: Option<u32>,
    /// Whether the answer is a status or an errno, by its name.
    pub result_name: &'static str,
    /// What a function of the `env` module gave the guest through its return pointers, readable; `None` if that is
    /// nothing, or the function failed. Bytes come as they are, other values as numbers.
    pub returned: Option<&'a str>,
}
