//! The access log: a line for each request, when it has ended.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderValue;
use http::{HeaderMap, Uri};

use super::format::{AccessFormat, Escape, Piece, push_escaped};
use super::record::{Access, Record, target};
use super::time;
use super::variables::Variable;
use super::writer::LogWriter;

/// The access log, as one worker writes it.
#[derive(Debug)]
pub(crate) struct AccessLog {
    writer: LogWriter,
    format: AccessFormat,
    /// What requests that have ended kept things in.
    spare: RefCell<Vec<Scratch>>,
}

/// What a request keeps for its line, with room that the next one uses again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    request: Vec<Option<HeaderValue>>,
    response: Vec<Option<HeaderValue>>,
    route: String,
    /// One entry for each upstream that was asked, between commas.
    addresses: String,
    statuses: String,
    times: String,
    upstream_host: Option<HeaderValue>,
    upstream_uri: Option<Uri>,
    upstream_scheme: Option<&'static str>,
}

/// How many scratches are kept.
const SPARES: usize = 256;
/// The most text of one kind that a scratch keeps room for.
const SPARE_TEXT: usize = 256;

impl AccessLog {
    /// A log for one worker, with a buffer of its own.
    pub(crate) fn new(writer: &LogWriter, format: AccessFormat) -> Rc<Self> {
        Rc::new(AccessLog { writer: writer.another(), format, spare: RefCell::default() })
    }

    pub(super) fn scratch(&self, headers: &HeaderMap) -> Scratch {
        let mut scratch = self.spare.borrow_mut().pop().unwrap_or_default();
        scratch.request.extend(self.format.request.iter().map(|name| headers.get(name).cloned()));
        scratch
    }

    pub(super) fn keep_sent(&self, scratch: &mut Scratch, headers: &HeaderMap) {
        scratch.response.clear();
        scratch.response.extend(self.format.response.iter().map(|name| headers.get(name).cloned()));
    }

    /// Writes the line of a request that has ended.
    pub(super) fn write(&self, record: &Record, access: Access) {
        let mut scratch = access.scratch.take();
        self.writer.write(|out| {
            for piece in &self.format.pieces {
                match piece {
                    Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                    Piece::Variable(variable) => self.push(out, variable, record, &access, &scratch),
                }
            }
            out.push(b'\n');
        });
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARES {
            scratch.clear();
            spare.push(scratch);
        }
    }

    fn push(&self, out: &mut Vec<u8>, variable: &Variable, record: &Record, access: &Access, scratch: &Scratch) {
        let uri = &record.line.uri;
        // Writing to memory cannot fail.
        let _ = match variable {
            Variable::Args => return self.text(out, uri.query()),
            Variable::BodyBytesSent => write!(out, "{}", access.sent.get()),
            Variable::Connection => write!(out, "{}", record.connection),
            Variable::ConnectionRequests => write!(out, "{}", record.requests),
            Variable::Host => return self.text(out, Some(record.host())),
            Variable::Hostname => return self.text(out, Some(&HOSTNAME)),
            Variable::Header(index) => return self.header(out, &scratch.request, *index),
            Variable::Msec => {
                time::push_epoch(out);
                Ok(())
            }
            Variable::Pid => write!(out, "{}", std::process::id()),
            Variable::RemoteAddr => write!(out, "{}", record.client.ip()),
            Variable::RemotePort => write!(out, "{}", record.client.port()),
            Variable::RemoteUser => return self.text(out, self.user(scratch).as_deref()),
            Variable::Request => {
                self.text(out, Some(record.line.method.as_str()));
                out.push(b' ');
                self.text(out, Some(target(uri)));
                write!(out, " {:?}", record.line.version)
            }
            Variable::RequestMethod => return self.text(out, Some(record.line.method.as_str())),
            Variable::RequestTime => write!(out, "{}", Seconds(access.begun.elapsed())),
            Variable::RequestUri => return self.text(out, Some(target(uri))),
            Variable::RouteId => return self.text(out, Some(&scratch.route)),
            Variable::Scheme if record.is_secure => write!(out, "https"),
            Variable::Scheme => write!(out, "http"),
            Variable::SentHeader(index) => return self.header(out, &scratch.response, *index),
            Variable::ServerAddr => write!(out, "{}", record.server.ip()),
            Variable::ServerName => write!(out, "_"),
            Variable::ServerPort => write!(out, "{}", record.server.port()),
            Variable::ServerProtocol => write!(out, "{:?}", record.line.version),
            Variable::Status => write!(out, "{:03}", access.status.get()),
            Variable::TimeIso8601 => time::now(|now| out.write_all(now.iso.as_bytes())),
            Variable::TimeLocal => time::now(|now| out.write_all(now.common.as_bytes())),
            Variable::TraceId => match record.trace {
                Some(trace) => write!(out, "{:032x}", trace.trace),
                None => return self.text(out, None),
            },
            Variable::UpstreamAddr => return self.text(out, Some(&scratch.addresses)),
            Variable::UpstreamHost => return self.value(out, scratch.upstream_host.as_ref()),
            Variable::UpstreamResponseTime => return self.text(out, Some(&scratch.times)),
            Variable::UpstreamStatus => return self.text(out, Some(&scratch.statuses)),
            // As APISIX has it where no upstream was asked.
            Variable::UpstreamScheme => return self.text(out, Some(scratch.upstream_scheme.unwrap_or("http"))),
            Variable::UpstreamUri => return self.text(out, scratch.upstream_uri.as_ref().map(target)),
            Variable::Uri => return self.text(out, Some(uri.path())),
        };
    }

