//! The error log in nginx's form: `2024/05/13 08:08:52 [warn] 128#131: *2762 words, client: 172.19.0.1, server: _, request:
//! "GET / HTTP/1.1", host: "127.0.0.1:9080"`.

use std::fmt::{self, Write};

use chassis_host::escape;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::format::{Escape, push_escaped};
use super::time;

/// Writes events so. Of a plugin's words nothing is written but them and the request that they are about; of other events
/// every field is.
#[derive(Debug, Clone, Copy, Default)]
pub struct NginxLines;

impl<S, N> FormatEvent<S, N> for NginxLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        time::now(|now| out.write_str(&now.error_log))?;
        write!(out, " [{}] {}#{}: ", level(event.metadata().level(), &fields), std::process::id(), thread_id())?;
        if let Some(connection) = &fields.connection {
            write!(out, "*{connection} ")?;
        }
        out.write_str(&escape(fields.message.as_bytes()))?;
        if fields.by != "guest" {
            out.write_str(&escape(fields.others.as_bytes()))?;
        }
        if let Some(client) = &fields.client {
            write!(out, ", client: {}", escape(without_port(client).as_bytes()))?;
        }
        if let Some(server) = &fields.server {
            write!(out, ", server: {}", escape(server.as_bytes()))?;
        }
        for (name, value) in [("request", &fields.request), ("upstream", &fields.upstream), ("host", &fields.host)] {
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                write!(out, ", {name}: \"{}\"", quoted(value))?;
            }
        }
        out.write_char('\n')
    }
}

fn level(level: &Level, fields: &Fields) -> &'static str {
    match *level {
        Level::ERROR if fields.critical => "crit",
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        _ => "debug",
    }
}

/// The fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    by: String,
    critical: bool,
    connection: Option<String>,
    client: Option<String>,
    server: Option<String>,
    request: Option<String>,
    upstream: Option<String>,
    host: Option<String>,
    /// All others, as `, name: value`.
    others: String,
}

impl Fields {
    fn place(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            "connection" => Some(&mut self.connection),
            "client" => Some(&mut self.client),
            "server" => Some(&mut self.server),
            "request" => Some(&mut self.request),
            "upstream" => Some(&mut self.upstream),
            "host" => Some(&mut self.host),
            _ => None,
        }
    }

    fn take(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = match (field.name(), self.place(field.name())) {
            (_, Some(place)) => {
                *place = Some(value.to_string());
                Ok(())
            }
            ("message", None) => self.message.write_fmt(value),
            ("by", None) => self.by.write_fmt(value),
            (name, None) => write!(self.others, ", {name}: {value}"),
        };
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        match field.name() {
            "critical" => self.critical = value,
            _ => self.take(field, format_args!("{value}")),
        }
    }
}

/// What is between quotes, as the access log has it.
fn quoted(value: &str) -> String {
    let mut out = Vec::with_capacity(value.len());
    push_escaped(&mut out, value.as_bytes(), Escape::Default);
    String::from_utf8_lossy(&out).into_owned()
}

/// nginx names clients by their addresses alone.
fn without_port(client: &str) -> String {
    match client.parse::<std::net::SocketAddr>() {
        Ok(address) => address.ip().to_string(),
        Err(_) => client.to_owned(),
    }
}

/// The system's number of this thread; the process's where there is none.
fn thread_id() -> u32 {
    #[cfg(target_os = "linux")]
    {
        thread_local!(static ID: u32 = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
        ID.with(|id| *id)
    }
    #[cfg(not(target_os = "linux"))]
    std::process::id()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Text(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Text {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written of events, without time and numbers of process and thread.
    fn written(events: impl FnOnce()) -> Vec<String> {
        let text = Text::default();
        let writer = text.clone();
        let lines = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_writer(move || writer.clone())
            .event_format(NginxLines)
            .finish();
        tracing::subscriber::with_default(lines, events);
        let text = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
        text.lines()
            .map(|line| {
                let (before, rest) = line.split_once(": ").unwrap();
                let (time, level) = before.split_at(20);
                assert!(time.starts_with("20") && time.ends_with(' '), "{line}");
                let (level, ids) = level.split_once(' ').unwrap();
                let (process, thread) = ids.split_once('#').unwrap();
                assert_eq!(process.parse(), Ok(std::process::id()), "{line}");
                assert!(thread.parse::<u32>().is_ok(), "{line}");
                format!("{level} {rest}")
            })
            .collect()
    }

    #[test]
    fn the_form_is_that_of_nginx() {
        let lines = written(|| {
            tracing::warn!(
                plugin = "p",
                context = 2,
                by = "guest",
                connection = 2762,
                client = "172.19.0.1:5000",
                server = "_",
                request = "GET /anything HTTP/1.1",
                host = "127.0.0.1:9080",
                "run plugin"
            );
            tracing::error!(plugin = "p", by = "host", "trap");
            tracing::error!(critical = true, by = "guest", "dying");
            tracing::info!(route = "1", upstream = "[::1]:80", client = "[::1]:5000", "failed");
            tracing::debug!("a");
            tracing::trace!("b");
        });
        let wanted = [
            "[warn] *2762 run plugin, client: 172.19.0.1, server: _, request: \"GET /anything HTTP/1.1\", \
             host: \"127.0.0.1:9080\"",
            "[error] trap, plugin: p",
            "[crit] dying",
            "[info] failed, route: 1, client: ::1, upstream: \"[::1]:80\"",
            "[debug] a",
            "[debug] b",
        ];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let lines = written(|| {
            tracing::info!(client = "a\nb", host = "h\"\r", other = "\x1b[2J", "one\ntwo\0");
        });
        assert_eq!(lines, ["[info] one\\ntwo\\u{0}, other: \\u{1b}[2J, client: a\\nb, host: \"h\\x22\\x0D\""]);
    }
}
