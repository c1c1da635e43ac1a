//! Between hyper's header maps and the ordered lists that plugins see.
//!
//! A plugin sees the pseudo-headers first, then the fields in the order that hyper has (see [`headers`](crate::headers)):
//! without `Host`, which is `:authority`, and without what belongs to the connection or says how the body is framed,
//! but for `Content-Length`, which it may read. It has to remove that field if it changes the length of a body; what else
//! it makes of it has no effect.

use bytes::{Bytes, BytesMut};
use chassis_abi::HeaderList;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, request, uri};
use thiserror::Error;

use crate::headers::{accepts_trailers, remove_hop_by_hop};

/// What of a message's head plugins do not see, to be put back.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    accepts_trailers: bool,
    trailer: Vec<HeaderValue>,
}

/// Why a plugin's list makes no request.
#[derive(Debug, Error)]
pub(crate) enum RequestError {
    /// Its pseudo-headers.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// It asks for a tunnel.
    #[error("CONNECT is not for plugins")]
    Connect,
}

/// The list of a request, in one that is empty.
pub(crate) fn request_list(list: &mut HeaderList, head: &mut request::Parts, scheme: &'static str) -> Kept {
    let kept = keep(&mut head.headers);
    head.headers.remove(header::EXPECT);
    let host = head.headers.remove(header::HOST);
    let authority = match head.uri.authority().map(uri::Authority::as_str) {
        Some(authority) => authority.rsplit_once('@').map_or(authority, |(_, host)| host).as_bytes(),
        None => host.as_ref().map_or(&b""[..], HeaderValue::as_bytes),
    };
    let path = head.uri.path_and_query().map_or("/", uri::PathAndQuery::as_str);
    let pseudo: [(&[u8], &[u8]); 4] = [
        (b":method", head.method.as_str().as_bytes()),
        (b":path", path.as_bytes()),
        (b":authority", authority),
        (b":scheme", scheme.as_bytes()),
    ];
    fill(list, &pseudo, &head.headers);
    kept
}

/// The list of a response, in one that is empty.
pub(crate) fn response_list(list: &mut HeaderList, status: StatusCode, mut headers: HeaderMap) -> Kept {
    let kept = keep(&mut headers);
    fill(list, &[(b":status", status.as_str().as_bytes())], &headers);
    kept
}

/// The list of trailers.
pub(crate) fn trailer_list(mut trailers: HeaderMap) -> HeaderList {
    remove_hop_by_hop(&mut trailers);
    for framing in [header::CONTENT_LENGTH, header::HOST, header::TRAILER] {
        trailers.remove(framing);
    }
    let mut list = HeaderList::default();
    fill(&mut list, &[], &trailers);
    list
}

/// The head of a request from its list.
///
/// # Errors
/// If the pseudo-headers make no request: the plugin's fault.
pub(crate) fn request_head(list: &HeaderList, kept: Kept) -> Result<request::Parts, RequestError> {
    let (mut head, ()) = http::Request::new(()).into_parts();
    let pseudo = |name: &[u8]| list.get(name).map_or(&b""[..], |value| value);
    head.method = Method::from_bytes(pseudo(b":method")).map_err(http::Error::from)?;
    if head.method == Method::CONNECT {
        // A tunnel would be open for whatever follows.
        return Err(RequestError::Connect);
    }
    head.uri = Uri::try_from(pseudo(b":path")).map_err(http::Error::from)?;
    let authority = pseudo(b":authority");
    if !authority.is_empty() {
        let host = HeaderValue::from_bytes(authority).map_err(http::Error::from)?;
        head.headers.try_insert(header::HOST, host).map_err(http::Error::from)?;
    }
    append(&mut head.headers, list);
    put_back(&mut head.headers, kept);
    Ok(head)
}

/// Status and headers of a response from its list.
///
/// # Errors
/// If there is no status.
pub(crate) fn response_head(list: &HeaderList, kept: Kept) -> Result<(StatusCode, HeaderMap), http::Error> {
    let status = StatusCode::from_bytes(list.get(b":status").map_or(&b""[..], |value| value))?;
    let mut headers = HeaderMap::new();
    append(&mut headers, list);
    put_back(&mut headers, kept);
    Ok((status, headers))
}

/// Trailers from their list.
pub(crate) fn trailer_map(list: &HeaderList) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    append(&mut trailers, list);
    trailers
}

/// Says which trailers come, so that hyper sends them.
pub(crate) fn announce(headers: &mut HeaderMap, trailers: &HeaderList) {
    let names: Vec<_> = trailers.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
    if names.is_empty() {
        headers.remove(header::TRAILER);
        return;
    }
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        let _ = headers.try_insert(header::TRAILER, names);
    }
}

fn keep(headers: &mut HeaderMap) -> Kept {
    remove_hop_by_hop(headers);
    let kept = Kept {
        accepts_trailers: accepts_trailers(headers),
        trailer: headers.get_all(header::TRAILER).iter().cloned().collect(),
    };
    headers.remove(header::TE);
    headers.remove(header::TRAILER);
    kept
}

