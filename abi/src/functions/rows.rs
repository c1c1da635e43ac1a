//! The rows of module `env`, and the whole table.

use chassis_engine_api::{HostModule, Registrar, Sig, Ty};

use super::dispatch::{Function, In, Namespace, Reply};
use super::wasi_rows::{self, WASI};
use super::{
    buffers, callouts, contexts, foreign, grpc, log, maps, metrics, properties, queues, reserved, shared_data, streams,
};
use crate::call::{Call, Fault};
use crate::state::VmState;
use crate::status::Status::{
    BadArgument, CasMismatch, Empty, InternalFailure, NotFound, Ok, ParseFailure, SerializationFailure,
};
use crate::table::Param::{Bytes, Int, Long, Out, Pairs};
use crate::table::{ALL, Allowed, Answer, Group, Row, V02, V010, V021, Versions, flatten, result};

/// Makes a type with its row for each function: `Type "name" (parameters) -> answer; group, versions, when, [statuses],
/// "what it does" => function;`.
macro_rules! host_functions {
    ($modules:expr; $($ty:ident $name:literal ($($param:expr),*) -> $answer:ident; $group:ident, $versions:expr, $allowed:ident, [$($status:expr),*], $doc:literal => $run:path;)*) => {
        $(
            pub(crate) struct $ty;

            impl Function for $ty {
                const ROW: &'static Row = {
                    const PARAMS: &[crate::table::Param] = &[$($param),*];
                    const FLAT: &([Ty; 16], usize) = &flatten(PARAMS);
                    &Row {
                        modules: $modules,
                        name: $name,
                        params: PARAMS,
                        sig: Sig::new(FLAT.0.split_at(FLAT.1).0, result(Answer::$answer)),
                        answer: Answer::$answer,
                        versions: $versions,
                        group: Group::$group,
                        allowed: Allowed::$allowed,
                        statuses: &[$($status),*],
                        doc: $doc,
                    }
                };

                #[inline]
                fn run<C: chassis_engine_api::Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Result<Reply, Fault> {
                    $run(call).map(Reply::from)
                }
            }
        )*

        /// The rows of these functions.
        pub(crate) const ROWS: &[&Row] = &[$(<$ty as Function>::ROW,)*];

        /// Registers these functions under one module name.
        pub(crate) fn register<N: Namespace, R: Registrar<VmState>>(registrar: &mut R) {
            $(registrar.add::<In<N, $ty>>();)*
        }
    };
}
pub(crate) use host_functions;

/// The host functions of Proxy-Wasm and WASI, for engines to link.
#[derive(Debug)]
pub struct ProxyWasm;

impl HostModule<VmState> for ProxyWasm {
    fn register<R: Registrar<VmState>>(registrar: &mut R) {
        register::<Env, R>(registrar);
        wasi_rows::register::<wasi_rows::Preview1, R>(registrar);
        wasi_rows::register::<wasi_rows::Unstable, R>(registrar);
    }

    fn hint(module: &str, name: &str) -> Option<&'static str> {
        match (module, name) {
            (
                "env",
                "redis_init"
                | "redis_call"
                | "proxy_redis_init"
                | "proxy_redis_call"
                | "inject_encoded_data_to_filter_chain_on_header",
            ) => Some("an extension of Higress; build the plugin with the upstream SDK"),
            ("env", "envoy_resolve_dns") => Some("an extension of Envoy"),
            ("env", name) if name.starts_with("proxy_") => Some("no version of the Proxy-Wasm ABI up to 0.2.1 has it"),
            ("env", _) => Some("an undefined symbol of the plugin: link the library that defines it"),
            ("wasi_snapshot_preview1" | "wasi_unstable", _) => Some("not a function of WASI preview 1"),
            ("wbg" | "__wbindgen_placeholder__", _) => Some("wasm-bindgen needs a browser; leave it out of the plugin"),
            (module, _) if module.starts_with("wasi:") => Some("WASI preview 2; build for wasm32-wasip1"),
            _ => Some("plugins can import from env, wasi_snapshot_preview1 and wasi_unstable only"),
        }
    }
}

