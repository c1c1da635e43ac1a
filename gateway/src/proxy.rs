//! The life of a request.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request, uri};
use http_body::Body;
use thiserror::Error;
use tracing::Instrument;

use crate::answer;
use crate::body::{ClientBody, Content, RequestBody, ResponseBody, Sending};
use crate::chain::{self, Chain};
use crate::conditions::Asked;
use crate::config::{Config, PathRules, RouteConfig};
use crate::head::Exchange;
use crate::headers::{keep_told_length, remove_hop_by_hop, set_framing};
use crate::logs::{AccessLog, Record, TraceContext, request_event, spans};
use crate::metrics::{Meter, RouteMetrics, WorkerMetrics};
use crate::path::normalised_uri;
use crate::route::Router;
use crate::tls::Certificates;
use crate::upstream::{Node, Pool, Subject, Upstream, UpstreamBody, UpstreamError};

/// What one worker serves requests with.
#[derive(Debug)]
pub(crate) struct Proxy {
    snapshot: RefCell<Rc<Snapshot>>,
    metrics: Arc<WorkerMetrics>,
    /// Those of the listeners that speak TLS.
    certificates: Option<Arc<Certificates>>,
    access_log: Option<Rc<AccessLog>>,
}

/// A configuration as one worker serves it. A request keeps the one that it began with.
#[derive(Debug)]
pub(crate) struct Snapshot {
    router: Router,
    routes: Vec<Rc<Route>>,
    paths: PathRules,
    /// What requests are counted with that no route is for.
    without_route: Arc<RouteMetrics>,
    /// Whether a trace begins here for a request that names none.
    create_traces: bool,
}

/// A route as one worker serves it.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) id: String,
    pub(crate) upstream: Upstream,
    pub(crate) metrics: Arc<RouteMetrics>,
    /// `None` without plugins.
    chain: Option<Chain>,
}

/// The client's connection is to be closed without a (further) answer.
#[derive(Debug, Error)]
#[error("the stream was reset")]
pub(crate) struct Reset;

impl Snapshot {
    /// `chains` has one entry per route.
    pub(crate) fn new(config: &Config, pool: &Pool, chains: Vec<Option<Chain>>, metrics: &WorkerMetrics) -> Self {
        let route = |(config, chain): (&RouteConfig, _)| {
            Rc::new(Route {
                id: config.id.clone(),
                upstream: Upstream::new(&config.upstream, pool),
                metrics: metrics.route(config),
                chain,
            })
        };
        let snapshot = Snapshot {
            router: Router::new(&config.routes),
            routes: config.routes.iter().zip(chains).map(route).collect(),
            paths: config.paths,
            without_route: metrics.without_route(),
            create_traces: config.logs.create_traces,
        };
        metrics.forget_routes();
        snapshot
    }

    /// The route of a request, or the status and words for which there is none. The request gets the path that was
    /// compared.
    fn route(&self, request: &mut Request<ClientBody>, client: SocketAddr) -> Result<Rc<Route>, (StatusCode, String)> {
        match normalised_uri(request.uri(), self.paths.escaped_slashes) {
            Ok(None) => {}
            Ok(Some(uri)) => *request.uri_mut() = uri,
            Err(bad) => return Err((StatusCode::BAD_REQUEST, format!("400 Bad Request: {bad}"))),
        }
        let uri = request.uri();
        let authority = authority(request);
        let asked = Asked { method: request.method(), authority, uri, headers: request.headers(), client };
        match self.router.find(&asked) {
            Some(route) => Ok(Rc::clone(&self.routes[route])),
            None => Err((StatusCode::NOT_FOUND, "404 Route Not Found".to_owned())),
        }
    }
}

impl Proxy {
    pub(crate) fn new(
        snapshot: Snapshot,
        certificates: Option<Arc<Certificates>>,
        metrics: &Arc<WorkerMetrics>,
        access_log: Option<Rc<AccessLog>>,
    ) -> Self {
        Proxy { snapshot: RefCell::new(Rc::new(snapshot)), metrics: Arc::clone(metrics), certificates, access_log }
    }

    /// Has requests that begin from now on be served by this one.
    pub(crate) fn replace(&self, snapshot: Snapshot) {
        self.snapshot.replace(Rc::new(snapshot));
    }

    /// Answers a request.
    pub(crate) async fn handle(
        &self,
        mut request: Request<ClientBody>,
        mut exchange: Exchange,
    ) -> Result<Response<ResponseBody>, Reset> {
        let mut meter = Meter::begin(&self.metrics);
        let snapshot = Rc::clone(&self.snapshot.borrow());
        let record = self.record(&snapshot, &mut request, &exchange);
        exchange.set_record(Rc::clone(&record));
        let answer = self.respond(&snapshot, request, exchange, &mut meter);
        // Even a span that nobody listens to would be looked at each time that the future is polled.
        let mut answer = match spans::request(&record) {
            span if span.is_disabled() => answer.await,
            span => answer.instrument(span).await,
        };
        match &mut answer {
            Ok(response) => {
                record.answers(response.status().as_u16(), response.headers());
                meter.answers(response.status());
                response.body_mut().set_meter(meter);
            }
            Err(Reset) => {
                record.is_reset();
                meter.is_reset();
            }
        }
        answer
    }

