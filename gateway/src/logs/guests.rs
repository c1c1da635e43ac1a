//! Plugins' lines among those of the gateway.

use std::str;

use chassis_abi::{Exchange, LogLevel, StreamKind};
use chassis_host::{LogLine, LogSink, Reason};

use super::trace_context::TraceContext;

/// Logs what plugins say as events, each with the request that it is about.
#[derive(Debug, Clone, Copy, Default)]
pub struct GuestLines;

/// The attribute of a stream that has the request line as the client sent it.
pub(crate) const REQUEST_LINE: &str = "chassis.request_line";

/// Logs a line at a level, which has to be known when this is compiled. A level is all that differs.
macro_rules! emit {
    ($level:ident, $line:expr) => {{
        let line = $line;
        let about = About::of(line.exchange);
        tracing::event!(
            tracing::Level::$level,
            plugin = line.plugin,
            context = line.context,
            callback = line.callback,
            by = by(line),
            critical = (line.level == LogLevel::Critical).then_some(true),
            connection = about.connection,
            client = about.client,
            server = line.exchange.map(|_| "_"),
            request = about.request,
            host = about.host,
            trace_id = about.trace,
            "{}",
            line.message
        )
    }};
}

impl LogSink for GuestLines {
    fn log(&self, line: &LogLine<'_>) {
        match line.level {
            LogLevel::Trace => emit!(TRACE, line),
            LogLevel::Debug => emit!(DEBUG, line),
            LogLevel::Info => emit!(INFO, line),
            LogLevel::Warn => emit!(WARN, line),
            // Tracing has nothing above this.
            LogLevel::Error | LogLevel::Critical => emit!(ERROR, line),
        }
    }
}

fn by(line: &LogLine<'_>) -> &'static str {
    match line.reason {
        Reason::Guest => "guest",
        Reason::Crash => "host",
    }
}

/// The stream that a line is about.
#[derive(Debug, Default)]
struct About<'a> {
    connection: Option<u64>,
    client: Option<&'a str>,
    request: Option<&'a str>,
    host: Option<&'a str>,
    trace: Option<String>,
}

impl<'a> About<'a> {
    fn of(exchange: Option<&'a Exchange>) -> Self {
        let Some(exchange) = exchange else { return About::default() };
        let attribute = |name: &str| exchange.attributes.get(name);
        let text = |name: &str| attribute(name).and_then(|value| str::from_utf8(value).ok());
        let number = |name: &str| Some(u64::from_le_bytes(attribute(name)?.as_ref().try_into().ok()?));
        let mut about = About {
            connection: number("connection.id"),
            client: text("source.address"),
            request: text(REQUEST_LINE),
            ..About::default()
        };
        if exchange.kind == StreamKind::Http {
            let headers = &exchange.request.headers;
            about.host = headers.get(b":authority").and_then(|host| str::from_utf8(host).ok());
            let trace = headers.get(b"traceparent").and_then(|value| TraceContext::parse(value));
            about.trace = trace.map(|trace| format!("{:032x}", trace.trace));
        }
        about
    }
}