fn put_back(headers: &mut HeaderMap, kept: Kept) {
    if kept.accepts_trailers {
        let _ = headers.try_insert(header::TE, HeaderValue::from_static("trailers"));
    }
    for names in kept.trailer {
        let _ = headers.try_append(header::TRAILER, names);
    }
}

/// One allocation for all names and values.
fn fill(list: &mut HeaderList, pseudo: &[(&[u8], &[u8])], headers: &HeaderMap) {
    let fields = || headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    let all = || pseudo.iter().copied().chain(fields());
    let mut text = BytesMut::with_capacity(all().map(|(name, value)| name.len() + value.len()).sum());
    for (name, value) in all() {
        text.extend_from_slice(name);
        text.extend_from_slice(value);
    }
    let mut rest: Bytes = text.freeze();
    list.reserve(pseudo.len() + headers.len());
    for (name, value) in all() {
        let name = rest.split_to(name.len());
        list.push_unchecked(name, rest.split_to(value.len()));
    }
}

/// Appends what is no pseudo-header. A field that HTTP does not allow is left out; the list should have none.
fn append(headers: &mut HeaderMap, list: &HeaderList) {
    for (name, value) in list.iter().filter(|(name, _)| !name.starts_with(b":")) {
        let field = HeaderName::from_bytes(name).ok().zip(HeaderValue::from_maybe_shared(value.clone()).ok());
        let Some((name, value)) = field.filter(|(name, _)| *name != header::HOST) else {
            tracing::warn!("a header field that a plugin set was left out: {:?}", String::from_utf8_lossy(name));
            continue;
        };
        if headers.try_append(name, value).is_err() {
            tracing::warn!("header fields that a plugin set were left out: too many");
            return;
        }
    }
    remove_hop_by_hop(headers);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uri: &str, fields: &[(&'static str, &'static str)]) -> request::Parts {
        let mut request = http::Request::builder().method("PUT").uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn text(list: &HeaderList) -> Vec<String> {
        list.iter().map(|(n, v)| format!("{}={}", String::from_utf8_lossy(n), String::from_utf8_lossy(v))).collect()
    }

    fn listed(head: &mut request::Parts) -> (HeaderList, Kept) {
        let mut list = HeaderList::default();
        let kept = request_list(&mut list, head, "http");
        (list, kept)
    }

    #[test]
    fn a_request_and_its_list() {
        let mut head = parts(
            "/a?b",
            &[
                ("host", "h:1"),
                ("b", "1"),
                ("connection", "x-own"),
                ("te", "trailers"),
                ("trailer", "x-t"),
                ("expect", "100-continue"),
                ("a", "2"),
                ("b", "3"),
                ("x-own", "1"),
            ],
        );
        let (list, kept) = listed(&mut head);
        let mut seen = text(&list);
        assert_eq!(seen[..4], [":method=PUT", ":path=/a?b", ":authority=h:1", ":scheme=http"]);
        seen[4..].sort();
        assert_eq!(seen[4..], ["a=2", "b=1", "b=3"]);
        let back = request_head(&list, kept).unwrap();
        assert_eq!((back.method.as_str(), back.uri.to_string()), ("PUT", "/a?b".to_owned()));
        let mut fields: Vec<_> = back.headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        fields.sort();
        assert_eq!(fields, ["a=2", "b=1", "b=3", "host=h:1", "te=trailers", "trailer=x-t"]);
    }

    #[test]
    fn absolute_uris_give_authority_and_path() {
        let mut head = parts("http://user@other:8/x?y", &[("host", "h")]);
        assert_eq!(text(&listed(&mut head).0)[1..3], [":path=/x?y", ":authority=other:8"]);
        let mut head = parts("http://other", &[]);
        assert_eq!(text(&listed(&mut head).0)[1..3], [":path=/", ":authority=other"]);
        let mut head = parts("*", &[]);
        let (list, kept) = listed(&mut head);
        assert_eq!(text(&list)[1], ":path=*");
        assert_eq!(request_head(&list, kept).unwrap().uri, "*");
    }

    #[test]
    fn lists_that_are_no_message_are_errors_and_bad_fields_stay_behind() {
        let none = HeaderList::default();
        assert!(request_head(&none, Kept::default()).is_err());
        let tunnel: HeaderList = [(":method", "CONNECT"), (":path", "/")].into_iter().collect();
        assert!(matches!(request_head(&tunnel, Kept::default()), Err(RequestError::Connect)));
        assert!(response_head(&none, Kept::default()).is_err());
        let list: HeaderList =
            [(":status", "201"), ("x", "a\u{1}"), ("host", "h"), ("connection", "close"), ("y", "\u{fc}")]
                .into_iter()
                .collect();
        let (status, headers) = response_head(&list, Kept::default()).unwrap();
        assert_eq!((status.as_u16(), headers.len()), (201, 1));
        assert_eq!(headers["y"].as_bytes(), "\u{fc}".as_bytes());
    }
}
