//! Header fields at the two HTTP edges: what belongs to one connection stays there.
//!
//! hyper keeps the fields of one name in order and gives names in the order of their first appearance, so that a list of
//! fields is seen, and sent, as `a: 1, a: 3, b: 2` when it came as `a: 1, b: 2, a: 3`. Names are lower-case on the wire.
//! Removing a field may move the last one into its place.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Removes what is meant for the neighbour (RFC 9110, section 7.6.1): `Connection` and the fields that it lists,
/// `Keep-Alive`, `Transfer-Encoding`, `Upgrade`, `Proxy-*`, and `TE` but for its `trailers`. `Host`, `Content-Length` and
/// `Trailer` stay, even when listed.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::TRAILER | header::TE))
        .collect();
    for name in listed {
        headers.remove(name);
    }
    let trailers = accepts_trailers(headers);
    let found: Vec<HeaderName> = headers.keys().filter(|name| is_hop_by_hop(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
    if trailers {
        // There is room: a field of this name was just removed.
        let _ = headers.try_insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether the sender takes trailers.
pub fn accepts_trailers(headers: &HeaderMap) -> bool {
    let tokens = headers.get_all(header::TE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens.into_iter().any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Makes the framing fields say what the body is: `length` if it is known, chunks otherwise.
///
/// `chunked` says that the body's coding must be named, which hyper does not do for all methods.
pub fn set_framing(headers: &mut HeaderMap, length: Option<u64>, chunked: bool) {
    headers.remove(header::TRANSFER_ENCODING);
    match length {
        // One field of plain digits that says so already stays where it is.
        Some(length) if says_length(headers, length) => {}
        Some(length) => {
            let _ = headers.try_insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        None => {
            headers.remove(header::CONTENT_LENGTH);
            if chunked {
                let _ = headers.try_insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
        }
    }
}

/// Leaves the length of a body that is not sent (RFC 9110, section 8.6) only if it is a number.
pub(crate) fn keep_told_length(headers: &mut HeaderMap) {
    headers.remove(header::TRANSFER_ENCODING);
    let value = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match value.and_then(|value| value.parse().ok()) {
        Some(length) => set_framing(headers, Some(length), false),
        None => set_framing(headers, None, false),
    }
}

/// Whether there is one field of plain digits that says that a body has this length.
pub(crate) fn says_length(headers: &HeaderMap, length: u64) -> bool {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => {
            let digits = value.as_bytes();
            !digits.is_empty()
                && digits.iter().all(u8::is_ascii_digit)
                && str::from_utf8(digits).is_ok_and(|digits| digits.parse() == Ok(length))
        }
        _ => false,
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    match *name {
        header::CONNECTION
        | header::TE
        | header::TRANSFER_ENCODING
        | header::UPGRADE
        | header::PROXY_AUTHENTICATE
        | header::PROXY_AUTHORIZATION => true,
        _ => {
            matches!(name.as_str(), "keep-alive" | "proxy-connection" | "proxy-authentication-info" | "http2-settings")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn names(map: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_is_meant_for_the_neighbour_goes() {
        let mut headers = map(&[
            ("host", "a"),
            ("connection", "Keep-Alive, x-own, host, content-length"),
            ("connection", "x-other , , bad name,"),
            ("keep-alive", "5"),
            ("x-own", "1"),
            ("x-other", "1"),
            ("x-stays", "1"),
            ("te", "gzip, Trailers;q=1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("proxy-authorization", "x"),
            ("proxy-connection", "x"),
            ("trailer", "x-t"),
            ("content-length", "5"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(names(&headers), ["content-length", "host", "te", "trailer", "x-stays"]);
        assert_eq!(headers["te"], "trailers");

        let mut headers = map(&[("te", "gzip"), ("a", "1")]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(names(&headers), ["a"]);
    }

    #[test]
    fn fields_without_any_of_it_keep_their_order() {
        let mut headers = map(&[("z", "1"), ("a", "2"), ("z", "3")]);
        remove_hop_by_hop(&mut headers);
        let seen: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(seen, [("z", "1"), ("z", "3"), ("a", "2")]);
    }

    #[test]
    fn framing_says_what_the_body_is() {
        for (given, length, chunked, expected) in [
            (&[("content-length", "5")][..], Some(5), false, &[("content-length", "5")][..]),
            (&[("content-length", "5"), ("content-length", "5")], Some(5), false, &[("content-length", "5")]),
            (&[("content-length", "5, 5")], Some(5), false, &[("content-length", "5")]),
            (&[("content-length", "+5")], Some(5), false, &[("content-length", "5")]),
            (&[("content-length", "6")], Some(5), false, &[("content-length", "5")]),
            (&[("content-length", "6")], None, false, &[]),
            (&[], None, true, &[("transfer-encoding", "chunked")]),
            (&[("transfer-encoding", "gzip")], None, true, &[("transfer-encoding", "chunked")]),
        ] {
            let mut headers = map(given);
            set_framing(&mut headers, length, chunked);
            assert_eq!(headers, map(expected), "{given:?} {length:?}");
        }
    }
}