    /// What is known of a request for logs. It gets the trace that it is a part of.
    fn record(&self, snapshot: &Snapshot, request: &mut Request<ClientBody>, exchange: &Exchange) -> Rc<Record> {
        let trace = TraceContext::of_request(request.headers_mut(), snapshot.create_traces);
        let client = exchange.client();
        let ends = (client.address(), client.local_address());
        let numbers = (client.id(), client.requests());
        Rc::new(Record::new(ends, client.tls().is_some(), numbers, request, trace, self.access_log.as_ref()))
    }

    /// Answers a request by a configuration.
    async fn respond(
        &self,
        snapshot: &Snapshot,
        mut request: Request<ClientBody>,
        exchange: Exchange,
        meter: &mut Meter,
    ) -> Result<Response<ResponseBody>, Reset> {
        meter.set_route(&snapshot.without_route);
        if request.method() == Method::CONNECT {
            return Ok(answer::status(StatusCode::METHOD_NOT_ALLOWED, exchange));
        }
        if let (Some(tls), Some(certificates)) = (exchange.client().tls(), &self.certificates)
            && !certificates.admit(tls, authority(&request))
        {
            return Ok(answer::status(StatusCode::MISDIRECTED_REQUEST, exchange));
        }
        let route = match snapshot.route(&mut request, exchange.client().address()) {
            Ok(route) => route,
            Err((status, message)) => return Ok(answer::error(status, &message, exchange)),
        };
        meter.set_route(&route.metrics);
        if let Some(record) = exchange.record() {
            record.route(&route.id);
        }
        match &route.chain {
            None => Ok(forward(&route, request, exchange).await),
            Some(chain) => chain::run(chain, &route, request, exchange).await,
        }
    }
}

/// Whom a request is for: what its URI says counts, then the field.
fn authority<B>(request: &Request<B>) -> Option<&str> {
    let host = || request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    request.uri().authority().map(uri::Authority::as_str).or_else(host)
}

/// Passes a request through to the upstream, its headers unconverted and its body untouched.
async fn forward(route: &Route, request: Request<ClientBody>, exchange: Exchange) -> Response<ResponseBody> {
    let (mut head, body) = request.into_parts();
    let method = head.method.clone();
    let mut turn = route.upstream.begin(&Subject { client: Some(exchange.client().address()), head: &head });
    turn.set_record(exchange.record());
    remove_hop_by_hop(&mut head.headers);
    let (body, sending) = request_body(&mut head, body);
    let request = match outgoing(head, body) {
        Ok(request) => request,
        Err(error) => {
            request_event!(INFO, exchange.record().map(Rc::as_ref), route = route.id, "request refused: {error}");
            return answer::status(StatusCode::BAD_REQUEST, exchange);
        }
    };
    let asked = Instant::now();
    let result = route.upstream.send(&mut turn, request, sending).await;
    route.metrics.upstream_took(asked.elapsed());
    match result {
        Ok(mut response) => {
            prepare(&mut response, &method);
            response.map(|body| ResponseBody::new(Content::Upstream(body), exchange))
        }
        Err(error) => {
            report(route, route.upstream.node(&turn), &error, exchange.record().map(Rc::as_ref));
            answer::status(error.status(), exchange)
        }
    }
}

/// The body as the upstream gets it.
fn request_body(head: &mut request::Parts, body: ClientBody) -> (RequestBody, Option<Rc<Sending>>) {
    if body.is_end_stream() {
        return (RequestBody::Empty, None);
    }
    set_framing(&mut head.headers, body.size_hint().exact(), true);
    let sending = Sending::new();
    (RequestBody::Client(body, Rc::clone(&sending)), Some(sending))
}

/// The request as the upstream gets it: in origin form, as HTTP/1.1, with the `Host` of its URI if that has one.
pub(crate) fn outgoing(mut head: request::Parts, body: RequestBody) -> Result<Request<RequestBody>, http::Error> {
    // hyper has sent its own 100 Continue when the body is asked for, and takes none from the upstream.
    head.headers.remove(header::EXPECT);
    head.version = Version::HTTP_11;
    if let Some(authority) = head.uri.authority() {
        // The host of an absolute URI counts, not the one of the field (RFC 9112, section 3.2.2).
        let host = authority.as_str();
        let host = HeaderValue::from_str(host.rsplit_once('@').map_or(host, |(_, host)| host))?;
        head.headers.try_insert(header::HOST, host)?;
        let path = head.uri.path_and_query().cloned();
        head.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    Ok(Request::from_parts(head, body))
}

/// Makes an upstream's response one for the client.
fn prepare(response: &mut Response<UpstreamBody>, method: &Method) {
    *response.version_mut() = Version::HTTP_11;
    remove_hop_by_hop(response.headers_mut());
    if has_no_body(method, response.status()) {
        keep_told_length(response.headers_mut());
    } else {
        let length = response.body().size_hint().exact();
        set_framing(response.headers_mut(), length, false);
    }
}

/// Whether a response to this method with this status has no body, whatever its fields say.
pub(crate) fn has_no_body(method: &Method, status: StatusCode) -> bool {
    method == Method::HEAD || status == StatusCode::NOT_MODIFIED
}

pub(crate) fn report(route: &Route, node: &Node, error: &UpstreamError, record: Option<&Record>) {
    let (route, upstream) = (&route.id, node.name());
    match error {
        UpstreamError::Client(_) => request_event!(INFO, record, route, upstream, "{error}"),
        _ => request_event!(WARN, record, route, upstream, "upstream failed: {error}"),
    }
}
