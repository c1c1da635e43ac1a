//! What `chassis run` prints for people: callbacks, host calls, changes, result.

use std::fmt::{self, Write};

use chassis_abi::{BufferType, Callback, HeaderList, LogLevel, MapType, Param, StreamType};

use super::driver::{Message, Outcome, Trip};
use super::record::{Call, Entry, Line, Step};
use super::report::{outcome, value_text};
use crate::style::{ERROR, FAINT, GOOD, NAME, ODD, STRONG};

/// How much of a text is shown.
const SHOWN: usize = 120;
/// How much of a body is shown.
const BODY: usize = 1024;

/// The timeline of one request.
pub(crate) fn timeline(title: &str, request: &Message, trip: &Trip) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out, title, request, trip);
    out
}

fn write(out: &mut String, title: &str, request: &Message, trip: &Trip) -> fmt::Result {
    writeln!(out, "{STRONG}{title}{STRONG:#}")?;
    let started = trip.entries.iter().take_while(|entry| is_start(entry)).count();
    entries(out, &trip.entries[..started])?;
    if trip.outcome != Outcome::LoadError {
        head(out, "request", request)?;
        entries(out, &trip.entries[started..trip.before_upstream.max(started)])?;
        if let Some(sent) = &trip.upstream_request {
            head(out, "to the upstream", sent)?;
            changes(out, request, sent)?;
        }
        if let Some(failure) = &trip.upstream_failure {
            writeln!(out, "{ERROR}the upstream failed{ERROR:#} {}", failure.message)?;
        }
        if let Some(response) = &trip.upstream_response {
            head(out, "from the upstream", response)?;
        }
        entries(out, &trip.entries[trip.before_upstream.max(started)..trip.before_answer.max(started)])?;
        answer(out, trip)?;
        entries(out, &trip.entries[trip.before_answer.max(started)..])?;
    }
    result(out, trip)
}

/// Whether a callback belongs to the start of a VM.
fn is_start(entry: &Entry) -> bool {
    match entry.callback {
        None => true,
        Some(Callback::ContextCreate) => entry.args.first() == Some(&0),
        Some(callback) => matches!(
            callback,
            Callback::Initialize
                | Callback::Main
                | Callback::MainVoid
                | Callback::Start
                | Callback::VmStart
                | Callback::Configure
        ),
    }
}

fn entries(out: &mut String, entries: &[Entry]) -> fmt::Result {
    for entry in entries {
        let args: Vec<String> = entry.args.iter().map(u32::to_string).collect();
        let context = match entry.context {
            0 => String::new(),
            context => format!(" #{context}"),
        };
        write!(out, "  {NAME}{}{NAME:#}{context}({})", entry.name(), args.join(", "))?;
        match (&entry.stopped, entry.result) {
            (Some(stopped), _) => write!(out, " {ERROR}{}{ERROR:#}", stopped.message)?,
            (None, Some(result)) => write!(out, " -> {}", meaning(entry, result))?,
            (None, None) => {}
        }
        writeln!(out, "  {FAINT}{}{FAINT:#}", duration(entry.nanos))?;
        entry.steps.iter().enumerate().try_for_each(|(i, step)| match step {
            // The line itself says all that the call does.
            Step::Call(call) if call.row.name == "proxy_log" && i > 0 && is_line(&entry.steps[i - 1]) => Ok(()),
            Step::Call(call) => host_call(out, call),
            Step::Line(line) => log_line(out, line),
        })?;
        if entry.omitted > 0 {
            writeln!(out, "    {ODD}... and {} more that were not recorded{ODD:#}", entry.omitted)?;
        }
    }
    Ok(())
}

fn is_line(step: &Step) -> bool {
    matches!(step, Step::Line(_))
}

/// A callback's result in the words that its kind has for it.
fn meaning(entry: &Entry, result: u32) -> String {
    let words = match entry.callback {
        Some(
            Callback::NewConnection
            | Callback::DownstreamData
            | Callback::UpstreamData
            | Callback::RequestHeaders
            | Callback::RequestBody
            | Callback::RequestTrailers
            | Callback::RequestMetadata
            | Callback::ResponseHeaders
            | Callback::ResponseBody
            | Callback::ResponseTrailers
            | Callback::ResponseMetadata,
        ) => ["continue", "pause"],
        Some(Callback::VmStart | Callback::Configure | Callback::ValidateConfiguration) => ["refused", "ok"],
        Some(Callback::Done) => ["not yet", "done"],
        _ => return result.to_string(),
    };
    words.get(result as usize).map_or_else(|| result.to_string(), |word| (*word).to_owned())
}

