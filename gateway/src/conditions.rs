//! Whether the conditions of a route (`vars`) are true of a request.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use ipnet::IpNet;

use crate::config::{Condition, Literal, Number, Test, Variable};
use crate::variables::{argument, cookie};

/// What of a request decides on its route.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    /// The host, with or without a port.
    pub(crate) authority: Option<&'a str>,
    /// Its path is normalised.
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) client: SocketAddr,
}

impl Condition {
    /// Whether it is true; `path` is what routes are compared with, `host` is in lower case and without port.
    pub(crate) fn is_true(&self, asked: &Asked<'_>, path: &[u8], host: Option<&str>) -> bool {
        match self {
            Condition::All(conditions) => conditions.iter().all(|condition| condition.is_true(asked, path, host)),
            Condition::Any(conditions) => conditions.iter().any(|condition| condition.is_true(asked, path, host)),
            Condition::Not(condition) => !condition.is_true(asked, path, host),
            Condition::Is(Variable::Header(name), Test::Has(literal)) => {
                lines(asked, name).any(|line| is_text(line, literal))
            }
            Condition::Is(Variable::RemoteAddress, Test::Within(networks)) => {
                is_within(networks, asked.client.ip().to_canonical())
            }
            Condition::Is(variable, test) => test.is_true(value(variable, asked, path, host).as_deref()),
        }
    }
}

fn value<'a>(variable: &Variable, asked: &Asked<'a>, path: &'a [u8], host: Option<&'a str>) -> Option<Cow<'a, [u8]>> {
    let given = match variable {
        Variable::Argument(name) => return argument(asked.uri.query()?, name),
        Variable::Header(name) => return field(asked, name),
        Variable::RemoteAddress => return Some(written(asked.client.ip().to_canonical())),
        Variable::RemotePort => return Some(written(asked.client.port())),
        Variable::Cookie(name) => cookie(asked.headers, name),
        Variable::Uri => Some(path),
        Variable::RequestUri => asked.uri.path_and_query().map(|path| path.as_str().as_bytes()),
        Variable::Query => asked.uri.query().map(str::as_bytes),
        Variable::Host => host.map(str::as_bytes),
        Variable::Method => Some(asked.method.as_str().as_bytes()),
    };
    given.map(Cow::Borrowed)
}

fn written<'a>(value: impl ToString) -> Cow<'a, [u8]> {
    Cow::Owned(value.to_string().into_bytes())
}

/// All lines of a header as one, as nginx joins them, so that none is hidden by another.
fn field<'a>(asked: &Asked<'a>, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let between: &[u8] = if name == header::COOKIE { b"; " } else { b", " };
    let mut lines = lines(asked, name);
    let mut field = Cow::Borrowed(lines.next()?);
    for line in lines {
        field.to_mut().extend_from_slice(between);
        field.to_mut().extend_from_slice(line);
    }
    Some(field)
}

/// The lines of a header. The host is that of the route: HTTP/2 need not have such a line.
fn lines<'a>(asked: &Asked<'a>, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let authority = asked.authority.filter(|_| name == header::HOST).map(str::as_bytes);
    let headers = authority.is_none().then(|| asked.headers.get_all(name).into_iter().map(HeaderValue::as_bytes));
    authority.into_iter().chain(headers.into_iter().flatten())
}

impl Test {
    fn is_true(&self, value: Option<&[u8]>) -> bool {
        let ordered = |number: &Number, wanted: fn(Ordering) -> bool| {
            value.and_then(Number::read).is_some_and(|value| wanted(value.cmp(number)))
        };
        match self {
            Test::Equal(literal) => is(value, literal),
            Test::NotEqual(literal) => !is(value, literal),
            Test::Greater(number) => ordered(number, Ordering::is_gt),
            Test::GreaterOrEqual(number) => ordered(number, Ordering::is_ge),
            Test::Less(number) => ordered(number, Ordering::is_lt),
            Test::LessOrEqual(number) => ordered(number, Ordering::is_le),
            Test::Matches(pattern) => value.is_some_and(|value| pattern.0.is_match(value)),
            Test::In(literals) => value.is_some_and(|value| literals.iter().any(|literal| is_text(value, literal))),
            // Only the lines of a header are a list.
            Test::Has(_) => false,
            Test::Within(networks) => {
                let text = value.and_then(|value| str::from_utf8(value).ok());
                text.and_then(|text| text.parse().ok()).is_some_and(|address| is_within(networks, address))
            }
        }
    }
}

