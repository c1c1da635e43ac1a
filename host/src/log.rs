//! Where guests' log lines and the host's own words about plugins go.

use std::borrow::Cow;
use std::fmt::Write;

use chassis_abi::{Exchange, LogLevel};

/// Takes log lines; shared by all workers, must not block.
pub trait LogSink: Send + Sync {
    /// Takes one line.
    fn log(&self, line: &LogLine<'_>);
}

/// One line about a plugin.
#[derive(Debug, Clone)]
pub struct LogLine<'a> {
    /// Whose words these are.
    pub reason: Reason,
    /// The level.
    pub level: LogLevel,
    /// The text, without control characters.
    pub message: Cow<'a, str>,
    /// The plugin.
    pub plugin: &'a str,
    /// The context, 0 outside of any.
    pub context: u32,
    /// The callback's export name; empty outside of callbacks.
    pub callback: &'static str,
    /// The stream that it is about, if the guest spoke in a stream context.
    pub exchange: Option<&'a Exchange>,
}

/// Whose words a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The guest logged it.
    Guest,
    /// The host reports a crash of the guest.
    Crash,
}

/// A guest's bytes as one line of text: control characters and what is not UTF-8 are escaped.
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => return Cow::Owned(escape_chunks(bytes)),
    };
    if text.chars().any(is_unsafe) { Cow::Owned(escape_text(text)) } else { Cow::Borrowed(text) }
}

fn escape_chunks(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&escape_text(chunk.valid()));
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

fn escape_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Control characters, and those that turn the direction of the text around them.
fn is_unsafe(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(escape("plain\tü".as_bytes()), "plain\tü");
        assert_eq!(escape(b"a\r\nb\x1b[2J\0"), "a\\r\\nb\\u{1b}[2J\\u{0}");
        assert_eq!(escape(b"a\xffb"), "a\\xffb");
    }
}