fn host_call(out: &mut String, call: &Call) -> fmt::Result {
    let params = call.row.params.iter().filter(|param| !matches!(param, Param::Out(_)));
    let args: Vec<String> = params.zip(&call.args).map(|(param, arg)| argument(param, arg)).collect();
    write!(out, "    {}({})", call.row.name, args.join(", "))?;
    match (call.result_name, call.result) {
        ("ok" | "success", _) => write!(out, " -> {GOOD}{}{GOOD:#}", call.result_name)?,
        ("", Some(number)) => write!(out, " -> {number}")?,
        ("", None) => {}
        (name, _) => write!(out, " -> {ODD}{name}{ODD:#}")?,
    }
    out.write_char('\n')
}

/// An argument, with the names of the ABI for its numbers.
fn argument(param: &Param, arg: &str) -> String {
    let number = arg.parse().ok();
    let name = match param {
        Param::Int("map") => number.and_then(MapType::from_u32).map(MapType::as_str),
        Param::Int("buffer") => number.and_then(BufferType::from_u32).map(BufferType::as_str),
        Param::Int("stream") => number.and_then(StreamType::from_u32).map(StreamType::as_str),
        Param::Int("level") => number.and_then(LogLevel::from_u32).map(LogLevel::as_str),
        Param::Bytes(_) => return format!("\"{}\"", short(arg, SHOWN)),
        Param::Pairs(_) => return format!("[{}]", short(arg, SHOWN)),
        _ => None,
    };
    name.map_or_else(|| arg.to_owned(), str::to_owned)
}

fn log_line(out: &mut String, line: &Line) -> fmt::Result {
    let style = match line.level {
        LogLevel::Warn => ODD,
        LogLevel::Error | LogLevel::Critical => ERROR,
        _ => FAINT,
    };
    writeln!(out, "    {style}{}{style:#} {}", line.level.as_str(), line.message)
}

/// The first line of a message and how large it is.
fn head(out: &mut String, what: &str, message: &Message) -> fmt::Result {
    let value = |name: &[u8]| message.headers.get(name).map(|value| plain(value));
    let line = match (value(b":status"), value(b":method"), value(b":path")) {
        (Some(status), ..) => status,
        (None, Some(method), Some(path)) => format!("{method} {path}"),
        _ => String::new(),
    };
    let body = message.body.as_ref().map_or_else(String::new, |body| format!(", {} bytes of body", body.len()));
    let trailers = message.trailers.as_ref().map_or_else(String::new, |list| format!(", {} trailers", list.len()));
    let headers = message.headers.len();
    writeln!(out, "{STRONG}{what}{STRONG:#} {line}  {FAINT}{headers} headers{body}{trailers}{FAINT:#}")
}

/// What a message became.
fn changes(out: &mut String, before: &Message, after: &Message) -> fmt::Result {
    let none = HeaderList::default();
    list_changes(out, &before.headers, &after.headers, "")?;
    let trailers = |message: &Message| message.trailers.clone().unwrap_or_else(|| none.clone());
    list_changes(out, &trailers(before), &trailers(after), "trailer ")?;
    let body = |message: &Message| message.body.clone().unwrap_or_default();
    if body(before) != body(after) {
        let (old, new) = (body(before), body(after));
        writeln!(out, "  {ODD}~ body{ODD:#} {} bytes -> {} bytes: {}", old.len(), new.len(), body_text(&new))?;
    }
    Ok(())
}

fn list_changes(out: &mut String, before: &HeaderList, after: &HeaderList, what: &str) -> fmt::Result {
    for (name, value) in missing(before, after) {
        writeln!(out, "  {ERROR}- {what}{}: {}{ERROR:#}", plain(name), plain(value))?;
    }
    for (name, value) in missing(after, before) {
        writeln!(out, "  {GOOD}+ {what}{}: {}{GOOD:#}", plain(name), plain(value))?;
    }
    Ok(())
}

