//! A driven request as data: what `chassis run --json` prints, and what engines are compared by.

use chassis_abi::HeaderList;
use serde::Serialize;

use super::driver::{Error, Message, Outcome, Trip, UpstreamFailure};
use super::record::{Call, Entry, Line};

/// The name and version of the form of a [`Report`].
pub const SCHEMA: &str = "chassis/run/v1";

/// What `chassis run --json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// One element per engine and repetition.
    pub runs: Vec<Run>,
}

/// One request on one engine.
#[derive(Debug, Serialize)]
pub struct Run {
    engine: String,
    plugin: String,
    outcome: &'static str,
    error: Option<RunError>,
    upstream_request: Option<Request>,
    response: Option<Response>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    wire: Vec<String>,
    logs: Vec<LogLine>,
    callbacks: Vec<CallbackRun>,
    /// Those of the plugin's end, which the last run has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    end_callbacks: Vec<CallbackRun>,
}

#[derive(Debug, Serialize)]
struct RunError {
    kind: &'static str,
    callback: String,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    backtrace: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Request {
    method: String,
    path: String,
    headers: Vec<[String; 2]>,
    #[serde(flatten)]
    content: Content,
}

#[derive(Debug, Serialize)]
struct Response {
    status: u16,
    headers: Vec<[String; 2]>,
    #[serde(flatten)]
    content: Content,
}

#[derive(Debug, Serialize)]
struct Content {
    body: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trailers: Option<Vec<[String; 2]>>,
}

#[derive(Debug, Serialize)]
struct LogLine {
    level: &'static str,
    message: String,
    context: u32,
    callback: &'static str,
}

#[derive(Debug, Serialize)]
struct CallbackRun {
    name: &'static str,
    context: u32,
    result: Option<u32>,
    host_calls: Vec<HostCallRun>,
    #[serde(skip_serializing_if = "is_zero")]
    omitted: u64,
    duration_ns: u64,
}

#[derive(Debug, Serialize)]
struct HostCallRun {
    name: &'static str,
    args: Vec<String>,
    /// The name of a status, else the number; `null` for a function without a result.
    status: Option<Answer>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    Name(&'static str),
    Number(u32),
}

impl Run {
    /// What a request on this engine came to; `plugin` is what the plugin is called.
    pub fn new(engine: &str, plugin: &str, trip: &Trip) -> Self {
        Run {
            engine: engine.to_owned(),
            plugin: plugin.to_owned(),
            outcome: outcome(trip.outcome),
            error: trip
                .error
                .as_ref()
                .map(RunError::from)
                .or_else(|| trip.upstream_failure.as_ref().map(RunError::from)),
            upstream_request: trip.upstream_request.as_ref().map(Request::from),
            response: trip.response.as_ref().map(Response::from),
            wire: trip.seen_on_wire().map(str::to_owned).collect(),
            logs: trip.entries.iter().chain(&trip.ended).flat_map(Entry::lines).map(LogLine::from).collect(),
            callbacks: trip.entries.iter().map(CallbackRun::from).collect(),
            end_callbacks: trip.ended.iter().map(CallbackRun::from).collect(),
        }
    }
}

/// The outcome's name.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Response => "response",
        Outcome::LocalResponse => "local_response",
        Outcome::Crash => "crash",
        Outcome::LoadError => "load_error",
        Outcome::Paused => "paused",
        Outcome::Reset => "reset",
        Outcome::Played => "played",
    }
}

impl From<&Error> for RunError {
    fn from(error: &Error) -> Self {
        RunError {
            kind: error.kind,
            callback: error.callback.clone(),
            message: error.message.clone(),
            backtrace: error.backtrace.clone(),
        }
    }
}

impl From<&UpstreamFailure> for RunError {
    fn from(failure: &UpstreamFailure) -> Self {
        let message = failure.message.clone();
        RunError { kind: "upstream", callback: String::new(), message, backtrace: Vec::new() }
    }
}

impl From<&Message> for Request {
    fn from(message: &Message) -> Self {
        Request {
            method: pseudo(&message.headers, b":method"),
            path: pseudo(&message.headers, b":path"),
            headers: fields(&message.headers, &[b":method", b":path"]),
            content: message.into(),
        }
    }
}

impl From<&Message> for Response {
    fn from(message: &Message) -> Self {
        Response {
            status: pseudo(&message.headers, b":status").parse().unwrap_or(0),
            headers: fields(&message.headers, &[b":status"]),
            content: message.into(),
        }
    }
}

impl From<&Message> for Content {
    fn from(message: &Message) -> Self {
        let body = message.body.clone().unwrap_or_default();
        let (body, body_base64) = match std::str::from_utf8(&body) {
            Ok(text) => (text.to_owned(), None),
            Err(_) => (String::from_utf8_lossy(&body).into_owned(), Some(base64(&body))),
        };
        Content { body, body_base64, trailers: message.trailers.as_ref().map(|trailers| fields(trailers, &[])) }
    }
}

impl From<&Line> for LogLine {
    fn from(line: &Line) -> Self {
        LogLine {
            level: line.level.as_str(),
            message: line.message.clone(),
            context: line.context,
            callback: line.callback,
        }
    }
}

impl From<&Entry> for CallbackRun {
    fn from(entry: &Entry) -> Self {
        CallbackRun {
            name: entry.name(),
            context: entry.context,
            result: entry.result,
            host_calls: entry.calls().map(HostCallRun::from).collect(),
            omitted: entry.omitted,
            duration_ns: entry.nanos,
        }
    }
}

impl From<&Call> for HostCallRun {
    fn from(call: &Call) -> Self {
        let status = match call.result_name {
            "" => call.result.map(Answer::Number),
            name => Some(Answer::Name(name)),
        };
        HostCallRun { name: call.row.name, args: call.args.clone(), status }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn pseudo(headers: &HeaderList, name: &[u8]) -> String {
    headers.get(name).map(|value| value_text(value)).unwrap_or_default()
}

fn fields(headers: &HeaderList, without: &[&[u8]]) -> Vec<[String; 2]> {
    let kept = headers.iter().filter(|(name, _)| !without.contains(&name.as_ref()));
    kept.map(|(name, value)| [value_text(name), value_text(value)]).collect()
}

/// The bytes of a header field as text from which they can be told: `\xNN` is a byte of what is not UTF-8, `\\` is `\`.
pub fn value_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(&chunk.valid().replace('\\', "\\\\"));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit > group.len() { '=' } else { char::from(DIGITS[index as usize]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let known =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")];
        for (plain, encoded) in known {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(b"\xff\xfe\xfd"), "//79");
    }

    #[test]
    fn header_values_can_be_told_from_their_text() {
        assert_eq!(value_text("ü a".as_bytes()), "ü a");
        assert_eq!(value_text(b"a\xff\\xff"), "a\\xff\\\\xff");
    }

    #[test]
    fn a_body_that_is_not_text_is_given_in_full() {
        let message = Message { body: Some(b"a\xff".as_slice().into()), ..Message::default() };
        let content = Content::from(&message);
        assert_eq!((content.body.as_str(), content.body_base64.as_deref()), ("a\u{fffd}", Some("Yf8=")));
        assert_eq!(Content::from(&Message::default()).body_base64, None);
    }
}
