//! One path of a request for the route, the plugins and the upstream.
//!
//! A path is forwarded as it is compared, so that no spelling takes the route of one path and is answered as another:
//! what unreserved characters are encoded as is decoded, and `.` and `..` are resolved (RFC 3986, sections 6.2.2.2 and
//! 6.2.2.3). What could be read in two ways after that is refused. Other encodings and repeated slashes stay as they came;
//! routes are compared as if they were decoded and merged, which upstreams may do.

use std::borrow::Cow;

use http::Uri;
use http::uri::PathAndQuery;
use thiserror::Error;

use crate::config::EscapedSlashes;

/// A path that is not forwarded; the client's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum BadPath {
    /// A `%` without two hexadecimal digits.
    #[error("a % in the path is not followed by two hexadecimal digits")]
    Encoding,
    /// A control character, encoded or not.
    #[error("the path has a control character in it")]
    Control,
    /// A backslash, which some read as a slash.
    #[error("the path has a backslash in it")]
    Backslash,
    /// An encoded slash or backslash.
    #[error("the path has an encoded slash or backslash in it")]
    EscapedSlash,
    /// More `..` than segments before them.
    #[error("the path leads above the root")]
    AboveRoot,
}

/// The URI with the path that is compared and forwarded, or `None` if that is the one it has. The query stays as it is,
/// and so does what has no path (`OPTIONS *`).
pub(crate) fn normalised_uri(uri: &Uri, slashes: EscapedSlashes) -> Result<Option<Uri>, BadPath> {
    let path = uri.path();
    if !path.starts_with('/') {
        return Ok(None);
    }
    let Cow::Owned(mut normal) = normalised(path, slashes)? else { return Ok(None) };
    if let Some(query) = uri.query() {
        normal.push('?');
        normal.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    // Nothing but decoded letters and fewer segments: what was a path and a query still is.
    parts.path_and_query = Some(PathAndQuery::try_from(normal).map_err(|_| BadPath::Encoding)?);
    Uri::from_parts(parts).map(Some).map_err(|_| BadPath::Encoding)
}

/// What routes are compared with: all of a normalised path decoded but for its slashes, and slashes merged.
pub(crate) fn compared(path: &str) -> Cow<'_, [u8]> {
    let bytes = path.as_bytes();
    if !bytes.contains(&b'%') && !path.contains("//") {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'/', [b'/', ..]) => {}
            (b'%', [high, low, after @ ..]) => match byte(*high, *low) {
                Some(byte) if !matches!(byte, b'/' | b'\\') => {
                    out.push(byte);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            _ => out.push(*first),
        }
    }
    Cow::Owned(out)
}

fn normalised(path: &str, slashes: EscapedSlashes) -> Result<Cow<'_, str>, BadPath> {
    let bytes = path.as_bytes();
    if bytes.contains(&b'\\') {
        return Err(BadPath::Backslash);
    }
    if bytes.iter().any(u8::is_ascii_control) {
        return Err(BadPath::Control);
    }
    let decoded = decoded(path, slashes)?;
    if !decoded.contains("/.") {
        return Ok(decoded);
    }
    without_dots(&decoded).map(Cow::Owned)
}

/// Decodes what stands for unreserved characters, and refuses what may not be encoded at all.
fn decoded(path: &str, slashes: EscapedSlashes) -> Result<Cow<'_, str>, BadPath> {
    let Some(mut at) = path.find('%') else { return Ok(Cow::Borrowed(path)) };
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    loop {
        let (before, code) = rest.split_at(at);
        out.push_str(before);
        let [_, high, low, ..] = code.as_bytes() else { return Err(BadPath::Encoding) };
        match byte(*high, *low).ok_or(BadPath::Encoding)? {
            b'/' | b'\\' if slashes == EscapedSlashes::Reject => return Err(BadPath::EscapedSlash),
            byte if byte.is_ascii_control() => return Err(BadPath::Control),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(char::from(byte)),
            _ => out.push_str(&code[..3]),
        }
        rest = &code[3..];
        match rest.find('%') {
            Some(next) => at = next,
            None => break,
        }
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

/// Resolves `.` and `..` as section 5.2.4 has it, but does not forgive a path that leads above the root.
fn without_dots(path: &str) -> Result<String, BadPath> {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => {
                let parent = out.rfind('/').ok_or(BadPath::AboveRoot)?;
                out.truncate(parent);
            }
            name => {
                out.push('/');
                out.push_str(name);
                continue;
            }
        }
        if segments.peek().is_none() {
            out.push('/');
        }
    }
    Ok(out)
}

