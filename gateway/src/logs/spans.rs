//! Spans: one for each request, at level debug, and within it one for each callback, at level trace.

use chassis_abi::{Callback, HostCall, Observer};
use chassis_engine_api::Stop;
use tracing::{Level, Span};

use super::Record;

/// The span of a request; none unless somebody listens to level debug.
pub(crate) fn request(record: &Record) -> Span {
    tracing::debug_span!(
        "request",
        connection = record.connection(),
        client = %record.client(),
        request = %record.line(),
        trace_id = record.trace_id(),
    )
}

/// Makes a span of each callback, if somebody listens to level trace.
pub(crate) fn of_callbacks() -> Option<Box<dyn Observer>> {
    tracing::enabled!(Level::TRACE).then(|| Box::new(Callbacks::default()) as Box<dyn Observer>)
}

/// The callbacks that run: a guest may be entered again from a host call.
#[derive(Default)]
struct Callbacks(Vec<Span>);

impl Observer for Callbacks {
    fn callback_begins(&mut self, callback: Callback, context: u32, _args: &[u32]) {
        let span = tracing::trace_span!("callback", callback = callback.name(), context);
        span.with_subscriber(|(id, subscriber)| subscriber.enter(id));
        self.0.push(span);
    }

    fn callback_ends(&mut self, _callback: Callback, result: Result<u32, &Stop>) {
        if let Err(stop) = result {
            tracing::trace!(kind = stop.kind(), "stopped");
        }
        if let Some(span) = self.0.pop() {
            span.with_subscriber(|(id, subscriber)| subscriber.exit(id));
        }
    }

    fn host_call(&mut self, _call: HostCall<'_>) {}
}
