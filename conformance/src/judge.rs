//! Whether what was seen is what a case expects.

use chassis_abi::HeaderList;
use serde::Serialize;

use crate::case::{Case, NONE, SOMETHING, View, What, text_lines};
use crate::drive::{Entry, Message, Trip, outcome, value_text};
use crate::trace;

/// The first thing that is not as expected, as two lists of lines of which the first pair differs at `first`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What differs: the key, as `expect.trace` or `then[0].expect.client.headers`.
    pub at: String,
    /// The line of the case file that expects it; 0 if it does not say so.
    pub line: u64,
    /// How many lines are the same.
    pub first: usize,
    /// What was expected.
    pub expected: Vec<String>,
    /// What was seen.
    pub seen: Vec<String>,
}

impl Difference {
    /// The first line that was expected and not seen; `None` if it is only that more was seen.
    pub fn expected_line(&self) -> Option<&str> {
        self.expected.get(self.first).map(String::as_str)
    }

    /// The first line that was seen and not expected; `None` if it is only that less was seen.
    pub fn seen_line(&self) -> Option<&str> {
        self.seen.get(self.first).map(String::as_str)
    }
}

/// The first difference, if there is one. Requests are compared in order, and of each how it ended before all else.
pub(crate) fn judge(case: &Case, trips: &[Trip]) -> Option<Difference> {
    case.views.iter().enumerate().find_map(|(index, views)| {
        let prefix = if index == 0 { "expect".to_owned() } else { format!("then[{}].expect", index - 1) };
        let Some(trip) = trips.get(index) else {
            let (expected, seen) = (vec!["a request".to_owned()], vec!["the plugin did not start".to_owned()]);
            return Some(Difference { at: prefix, line: 0, first: 0, expected, seen });
        };
        views.iter().find_map(|view| compare(view, trip, &prefix))
    })
}

fn compare(view: &View, trip: &Trip, prefix: &str) -> Option<Difference> {
    let mut seen = seen(view.what, trip, view);
    if seen == view.lines {
        return None;
    }
    let first = seen.iter().zip(&view.lines).take_while(|(seen, expected)| seen == expected).count();
    // An error that nobody expected says what it is.
    if let (What::ErrorKind, Some(error)) = (view.what, &trip.error) {
        seen = vec![error.kind.to_owned(), format!("{}: {}", error.callback, error.message)];
    }
    let line = if view.line > 0 && view.what.is_block() { view.line + first as u64 } else { view.line };
    Some(Difference { at: format!("{prefix}.{}", view.what.key()), line, first, expected: view.lines.clone(), seen })
}

fn seen(what: What, trip: &Trip, view: &View) -> Vec<String> {
    let started = trip.entries.iter().take_while(|entry| entry.is_start()).count();
    let (start, rest) = trip.entries.split_at(started);
    let one = |text: &str| vec![text.to_owned()];
    let error = trip.error.as_ref();
    let request = trip.upstream_request.as_ref();
    let response = trip.response.as_ref();
    match what {
        What::Outcome => one(outcome(trip.outcome)),
        What::ErrorKind => one(error.map_or(NONE, |error| error.kind)),
        What::ErrorCallback => one(error.map_or("", |error| &error.callback)),
        What::ErrorMessage => one(error.map_or("", |error| trace::shared_words(&error.message))),
        What::Start => trace::trace(start),
        What::End => trace::trace(&trip.ended),
        What::Trace => trace::trace(rest),
        What::Callbacks => trace::callbacks(rest),
        What::Calls => trace::calls(rest),
        What::Logs => without_blanks_at_ends(trace::logs(&trip.entries)),
        What::Callouts => without_blanks_at_ends(trip.callouts.clone()),
        What::Counts => counts(&trip.entries, &view.lines),
        What::Metrics => trip.metrics.lines().map(str::to_owned).collect(),
        What::Upstream => arrived(request),
        What::UpstreamMethod => pseudo(request, b":method"),
        What::UpstreamPath => pseudo(request, b":path"),
        What::UpstreamAuthority => pseudo(request, b":authority"),
        What::UpstreamScheme => pseudo(request, b":scheme"),
        What::UpstreamHeaders => headers(request),
        What::UpstreamBody => body(request),
        What::UpstreamTrailers => trailers(request),
        What::Client => arrived(response),
        What::ClientStatus => pseudo(response, b":status"),
        What::ClientHeaders => headers(response),
        What::ClientBody => body(response),
        What::ClientTrailers => trailers(response),
        What::Wire => trip.seen_on_wire().map(|line| line.trim_end().to_owned()).collect(),
    }
}

/// A case has no blanks at the ends of its lines.
fn without_blanks_at_ends(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
}

/// The counts that are asked for, in the form in which they are expected.
fn counts(entries: &[Entry], asked: &[String]) -> Vec<String> {
    let counts = trace::counts(entries);
    let names = asked.iter().filter_map(|line| line.split_once(':')).map(|(name, _)| name);
    names.map(|name| format!("{name}: {}", counts.get(name).copied().unwrap_or_default())).collect()
}

fn arrived(message: Option<&Message>) -> Vec<String> {
    vec![if message.is_some() { SOMETHING } else { NONE }.to_owned()]
}

fn pseudo(message: Option<&Message>, name: &[u8]) -> Vec<String> {
    let value = message.and_then(|message| message.headers.get(name));
    value.map(|value| value_text(value)).into_iter().collect()
}

fn headers(message: Option<&Message>) -> Vec<String> {
    message.map_or_else(Vec::new, |message| fields(&message.headers))
}

fn trailers(message: Option<&Message>) -> Vec<String> {
    message.and_then(|message| message.trailers.as_ref()).map_or_else(Vec::new, fields)
}

fn body(message: Option<&Message>) -> Vec<String> {
    text_lines(message.and_then(|message| message.body.as_deref()).unwrap_or_default())
}

/// All fields without pseudo-headers.
fn fields(list: &HeaderList) -> Vec<String> {
    let fields = list.iter().filter(|(name, _)| !name.starts_with(b":"));
    fields.map(|(name, value)| format!("{}: {}", value_text(name), value_text(value))).collect()
}
