//! What `chassis run` prints for people: callbacks, host calls, changes, result.

use std::fmt::{self, Write};

use chassis_abi::{Callback, HeaderList, LogLevel, Param, PeerType};
use chassis_conformance::drive::{Ask, Call, Entry, Line, Message, Outcome, Step, Trip, outcome, value_text};
use chassis_conformance::named;

use crate::style::{ERROR, FAINT, GOOD, NAME, ODD, STRONG};

/// How much of a text is shown.
const SHOWN: usize = 120;
/// How much of a body is shown.
const BODY: usize = 1024;

/// The timeline of one request, or of one TCP stream.
pub(crate) fn timeline(title: &str, ask: &Ask, trip: &Trip) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out, title, ask, trip);
    out
}

fn write(out: &mut String, title: &str, ask: &Ask, trip: &Trip) -> fmt::Result {
    writeln!(out, "{STRONG}{title}{STRONG:#}")?;
    let started = trip.entries.iter().take_while(|entry| entry.is_start()).count();
    let asked = trip.before_upstream.max(started);
    let answered = trip.before_answer.max(asked);
    section(out, "start", &trip.entries[..started])?;
    if trip.outcome == Outcome::LoadError {
        return result(out, trip);
    }
    if ask.tcp.is_some() {
        connection(out, trip, started, answered)?;
    } else {
        let request = &ask.request;
        message(out, "request", request)?;
        entries(out, &trip.entries[started..asked])?;
        if let Some(sent) = &trip.upstream_request {
            head(out, "to the upstream", sent)?;
            changes(out, request, sent)?;
        }
        if let Some(failure) = &trip.upstream_failure {
            writeln!(out, "{ERROR}the upstream failed{ERROR:#} {}", plain(failure.message.as_bytes()))?;
        }
        if let Some(response) = &trip.upstream_response {
            message(out, "from the upstream", response)?;
        }
        entries(out, &trip.entries[asked..answered])?;
        answer(out, trip)?;
    }
    section(out, "end", &trip.entries[answered..])?;
    section(out, "shutdown", &trip.ended)?;
    result(out, trip)
}

/// What happened on the connections of a TCP stream, between the callbacks.
fn connection(out: &mut String, trip: &Trip, started: usize, ended: usize) -> fmt::Result {
    writeln!(out, "{STRONG}connection from client{STRONG:#}")?;
    let mut wire = trip.wire.iter().peekable();
    for at in started..=ended {
        while let Some(next) = wire.next_if(|next| next.after <= at || at == ended) {
            let style = if next.is_event { STRONG } else { GOOD };
            writeln!(out, "{style}{}{style:#}", short(&next.line, BODY))?;
        }
        entries(out, &trip.entries[at..ended.min(at + 1)])?;
    }
    Ok(())
}

/// Callbacks under a name, if there are any.
fn section(out: &mut String, name: &str, list: &[Entry]) -> fmt::Result {
    if !list.is_empty() {
        writeln!(out, "{STRONG}{name}{STRONG:#}")?;
    }
    entries(out, list)
}

