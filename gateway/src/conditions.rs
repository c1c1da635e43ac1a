//! Whether the conditions of a route (`vars`) are true of a request.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::SocketAddr;

use http::{HeaderMap, Method, Uri, header};

use crate::config::{Condition, Literal, Test, Variable};

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
    /// Whether it is true; `path` is what routes are compared with, `host` is without port.
    pub(crate) fn is_true(&self, asked: &Asked<'_>, path: &[u8], host: Option<&str>) -> bool {
        match self {
            Condition::All(conditions) => conditions.iter().all(|condition| condition.is_true(asked, path, host)),
            Condition::Any(conditions) => conditions.iter().any(|condition| condition.is_true(asked, path, host)),
            Condition::Not(condition) => !condition.is_true(asked, path, host),
            Condition::Is(Variable::Header(name), Test::Has(literal)) => {
                asked.headers.get_all(name.as_str()).iter().any(|value| equals(&text(value.as_bytes()), literal))
            }
            Condition::Is(variable, test) => test.is_true(value(variable, asked, path, host).as_deref()),
        }
    }
}

fn value<'a>(variable: &Variable, asked: &Asked<'a>, path: &'a [u8], host: Option<&'a str>) -> Option<Cow<'a, str>> {
    match variable {
        Variable::Argument(name) => pair(asked.uri.query()?.split('&'), name).map(Cow::Borrowed),
        Variable::Header(name) => asked.headers.get(name.as_str()).map(|value| text(value.as_bytes())),
        Variable::Cookie(name) => {
            let cookies = asked.headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
            pair(cookies.flat_map(|cookies| cookies.split(';')).map(str::trim), name).map(Cow::Borrowed)
        }
        Variable::Uri => Some(text(path)),
        Variable::RequestUri => asked.uri.path_and_query().map(|path| Cow::Borrowed(path.as_str())),
        Variable::Query => asked.uri.query().map(Cow::Borrowed),
        Variable::Host => host.map(|host| Cow::Owned(host.to_ascii_lowercase())),
        Variable::Method => Some(Cow::Borrowed(asked.method.as_str())),
        Variable::RemoteAddress => Some(Cow::Owned(asked.client.ip().to_canonical().to_string())),
        Variable::RemotePort => Some(Cow::Owned(asked.client.port().to_string())),
    }
}

/// The first value of a name among `name=value`; one without `=` is empty.
fn pair<'a>(mut pairs: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    pairs.find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

impl Test {
    fn is_true(&self, value: Option<&str>) -> bool {
        let ordered = |literal: &Literal, wanted: fn(Ordering) -> bool| {
            value.and_then(|value| compare(value, literal)).is_some_and(wanted)
        };
        match self {
            Test::Equal(literal) => is(value, literal),
            Test::NotEqual(literal) => !is(value, literal),
            Test::Greater(literal) => ordered(literal, Ordering::is_gt),
            Test::GreaterOrEqual(literal) => ordered(literal, Ordering::is_ge),
            Test::Less(literal) => ordered(literal, Ordering::is_lt),
            Test::LessOrEqual(literal) => ordered(literal, Ordering::is_le),
            Test::Matches(pattern) => value.is_some_and(|value| pattern.0.is_match(value.as_bytes())),
            Test::In(literals) => literals.iter().any(|literal| is(value, literal)),
            Test::Has(literal) => is(value, literal),
            Test::Within(networks) => {
                let address = value.and_then(|value| value.parse().ok());
                address
                    .is_some_and(|address: std::net::IpAddr| networks.iter().any(|network| network.contains(&address)))
            }
        }
    }
}

fn is(value: Option<&str>, literal: &Literal) -> bool {
    match value {
        Some(value) => equals(value, literal),
        None => *literal == Literal::Absent,
    }
}

fn equals(value: &str, literal: &Literal) -> bool {
    compare(value, literal) == Some(Ordering::Equal)
}

fn compare(value: &str, literal: &Literal) -> Option<Ordering> {
    match literal {
        Literal::Text(text) => Some(value.cmp(text)),
        Literal::Number(number) => value.trim().parse::<f64>().ok()?.partial_cmp(number),
        Literal::Absent => None,
    }
}
