//! The configuration: lines `name: value`.

use std::fmt;

/// One header to add.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// In lower case, a token as HTTP defines it.
    pub(crate) name: String,
    /// Without control characters; bytes above 0x7f are as they were.
    pub(crate) value: Vec<u8>,
}

/// The line that is no header, counted from 1, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    line: usize,
    reason: &'static str,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// All headers of a configuration, in its order.
pub(crate) fn parse(configuration: &[u8]) -> Result<Vec<Header>, Invalid> {
    configuration
        .split(|&byte| byte == b'\n')
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim_ascii()))
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| header(line).map_err(|reason| Invalid { line: number, reason }))
        .collect()
}

fn header(line: &[u8]) -> Result<Header, &'static str> {
    let colon = line.iter().position(|&byte| byte == b':').ok_or("no colon between name and value")?;
    let name = line[..colon].trim_ascii();
    let value = line[colon + 1..].trim_ascii();
    if name.is_empty() {
        return Err("no name before the colon");
    }
    if !name.iter().copied().all(is_token) {
        return Err("the name has a character that no header name may have");
    }
    if value.iter().any(|&byte| byte.is_ascii_control() && byte != b'\t') {
        return Err("the value has a control character");
    }
    let name = name.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect();
    Ok(Header { name, value: value.to_vec() })
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn header(name: &str, value: &[u8]) -> Header {
        Header { name: name.to_owned(), value: value.to_vec() }
    }

    #[test]
    fn lines_are_headers_in_order() {
        assert_eq!(
            parse(b"X-One: 1\r\n\n  x-two :a: b \nx-one: 2\nx-empty:"),
            Ok(vec![header("x-one", b"1"), header("x-two", b"a: b"), header("x-one", b"2"), header("x-empty", b"")])
        );
    }

    #[test]
    fn nothing_configured_is_no_header() {
        assert_eq!(parse(b""), Ok(vec![]));
        assert_eq!(parse(b" \n\r\n"), Ok(vec![]));
    }

    #[test]
    fn values_are_bytes() {
        assert_eq!(parse(b"x: \x80\xff"), Ok(vec![header("x", b"\x80\xff")]));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for (configuration, line) in [
            (&b"a: 1\n\nno colon"[..], 3),
            (b": value", 1),
            (b":path: /", 1),
            (b"a b: 1", 1),
            (b"\xc3\xa9: 1", 1),
            (b"a: 1\nb: \x01", 2),
            (b"a: 1\0", 1),
            (b"a: 1\r2", 1),
        ] {
            assert_eq!(parse(configuration).unwrap_err().line, line, "{configuration:?}");
        }
        assert_eq!(parse(b"x").unwrap_err().to_string(), "line 1: no colon between name and value");
    }
}