/// Every host function, each once.
pub static TABLE: &[&Row] = &{
    let mut table = [ROWS[0]; ROWS.len() + WASI.len()];
    let mut i = 0;
    while i < table.len() {
        table[i] = if i < ROWS.len() { ROWS[i] } else { WASI[i - ROWS.len()] };
        i += 1;
    }
    table
};

struct Env;

impl Namespace for Env {
    const NAME: &'static str = "env";
}

host_functions! {
    &["env"];

    Log "proxy_log" (Int("level"), Bytes("message")) -> Status;
        Log, ALL, Everywhere, [Ok, BadArgument], "Writes a line to the log." => log::log;
    GetLogLevel "proxy_get_log_level" (Out("level")) -> Status;
        Log, V021, Callbacks, [Ok], "Tells the level below which lines are dropped." => log::get_log_level;
    GetCurrentTime "proxy_get_current_time_nanoseconds" (Out("time")) -> Status;
        Time, ALL, Callbacks, [Ok], "Tells the time since the Unix epoch." => log::current_time;
    SetTickPeriod "proxy_set_tick_period_milliseconds" (Int("period")) -> Status;
        Time, ALL, Callbacks, [Ok], "Sets the plugin context's timer; 0 ends it." => log::set_tick_period;
    GetConfiguration "proxy_get_configuration" (Out("data"), Out("size")) -> Status;
        Context, V010, Callbacks, [Ok], "Gives the configuration that the callback is about." => buffers::get_configuration;
    GetStatus "proxy_get_status" (Out("code"), Out("data"), Out("size")) -> Status;
        Context, ALL, Callbacks, [Ok], "Tells why the last callout failed." => callouts::get_status;
    SetEffectiveContext "proxy_set_effective_context" (Int("context")) -> Status;
        Context, ALL, Callbacks, [Ok, BadArgument], "Lets the calls that follow be about another context of the plugin." => contexts::set_effective_context;
    Done "proxy_done" () -> Status;
        Context, ALL, Callbacks, [Ok, NotFound], "Ends a plugin context that deferred its end." => contexts::done;
    CallForeignFunction "proxy_call_foreign_function" (Bytes("name"), Bytes("arguments"), Out("data"), Out("size")) -> Status;
        Foreign, ALL, Callbacks, [Ok, NotFound, BadArgument, SerializationFailure, InternalFailure], "Calls a function that the embedder registered, or one of the host's own." => foreign::call;
    GetProperty "proxy_get_property" (Bytes("path"), Out("data"), Out("size")) -> Status;
        Properties, ALL, Callbacks, [Ok, NotFound, SerializationFailure], "Reads a property." => properties::get;
    SetProperty "proxy_set_property" (Bytes("path"), Bytes("value")) -> Status;
        Properties, ALL, Callbacks, [Ok, NotFound, InternalFailure], "Sets a property of the stream." => properties::set;

    GetBufferBytes "proxy_get_buffer_bytes" (Int("buffer"), Int("start"), Int("max_size"), Out("data"), Out("size")) -> Status;
        Body, ALL, Callbacks, [Ok, NotFound, BadArgument], "Reads from a buffer." => buffers::get;
    GetBufferStatus "proxy_get_buffer_status" (Int("buffer"), Out("size"), Out("flags")) -> Status;
        Body, ALL, Callbacks, [Ok, NotFound, BadArgument], "Tells the size of a buffer." => buffers::get_status;
    SetBufferBytes "proxy_set_buffer_bytes" (Int("buffer"), Int("start"), Int("size"), Bytes("value")) -> Status;
        Body, ALL, Callbacks, [Ok, NotFound, BadArgument, InternalFailure], "Replaces, inserts or deletes in a buffer." => buffers::set;

    GetHeaderMapSize "proxy_get_header_map_size" (Int("map"), Out("size")) -> Status;
        Headers, ALL, Callbacks, [Ok, BadArgument], "Tells the size of a map in bytes." => maps::get_size;
    GetHeaderMapPairs "proxy_get_header_map_pairs" (Int("map"), Out("data"), Out("size")) -> Status;
        Headers, ALL, Callbacks, [Ok, BadArgument], "Reads a whole map." => maps::get_pairs;
    SetHeaderMapPairs "proxy_set_header_map_pairs" (Int("map"), Pairs("pairs")) -> Status;
        Headers, ALL, Callbacks, [Ok, BadArgument], "Replaces a whole map." => maps::set_pairs;
    GetHeaderMapValue "proxy_get_header_map_value" (Int("map"), Bytes("name"), Out("data"), Out("size")) -> Status;
        Headers, ALL, Callbacks, [Ok, NotFound, BadArgument], "Reads the first value of a name." => maps::get;
    AddHeaderMapValue "proxy_add_header_map_value" (Int("map"), Bytes("name"), Bytes("value")) -> Status;
        Headers, ALL, Callbacks, [Ok, BadArgument], "Adds a value to a name." => maps::add;
    ReplaceHeaderMapValue "proxy_replace_header_map_value" (Int("map"), Bytes("name"), Bytes("value")) -> Status;
        Headers, ALL, Callbacks, [Ok, BadArgument], "Sets the only value of a name." => maps::replace;
    RemoveHeaderMapValue "proxy_remove_header_map_value" (Int("map"), Bytes("name")) -> Status;
        Headers, ALL, Callbacks, [Ok, BadArgument], "Removes a name." => maps::remove;

    ContinueStream "proxy_continue_stream" (Int("stream")) -> Status;
        Stream, V02, Callbacks, [Ok, BadArgument], "Goes on with a paused direction." => streams::continue_stream;
    CloseStream "proxy_close_stream" (Int("stream")) -> Status;
        Stream, V02, Callbacks, [Ok, BadArgument], "Resets the stream, or closes a connection of a TCP stream." => streams::close_stream;
    ContinueRequest "proxy_continue_request" () -> Status;
        Stream, V010, Callbacks, [Ok], "Goes on with a paused request." => streams::continue_request;
    ContinueResponse "proxy_continue_response" () -> Status;
        Stream, V010, Callbacks, [Ok], "Goes on with a paused response." => streams::continue_response;
    ContinueRequestSilently "proxy_continue_request" () -> None;
        Stream, V010, Callbacks, [], "Goes on with a paused request; the form without a result." => streams::continue_request_silently;
    ContinueResponseSilently "proxy_continue_response" () -> None;
        Stream, V010, Callbacks, [], "Goes on with a paused response; the form without a result." => streams::continue_response_silently;
    ClearRouteCache "proxy_clear_route_cache" () -> Status;
        Stream, V010, Callbacks, [Ok], "Lets the route be chosen again." => reserved::ok;
    ClearRouteCacheSilently "proxy_clear_route_cache" () -> None;
        Stream, V010, Callbacks, [], "Lets the route be chosen again; the form without a result." => reserved::nothing;
    SendLocalResponse "proxy_send_local_response" (Int("status"), Bytes("details"), Bytes("body"), Pairs("headers"), Int("grpc_status")) -> Status;
        Stream, ALL, Callbacks, [Ok, BadArgument, InternalFailure], "Answers the client instead of the upstream." => streams::send_local_response;

    HttpCall "proxy_http_call" (Bytes("upstream"), Pairs("headers"), Bytes("body"), Pairs("trailers"), Int("timeout"), Out("call_id")) -> Status;
        HttpCall, ALL, Callbacks, [Ok, BadArgument, InternalFailure], "Starts an HTTP callout." => callouts::http_call;
    GrpcCall "proxy_grpc_call" (Bytes("upstream"), Bytes("service"), Bytes("method"), Pairs("metadata"), Bytes("message"), Int("timeout"), Out("call_id")) -> Status;
        Grpc, ALL, Callbacks, [Ok, ParseFailure, InternalFailure], "Starts a gRPC call." => grpc::call;
    GrpcStream "proxy_grpc_stream" (Bytes("upstream"), Bytes("service"), Bytes("method"), Pairs("metadata"), Out("call_id")) -> Status;
        Grpc, ALL, Callbacks, [Ok, ParseFailure, InternalFailure], "Starts a gRPC stream." => grpc::stream;
    GrpcSend "proxy_grpc_send" (Int("call_id"), Bytes("message"), Int("end_of_stream")) -> Status;
        Grpc, ALL, Callbacks, [Ok, BadArgument, NotFound, InternalFailure], "Sends on a gRPC stream." => grpc::send;
    GrpcCancel "proxy_grpc_cancel" (Int("call_id")) -> Status;
        Grpc, ALL, Callbacks, [Ok, NotFound], "Cancels a gRPC call." => grpc::cancel;
    GrpcClose "proxy_grpc_close" (Int("call_id")) -> Status;
        Grpc, ALL, Callbacks, [Ok, NotFound], "Ends the sending side of a gRPC stream." => grpc::close;

    GetSharedData "proxy_get_shared_data" (Bytes("key"), Out("data"), Out("size"), Out("cas")) -> Status;
        SharedData, ALL, Callbacks, [Ok, NotFound], "Reads a value that the VMs of one vm_id share." => shared_data::get;
    SetSharedData "proxy_set_shared_data" (Bytes("key"), Bytes("value"), Int("cas")) -> Status;
        SharedData, ALL, Callbacks, [Ok, CasMismatch, InternalFailure], "Sets a shared value; with a cas other than 0 only if it has not changed since it was read." => shared_data::set;
    RegisterSharedQueue "proxy_register_shared_queue" (Bytes("name"), Out("queue_id")) -> Status;
        Queue, ALL, Callbacks, [Ok, InternalFailure], "Makes a queue or finds the one of this name, and becomes its consumer." => queues::register;
    ResolveSharedQueue "proxy_resolve_shared_queue" (Bytes("vm_id"), Bytes("name"), Out("queue_id")) -> Status;
        Queue, ALL, Callbacks, [Ok, NotFound], "Finds a queue by vm_id and name." => queues::resolve;
    EnqueueSharedQueue "proxy_enqueue_shared_queue" (Int("queue_id"), Bytes("value")) -> Status;
        Queue, ALL, Callbacks, [Ok, NotFound, InternalFailure], "Puts an item into a queue and wakes its consumer." => queues::enqueue;
    DequeueSharedQueue "proxy_dequeue_shared_queue" (Int("queue_id"), Out("data"), Out("size")) -> Status;
        Queue, ALL, Callbacks, [Ok, NotFound, Empty], "Takes the first item out of a queue." => queues::dequeue;
    DefineMetric "proxy_define_metric" (Int("metric_type"), Bytes("name"), Out("metric_id")) -> Status;
        Metrics, ALL, Callbacks, [Ok, BadArgument, InternalFailure], "Defines a counter, gauge or histogram, or finds the one of this name." => metrics::define;
    IncrementMetric "proxy_increment_metric" (Int("metric_id"), Long("offset")) -> Status;
        Metrics, ALL, Callbacks, [Ok, NotFound, BadArgument], "Adds to a counter or a gauge." => metrics::increment;
    RecordMetric "proxy_record_metric" (Int("metric_id"), Long("value")) -> Status;
        Metrics, ALL, Callbacks, [Ok, NotFound], "Adds to a counter, sets a gauge, or records a value in a histogram." => metrics::record;
    GetMetric "proxy_get_metric" (Int("metric_id"), Out("value")) -> Status;
        Metrics, ALL, Callbacks, [Ok, NotFound, BadArgument], "Reads a counter or a gauge." => metrics::get;

    NotifyMemoryGrowth "emscripten_notify_memory_growth" (Int("memory")) -> None;
        Toolchain, Versions::Extension, Everywhere, [], "Emscripten says that a memory grew." => reserved::nothing;
    PthreadEqual "pthread_equal" (Int("a"), Int("b")) -> Number;
        Toolchain, Versions::Extension, Everywhere, [], "Emscripten compares two threads." => reserved::pthread_equal;
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_function_is_listed_twice_with_one_type() {
        let mut seen = HashSet::new();
        for row in TABLE {
            for module in row.modules {
                assert!(seen.insert((module, row.name, row.sig)), "{module}.{}", row.name);
            }
        }
    }

    #[test]
    fn the_whole_superset_is_there() {
        let env: HashSet<&str> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(env.iter().filter(|name| name.starts_with("proxy_")).count(), 43);
        assert_eq!(WASI.len(), 46);
    }

    #[test]
    fn every_function_with_a_status_lists_what_it_answers() {
        for row in TABLE {
            assert_eq!(row.answer == Answer::Status, !row.statuses.is_empty(), "{}", row.name);
            assert!(row.doc.ends_with('.'), "{}", row.name);
        }
    }
}
