//! Reading YAML, with places.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_saphyr::{Error, MessageFormatter, UserMessageFormatter};

/// A value with its place in the file.
pub(crate) type At<T> = serde_saphyr::Spanned<T>;

/// A mistake in a case: of whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1; 0 if unknown.
    pub line: u64,
    /// The column, from 1; 0 if unknown.
    pub column: u64,
    /// What is wrong, in one line.
    pub message: String,
}

impl Mistake {
    pub(crate) fn at<T>(place: &At<T>, message: impl Into<String>) -> Self {
        Mistake { line: place.referenced.line(), column: place.referenced.column(), message: message.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Reads one document.
///
/// # Errors
/// The first [`Mistake`].
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Mistake> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32,
            flow_nesting_limit: 32,
            max_nodes: 100_000,
            max_events: 200_000,
            max_anchors: 100,
            max_aliases: 1_000,
            max_merge_keys: 100,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 16,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| mistake(&error))
}

fn mistake(error: &Error) -> Mistake {
    let (line, column) = error.location().map_or((0, 0), |location| (location.line(), location.column()));
    Mistake { line, column, message: shown(&words(innermost(error))) }
}

fn words(error: &Error) -> String {
    match error {
        Error::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected),
        Error::SerdeUnknownVariant { variant, expected, .. } => unknown("value", variant, expected),
        Error::SerdeMissingField { field, .. } => format!("the key `{field}` is missing"),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key `{key}` is given twice"),
        Error::SerdeInvalidType { unexpected, expected, .. } => format!("is {unexpected}, must be {expected}"),
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
}

fn unknown(what: &str, name: &str, expected: &[&str]) -> String {
    format!("unknown {what} `{name}`; known are {}", expected.join(", "))
}

fn innermost(error: &Error) -> &Error {
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => innermost(error),
        other => other,
    }
}

/// Text of the file as it may appear in a message: no control characters, and not without end.
fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(500).is_some() {
        out.push_str("...");
    }
    out
}
