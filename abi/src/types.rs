//! The numbers of the ABI as types (ABI 0.2.1, "Types").

/// What a stream callback answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Go on.
    Continue,
    /// Wait for a continue call.
    Pause,
}

impl Action {
    /// Reads a callback's result; an unknown number counts as a pause, never as a continue.
    pub fn from_result(result: u32) -> Self {
        if result == 0 { Action::Continue } else { Action::Pause }
    }
}

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant = $number,)* }

        impl $name {
            /// The value of this number, if there is one.
            pub fn from_u32(number: u32) -> Option<Self> {
                match number {
                    $($number => Some($name::$variant),)*
                    _ => None,
                }
            }

            /// Its name in lower case.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

numbered! {
    /// The level of a log line.
    LogLevel {
        /// Finest detail.
        Trace = 0 "trace",
        /// For debugging.
        Debug = 1 "debug",
        /// For information.
        Info = 2 "info",
        /// Something odd.
        Warn = 3 "warn",
        /// Something failed.
        Error = 4 "error",
        /// Something failed badly.
        Critical = 5 "critical",
    }
}

numbered! {
    /// A byte buffer of the host.
    BufferType {
        /// The request body.
        RequestBody = 0 "request_body",
        /// The response body.
        ResponseBody = 1 "response_body",
        /// Data from the client of a TCP stream.
        DownstreamData = 2 "downstream_data",
        /// Data from the upstream of a TCP stream.
        UpstreamData = 3 "upstream_data",
        /// The body of an HTTP callout's response.
        HttpCallResponseBody = 4 "http_call_response_body",
        /// A gRPC message.
        GrpcCallMessage = 5 "grpc_call_message",
        /// The VM's configuration.
        VmConfiguration = 6 "vm_configuration",
        /// The plugin's configuration.
        PluginConfiguration = 7 "plugin_configuration",
        /// The arguments of a foreign function.
        ForeignFunctionArguments = 8 "foreign_function_arguments",
    }
}

numbered! {
    /// A header map of the host.
    MapType {
        /// Request headers.
        RequestHeaders = 0 "request_headers",
        /// Request trailers.
        RequestTrailers = 1 "request_trailers",
        /// Response headers.
        ResponseHeaders = 2 "response_headers",
        /// Response trailers.
        ResponseTrailers = 3 "response_trailers",
        /// Initial metadata of a gRPC call.
        GrpcInitialMetadata = 4 "grpc_initial_metadata",
        /// Trailing metadata of a gRPC call.
        GrpcTrailingMetadata = 5 "grpc_trailing_metadata",
        /// Response headers of an HTTP callout.
        HttpCallResponseHeaders = 6 "http_call_response_headers",
        /// Response trailers of an HTTP callout.
        HttpCallResponseTrailers = 7 "http_call_response_trailers",
    }
}

numbered! {
    /// One direction of a stream.
    StreamType {
        /// An HTTP request.
        HttpRequest = 0 "http_request",
        /// An HTTP response.
        HttpResponse = 1 "http_response",
        /// From the client of a TCP stream.
        Downstream = 2 "downstream",
        /// From the upstream of a TCP stream.
        Upstream = 3 "upstream",
    }
}

numbered! {
    /// The type of a metric.
    MetricType {
        /// It only grows.
        Counter = 0 "counter",
        /// It goes up and down.
        Gauge = 1 "gauge",
        /// How values are spread.
        Histogram = 2 "histogram",
    }
}

numbered! {
    /// Who closed a connection of a TCP stream.
    PeerType {
        /// It is not known.
        Unknown = 0 "unknown",
        /// The proxy.
        Local = 1 "local",
        /// The other end.
        Remote = 2 "remote",
    }
}
