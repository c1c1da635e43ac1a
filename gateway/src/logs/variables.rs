//! The variables of access log formats, by nginx's names.

use http::header::HeaderName;

/// What a format puts in the place of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Variable {
    Args,
    BodyBytesSent,
    Connection,
    ConnectionRequests,
    Host,
    Hostname,
    /// The index of a request's header among those that the format names.
    Header(usize),
    Msec,
    Pid,
    RemoteAddr,
    RemotePort,
    RemoteUser,
    Request,
    RequestMethod,
    RequestTime,
    RequestUri,
    RouteId,
    Scheme,
    /// The index of a response's header among those that the format names.
    SentHeader(usize),
    ServerAddr,
    ServerName,
    ServerPort,
    ServerProtocol,
    Status,
    TimeIso8601,
    TimeLocal,
    TraceId,
    UpstreamAddr,
    UpstreamHost,
    UpstreamResponseTime,
    UpstreamScheme,
    UpstreamStatus,
    UpstreamUri,
    Uri,
}

const KNOWN: [(&str, Variable); 35] = [
    ("args", Variable::Args),
    ("body_bytes_sent", Variable::BodyBytesSent),
    ("connection", Variable::Connection),
    ("connection_requests", Variable::ConnectionRequests),
    ("host", Variable::Host),
    ("hostname", Variable::Hostname),
    ("msec", Variable::Msec),
    ("pid", Variable::Pid),
    ("query_string", Variable::Args),
    ("remote_addr", Variable::RemoteAddr),
    ("remote_port", Variable::RemotePort),
    ("remote_user", Variable::RemoteUser),
    ("request", Variable::Request),
    ("request_method", Variable::RequestMethod),
    ("request_time", Variable::RequestTime),
    ("request_uri", Variable::RequestUri),
    ("route_id", Variable::RouteId),
    ("scheme", Variable::Scheme),
    ("server_addr", Variable::ServerAddr),
    ("server_name", Variable::ServerName),
    ("server_port", Variable::ServerPort),
    ("server_protocol", Variable::ServerProtocol),
    ("status", Variable::Status),
    ("time_iso8601", Variable::TimeIso8601),
    ("time_local", Variable::TimeLocal),
    ("trace_id", Variable::TraceId),
    ("upstream_addr", Variable::UpstreamAddr),
    ("upstream_host", Variable::UpstreamHost),
    ("upstream_response_time", Variable::UpstreamResponseTime),
    ("upstream_scheme", Variable::UpstreamScheme),
    ("upstream_status", Variable::UpstreamStatus),
    ("upstream_uri", Variable::UpstreamUri),
    ("uri", Variable::Uri),
    ("http_host", Variable::Host),
    ("document_uri", Variable::Uri),
];

/// The variable of a name. Headers are added to those that are kept of a request or a response.
pub(super) fn variable(name: &str, request: &mut Vec<HeaderName>, response: &mut Vec<HeaderName>) -> Option<Variable> {
    if let Some((_, known)) = KNOWN.iter().find(|(known, _)| *known == name) {
        if *known == Variable::RemoteUser {
            index_of(request, http::header::AUTHORIZATION);
        }
        return Some(known.clone());
    }
    let header = |name: &str| HeaderName::from_bytes(name.replace('_', "-").as_bytes()).ok();
    if let Some(name) = name.strip_prefix("sent_http_") {
        return Some(Variable::SentHeader(index_of(response, header(name)?)));
    }
    Some(Variable::Header(index_of(request, header(name.strip_prefix("http_")?)?)))
}

/// All names but those of headers.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|(name, _)| *name)
}

fn index_of(headers: &mut Vec<HeaderName>, name: HeaderName) -> usize {
    let known = headers.iter().position(|known| *known == name);
    known.unwrap_or_else(|| {
        headers.push(name);
        headers.len() - 1
    })
}
