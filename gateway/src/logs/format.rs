//! Formats of access logs: text with nginx's variables.

use http::header::HeaderName;

use super::variables::{self, Variable};
use crate::config::nearest;

/// APISIX's format.
const DEFAULT: &str = "$remote_addr - $remote_user [$time_local] $http_host \"$request\" $status $body_bytes_sent \
                       $request_time \"$http_referer\" \"$http_user_agent\" $upstream_addr $upstream_status \
                       $upstream_response_time \"$upstream_scheme://$upstream_host$upstream_uri\"";

/// What the format `json` stands for.
const JSON: &str = "{\"time\":\"$time_iso8601\",\"msec\":$msec,\"connection\":$connection,\"client\":\"$remote_addr\",\
                    \"host\":\"$http_host\",\"request\":\"$request\",\"status\":$status,\"bytes\":$body_bytes_sent,\
                    \"request_time\":$request_time,\"referer\":\"$http_referer\",\"user_agent\":\"$http_user_agent\",\
                    \"route\":\"$route_id\",\"upstream\":\"$upstream_addr\",\"upstream_status\":\"$upstream_status\",\
                    \"upstream_response_time\":\"$upstream_response_time\",\"trace_id\":\"$trace_id\"}";

/// The format of an access log, ready to be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessFormat {
    pub(super) pieces: Vec<Piece>,
    pub(super) escape: Escape,
    /// The headers of a request that it shows.
    pub(super) request: Vec<HeaderName>,
    /// The headers of a response that it shows.
    pub(super) response: Vec<HeaderName>,
}

/// How what clients and upstreams send is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Escape {
    /// nginx's: `"`, `\`, control bytes and those above 126 as `\xXX`; `-` for what is not there.
    #[default]
    Default,
    /// As a JSON string's inside; nothing for what is not there.
    Json,
}

/// A part of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Variable(Variable),
}

impl AccessFormat {
    /// Reads a format: text with `$name` and `${name}`. The word `json` is one JSON object for each request.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence about it.
    pub fn parse(text: &str, escape: Escape) -> Result<Self, String> {
        let (text, escape) = if text == "json" { (JSON, Escape::Json) } else { (text, escape) };
        if let Some(control) = text.chars().find(|c| c.is_control() && *c != '\t') {
            return Err(format!("has {control:?} in it; a request is one line"));
        }
        let mut format = AccessFormat { pieces: Vec::new(), escape, request: Vec::new(), response: Vec::new() };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            format.push_text(before);
            let (name, after) = name(after)?;
            let Some(variable) = variables::variable(name, &mut format.request, &mut format.response) else {
                return Err(match nearest(name, variables::names()) {
                    Some(near) => format!("has an unknown variable `${name}`; did you mean `${near}`?"),
                    None => format!("has an unknown variable `${name}`"),
                });
            };
            format.pieces.push(Piece::Variable(variable));
            rest = after;
        }
        format.push_text(rest);
        Ok(format)
    }

    fn push_text(&mut self, text: &str) {
        if !text.is_empty() {
            self.pieces.push(Piece::Text(text.to_owned()));
        }
    }
}

impl Default for AccessFormat {
    fn default() -> Self {
        // It is well formed, as a test shows.
        AccessFormat::parse(DEFAULT, Escape::Default).unwrap_or_else(|_| AccessFormat {
            pieces: Vec::new(),
            escape: Escape::Default,
            request: Vec::new(),
            response: Vec::new(),
        })
    }
}

/// The name at the begin of what follows a `$`, and the rest.
fn name(text: &str) -> Result<(&str, &str), String> {
    if let Some(braced) = text.strip_prefix('{') {
        return braced.split_once('}').ok_or_else(|| "has a `${` without its `}`".to_owned());
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    if end == 0 { Err("has a `$` without a name".to_owned()) } else { Ok(text.split_at(end)) }
}

/// Appends a value.
pub(super) fn push_escaped(out: &mut Vec<u8>, value: &[u8], escape: Escape) {
    match escape {
        Escape::Default => value.iter().for_each(|byte| match byte {
            b'"' | b'\\' | ..b' ' | 0x7f.. => push_hex(out, b"\\x", *byte),
            byte => out.push(*byte),
        }),
        Escape::Json => {
            for chunk in value.utf8_chunks() {
                for c in chunk.valid().chars() {
                    push_json(out, c);
                }
                if !chunk.invalid().is_empty() {
                    out.extend_from_slice("\u{fffd}".as_bytes());
                }
            }
        }
    }
}

fn push_json(out: &mut Vec<u8>, c: char) {
    match c {
        '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        c if c.is_ascii_control() => push_hex(out, b"\\u00", c as u8),
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn push_hex(out: &mut Vec<u8>, before: &[u8], byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(before);
    out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_text_and_variables() {
        let format = AccessFormat::parse("$status [${uri}x] $http_x_a$http_x_a $sent_http_b", Escape::Default).unwrap();
        let text = |text: &str| Piece::Text(text.to_owned());
        let wanted = [
            Piece::Variable(Variable::Status),
            text(" ["),
            Piece::Variable(Variable::Uri),
            text("x] "),
            Piece::Variable(Variable::Header(0)),
            Piece::Variable(Variable::Header(0)),
            text(" "),
            Piece::Variable(Variable::SentHeader(0)),
        ];
        assert_eq!(format.pieces, wanted);
        assert_eq!((format.request, format.response), (vec!["x-a".parse().unwrap()], vec!["b".parse().unwrap()]));
        assert_eq!(AccessFormat::default(), AccessFormat::parse(DEFAULT, Escape::Default).unwrap());
        assert!(AccessFormat::parse("json", Escape::Default).is_ok_and(|format| format.escape == Escape::Json));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, wanted) in [
            ("a $ b", "has a `$` without a name"),
            ("${a", "has a `${` without its `}`"),
            ("$statsu", "has an unknown variable `$statsu`; did you mean `$status`?"),
            ("$http_", "has an unknown variable `$http_`"),
            ("a\nb", "has '\\n' in it; a request is one line"),
        ] {
            let error = AccessFormat::parse(text, Escape::Default).unwrap_err();
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    #[test]
    fn values_stay_on_their_line_and_in_their_quotes() {
        let escaped = |value: &[u8], escape| {
            let mut out = Vec::new();
            push_escaped(&mut out, value, escape);
            String::from_utf8(out).unwrap()
        };
        let hostile = b"a\"\\\n\x1b\x7f\xc3\xbc\xff";
        assert_eq!(escaped(hostile, Escape::Default), r"a\x22\x5C\x0A\x1B\x7F\xC3\xBC\xFF");
        assert_eq!(escaped(hostile, Escape::Json), "a\\\"\\\\\\n\\u001B\\u007Fü\u{fffd}");
    }
}
