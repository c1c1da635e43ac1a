//! What a case expects, as lists of lines that can be laid beside what was seen.

use chassis_abi::{CALLBACKS, TABLE};

use super::file::{CaseFile, Expect, Outcome, RequestSeen, ResponseSeen};
use super::values::{Bytes, Content, Fields, Reached};
use super::yaml::{At, Mistake};
use crate::drive::value_text;

/// One thing that is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) what: What,
    /// Where the case says so; 0 if it does not.
    pub(crate) line: u64,
    pub(crate) lines: Vec<String>,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Outcome,
    ErrorKind,
    ErrorCallback,
    ErrorMessage,
    Start,
    End,
    Trace,
    Callbacks,
    Calls,
    Logs,
    Counts,
    Callouts,
    Metrics,
    /// Whether anything arrived at all.
    Upstream,
    UpstreamMethod,
    UpstreamPath,
    UpstreamAuthority,
    UpstreamScheme,
    UpstreamHeaders,
    UpstreamBody,
    UpstreamTrailers,
    Client,
    ClientStatus,
    ClientHeaders,
    ClientBody,
    ClientTrailers,
    Wire,
}

impl What {
    /// Whether each line of it is one of the case's.
    pub(crate) fn is_block(self) -> bool {
        use What::{Callbacks, Callouts, Calls, Counts, End, Logs, Metrics, Start, Trace, Wire};
        matches!(self, Start | End | Trace | Callbacks | Calls | Logs | Counts | Callouts | Metrics | Wire)
    }

    /// The key below `expect`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            What::Outcome => "outcome",
            What::ErrorKind => "error.kind",
            What::ErrorCallback => "error.callback",
            What::ErrorMessage => "error.message",
            What::Start => "start",
            What::End => "end",
            What::Trace => "trace",
            What::Callbacks => "callbacks",
            What::Calls => "calls",
            What::Logs => "logs",
            What::Counts => "counts",
            What::Callouts => "callouts",
            What::Metrics => "metrics",
            What::Upstream => "upstream",
            What::UpstreamMethod => "upstream.method",
            What::UpstreamPath => "upstream.path",
            What::UpstreamAuthority => "upstream.authority",
            What::UpstreamScheme => "upstream.scheme",
            What::UpstreamHeaders => "upstream.headers",
            What::UpstreamBody => "upstream.body",
            What::UpstreamTrailers => "upstream.trailers",
            What::Client => "client",
            What::ClientStatus => "client.status",
            What::ClientHeaders => "client.headers",
            What::ClientBody => "client.body",
            What::ClientTrailers => "client.trailers",
            What::Wire => "wire",
        }
    }
}

/// The word for what did not arrive, and for an error that there is not.
pub(crate) const NONE: &str = "none";
/// The word for something that arrived, whatever it is.
pub(crate) const SOMETHING: &str = "something";

/// Why something cannot be expected of a TCP stream.
const NO_REQUEST: &str = "a TCP stream has no request and no response: what passes is on its `wire`";

/// What is expected of each request.
pub(super) fn of(file: &CaseFile) -> Result<Vec<Vec<View>>, Mistake> {
    if let Some(start) = file.then.iter().find_map(|then| then.expect.start.as_ref()) {
        return Err(Mistake::at(start, "the plugin starts before the first request only"));
    }
    if file.expect.outcome == Some(Outcome::LoadError) && !file.then.is_empty() {
        return Err(Mistake { line: 0, column: 0, message: "there is no request after a load_error".to_owned() });
    }
    let is_tcp = file.tcp.is_some();
    let then = file.then.iter().map(|then| (&then.expect, then.tcp.is_some() || (is_tcp && then.request.is_none())));
    let expected: Vec<(&Expect, bool)> = std::iter::once((&file.expect, is_tcp)).chain(then).collect();
    if let Some(end) = expected[..expected.len() - 1].iter().find_map(|(expect, _)| expect.end.as_ref()) {
        return Err(Mistake::at(end, "the plugin ends after the last request only"));
    }
    expected.into_iter().map(|(expect, is_tcp)| views(expect, is_tcp)).collect()
}