fn entries(out: &mut String, entries: &[Entry]) -> fmt::Result {
    for entry in entries {
        write!(out, "  {NAME}{}{NAME:#}({})", entry.name(), arguments(entry))?;
        match (&entry.stopped, entry.result) {
            (Some(stopped), _) => write!(out, " -> {ERROR}{}{ERROR:#}", stopped.message)?,
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

/// A callback's arguments in words.
fn arguments(entry: &Entry) -> String {
    let mut words = Vec::new();
    if entry.context != 0 {
        words.push(format!("context {}", entry.context));
    }
    let first = entry.args.first().copied().unwrap_or_default();
    let sized = match entry.callback {
        Some(Callback::RequestHeaders | Callback::ResponseHeaders) => Some("header"),
        Some(Callback::RequestTrailers | Callback::ResponseTrailers) => Some("trailer"),
        Some(
            Callback::RequestBody
            | Callback::ResponseBody
            | Callback::DownstreamData
            | Callback::UpstreamData
            | Callback::VmStart
            | Callback::Configure
            | Callback::ValidateConfiguration,
        ) => Some("byte"),
        _ => None,
    };
    match (sized, entry.callback) {
        (Some(what), _) => words.push(count(first as usize, what)),
        (None, Some(Callback::ContextCreate)) if first == 0 => words.push("root".to_owned()),
        (None, Some(Callback::ContextCreate)) => words.push(format!("parent {first}")),
        (None, Some(Callback::DownstreamConnectionClose | Callback::UpstreamConnectionClose)) => {
            words.push(PeerType::from_u32(first).map_or_else(|| first.to_string(), |peer| peer.as_str().to_owned()));
        }
        _ => words.extend(entry.args.iter().map(u32::to_string)),
    }
    if sized.is_some() && entry.args.get(1).is_some_and(|end| *end != 0) {
        words.push("end of stream".to_owned());
    }
    words.join(", ")
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
    match &call.returned {
        Some(text) if call.row.name == PAIRS => write!(out, " [{}]", short(text, SHOWN))?,
        Some(text) if call.row.params.contains(&Param::Out("data")) => write!(out, " \"{}\"", short(text, SHOWN))?,
        Some(number) => write!(out, " {number}")?,
        None => {}
    }
    out.write_char('\n')
}

/// What gives a whole map.
const PAIRS: &str = "proxy_get_header_map_pairs";

/// An argument, with the names of the ABI for its numbers.
fn argument(param: &Param, arg: &str) -> String {
    match (named(param, arg), param) {
        (Some(name), _) => name.to_owned(),
        (None, Param::Bytes(_)) => format!("\"{}\"", short(arg, SHOWN)),
        (None, Param::Pairs(_)) => format!("[{}]", short(arg, SHOWN)),
        (None, _) => arg.to_owned(),
    }
}

fn log_line(out: &mut String, line: &Line) -> fmt::Result {
    let style = match line.level {
        LogLevel::Warn => ODD,
        LogLevel::Error | LogLevel::Critical => ERROR,
        _ => FAINT,
    };
    writeln!(out, "    {style}{}{style:#} {}", line.level.as_str(), line.message)
}

/// A whole message: its first line, its fields, its body.
fn message(out: &mut String, what: &str, message: &Message) -> fmt::Result {
    head(out, what, message)?;
    for (name, value) in message.headers.iter().filter(|(name, _)| !name.starts_with(b":")) {
        writeln!(out, "    {}: {}", plain(name), plain(value))?;
    }
    if let Some(body) = &message.body {
        writeln!(out, "    {}", body_text(body))?;
    }
    for (name, value) in message.trailers.iter().flat_map(HeaderList::iter) {
        writeln!(out, "    trailer {}: {}", plain(name), plain(value))?;
    }
    Ok(())
}

/// The first line of a message and how large it is.
fn head(out: &mut String, what: &str, message: &Message) -> fmt::Result {
    let value = |name: &[u8]| message.headers.get(name).map(|value| plain(value));
    let line = match (value(b":status"), value(b":method"), value(b":path")) {
        (Some(status), ..) => status,
        (None, Some(method), Some(path)) => format!("{method} {path}"),
        _ => String::new(),
    };
    let mut size = count(message.headers.len(), "header");
    if let Some(body) = &message.body {
        size.push_str(&format!(", {} of body", count(body.len(), "byte")));
    }
    if let Some(trailers) = &message.trailers {
        size.push_str(&format!(", {}", count(trailers.len(), "trailer")));
    }
    writeln!(out, "{STRONG}{what}{STRONG:#} {line}  {FAINT}{size}{FAINT:#}")
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// What a message became.
fn changes(out: &mut String, before: &Message, after: &Message) -> fmt::Result {
    let begin = out.len();
    list_changes(out, &before.headers, &after.headers, "")?;
    let trailers = |message: &Message| message.trailers.clone().unwrap_or_default();
    list_changes(out, &trailers(before), &trailers(after), "trailer ")?;
    let body = |message: &Message| message.body.clone().unwrap_or_default();
    let (old, new) = (body(before), body(after));
    if old != new {
        let sizes = format!("{} -> {}", count(old.len(), "byte"), count(new.len(), "byte"));
        writeln!(out, "  {ODD}~ body{ODD:#} {sizes}: {}", body_text(&new))?;
    }
    if out.len() == begin && before.headers == after.headers {
        writeln!(out, "  {FAINT}unchanged{FAINT:#}")?;
    }
    Ok(())
}

fn list_changes(out: &mut String, before: &HeaderList, after: &HeaderList, what: &str) -> fmt::Result {
    let (gone, come) = (missing(before, after), missing(after, before));
    for (name, value) in &gone {
        writeln!(out, "  {ERROR}- {what}{}: {}{ERROR:#}", plain(name), plain(value))?;
    }
    for (name, value) in &come {
        writeln!(out, "  {GOOD}+ {what}{}: {}{GOOD:#}", plain(name), plain(value))?;
    }
    if gone.is_empty() && come.is_empty() && before != after {
        writeln!(out, "  {ODD}~ the order of {what}fields{ODD:#}")?;
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
    match trip.upstream_response.as_ref().filter(|_| trip.outcome == Outcome::Response) {
        Some(upstream) => {
            head(out, "to the client", response)?;
            changes(out, upstream, response)
        }
        None => message(out, "to the client", response),
    }
}

fn result(out: &mut String, trip: &Trip) -> fmt::Result {
    let style = match trip.outcome {
        Outcome::Response | Outcome::LocalResponse | Outcome::Played => GOOD,
        Outcome::Reset => ODD,
        Outcome::Crash | Outcome::LoadError | Outcome::Paused => ERROR,
    };
    write!(out, "{STRONG}result{STRONG:#} {style}{}{style:#}", outcome(trip.outcome))?;
    if let Some(error) = &trip.error {
        let place = match error.callback.as_str() {
            callback if callback.is_empty() || error.message.starts_with(callback) => String::new(),
            callback => format!(" in {callback}"),
        };
        write!(out, "{place}: {}", plain(error.message.as_bytes()))?;
    } else if trip.outcome == Outcome::Paused {
        write!(out, ": nothing let it go on before the pause limit")?;
    } else if let Some(status) = trip.response.as_ref().and_then(|response| response.headers.get(b":status")) {
        write!(out, " {}", plain(status))?;
    }
    if trip.entries.is_empty() {
        out.write_char('\n')?;
    } else {
        let total = trip.entries.iter().chain(&trip.ended).map(|entry| entry.nanos).fold(0, u64::saturating_add);
        writeln!(out, "  {FAINT}{} in the guest{FAINT:#}", duration(total))?;
    }
    trip.error.iter().try_for_each(|error| backtrace(out, &error.backtrace))
}

/// Frames, innermost first; those of a recursion once.
fn backtrace(out: &mut String, frames: &[String]) -> fmt::Result {
    for run in frames.chunk_by(|a, b| a == b) {
        let times = if run.len() > 1 { format!(", {} times", run.len()) } else { String::new() };
        writeln!(out, "  {FAINT}in {}{times}{FAINT:#}", chassis_host::escape(run[0].as_bytes()))?;
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

    #[test]
    fn a_recursion_is_one_line() {
        let frames = ["a", "b", "b", "b", "c"].map(str::to_owned);
        let mut out = String::new();
        backtrace(&mut out, &frames).unwrap();
        assert_eq!(anstream::adapter::strip_str(&out).to_string(), "  in a\n  in b, 3 times\n  in c\n");
    }
}