/// The entries of `list` that `other` does not have, as often as they are too many.
fn missing<'a>(list: &'a HeaderList, other: &HeaderList) -> Vec<(&'a [u8], &'a [u8])> {
    let mut there: Vec<(&[u8], &[u8])> = other.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let mut missing = Vec::new();
    for (name, value) in list.iter() {
        match there.iter().position(|entry| *entry == (&name[..], &value[..])) {
            Some(position) => drop(there.swap_remove(position)),
            None => missing.push((&name[..], &value[..])),
        }
    }
    missing
}

fn answer(out: &mut String, trip: &Trip) -> fmt::Result {
    let Some(response) = &trip.response else { return Ok(()) };
    head(out, "to the client", response)?;
    if let Some(upstream) = trip.upstream_response.as_ref().filter(|_| trip.outcome == Outcome::Response) {
        return changes(out, upstream, response);
    }
    for (name, value) in response.headers.iter().filter(|(name, _)| !name.starts_with(b":")) {
        writeln!(out, "  {}: {}", plain(name), plain(value))?;
    }
    match &response.body {
        Some(body) => writeln!(out, "  {}", body_text(body)),
        None => Ok(()),
    }
}

fn result(out: &mut String, trip: &Trip) -> fmt::Result {
    let total: u64 = trip.entries.iter().map(|entry| entry.nanos).fold(0, u64::saturating_add);
    let style = match trip.outcome {
        Outcome::Response | Outcome::LocalResponse => GOOD,
        Outcome::Reset => ODD,
        Outcome::Crash | Outcome::LoadError | Outcome::Paused => ERROR,
    };
    write!(out, "{STRONG}result{STRONG:#} {style}{}{style:#}", outcome(trip.outcome))?;
    if let Some(error) = &trip.error {
        let callback = if error.callback.is_empty() { String::new() } else { format!(" in {}", error.callback) };
        write!(out, ", {}{callback}: {}", error.kind, error.message)?;
    }
    if trip.outcome == Outcome::Paused {
        write!(out, ": nothing let it go on before the pause limit")?;
    }
    writeln!(out, "  {FAINT}{} in the guest{FAINT:#}", duration(total))?;
    for frame in trip.error.iter().flat_map(|error| &error.backtrace) {
        writeln!(out, "  {FAINT}at {}{FAINT:#}", chassis_host::escape(frame.as_bytes()))?;
    }
    Ok(())
}

/// A body on one line.
fn body_text(body: &[u8]) -> String {
    let cut = &body[..body.len().min(BODY)];
    let text = format!("\"{}\"", chassis_host::escape(cut));
    if cut.len() < body.len() { format!("{text}...") } else { text }
}

/// A name or value, safe for a terminal.
fn plain(bytes: &[u8]) -> String {
    short(&chassis_host::escape(value_text(bytes).as_bytes()), BODY)
}

fn short(text: &str, most: usize) -> String {
    let text = chassis_host::escape(text.as_bytes());
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}

fn duration(nanos: u64) -> String {
    match nanos {
        0..10_000 => format!("{:.1} µs", nanos as f64 / 1e3),
        10_000..1_000_000 => format!("{} µs", nanos / 1000),
        _ => format!("{:.1} ms", nanos as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_lists_count_repetitions() {
        let a: HeaderList = [("x", "1"), ("x", "1"), ("y", "2")].into_iter().collect();
        let b: HeaderList = [("x", "1"), ("y", "3")].into_iter().collect();
        let text = |list: Vec<(&[u8], &[u8])>| -> Vec<String> {
            list.iter().map(|(name, value)| format!("{}={}", plain(name), plain(value))).collect()
        };
        assert_eq!(text(missing(&a, &b)), ["x=1", "y=2"]);
        assert_eq!(text(missing(&b, &a)), ["y=3"]);
    }

    #[test]
    fn numbers_of_the_abi_have_names() {
        assert_eq!(argument(&Param::Int("map"), "2"), "response_headers");
        assert_eq!(argument(&Param::Int("map"), "99"), "99");
        assert_eq!(argument(&Param::Bytes("name"), "a\u{1b}b"), "\"a\\u{1b}b\"");
    }
}