fn views(expect: &Expect, is_tcp: bool) -> Result<Vec<View>, Mistake> {
    let outcome = expect.outcome.unwrap_or(if is_tcp { Outcome::Played } else { Outcome::Response });
    match (is_tcp, &expect.wire, &expect.upstream, &expect.client) {
        (false, Some(wire), ..) => return Err(Mistake::at(wire, "only a TCP stream has a wire")),
        (true, _, Some(upstream), _) => return Err(Mistake::at(upstream, NO_REQUEST)),
        (true, _, _, Some(client)) => return Err(Mistake::at(client, NO_REQUEST)),
        _ => {}
    }
    let ends_guest = matches!(outcome, Outcome::Crash | Outcome::LoadError);
    if ends_guest && expect.error.is_none() {
        let message = format!("the outcome {} needs `error`", outcome.as_str());
        return Err(Mistake { line: 0, column: 0, message });
    }
    let mut views = Vec::new();
    let mut add = |what, line, lines| views.push(View { what, line, lines });
    match &expect.error {
        None => add(What::ErrorKind, 0, vec![NONE.to_owned()]),
        Some(error) => {
            add(What::ErrorKind, line(&error.kind), vec![error.kind.value.as_str().to_owned()]);
            let texts = [(What::ErrorCallback, &error.callback), (What::ErrorMessage, &error.message)];
            for (what, text) in texts {
                text.iter().for_each(|text| add(what, line(text), vec![text.value.clone()]));
            }
        }
    }
    add(What::Outcome, 0, vec![outcome.as_str().to_owned()]);
    let blocks = [
        (What::Start, &expect.start),
        (What::End, &expect.end),
        (What::Trace, &expect.trace),
        (What::Callbacks, &expect.callbacks),
        (What::Calls, &expect.calls),
        (What::Logs, &expect.logs),
        (What::Callouts, &expect.callouts),
        (What::Metrics, &expect.metrics),
        (What::Wire, &expect.wire),
    ];
    for (what, block) in blocks {
        block.iter().for_each(|block| add(what, line(block), lines(&block.value)));
    }
    if let Some(counts) = &expect.counts {
        for name in counts.value.keys() {
            let known =
                CALLBACKS.iter().any(|callback| callback.name() == name) || TABLE.iter().any(|row| row.name == name);
            if !known {
                return Err(Mistake::at(counts, format!("`{name}` is neither a callback nor a host function")));
            }
        }
        add(What::Counts, line(counts), counts.value.iter().map(|(name, count)| format!("{name}: {count}")).collect());
    }
    if let Some(upstream) = &expect.upstream {
        request(upstream, &mut add);
    }
    if let Some(client) = &expect.client {
        response(client, &mut add);
    }
    Ok(views)
}

fn request(seen: &At<Reached<RequestSeen>>, add: &mut impl FnMut(What, u64, Vec<String>)) {
    let line = line(seen);
    let Reached::This(request) = &seen.value else { return add(What::Upstream, line, vec![NONE.to_owned()]) };
    add(What::Upstream, line, vec![SOMETHING.to_owned()]);
    let text = |bytes: &Bytes| vec![value_text(&bytes.0)];
    request.method.iter().for_each(|method| add(What::UpstreamMethod, line, vec![method.clone()]));
    request.path.iter().for_each(|path| add(What::UpstreamPath, line, text(path)));
    request.authority.iter().for_each(|authority| add(What::UpstreamAuthority, line, text(authority)));
    request.scheme.iter().for_each(|scheme| add(What::UpstreamScheme, line, text(scheme)));
    request.headers.iter().for_each(|fields| add(What::UpstreamHeaders, line, fields_lines(fields)));
    request.body.iter().for_each(|body| add(What::UpstreamBody, line, body_lines(body)));
    request.trailers.iter().for_each(|fields| add(What::UpstreamTrailers, line, fields_lines(fields)));
}

fn response(seen: &At<Reached<ResponseSeen>>, add: &mut impl FnMut(What, u64, Vec<String>)) {
    let line = line(seen);
    let Reached::This(response) = &seen.value else { return add(What::Client, line, vec![NONE.to_owned()]) };
    add(What::Client, line, vec![SOMETHING.to_owned()]);
    response.status.iter().for_each(|status| add(What::ClientStatus, line, vec![status.to_string()]));
    response.headers.iter().for_each(|fields| add(What::ClientHeaders, line, fields_lines(fields)));
    response.body.iter().for_each(|body| add(What::ClientBody, line, body_lines(body)));
    response.trailers.iter().for_each(|fields| add(What::ClientTrailers, line, fields_lines(fields)));
}

fn line<T>(at: &At<T>) -> u64 {
    at.referenced.line()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

fn fields_lines(fields: &Fields) -> Vec<String> {
    fields.0.iter().map(|field| format!("{}: {}", value_text(&field.name), value_text(&field.value))).collect()
}

fn body_lines(body: &Content) -> Vec<String> {
    text_lines(&body.bytes())
}

/// A body by its lines; two bodies are equal if these are.
pub(crate) fn text_lines(body: &[u8]) -> Vec<String> {
    value_text(body).split('\n').map(str::to_owned).collect()
}
