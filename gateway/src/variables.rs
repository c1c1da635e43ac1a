//! Variables of requests that have to be found first: one way for the conditions of routes and for keys of upstreams.
//!
//! They are bytes, which need not be UTF-8: what cannot be read as text hides nothing.

use std::borrow::Cow;

use http::{HeaderMap, header};

use crate::path;

/// `arg_NAME`: the first parameter of this name in a query, name and value decoded as APISIX does it: `%` with two
/// digits is a byte, `+` a space, and any other `%` itself. One without `=` is empty.
pub(crate) fn argument<'a>(query: &'a str, name: &str) -> Option<Cow<'a, [u8]>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (*decoded(key) == *name.as_bytes()).then(|| decoded(value))
    })
}

/// `cookie_NAME`: the first cookie of this name, as it is written, without white space around it.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut pairs =
        headers.get_all(header::COOKIE).into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    let mut rest = text.as_bytes();
    if !rest.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(rest);
    }
    let mut out = Vec::with_capacity(rest.len());
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => match path::byte(*high, *low) {
                Some(byte) => {
                    out.push(byte);
                    rest = after;
                }
                None => out.push(b'%'),
            },
            (b'+', _) => out.push(b' '),
            _ => out.push(*first),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_argument_of_a_name_is_decoded() {
        for (query, expected) in [
            ("", None),
            ("b=1", None),
            ("A=1", None),
            ("a%3D1", None),
            ("a", Some(&b""[..])),
            ("a=", Some(b"")),
            ("a&a=1", Some(b"")),
            ("b=1&a=2&a=3", Some(b"2")),
            ("%61=x=y", Some(b"x=y")),
            ("a=1%202+3%2b4%26", Some(b"1 2 3+4&")),
            ("a=%e9%00%FF", Some(b"\xe9\x00\xff")),
            ("a=%%41%4%4g%", Some(b"%A%4%4g%")),
            ("a=%2541", Some(b"%41")),
        ] {
            assert_eq!(argument(query, "a").as_deref(), expected, "{query}");
        }
        assert!(matches!(argument("a=b", "a"), Some(Cow::Borrowed(b"b"))));
        assert_eq!(argument("a+%C3%BC=1", "a \u{fc}").as_deref(), Some(&b"1"[..]));
    }

    #[test]
    fn cookies_are_found_among_any_bytes() {
        for (lines, expected) in [
            (&[][..], None),
            (&[&b"b=1; aa=2; a; A=3; a =4"[..]], None),
            (&[b"a="], Some(&b""[..])),
            (&[b"a=1;a=2"], Some(b"1")),
            (&[b"x=\xe9;\ta=1 2\t; b"], Some(b"1 2")),
            (&[b"\xff", b"b=1; a=%31=\xe9"], Some(b"%31=\xe9")),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, http::HeaderValue::from_bytes(line).unwrap());
            }
            assert_eq!(cookie(&headers, "a"), expected, "{lines:?}");
        }
    }
}