/// The byte of two hexadecimal digits.
pub(crate) fn byte(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reject(path: &str) -> Result<String, BadPath> {
        normalised(path, EscapedSlashes::Reject).map(Cow::into_owned)
    }

    #[test]
    fn dots_are_resolved_and_unreserved_characters_decoded() {
        for (given, expected) in [
            ("/", "/"),
            ("/a/b.c/d-e_f~/", "/a/b.c/d-e_f~/"),
            ("/admin/../x", "/x"),
            ("/admin/%2e%2e/x", "/x"),
            ("/admin/%2E./x", "/x"),
            ("/admin/.%2e/x", "/x"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/a/..", "/"),
            ("/a/.b/...", "/a/.b/..."),
            ("/%61dm%69n/%7E", "/admin/~"),
            ("/%2561dmin", "/%2561dmin"),
            ("/a%20b%2B%c3%bc%3F", "/a%20b%2B%c3%bc%3F"),
            ("//a///b//", "//a///b//"),
            ("/a//../b", "/a/b"),
            ("//..", "/"),
            ("/\u{fc}/../\u{e4}%41", "/\u{e4}A"),
        ] {
            assert_eq!(reject(given).as_deref(), Ok(expected), "{given}");
            assert_eq!(reject(expected).as_deref(), Ok(expected), "{given} twice");
        }
        assert!(matches!(normalised("/a/b.c/d", EscapedSlashes::Reject), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (path, error) in [
            ("/..", BadPath::AboveRoot),
            ("/a/../../b", BadPath::AboveRoot),
            ("/%2e%2e/", BadPath::AboveRoot),
            ("/a\\b", BadPath::Backslash),
            ("/a\x7fb", BadPath::Control),
            ("/a%00", BadPath::Control),
            ("/a%0a", BadPath::Control),
            ("/a%1F", BadPath::Control),
            ("/a%7f", BadPath::Control),
            ("/a/..%2fx", BadPath::EscapedSlash),
            ("/a%2Fx", BadPath::EscapedSlash),
            ("/a%5cx", BadPath::EscapedSlash),
            ("/%", BadPath::Encoding),
            ("/%4", BadPath::Encoding),
            ("/%zz", BadPath::Encoding),
            ("/%+1", BadPath::Encoding),
            ("/%\u{fc}", BadPath::Encoding),
            ("/%4\u{fc}", BadPath::Encoding),
        ] {
            assert_eq!(reject(path), Err(error), "{path}");
        }
    }

    #[test]
    fn escaped_slashes_can_be_kept() {
        let keep = |path| normalised(path, EscapedSlashes::Keep).map(Cow::into_owned);
        assert_eq!(keep("/a/..%2fx%5C%5c/%2e/").as_deref(), Ok("/a/..%2fx%5C%5c/"));
        assert_eq!(keep("/a\\b"), Err(BadPath::Backslash));
        assert_eq!(keep("/a%2f%00"), Err(BadPath::Control));
        assert_eq!(&*compared("/a/..%2fx%5C%20%2b"), b"/a/..%2fx%5C +");
    }

    #[test]
    fn routes_are_compared_with_all_of_it_decoded_and_slashes_merged() {
        assert!(matches!(compared("/a/b"), Cow::Borrowed(b"/a/b")));
        for (path, expected) in
            [("//a///b//", "/a/b/"), ("/a%2B%21//%3A", "/a+!/:"), ("/%2561", "/%61"), ("/%25%25", "/%%")]
        {
            assert_eq!(&*compared(path), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn the_rest_of_a_uri_stays() {
        let uri = |text: &str| normalised_uri(&text.parse().unwrap(), EscapedSlashes::Reject);
        assert_eq!(uri("/a/../b?c/../%64%2f\\&?"), Ok(Some("/b?c/../%64%2f\\&?".parse().unwrap())));
        assert_eq!(uri("/a/..?"), Ok(Some("/?".parse().unwrap())));
        assert_eq!(uri("http://h:1/a/../b?c"), Ok(Some("http://h:1/b?c".parse().unwrap())));
        for same in ["*", "/", "/a?/../%zz", "http://h", "http://h/a"] {
            assert_eq!(uri(same), Ok(None), "{same}");
        }
        assert_eq!(uri("/a/../../b"), Err(BadPath::AboveRoot));
    }
}
