//! Whose names for properties a plugin uses: Envoy's attributes, or the variables of nginx as Kong and APISIX offer them.

use std::fmt::Write;

use bytes::Bytes;

use crate::services::Property;

/// The host that a plugin was written for, where hosts differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Envoy: attributes, in their binary encodings.
    #[default]
    Envoy,
    /// Kong: Envoy's attributes as text, and nginx variables behind `ngx.`.
    Kong,
    /// APISIX: nginx variables by their plain names.
    Apisix,
}

impl Dialect {
    /// Its name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::Envoy => "envoy",
            Dialect::Kong => "kong",
            Dialect::Apisix => "apisix",
        }
    }

    /// The dialect of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Dialect::Envoy, Dialect::Kong, Dialect::Apisix].into_iter().find(|dialect| dialect.as_str() == name)
    }
}

/// What a host says of a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Its answer.
    Answer(Property),
    /// It is the host's to answer, but there is no such value now.
    Nothing,
    /// It is not the host's.
    Unknown,
}

impl From<Property> for Known {
    fn from(property: Property) -> Self {
        match property {
            Property::NotFound => Known::Nothing,
            property => Known::Answer(property),
        }
    }
}

/// Where values come from.
pub(crate) trait Source {
    /// The attribute of a path, in Envoy's encoding.
    fn attribute(&mut self, path: &[&[u8]]) -> Property;

    /// Nanoseconds since the Unix epoch.
    fn realtime_nanos(&mut self) -> u64;
}

/// Answers a path.
pub(crate) fn answer(dialect: Dialect, path: &[u8], source: &mut impl Source) -> Known {
    match dialect {
        Dialect::Envoy => attribute(path, source),
        Dialect::Kong => match path.strip_prefix(b"ngx") {
            Some([0 | b'.', name @ ..]) => variable(name, source),
            _ => attribute_as_text(path, source),
        },
        Dialect::Apisix => match variable(path, source) {
            Known::Unknown => attribute(path, source),
            known => known,
        },
    }
}

/// The parts of a path.
fn parts(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == 0).collect()
}

/// Where paths of Envoy's attributes begin.
const ATTRIBUTES: [&[u8]; 22] = [
    b"request",
    b"response",
    b"connection",
    b"connection_id",
    b"source",
    b"destination",
    b"upstream",
    b"upstream_host_metadata",
    b"metadata",
    b"node",
    b"xds",
    b"cluster_name",
    b"cluster_metadata",
    b"route_name",
    b"route_metadata",
    b"virtual_host_name",
    b"virtual_host_metadata",
    b"listener_direction",
    b"listener_metadata",
    b"plugin_name",
    b"plugin_root_id",
    b"plugin_vm_id",
];

fn attribute(path: &[u8], source: &mut impl Source) -> Known {
    let parts = parts(path);
    match source.attribute(&parts) {
        Property::NotFound if ATTRIBUTES.contains(&parts[0]) => Known::Nothing,
        Property::NotFound => Known::Unknown,
        found => Known::Answer(found),
    }
}

/// What an attribute's bytes stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Bytes,
    Int,
    Bool,
    /// Nanoseconds, which become seconds with milliseconds.
    Time,
}

fn encoding(parts: &[&[u8]]) -> Encoding {
    match parts {
        [b"request", b"time" | b"duration"] | [b"response", b"backend_latency"] => Encoding::Time,
        [b"request", b"size" | b"total_size" | b"headers_bytes"] => Encoding::Int,
        [b"response", b"code" | b"flags" | b"grpc_status" | b"size" | b"total_size" | b"headers_bytes"] => {
            Encoding::Int
        }
        [b"source" | b"destination" | b"upstream", b"port"] | [b"connection", b"id"] | [b"connection_id"] => {
            Encoding::Int
        }
        [b"connection", b"mtls"] => Encoding::Bool,
        _ => Encoding::Bytes,
    }
}