    fn header(&self, out: &mut Vec<u8>, kept: &[Option<HeaderValue>], index: usize) {
        self.value(out, kept.get(index).and_then(Option::as_ref));
    }

    fn value(&self, out: &mut Vec<u8>, value: Option<&HeaderValue>) {
        self.bytes(out, value.map_or(b"", HeaderValue::as_bytes));
    }

    fn text(&self, out: &mut Vec<u8>, text: Option<&str>) {
        self.bytes(out, text.unwrap_or_default().as_bytes());
    }

    fn bytes(&self, out: &mut Vec<u8>, bytes: &[u8]) {
        match self.format.escape {
            Escape::Default if bytes.is_empty() => out.push(b'-'),
            escape => push_escaped(out, bytes, escape),
        }
    }

    /// The name of `Authorization: Basic` (RFC 7617), which nobody has verified.
    fn user(&self, scratch: &Scratch) -> Option<String> {
        let index = self.format.request.iter().position(|name| *name == http::header::AUTHORIZATION)?;
        let value = scratch.request.get(index)?.as_ref()?.as_bytes();
        let (scheme, credentials) = value.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let decoded = STANDARD.decode(credentials.trim_ascii()).ok()?;
        let user = decoded.split(|byte| *byte == b':').next()?;
        Some(String::from_utf8_lossy(user).into_owned())
    }
}

impl Scratch {
    pub(super) fn set_route(&mut self, id: &str) {
        self.route.clear();
        self.route.push_str(id);
    }

    pub(super) fn push_address(&mut self, scheme: &'static str, address: &str, uri: &Uri, host: Option<&HeaderValue>) {
        self.upstream_scheme = Some(scheme);
        push_entry(&mut self.addresses, format_args!("{address}"));
        self.upstream_host = host.cloned();
        self.upstream_uri = Some(uri.clone());
    }

    pub(super) fn push_status(&mut self, status: Option<u16>) {
        match status {
            Some(status) => push_entry(&mut self.statuses, format_args!("{status}")),
            None => push_entry(&mut self.statuses, format_args!("-")),
        }
    }

    pub(super) fn push_time(&mut self, time: Duration) {
        push_entry(&mut self.times, format_args!("{}", Seconds(time)));
    }

    fn clear(&mut self) {
        self.request.clear();
        self.response.clear();
        for text in [&mut self.route, &mut self.addresses, &mut self.statuses, &mut self.times] {
            text.clear();
            text.shrink_to(SPARE_TEXT);
        }
        self.upstream_host = None;
        self.upstream_uri = None;
        self.upstream_scheme = None;
    }
}

fn push_entry(list: &mut String, entry: std::fmt::Arguments<'_>) {
    use std::fmt::Write;
    if !list.is_empty() {
        list.push_str(", ");
    }
    // Writing to a string cannot fail.
    let _ = list.write_fmt(entry);
}

/// Seconds with milliseconds, as nginx writes them.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }
}