fn is(value: Option<&[u8]>, literal: &Literal) -> bool {
    match literal {
        Literal::Text(text) => value == Some(text.as_bytes()),
        Literal::Number(number) => value.and_then(Number::read).is_some_and(|value| value == *number),
        Literal::Absent => value.is_none(),
    }
}

/// Whether an item of a list is this text, which a number never is.
fn is_text(value: &[u8], literal: &Literal) -> bool {
    matches!(literal, Literal::Text(text) if text.as_bytes() == value)
}

fn is_within(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::config::Config;

    /// What a request has; the rest is the same for all.
    #[derive(Clone, Copy)]
    struct Request<'a> {
        uri: &'a str,
        authority: Option<&'a str>,
        headers: &'a [(&'a str, &'a [u8])],
        client: &'a str,
    }

    const PLAIN: Request<'_> = Request { uri: "/", authority: None, headers: &[], client: "192.0.2.1" };

    fn to(uri: &str) -> Request<'_> {
        Request { uri, ..PLAIN }
    }

    fn with<'a>(headers: &'a [(&'a str, &'a [u8])]) -> Request<'a> {
        Request { headers, ..PLAIN }
    }

    /// Whether conditions, read as those of a file, are true of a request.
    fn is(vars: &str, request: Request<'_>) -> bool {
        let text = format!(
            "listen: [127.0.0.1:1]\nroutes: [{{ uri: /, vars: {vars}, upstream: {{ nodes: {{ \"a:1\": 1 }} }} }}]"
        );
        let config = Config::parse(&text, Path::new("")).unwrap_or_else(|error| panic!("{vars}: {error}"));
        let uri: Uri = request.uri.parse().unwrap();
        let pair = |(name, value): &(&str, &[u8])| -> (HeaderName, HeaderValue) {
            (name.parse().unwrap(), HeaderValue::from_bytes(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers.iter().map(pair) {
            headers.append(name, value);
        }
        let client = SocketAddr::new(request.client.parse().unwrap(), 5000);
        let asked = Asked { method: &Method::GET, authority: request.authority, uri: &uri, headers: &headers, client };
        let path = crate::path::compared(uri.path());
        let host = request.authority.map(crate::route::host_of).map(str::to_ascii_lowercase);
        config.routes[0].vars.as_ref().unwrap().is_true(&asked, &path, host.as_deref())
    }

    #[track_caller]
    fn all(table: &[(&str, Request<'_>, bool)]) {
        let wrong: Vec<String> = table
            .iter()
            .filter(|(vars, request, expected)| is(vars, *request) != *expected)
            .map(|(vars, request, expected)| {
                let headers: Vec<_> =
                    request.headers.iter().map(|(_, value)| value.escape_ascii().to_string()).collect();
                format!("{vars} of {} {headers:?} must be {expected}", request.uri)
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn no_byte_hides_a_cookie() {
        let blocked = r#"[["cookie_blocked","==","1"]]"#;
        all(&[
            (blocked, with(&[("cookie", b"blocked=1")]), true),
            (blocked, with(&[("cookie", b"blocked=1; x=\xe9")]), true),
            (blocked, with(&[("cookie", b"x=\xff;blocked=1 ;y")]), true),
            (blocked, with(&[("cookie", b"x=\xe9"), ("cookie", b"blocked=1")]), true),
            (blocked, with(&[("cookie", b"notblocked=1; blocked; Blocked=1")]), false),
            (r#"[["cookie_x","~~","^\\xe9$"]]"#, with(&[("cookie", b"x=\xe9")]), true),
        ]);
    }

    #[test]
    fn no_encoding_hides_an_argument() {
        let role = r#"[["arg_role","==","admin"]]"#;
        all(&[
            (role, to("/?role=admin"), true),
            (role, to("/?role=%61dmin"), true),
            (role, to("/?%72ol%65=%61%64%6D%69n"), true),
            (role, to("/?role=admin&role=user"), true),
            (role, to("/?role=user&role=admin"), false),
            (role, to("/?Role=admin"), false),
            (role, to("/?role=%2561dmin"), false),
            (role, to("/?role%3Dadmin"), false),
            (r#"[["arg_a","==","b c&=+"]]"#, to("/?a=b+c%26=%2B"), true),
            (r#"[["arg_a","==","%4%zz%"]]"#, to("/?a=%4%zz%"), true),
            (r#"[["arg_a","==",""]]"#, to("/?a"), true),
            (r#"[["arg_a","==",null]]"#, to("/?b=a"), true),
            (r#"[["arg_a","~~","^\\xff$"]]"#, to("/?a=%ff"), true),
        ]);
    }

    #[test]
    fn text_is_bytes() {
        let replaced = r#"[["http_x","==","\ufffd"]]"#;
        all(&[
            (replaced, with(&[("x", "\u{fffd}".as_bytes())]), true),
            (replaced, with(&[("x", b"\xe9")]), false),
            (r#"[["http_x","in",["\ufffd"]]]"#, with(&[("x", b"\xe9")]), false),
            (r#"[["http_x","~~","^\\xe9$"]]"#, with(&[("x", b"\xe9")]), true),
            (r#"[["http_x","~~","^\\xef"]]"#, with(&[("x", b"\xe9")]), false),
            (r#"[["uri","==","/\ufffd"]]"#, to("/%e9"), false),
            (r#"[["uri","==","/\u00e9"]]"#, to("/%c3%a9"), true),
        ]);
    }

    #[test]
    fn order_is_that_of_numbers() {
        let age = |value: &'static [u8]| -> [(&'static str, &'static [u8]); 1] { [("x-age", value)] };
        for (vars, value, expected) in [
            (r#"[["http_x_age",">","18"]]"#, &b"9"[..], false),
            (r#"[["http_x_age",">","18"]]"#, b"19", true),
            (r#"[["http_x_age",">",18]]"#, b"18", false),
            (r#"[["http_x_age",">=",18]]"#, b" 18.0 ", true),
            (r#"[["http_x_age","<","1e2"]]"#, b"99", true),
            (r#"[["http_x_age","<",100]]"#, b"1000", false),
            (r#"[["http_x_age","<=","-1"]]"#, b"-1", true),
            (r#"[["http_x_age",">=","0x10"]]"#, b"0X10", true),
            (r#"[["http_x_age","<",0]]"#, b"-0x1", true),
            (r#"[["http_x_age",">=",0]]"#, b"0x", false),
            (r#"[["http_x_age",">=",0]]"#, b"0x+1", false),
            (r#"[["http_x_age",">","0"]]"#, b"zzz", false),
            (r#"[["http_x_age","<","0"]]"#, b"", false),
            (r#"[["http_x_age",">=",0]]"#, b"nan", false),
            (r#"[["http_x_age","!",">=",0]]"#, b"old", true),
            (r#"[["http_x_age",">=",0]]"#, b"1\xff", false),
            (r#"[["http_x_age","==",18]]"#, b"18.00", true),
            (r#"[["http_x_age","==","18"]]"#, b"18.00", false),
            (r#"[["http_x_age","~=",18]]"#, b"old", true),
        ] {
            all(&[(vars, with(&age(value)), expected)]);
        }
        all(&[(r#"[["http_x_age","<",1]]"#, PLAIN, false), (r#"[["http_x_age","~=",1]]"#, PLAIN, true)]);
    }

    #[test]
    fn lists_hold_text_and_only_headers_are_lists() {
        let twice = with(&[("x", b"a"), ("x", b"b")]);
        all(&[
            (r#"[["arg_a","in",["7","8"]]]"#, to("/?a=8"), true),
            (r#"[["arg_a","in",["7",8]]]"#, to("/?a=8"), false),
            (r#"[["arg_a","in",[null]]]"#, to("/"), false),
            (r#"[["arg_a","in",[]]]"#, to("/?a"), false),
            (r#"[["http_x","has","b"]]"#, twice, true),
            (r#"[["http_x","has","c"]]"#, twice, false),
            (r#"[["http_x","has","b"]]"#, with(&[("x", b"b")]), true),
            (r#"[["http_x","has",1]]"#, with(&[("x", b"1")]), false),
            (r#"[["arg_a","has","b"]]"#, to("/?a=b"), false),
            (r#"[["cookie_a","has","b"]]"#, with(&[("cookie", b"a=b")]), false),
            (r#"[["uri","!","has","/"]]"#, PLAIN, true),
        ]);
    }

    #[test]
    fn addresses_are_within_networks() {
        let from = |client: &'static str| Request { client, ..PLAIN };
        all(&[
            (r#"[["remote_addr","ipmatch","192.0.2.1"]]"#, PLAIN, true),
            (r#"[["remote_addr","ipmatch",["10.0.0.0/8","192.0.2.0/24"]]]"#, PLAIN, true),
            (r#"[["remote_addr","ipmatch",["10.0.0.0/8"]]]"#, PLAIN, false),
            (r#"[["remote_addr","ipmatch",["10.0.0.0/8"]]]"#, from("::ffff:10.0.0.1"), true),
            (r#"[["remote_addr","==","10.0.0.1"]]"#, from("::ffff:10.0.0.1"), true),
            (r#"[["remote_addr","ipmatch","2001:db8::/32"]]"#, from("2001:db8::1"), true),
            (r#"[["http_x","ipmatch","10.0.0.0/8"]]"#, with(&[("x", b"10.1.2.3")]), true),
            (r#"[["http_x","ipmatch","10.0.0.0/8"]]"#, with(&[("x", b"10.1.2.3\xff")]), false),
            (r#"[["http_x","ipmatch","10.0.0.0/8"]]"#, PLAIN, false),
            (r#"[["remote_port","==","5000"]]"#, PLAIN, true),
        ]);
    }

    #[test]
    fn variables_are_those_of_the_request() {
        let host = Request { authority: Some("A.Example:80"), ..PLAIN };
        all(&[
            (r#"[["host","==","a.example"]]"#, host, true),
            (r#"[["host","==",null]]"#, PLAIN, true),
            // Of HTTP/2, where there need be no such header.
            (r#"[["http_host","==","A.Example:80"]]"#, host, true),
            (r#"[["http_host","has","A.Example:80"]]"#, host, true),
            (r#"[["uri","/a/b"]]"#, to("/a//%62?c"), true),
            (r#"[["request_uri","/a%20b?c"]]"#, to("/a%20b?c"), true),
            (r#"[["args","c=%61"]]"#, to("/?c=%61"), true),
            (r#"[["query_string","==",null]]"#, PLAIN, true),
            (r#"[["request_method","==","GET"]]"#, PLAIN, true),
            (r#"[["http_x_age","==","1, 2"]]"#, with(&[("x-age", b"1"), ("x-age", b"2")]), true),
            (r#"[["http_agent","~~","bot"]]"#, with(&[("agent", b"a"), ("agent", b"bot\xff")]), true),
            (r#"[["http_cookie","==","a=1; b"]]"#, with(&[("cookie", b"a=1"), ("cookie", b"b")]), true),
        ]);
    }

    #[test]
    fn conditions_are_joined() {
        let (yes, no) = (r#"["uri","==","/"]"#, r#"["uri","==","/x"]"#);
        for (word, answers) in [
            ("AND", [true, false, false]),
            ("or", [true, true, false]),
            ("!AND", [false, true, true]),
            ("!or", [false, false, true]),
        ] {
            for (pair, expected) in [(yes, yes), (yes, no), (no, no)].into_iter().zip(answers) {
                let vars = format!(r#"["{word}",{},{}]"#, pair.0, pair.1);
                assert_eq!(is(&vars, PLAIN), expected, "{vars}");
                assert_eq!(is(&format!("[{vars}]"), PLAIN), expected, "{vars}");
            }
        }
        assert!(is("[]", PLAIN));
        assert!(is(r#"[["uri","~=","/x"],["uri","!","==","/x"],["uri","!","~*","X"]]"#, PLAIN));
        assert!(!is(r#"[["uri","!","IN",["/"]]]"#, PLAIN));
    }
}