fn attribute_as_text(path: &[u8], source: &mut impl Source) -> Known {
    match attribute(path, source) {
        Known::Answer(Property::Value(value)) => Known::Answer(Property::Value(text(encoding(&parts(path)), value))),
        known => known,
    }
}

fn text(encoding: Encoding, value: Bytes) -> Bytes {
    let number = || value[..].try_into().ok().map(i64::from_le_bytes);
    match (encoding, number()) {
        (Encoding::Int, Some(number)) => number.to_string().into(),
        (Encoding::Time, Some(nanos)) => seconds(nanos.unsigned_abs()).into(),
        (Encoding::Bool, _) => Bytes::from_static(if value.iter().all(|byte| *byte == 0) { b"false" } else { b"true" }),
        _ => value,
    }
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:03}", nanos / 1_000_000_000, nanos / 1_000_000 % 1000)
}

/// Answers a variable of nginx by its name, in any case.
fn variable(name: &[u8], source: &mut impl Source) -> Known {
    let lower = name.to_ascii_lowercase();
    let Ok(name) = std::str::from_utf8(&lower) else { return Known::Unknown };
    let as_text = |source: &mut _, path: &[&[u8]]| attribute_as_text(&path.join(&0), source);
    match name {
        "request_method" => as_text(source, &[b"request", b"method"]),
        "request_uri" => as_text(source, &[b"request", b"path"]),
        "uri" | "document_uri" => as_text(source, &[b"request", b"url_path"]),
        "args" | "query_string" => as_text(source, &[b"request", b"query"]),
        "is_args" => mapped(as_text(source, &[b"request", b"query"]), |query| {
            Some(Bytes::from_static(if query.is_empty() { b"" } else { b"?" }))
        }),
        "scheme" => as_text(source, &[b"request", b"scheme"]),
        "https" => mapped(as_text(source, &[b"request", b"scheme"]), |scheme| {
            Some(Bytes::from_static(if scheme == "https" { b"on" } else { b"" }))
        }),
        "host" => mapped(as_text(source, &[b"request", b"host"]), |host| {
            Some(without_port(&host).to_ascii_lowercase().into())
        }),
        "http_host" => as_text(source, &[b"request", b"host"]),
        "server_protocol" => as_text(source, &[b"request", b"protocol"]),
        "request_id" => as_text(source, &[b"request", b"id"]),
        "request_length" => as_text(source, &[b"request", b"total_size"]),
        "request_time" => as_text(source, &[b"request", b"duration"]),
        "remote_addr" => mapped(as_text(source, &[b"source", b"address"]), |address| Some(without_port(&address))),
        "remote_port" => as_text(source, &[b"source", b"port"]),
        "server_addr" => mapped(as_text(source, &[b"destination", b"address"]), |address| Some(without_port(&address))),
        "server_port" => as_text(source, &[b"destination", b"port"]),
        "connection" => as_text(source, &[b"connection", b"id"]),
        "status" | "upstream_status" => as_text(source, &[b"response", b"code"]),
        "body_bytes_sent" => as_text(source, &[b"response", b"size"]),
        "bytes_sent" => as_text(source, &[b"response", b"total_size"]),
        "upstream_addr" => as_text(source, &[b"upstream", b"address"]),
        "upstream_response_time" => as_text(source, &[b"response", b"backend_latency"]),
        "content_type" => as_text(source, &[b"request", b"headers", b"content-type"]),
        "content_length" => as_text(source, &[b"request", b"headers", b"content-length"]),
        "msec" => value(seconds(source.realtime_nanos())),
        "time_iso8601" => value(iso8601(source.realtime_nanos())),
        _ => prefixed(name, source),
    }
}

