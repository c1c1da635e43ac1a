//! What is known of one request, for what is logged of it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Uri, Version};

use super::access::{AccessLog, Scratch};
use super::trace_context::TraceContext;

/// A request, from when its head came to when its response's body was dropped. It is written to the access log then.
#[derive(Debug)]
pub(crate) struct Record {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    /// Whether the client speaks TLS.
    pub(super) is_secure: bool,
    pub(super) connection: u64,
    /// How many requests the connection has had, this one included.
    pub(super) requests: u64,
    pub(super) line: Line,
    pub(super) host: Option<HeaderValue>,
    pub(super) trace: Option<TraceContext>,
    pub(super) access: Option<Access>,
}

/// A request line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
}

/// What only the access log needs.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) log: Rc<AccessLog>,
    pub(super) begun: Instant,
    pub(super) status: Cell<u16>,
    pub(super) sent: Cell<u64>,
    pub(super) upstream: Cell<Upstream>,
    pub(super) scratch: RefCell<Scratch>,
}

/// The upstream that was asked last.
#[derive(Debug, Clone, Copy)]
pub(super) enum Upstream {
    None,
    /// Since then, without an answer.
    Asked(Instant),
    /// Since then, and its response comes.
    Answers(Instant),
    Ended,
}

/// nginx's number for a client that went away before it was answered.
const CLIENT_GONE: u16 = 499;

/// nginx's number for a connection that was closed without an answer.
const CLOSED: u16 = 444;

impl Record {
    pub(crate) fn new<B>(
        (client, server): (SocketAddr, SocketAddr),
        is_secure: bool,
        (connection, requests): (u64, u64),
        request: &Request<B>,
        trace: Option<TraceContext>,
        log: Option<&Rc<AccessLog>>,
    ) -> Self {
        let line = Line { method: request.method().clone(), uri: request.uri().clone(), version: request.version() };
        let access = log.map(|log| Access {
            log: Rc::clone(log),
            begun: Instant::now(),
            status: Cell::new(CLIENT_GONE),
            sent: Cell::new(0),
            upstream: Cell::new(Upstream::None),
            scratch: RefCell::new(log.scratch(request.headers())),
        });
        let host = request.headers().get(header::HOST).cloned();
        Record { client, server, is_secure, connection, requests, line, host, trace, access }
    }

    pub(crate) fn client(&self) -> SocketAddr {
        self.client
    }

    pub(crate) fn connection(&self) -> u64 {
        self.connection
    }

    /// The trace that it is a part of, in 32 digits.
    pub(crate) fn trace_id(&self) -> Option<String> {
        self.trace.map(|trace| format!("{:032x}", trace.trace))
    }

    /// The request line.
    pub(crate) fn line(&self) -> impl fmt::Display + '_ {
        &self.line
    }

    /// The host that the client asked for, as text; empty if there is none.
    pub(crate) fn host(&self) -> &str {
        let authority = self.line.uri.authority().map(http::uri::Authority::as_str);
        let field = || self.host.as_ref().and_then(|host| host.to_str().ok());
        authority.or_else(field).unwrap_or_default()
    }

    /// Notes the route.
    pub(crate) fn route(&self, id: &str) {
        if let Some(access) = &self.access {
            access.scratch.borrow_mut().set_route(id);
        }
    }

    /// Notes that an upstream is asked: its address, and what it gets.
    pub(crate) fn asks(&self, scheme: &'static str, address: &str, uri: &Uri, headers: &HeaderMap) {
        let Some(access) = &self.access else { return };
        access.asks(scheme, address, uri, headers.get(header::HOST));
    }

    /// Notes what the upstream answered; `None` if it failed.
    pub(crate) fn upstream_answers(&self, status: Option<u16>) {
        let Some(access) = &self.access else { return };
        let Upstream::Asked(since) = access.upstream.get() else { return };
        access.scratch.borrow_mut().push_status(status);
        access.upstream.set(Upstream::Answers(since));
        if status.is_none() {
            access.upstream_ended();
        }
    }

    /// Notes that the upstream's response has come to its end.
    pub(crate) fn upstream_ended(&self) {
        if let Some(access) = &self.access {
            access.upstream_ended();
        }
    }

    /// Notes the status of the response, and its head.
    pub(crate) fn answers(&self, status: u16, headers: &HeaderMap) {
        if let Some(access) = &self.access {
            access.status.set(status);
            access.log.keep_sent(&mut access.scratch.borrow_mut(), headers);
        }
    }

    /// Notes that the connection is closed without an answer.
    pub(crate) fn is_reset(&self) {
        if let Some(access) = &self.access {
            access.status.set(CLOSED);
        }
    }

    /// Counts bytes of the response's body.
    pub(crate) fn sends(&self, bytes: usize) {
        if let Some(access) = &self.access {
            access.sent.set(access.sent.get() + bytes as u64);
        }
    }
}

impl Access {
    fn asks(&self, scheme: &'static str, address: &str, uri: &Uri, host: Option<&HeaderValue>) {
        if let Upstream::Asked(since) = self.upstream.get() {
            self.scratch.borrow_mut().push_status(None);
            self.upstream.set(Upstream::Answers(since));
        }
        self.upstream_ended();
        self.upstream.set(Upstream::Asked(Instant::now()));
        self.scratch.borrow_mut().push_address(scheme, address, uri, host);
    }

    pub(super) fn upstream_ended(&self) {
        if let Upstream::Answers(since) = self.upstream.replace(Upstream::Ended) {
            self.scratch.borrow_mut().push_time(since.elapsed());
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(access) = self.access.take() {
            if let Upstream::Asked(since) = access.upstream.get() {
                access.scratch.borrow_mut().push_status(None);
                access.upstream.set(Upstream::Answers(since));
            }
            access.upstream_ended();
            access.log.clone().write(self, access);
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.method, target(&self.uri), self.version)
    }
}

/// The target as it came, but for the form of the whole URI.
pub(super) fn target(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
}

/// Logs an event at a level about the request of a record, if there is one.
macro_rules! request_event {
    ($level:ident, $record:expr, $($rest:tt)+) => {{
        let record: Option<&$crate::logs::Record> = $record;
        tracing::event!(
            tracing::Level::$level,
            connection = record.map(|record| record.connection()),
            client = record.map(|record| tracing::field::display(record.client())),
            server = record.map(|_| "_"),
            request = record.map(|record| tracing::field::display(record.line())),
            host = record.map(|record| record.host()),
            trace_id = record.and_then(|record| record.trace_id()),
            $($rest)+
        )
    }};
}
pub(crate) use request_event;
