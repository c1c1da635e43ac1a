//! The YAML reader, hidden behind one function so that it can be exchanged.

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_saphyr::{Error, MessageFormatter, UserMessageFormatter};

use super::error::{Place, Problem};
use super::near::nearest;

/// A value with its place in the file.
#[derive(Debug, Clone, Default)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let serde_saphyr::Spanned { value, referenced, .. } = serde_saphyr::Spanned::deserialize(deserializer)?;
        Ok(At { value, place: to_place(referenced) })
    }
}

/// Where a value is.
pub(super) fn place<T>(value: &At<T>) -> Place {
    value.place
}

/// Reads one YAML document.
///
/// # Errors
/// The first [`Problem`]: not YAML, not the shape of `T`, or over the resource budget (nesting, nodes, aliases).
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32,
            flow_nesting_limit: 32,
            max_nodes: 200_000,
            max_events: 500_000,
            max_anchors: 1_000,
            max_aliases: 10_000,
            max_merge_keys: 1_000,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 200_000,
            max_replay_stack_depth: 16,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| problem(&error))
}

fn problem(error: &Error) -> Problem {
    let place = error.location().map(to_place).unwrap_or_default();
    let error = innermost(error);
    let (key, cause) = match error {
        Error::SerdeUnknownField { field, expected, .. } => (shown(field), unknown("key", field, expected)),
        Error::SerdeUnknownVariant { variant, expected, .. } => (String::new(), unknown("value", variant, expected)),
        Error::SerdeMissingField { field, .. } => ((*field).to_owned(), "is missing".to_owned()),
        Error::DuplicateMappingKey { key: Some(key), .. } => (shown(key), "is given twice".to_owned()),
        Error::SerdeInvalidType { unexpected, expected, .. } => {
            (String::new(), shown(&format!("is {unexpected}, must be {expected}")))
        }
        other => (String::new(), shown(&UserMessageFormatter.format_message(other))),
    };
    Problem::new(place, key, cause)
}

fn innermost(error: &Error) -> &Error {
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => innermost(error),
        other => other,
    }
}

fn unknown(what: &str, name: &str, expected: &[&'static str]) -> String {
    match nearest(name, expected.iter().copied()) {
        Some(near) => format!("unknown {what}; did you mean `{near}`?"),
        None => format!("unknown {what} `{}`; known are {}", shown(name), expected.join(", ")),
    }
}

/// Text of the file as it may appear in a message: no control characters, and not without end.
pub(super) fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(120).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(120).is_some() {
        out.push_str("...");
    }
    out
}

fn to_place(location: serde_saphyr::Location) -> Place {
    Place { line: location.line(), column: location.column() }
}