/// Variables that end with a name of the request's.
fn prefixed(name: &str, source: &mut impl Source) -> Known {
    let header = |source: &mut _, direction: &[u8], name: &str| {
        attribute_as_text(&[direction, b"headers", name.replace('_', "-").as_bytes()].join(&0), source)
    };
    if let Some(name) = name.strip_prefix("arg_") {
        return mapped(attribute(b"request\0query", source), |query| argument(&query, name.as_bytes()));
    }
    if let Some(name) = name.strip_prefix("cookie_") {
        return mapped(attribute(b"request\0headers\0cookie", source), |cookies| cookie(&cookies, name.as_bytes()));
    }
    if let Some(name) = name.strip_prefix("sent_http_").or_else(|| name.strip_prefix("upstream_http_")) {
        return header(source, b"response", name);
    }
    match name.strip_prefix("http_") {
        Some(name) => header(source, b"request", name),
        None => Known::Unknown,
    }
}

fn value(text: String) -> Known {
    Known::Answer(Property::Value(text.into()))
}

fn mapped(known: Known, map: impl FnOnce(Bytes) -> Option<Bytes>) -> Known {
    match known {
        Known::Answer(Property::Value(value)) => match map(value) {
            Some(value) => Known::Answer(Property::Value(value)),
            None => Known::Nothing,
        },
        known => known,
    }
}

/// An address or a host without the port behind it; of an IPv6 address without the brackets too.
fn without_port(address: &Bytes) -> Bytes {
    if let Some(end) = address.iter().position(|byte| *byte == b']').filter(|_| address.starts_with(b"[")) {
        return address.slice(1..end);
    }
    let mut colons = address.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    match (colons.next(), colons.next()) {
        (Some(colon), None) => address.slice(..colon),
        _ => address.clone(),
    }
}

/// The first argument of a query by its name, in any case, as it was sent.
fn argument(query: &Bytes, name: &[u8]) -> Option<Bytes> {
    named(query, b'&', name)
}

/// The first cookie of a name, in any case.
fn cookie(cookies: &Bytes, name: &[u8]) -> Option<Bytes> {
    named(cookies, b';', name)
}

/// The value in `name=value` pieces.
fn named(list: &Bytes, separator: u8, name: &[u8]) -> Option<Bytes> {
    list.split(|byte| *byte == separator).map(<[u8]>::trim_ascii_start).find_map(|piece| {
        let equals = piece.iter().position(|byte| *byte == b'=')?;
        piece[..equals].eq_ignore_ascii_case(name).then(|| list.slice_ref(&piece[equals + 1..]))
    })
}

/// `2026-01-01T00:00:00+00:00`.
fn iso8601(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    let (year, month, day) = date(seconds / 86_400);
    let second = seconds % 86_400;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(text, "{year:04}-{month:02}-{day:02}T");
    let _ = write!(text, "{:02}:{:02}:{:02}+00:00", second / 3600, second / 60 % 60, second % 60);
    text
}

