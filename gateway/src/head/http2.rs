//! Judging requests that came as fields, in HTTP/2.

use http::{HeaderMap, Method, header, request, uri};

use super::fields::is_host;
use super::{HeadLimits, Refusal};

/// Judges a request by the rules that hold in HTTP/1.1. What HTTP/2 itself forbids (fields of the connection, a
/// `content-length` that is no number, names in upper case, pseudo-headers that are missing or given twice) never gets here.
///
/// # Errors
/// What is wrong with it.
pub fn judge_fields(head: &request::Parts, limits: &HeadLimits) -> Result<(), Refusal> {
    if head.uri.path_and_query().is_some_and(|path| path.as_str().len() > limits.uri) {
        return Err(Refusal::UriTooLong);
    }
    if head.headers.len() > limits.lines {
        return Err(Refusal::HeadTooLarge);
    }
    if head.headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(Refusal::RepeatedLength);
    }
    if head.method == Method::CONNECT {
        return Ok(());
    }
    let is_path = head.uri.path().starts_with('/');
    if !is_path && (head.method != Method::OPTIONS || head.uri.path() != "*") {
        return Err(Refusal::Path);
    }
    host(head.uri.authority(), &head.headers)
}

/// Whom the request is for is said once, or twice in the same way (RFC 9113, section 8.3.1).
fn host(authority: Option<&uri::Authority>, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().map(http::HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Refusal::Host);
    }
    let is_good = match (authority.map(|authority| authority.as_str().as_bytes()), host) {
        (Some(authority), Some(host)) => is_host(authority) && authority.eq_ignore_ascii_case(host),
        (Some(name), None) | (None, Some(name)) => !name.is_empty() && is_host(name),
        (None, None) => false,
    };
    if is_good { Ok(()) } else { Err(Refusal::Host) }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn judge(method: &str, uri: &str, fields: &[(&str, &str)]) -> Result<(), Refusal> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let limits = HeadLimits { uri: 20, lines: 3, ..HeadLimits::default() };
        judge_fields(&request.body(()).unwrap().into_parts().0, &limits)
    }

    #[test]
    fn the_rules_are_those_of_http_1() {
        for (method, uri, fields, judged) in [
            ("GET", "http://a/", &[][..], Ok(())),
            ("GET", "http://a:1/x?y", &[("host", "A:1")], Ok(())),
            ("GET", "/", &[("host", "a")], Ok(())),
            ("GET", "/", &[], Err(Refusal::Host)),
            ("GET", "/", &[("host", "")], Err(Refusal::Host)),
            ("GET", "/", &[("host", "a/b")], Err(Refusal::Host)),
            ("GET", "http://a/", &[("host", "b")], Err(Refusal::Host)),
            ("GET", "http://a/", &[("host", "a"), ("host", "a")], Err(Refusal::Host)),
            ("GET", "http://u@a/", &[], Err(Refusal::Host)),
            ("OPTIONS", "*", &[("host", "a")], Ok(())),
            ("GET", "*", &[("host", "a")], Err(Refusal::Path)),
            ("CONNECT", "a:1", &[], Ok(())),
            ("GET", "http://a/0123456789012345678", &[], Ok(())),
            ("GET", "http://a/01234567890123456789", &[], Err(Refusal::UriTooLong)),
            ("GET", "http://a/", &[("a", "1"), ("b", "2"), ("b", "3")], Ok(())),
            ("GET", "http://a/", &[("a", "1"), ("b", "2"), ("b", "3"), ("c", "4")], Err(Refusal::HeadTooLarge)),
            ("POST", "http://a/", &[("content-length", "1"), ("content-length", "1")], Err(Refusal::RepeatedLength)),
        ] {
            assert_eq!(judge(method, uri, fields), judged, "{method} {uri} {fields:?}");
        }
    }
}
