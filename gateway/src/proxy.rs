//! The life of a request.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request, uri};
use http_body::Body;
use thiserror::Error;

use crate::answer;
use crate::body::{ClientBody, Content, RequestBody, ResponseBody, Sending};
use crate::chain::{self, Chain};
use crate::config::{Config, PathRules, RouteConfig};
use crate::head::Exchange;
use crate::headers::{keep_told_length, remove_hop_by_hop, set_framing};
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
}

/// A configuration as one worker serves it. A request keeps the one that it began with.
#[derive(Debug)]
pub(crate) struct Snapshot {
    router: Router,
    routes: Vec<Rc<Route>>,
    paths: PathRules,
    /// What requests are counted with that no route is for.
    without_route: Arc<RouteMetrics>,
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
        };
        metrics.forget_routes();
        snapshot
    }

    /// The route of a request, or the status and words for which there is none. The request gets the path that was
    /// compared.
    fn route(&self, request: &mut Request<ClientBody>) -> Result<Rc<Route>, (StatusCode, String)> {
        match normalised_uri(request.uri(), self.paths.escaped_slashes) {
            Ok(None) => {}
            Ok(Some(uri)) => *request.uri_mut() = uri,
            Err(bad) => return Err((StatusCode::BAD_REQUEST, format!("400 Bad Request: {bad}"))),
        }
        match self.router.find(request.method(), authority(request), request.uri().path()) {
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
    ) -> Self {
        Proxy { snapshot: RefCell::new(Rc::new(snapshot)), metrics: Arc::clone(metrics), certificates }
    }

    /// Has requests that begin from now on be served by this one.
    pub(crate) fn replace(&self, snapshot: Snapshot) {
        self.snapshot.replace(Rc::new(snapshot));
    }

    /// Answers a request.
    pub(crate) async fn handle(
        &self,
        request: Request<ClientBody>,
        exchange: Exchange,
    ) -> Result<Response<ResponseBody>, Reset> {
        let mut meter = Meter::begin(&self.metrics);
        let mut answer = self.respond(request, exchange, &mut meter).await;
        match &mut answer {
            Ok(response) => {
                meter.answers(response.status());
                response.body_mut().set_meter(meter);
            }
            Err(Reset) => meter.is_reset(),
        }
        answer
    }

    async fn respond(
        &self,
        mut request: Request<ClientBody>,
        exchange: Exchange,
        meter: &mut Meter,
    ) -> Result<Response<ResponseBody>, Reset> {
        let snapshot = Rc::clone(&self.snapshot.borrow());
        meter.set_route(&snapshot.without_route);
        if request.method() == Method::CONNECT {
            return Ok(answer::status(StatusCode::METHOD_NOT_ALLOWED, exchange));
        }
        if let (Some(tls), Some(certificates)) = (exchange.client().tls(), &self.certificates)
            && !certificates.admit(tls, authority(&request))
        {
            return Ok(answer::status(StatusCode::MISDIRECTED_REQUEST, exchange));
        }
        let route = match snapshot.route(&mut request) {
            Ok(route) => route,
            Err((status, message)) => return Ok(answer::error(status, &message, exchange)),
        };
        meter.set_route(&route.metrics);
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
    remove_hop_by_hop(&mut head.headers);
    let (body, sending) = request_body(&mut head, body);
    let request = match outgoing(head, body) {
        Ok(request) => request,
        Err(error) => {
            tracing::info!(client = %exchange.client().address(), route = route.id, "request refused: {error}");
            return answer::status(StatusCode::BAD_REQUEST, exchange);
        }
    };
    let asked = Instant::now();
    let answered = route.upstream.send(&mut turn, request, sending).await;
    route.metrics.upstream_took(asked.elapsed());
    match answered {
        Ok(mut response) => {
            prepare(&mut response, &method);
            response.map(|body| ResponseBody::new(Content::Upstream(body), exchange))
        }
        Err(error) => {
            report(route, route.upstream.node(&turn), &error, exchange.client().address());
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

pub(crate) fn report(route: &Route, node: &Node, error: &UpstreamError, client: SocketAddr) {
    let upstream = node.name();
    match error {
        UpstreamError::Client(_) => tracing::info!(%client, route = route.id, upstream, "{error}"),
        _ => tracing::warn!(%client, route = route.id, upstream, "upstream failed: {error}"),
    }
}