/// The name of this machine, where it is found; empty elsewhere.
static HOSTNAME: LazyLock<String> = LazyLock::new(|| {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim_end().to_owned()
});

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::Request;

    use super::*;
    use crate::logs::LogTarget;

    /// The line of one request that is told of by `live`.
    fn line(format: &str, escape: Escape, live: impl FnOnce(&Record)) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let writer = LogWriter::open(LogTarget::File(path.clone())).unwrap();
        let log = AccessLog::new(&writer, AccessFormat::parse(format, escape).unwrap());
        let request = Request::builder()
            .method("PUT")
            .uri("/a/b?c=%22d")
            .header("host", "example.org:9080")
            .header("user-agent", HeaderValue::from_bytes(b"agent \"\xff").unwrap())
            .header("authorization", "Basic YW5uYTpzZWNyZXQ=")
            .body(())
            .unwrap();
        let ends = (SocketAddr::from(([127, 0, 0, 1], 4000)), SocketAddr::from(([127, 0, 0, 2], 9080)));
        let record = Record::new(ends, false, (7, 3), &request, None, Some(&log));
        live(&record);
        drop(record);
        writer.close(Duration::from_secs(5));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_line_has_what_the_format_names() {
        let format = "$remote_addr:$remote_port $server_addr:$server_port $remote_user *$connection,$connection_requests \
                      \"$request\" $uri $args $http_host \"$http_user_agent\" \"$http_referer\" $status $body_bytes_sent \
                      $route_id $sent_http_x_a [$upstream_addr] [$upstream_status] $upstream_scheme://$upstream_host$upstream_uri";
        let text = line(format, Escape::Default, |record| {
            record.route("first");
            let host: HeaderMap = [(http::header::HOST, HeaderValue::from_static("up"))].into_iter().collect();
            record.asks("http", "1.1.1.1:80", &Uri::from_static("/x"), &host);
            record.upstream_answers(None);
            record.asks("https", "2.2.2.2:80", &Uri::from_static("/y"), &host);
            record.upstream_answers(Some(200));
            let sent: HeaderMap = [("x-a".parse().unwrap(), HeaderValue::from_static("1"))].into_iter().collect();
            record.answers(201, &sent);
            record.sends(10);
            record.sends(5);
        });
        let wanted = "127.0.0.1:4000 127.0.0.2:9080 anna *7,3 \"PUT /a/b?c=%22d HTTP/1.1\" /a/b c=%22d \
                      example.org:9080 \"agent \\x22\\xFF\" \"-\" 201 15 first 1 [1.1.1.1:80, 2.2.2.2:80] [-, 200] https://up/y\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_request_that_nobody_answered_is_one_whose_client_has_gone() {
        let text = line("$status $upstream_addr $upstream_status", Escape::Default, |record| {
            record.asks("http", "1.1.1.1:80", &Uri::from_static("/x"), &HeaderMap::new());
        });
        assert_eq!(text, "499 1.1.1.1:80 -\n");
        assert_eq!(line("$status $upstream_addr", Escape::Default, |_| {}), "499 -\n");
    }

    #[test]
    fn json_is_an_object_whatever_the_client_sent() {
        let text = line("json", Escape::Default, |record| record.answers(404, &HeaderMap::new()));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["status"], 404);
        assert_eq!(value["request"], "PUT /a/b?c=%22d HTTP/1.1");
        assert_eq!(value["user_agent"], "agent \"\u{fffd}");
        assert_eq!((&value["upstream"], &value["trace_id"]), (&"".into(), &"".into()));
        assert!(value["request_time"].is_number() && value["msec"].is_number());
    }

    #[test]
    fn apisix_default_format() {
        let text = line_of_default();
        let (before, after) = text.split_once(" [").unwrap();
        assert_eq!(before, "127.0.0.1 - anna");
        let (time, after) = after.split_once("] ").unwrap();
        assert_eq!(time.len(), 26);
        assert!(after.starts_with("example.org:9080 \"PUT /a/b?c=%22d HTTP/1.1\" 200 0 0.0"), "{after}");
        assert!(after.ends_with(" \"-\" \"agent \\x22\\xFF\" - - - \"http://--\"\n"), "{after}");
    }

    fn line_of_default() -> String {
        let text = "$remote_addr - $remote_user [$time_local] $http_host \"$request\" $status $body_bytes_sent \
                    $request_time \"$http_referer\" \"$http_user_agent\" $upstream_addr $upstream_status \
                    $upstream_response_time \"$upstream_scheme://$upstream_host$upstream_uri\"";
        assert_eq!(AccessFormat::parse(text, Escape::Default).unwrap(), AccessFormat::default());
        line(text, Escape::Default, |record| record.answers(200, &HeaderMap::new()))
    }
}
