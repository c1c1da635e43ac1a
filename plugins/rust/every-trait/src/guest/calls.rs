//! What callbacks of several kinds of contexts do.

use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::Context;
use proxy_wasm::types::{Action, MetricType, Status};

use super::show::told;
use crate::wishes::Wishes;

const SERVICE: &str = "test.Echo";
const METHOD: &str = "Say";
const METADATA: (&str, &[u8]) = ("x-every", b"metadata");
const TIMEOUT: Duration = Duration::from_secs(1);

/// What the host answered, unless it refused.
pub(super) fn answer<T>(result: Result<T, Status>) -> T {
    result.unwrap_or_else(|status| panic!("refused: {status:?}"))
}

/// Begins what is wished of calls. Pauses if there will be an answer.
pub(super) fn begin(context: &dyn Context, wishes: &Wishes) -> Action {
    let mut waits = false;
    if let Some(upstream) = wishes.value("http_call") {
        let headers = vec![(":method", "GET"), (":path", "/called"), (":authority", "every"), ("x-every", "call")];
        let call = context.dispatch_http_call(upstream, headers, Some(b"question"), vec![("x-end", "1")], TIMEOUT);
        waits |= call.is_ok();
    }
    if let Some(upstream) = wishes.value("grpc_call") {
        let call = context.dispatch_grpc_call(upstream, SERVICE, METHOD, vec![METADATA], Some(b"question"), TIMEOUT);
        waits |= call.is_ok();
    }
    if let Some(upstream) = wishes.value("grpc_stream")
        && let Ok(stream) = context.open_grpc_stream(upstream, SERVICE, METHOD, vec![METADATA])
    {
        context.send_grpc_stream_message(stream, Some(b"one"), false);
        context.send_grpc_stream_message(stream, Some(b"two"), false);
        context.close_grpc_stream(stream);
        waits = true;
    }
    if let Some(upstream) = wishes.value("grpc_cancel") {
        if let Ok(call) = context.dispatch_grpc_call(upstream, SERVICE, METHOD, vec![METADATA], None, TIMEOUT) {
            context.cancel_grpc_call(call);
        }
        if let Ok(stream) = context.open_grpc_stream(upstream, SERVICE, METHOD, vec![]) {
            context.send_grpc_stream_message(stream, None, true);
            context.cancel_grpc_stream(stream);
        }
    }
    if waits { Action::Pause } else { Action::Continue }
}

/// Looks at all of an answer, or at why there is none.
pub(super) fn read_http(context: &dyn Context, headers: usize, body: usize, trailers: usize) {
    if headers == 0 {
        told("status", &hostcalls::get_grpc_status().map(|(code, _)| code));
        return;
    }
    context.get_http_call_response_headers();
    context.get_http_call_response_headers_bytes();
    context.get_http_call_response_header(":status");
    context.get_http_call_response_header_bytes("x-none");
    context.get_http_call_response_body(0, body);
    if trailers > 0 {
        context.get_http_call_response_trailers();
        context.get_http_call_response_trailers_bytes();
        context.get_http_call_response_trailer("x-end");
        context.get_http_call_response_trailer_bytes("x-none");
    }
}

/// Reads, sets, sets by CAS, is refused for an old CAS, and removes.
fn shared_data(context: &dyn Context) {
    context.get_shared_data("key");
    let _ = context.set_shared_data("key", Some(b"one"), None);
    let (_, cas) = context.get_shared_data("key");
    let _ = context.set_shared_data("key", Some(b"two"), cas);
    let _ = context.set_shared_data("key", Some(b"three"), cas);
    context.get_shared_data("key");
    let _ = context.remove_shared_data("key", None);
    context.get_shared_data("key");
}

/// Makes a queue.
pub(super) fn make_queue(context: &dyn Context) {
    context.resolve_shared_queue("", "missing");
    context.register_shared_queue("queue");
}

/// Uses the stores as it is wished. Only streams do this: a host may well start more of a plugin than it uses, and what
/// is in the stores is common to all of them.
pub(super) fn stores(context: &dyn Context, wishes: &Wishes) {
    if wishes.has("shared") {
        shared_data(context);
    }
    if wishes.has("queue") {
        fill_queue(context);
    }
    if wishes.has("metrics") {
        metrics();
    }
}

/// Puts two messages into the queue, which wait until the host says that it is ready.
fn fill_queue(context: &dyn Context) {
    let Some(queue) = context.resolve_shared_queue("", "queue") else { return };
    let _ = context.dequeue_shared_queue(queue);
    let _ = context.enqueue_shared_queue(queue, Some(b"first"));
    let _ = context.enqueue_shared_queue(queue, Some(b"second"));
}

/// Changes and reads a metric of each type.
fn metrics() {
    for (kind, name) in [
        (MetricType::Counter, "every_counter"),
        (MetricType::Gauge, "every_gauge"),
        (MetricType::Histogram, "every_histogram"),
    ] {
        let metric = hostcalls::define_metric(kind, name);
        told(name, &metric);
        let Ok(metric) = metric else { continue };
        match kind {
            MetricType::Histogram => told("record_metric(7)", &hostcalls::record_metric(metric, 7)),
            MetricType::Gauge => {
                told("record_metric(7)", &hostcalls::record_metric(metric, 7));
                told("increment_metric(-2)", &hostcalls::increment_metric(metric, -2));
                told("get_metric", &hostcalls::get_metric(metric));
            }
            _ => {
                told("increment_metric(5)", &hostcalls::increment_metric(metric, 5));
                told("get_metric", &hostcalls::get_metric(metric));
            }
        }
    }
}