/// Year, month and day of a day since the Unix epoch (Gregorian calendar).
fn date(day: u64) -> (u64, u64, u64) {
    const YEARS_400: u64 = 146_097;
    // Years that begin in March have the leap day at their end; the one of day 0 here began on 1 March of year 0.
    let day = day + 719_468;
    let era = day / YEARS_400;
    let of_era = day % YEARS_400;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Table(Vec<(&'static str, Bytes)>);

    impl Source for Table {
        fn attribute(&mut self, path: &[&[u8]]) -> Property {
            let path = path.join(&b'.');
            let found = self.0.iter().find(|(name, _)| name.as_bytes() == path);
            found.map_or(Property::NotFound, |(_, value)| Property::Value(value.clone()))
        }

        fn realtime_nanos(&mut self) -> u64 {
            1_709_210_096_789_000_000
        }
    }

    fn ask(dialect: Dialect, path: &str) -> Option<String> {
        let mut table = Table(vec![
            ("request.method", "GET".into()),
            ("request.path", "/a/b?x=1&Name=v%20w&empty=".into()),
            ("request.url_path", "/a/b".into()),
            ("request.query", "x=1&Name=v%20w&empty=".into()),
            ("request.host", "Example.com:8080".into()),
            ("request.scheme", "https".into()),
            ("request.headers.x-a-b", "header".into()),
            ("request.headers.cookie", "a=1; Session=s=2".into()),
            ("response.headers.server", "up".into()),
            ("response.code", Bytes::copy_from_slice(&404_i64.to_le_bytes())),
            ("source.address", "[::1]:40000".into()),
            ("source.port", Bytes::copy_from_slice(&40_000_i64.to_le_bytes())),
            ("destination.address", "192.0.2.1:80".into()),
            ("connection.mtls", Bytes::from_static(&[0])),
            ("request.time", Bytes::copy_from_slice(&1_500_000_000_i64.to_le_bytes())),
        ]);
        match answer(dialect, path.as_bytes(), &mut table) {
            Known::Answer(Property::Value(value)) => Some(String::from_utf8_lossy(&value).into_owned()),
            Known::Nothing => Some("nothing".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_of_nginx() {
        for (name, expected) in [
            ("request_method", "GET"),
            ("REQUEST_URI", "/a/b?x=1&Name=v%20w&empty="),
            ("uri", "/a/b"),
            ("args", "x=1&Name=v%20w&empty="),
            ("is_args", "?"),
            ("arg_x", "1"),
            ("arg_NAME", "v%20w"),
            ("arg_empty", ""),
            ("arg_other", "nothing"),
            ("cookie_a", "1"),
            ("cookie_session", "s=2"),
            ("cookie_b", "nothing"),
            ("http_x_a_b", "header"),
            ("http_other", "nothing"),
            ("sent_http_server", "up"),
            ("upstream_http_server", "up"),
            ("host", "example.com"),
            ("http_host", "Example.com:8080"),
            ("https", "on"),
            ("scheme", "https"),
            ("status", "404"),
            ("remote_addr", "::1"),
            ("remote_port", "40000"),
            ("server_addr", "192.0.2.1"),
            ("server_port", "nothing"),
            ("upstream_addr", "nothing"),
            ("msec", "1709210096.789"),
            ("time_iso8601", "2024-02-29T12:34:56+00:00"),
        ] {
            assert_eq!(ask(Dialect::Apisix, name).as_deref(), Some(expected), "{name}");
            assert_eq!(ask(Dialect::Kong, &format!("ngx\0{name}")).as_deref(), Some(expected), "{name}");
            assert_eq!(ask(Dialect::Kong, &format!("ngx.{name}")).as_deref(), Some(expected), "{name}");
            assert_eq!(ask(Dialect::Envoy, name), None, "{name}");
            assert_eq!(ask(Dialect::Kong, name), None, "{name}");
        }
        for name in ["", "own", "ngx", "argx", "ngx\0own"] {
            assert_eq!((ask(Dialect::Apisix, name), ask(Dialect::Kong, name)), (None, None), "{name}");
        }
    }

    #[test]
    fn kong_has_attributes_as_text() {
        for (path, expected) in [
            ("request\0method", "GET"),
            ("response\0code", "404"),
            ("source\0port", "40000"),
            ("connection\0mtls", "false"),
            ("request\0time", "1.500"),
            ("request\0nothing", "nothing"),
        ] {
            assert_eq!(ask(Dialect::Kong, path).as_deref(), Some(expected), "{path}");
        }
        assert_ne!(ask(Dialect::Envoy, "source\0port").as_deref(), Some("40000"));
        assert_eq!(ask(Dialect::Apisix, "request\0method").as_deref(), Some("GET"));
    }

    #[test]
    fn dates_of_the_gregorian_calendar() {
        for (day, expected) in [(0, (1970, 1, 1)), (58, (1970, 2, 28)), (59, (1970, 3, 1)), (789, (1972, 2, 29))] {
            assert_eq!(date(day), expected);
        }
        assert_eq!((date(11_016), date(47_541)), ((2000, 2, 29), (2100, 3, 1)));
    }

    #[test]
    fn dialects_have_names() {
        assert_eq!(Dialect::from_name("kong"), Some(Dialect::Kong));
        assert_eq!(Dialect::from_name("Kong"), None);
        assert_eq!(Dialect::default().as_str(), "envoy");
    }
}
