//! What a guest did, as lines of text.

use std::collections::BTreeMap;

use chassis_abi::{BufferType, LogLevel, MapType, MetricType, Param, StreamType};

use crate::drive::{Call, Entry};

/// Callbacks, and below each its host calls, indented by two blanks.
pub(crate) fn trace(entries: &[Entry]) -> Vec<String> {
    let lines = entries.iter().flat_map(|entry| {
        let calls = entry.calls().map(|call| format!("  {}", call_line(call)));
        std::iter::once(callback_line(entry)).chain(calls)
    });
    lines.collect()
}

/// Callbacks alone.
pub(crate) fn callbacks(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(callback_line).collect()
}

/// Host calls alone.
pub(crate) fn calls(entries: &[Entry]) -> Vec<String> {
    entries.iter().flat_map(Entry::calls).map(call_line).collect()
}

/// Log lines.
pub(crate) fn logs(entries: &[Entry]) -> Vec<String> {
    entries.iter().flat_map(Entry::lines).map(|line| format!("{}: {}", line.level.as_str(), line.message)).collect()
}

/// How often each callback and each host function was called.
pub(crate) fn counts(entries: &[Entry]) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    let names =
        entries.iter().flat_map(|entry| std::iter::once(entry.name()).chain(entry.calls().map(|call| call.row.name)));
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}

/// Of a trap's message the part that all engines share: what is in parentheses are the engine's own words.
pub(crate) fn shared_words(message: &str) -> &str {
    if message.starts_with("trap: ") { message.split(" (").next().unwrap_or_default() } else { message }
}

fn callback_line(entry: &Entry) -> String {
    let context = Some(entry.context).filter(|context| *context != 0);
    let args: Vec<String> = context.iter().chain(&entry.args).map(u32::to_string).collect();
    let result = match (&entry.stopped, entry.result) {
        (Some(stopped), _) => format!(" -> {}", shared_words(&stopped.message)),
        (None, Some(result)) => format!(" -> {result}"),
        (None, None) => String::new(),
    };
    let omitted =
        if entry.omitted > 0 { format!(" ({} calls and lines omitted)", entry.omitted) } else { String::new() };
    format!("{}({}){result}{omitted}", entry.name(), args.join(", "))
}

fn call_line(call: &Call) -> String {
    let params = call.row.params.iter().filter(|param| !matches!(param, Param::Out(_)));
    let args: Vec<String> = params.zip(&call.args).map(|(param, arg)| argument(param, arg)).collect();
    let answer = match (call.result_name, call.result) {
        ("", Some(number)) => format!(" -> {number}"),
        ("", None) => String::new(),
        (name, _) => format!(" -> {name}"),
    };
    let returned = match &call.returned {
        Some(pairs) if call.row.name == PAIRS => format!(" [{pairs}]"),
        Some(text) if call.row.params.contains(&Param::Out("data")) => format!(" \"{text}\""),
        Some(number) => format!(" {number}"),
        None => String::new(),
    };
    format!("{}({}){answer}{returned}", call.row.name, args.join(", "))
}

/// What gives a whole map.
const PAIRS: &str = "proxy_get_header_map_pairs";

fn argument(param: &Param, arg: &str) -> String {
    match (param, named(param, arg)) {
        (_, Some(name)) => name.to_owned(),
        (Param::Bytes(_), None) => format!("\"{arg}\""),
        (Param::Pairs(_), None) => format!("[{arg}]"),
        (_, None) => arg.to_owned(),
    }
}

/// The ABI's name for a number that a host call was given, where the parameter is of a kind that has names.
pub fn named(param: &Param, arg: &str) -> Option<&'static str> {
    let number = arg.parse().ok()?;
    match param {
        Param::Int("map") => MapType::from_u32(number).map(MapType::as_str),
        Param::Int("buffer") => BufferType::from_u32(number).map(BufferType::as_str),
        Param::Int("stream") => StreamType::from_u32(number).map(StreamType::as_str),
        Param::Int("level") => LogLevel::from_u32(number).map(LogLevel::as_str),
        Param::Int("metric_type") => MetricType::from_u32(number).map(MetricType::as_str),
        _ => None,
    }
}
