//! Upstreams: choosing a node, sending it a request, reading its response.

mod balance;
mod echo;
pub(crate) mod error;
mod hash;
mod health;
mod http2;
mod pool;
mod response;
mod stream;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Body;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use self::balance::{Balance, Open};
use self::health::Health;
use self::pool::Lease;
use crate::body::{RequestBody, Sending, Waits};
use crate::config::{Balancing, HashKey, NodeAddress, NodeConfig, PassHost, Timeouts, UpstreamConfig};
use crate::logs::Record;

pub(crate) use error::UpstreamError;
pub(crate) use hash::Subject;
pub use health::{HealthChecks, NodeHealth, UpstreamHealth};
pub(crate) use http2::Http2Lease;
pub use pool::PoolLimits;
pub(crate) use pool::{Address, Pool};
pub(crate) use response::UpstreamBody;

/// The upstream of a route, as one worker sees it.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// In the order of the configuration.
    nodes: Vec<Target>,
    /// Nodes of one priority each, the highest first.
    tiers: Vec<Tier>,
    key: Option<HashKey>,
    health: Option<Arc<Health>>,
    /// How often a request that failed is sent to another node, and until when.
    retries: usize,
    retry_timeout: Option<Duration>,
    timeouts: Timeouts,
    http2: bool,
}

#[derive(Debug)]
struct Target {
    node: Node,
    /// What it is told as the host.
    host: Option<HeaderValue>,
    /// What it is told if the client named none.
    own_host: Option<HeaderValue>,
}

#[derive(Debug)]
struct Tier {
    nodes: Vec<usize>,
    balance: Balance,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Echo,
    Tcp(Rc<Address>),
}

impl Node {
    /// How its URIs begin.
    fn scheme(&self) -> &'static str {
        match self {
            Node::Echo => "http",
            Node::Tcp(address) => address.scheme(),
        }
    }

    /// `host:port`.
    pub(crate) fn name(&self) -> &str {
        match self {
            Node::Echo => NodeAddress::Echo.as_str(),
            Node::Tcp(address) => address.name(),
        }
    }
}

/// A request's way among the nodes of an upstream.
#[derive(Debug)]
pub(crate) struct Turn {
    node: usize,
    /// The number of its key.
    hash: u64,
    /// The nodes where it has failed. Nearly always empty, and then without an allocation.
    failed: Vec<usize>,
    open: Option<Open>,
    /// Where it is noted for logs which nodes are asked.
    record: Option<Rc<Record>>,
}

impl Turn {
    /// Has it noted there for logs which nodes are asked, and what they answer.
    pub(crate) fn set_record(&mut self, record: Option<&Rc<Record>>) {
        self.record = record.cloned();
    }

    /// Whether the request has failed at other nodes before.
    pub(crate) fn was_elsewhere(&self) -> bool {
        !self.failed.is_empty()
    }
}

/// Why an attempt failed, and the request if it may be sent again.
type Failed = (UpstreamError, Option<Request<RequestBody>>);

impl Upstream {
    /// An upstream whose connections, and whose nodes' health, are those of `pool`.
    pub(crate) fn new(config: &UpstreamConfig, pool: &Pool) -> Self {
        let target = |node: &NodeConfig| Target {
            node: match &node.address {
                NodeAddress::Echo => Node::Echo,
                NodeAddress::Tcp(name) => {
                    let tls = config.scheme.tls.as_ref();
                    Node::Tcp(pool.address(name, tls.map(|tls| (tls, tls.name_of(name, &config.pass_host)))))
                }
            },
            host: match &config.pass_host {
                PassHost::Pass => None,
                PassHost::Node => own_host(&node.address),
                PassHost::Rewrite(host) => Some(host.clone()),
            },
            own_host: match &node.address {
                NodeAddress::Echo => None,
                NodeAddress::Tcp(name) => HeaderValue::from_str(name).ok(),
            },
        };
        let mut priorities: Vec<i32> = config.nodes.iter().map(|node| node.priority).collect();
        priorities.sort_unstable_by_key(|priority| std::cmp::Reverse(*priority));
        priorities.dedup();
        let tier = |priority: i32| {
            let nodes: Vec<usize> =
                (0..config.nodes.len()).filter(|node| config.nodes[*node].priority == priority).collect();
            let configs = nodes.iter().map(|node| &config.nodes[*node]);
            let balance = match &config.balance {
                Balancing::RoundRobin => Balance::round_robin(configs.map(|node| node.weight)),
                Balancing::Hash(_) => Balance::hashed(configs.map(|node| (node.address.as_str(), node.weight))),
                Balancing::LeastConnections => Balance::least_connections(configs.map(|node| node.weight)),
            };
            Tier { nodes, balance }
        };
        Upstream {
            nodes: config.nodes.iter().map(target).collect(),
            tiers: priorities.into_iter().map(tier).collect(),
            key: match &config.balance {
                Balancing::Hash(key) => Some(key.clone()),
                _ => None,
            },
            health: pool.health().of(config),
            retries: config.retries.map_or(usize::MAX, |retries| retries as usize).min(config.nodes.len() - 1),
            retry_timeout: config.retry_timeout,
            timeouts: config.timeout,
            http2: config.scheme.http2,
        }
    }

    /// Begins a request's way: chooses its first node.
    pub(crate) fn begin(&self, subject: &Subject<'_>) -> Turn {
        let hash = self.key.as_ref().map_or(0, |key| hash::of_key(key, subject));
        self.first(hash)
    }

    /// The node whose turn it is, for what is no request.
    pub(crate) fn pick(&self) -> &Node {
        self.node(&self.first(0))
    }

    /// The node where a request is, or was last.
    pub(crate) fn node(&self, turn: &Turn) -> &Node {
        &self.nodes[turn.node].node
    }

    /// How long connecting may take.
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.timeouts.connect
    }

    fn first(&self, hash: u64) -> Turn {
        let mut turn = Turn { node: 0, hash, failed: Vec::new(), open: None, record: None };
        // There is always one, because none has failed.
        self.next(&mut turn);
        turn
    }

    /// Goes on to a node where the request has not failed: of the highest priority that has one that serves. If none serves
    /// at all, all are taken for ones that do. `false` if there is none left.
    fn next(&self, turn: &mut Turn) -> bool {
        // Given back before it is looked who has the fewest.
        turn.open = None;
        let choose = |may: &dyn Fn(usize) -> bool| {
            self.tiers.iter().find_map(|tier| {
                let place = tier.balance.next(turn.hash, |place| may(tier.nodes[place]))?;
                Some((tier.nodes[place], tier.balance.open(place)))
            })
        };
        let untried = |node: usize| !turn.failed.contains(&node);
        let chosen = match &self.health {
            None => choose(&untried),
            Some(health) => {
                let healthy = choose(&|node| health.serves(node) && untried(node));
                let all_down = || (0..self.nodes.len()).all(|node| !health.serves(node));
                if healthy.is_none() && all_down() { choose(&untried) } else { healthy }
            }
        };
        let Some((node, open)) = chosen else { return false };
        turn.node = node;
        turn.open = open;
        true
    }

    /// Sends a request to the node of its turn, and on to others if that fails and they may get it. `sending` is the one
    /// of the request's body, if it has one.
    ///
    /// A request that a connection did not take is sent again on another one, and to another node: always if nothing of it
    /// was written, else if it has no body and is safe (RFC 9110, section 9.2.1). What was answered is never sent again.
    pub(crate) async fn send(
        &self,
        turn: &mut Turn,
        request: Request<RequestBody>,
        sending: Option<Rc<Sending>>,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let began = self.retry_timeout.map(|limit| (Instant::now(), limit));
        let mut request = request;
        loop {
            let target = &self.nodes[turn.node];
            let host = match &target.host {
                None if request.headers().contains_key(header::HOST) => None,
                None => target.own_host.as_ref(),
                host => host.as_ref(),
            };
            if let Some(host) = host {
                // There is room: heads have a limit.
                let _ = request.headers_mut().try_insert(header::HOST, host.clone());
            }
            if let Some(record) = &turn.record {
                record.asks(target.node.scheme(), target.node.name(), request.uri(), request.headers());
            }
            let more = turn.failed.len() < self.retries;
            let result = self.at(&target.node, request, sending.as_ref(), more, &mut turn.open).await;
            if let Some(record) = &turn.record {
                record.upstream_answers(result.as_ref().ok().map(|response| response.status().as_u16()));
            }
            if let Some(health) = &self.health {
                health.saw(
                    turn.node,
                    result.as_ref().map(|response| response.status().as_u16()).map_err(|(error, _)| error),
                );
            }
            let (error, again) = match result {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            let in_time = began.is_none_or(|(began, limit)| began.elapsed() < limit);
            let is_ours = !matches!(error, UpstreamError::Client(_));
            let Some(again) = again.filter(|_| more && in_time && is_ours) else { return Err(error) };
            let failed_at = turn.node;
            turn.failed.push(failed_at);
            if !self.next(turn) {
                return Err(error);
            }
            let (upstream, next) = (self.nodes[failed_at].node.name(), self.node(turn).name());
            tracing::warn!(upstream, next, "upstream failed, another node gets the request: {error}");
            request = again;
        }
    }

    /// Connects to the node of a turn, and on to others if that fails; for what is not HTTP.
    pub(crate) async fn connect(&self, turn: &mut Turn) -> Result<TcpStream, UpstreamError> {
        let began = self.retry_timeout.map(|limit| (Instant::now(), limit));
        loop {
            let Node::Tcp(address) = self.node(turn) else { return Err(UpstreamError::Coding) };
            let error = match address.socket(self.timeouts.connect).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            if let Some(health) = &self.health {
                health.saw(turn.node, Err(&error));
            }
            let in_time = began.is_none_or(|(began, limit)| began.elapsed() < limit);
            let more = in_time && turn.failed.len() < self.retries;
            turn.failed.push(turn.node);
            if !more || !self.next(turn) {
                return Err(error);
            }
            tracing::warn!(next = self.node(turn).name(), "upstream failed, another node gets the stream: {error}");
        }
    }

    /// How long nothing may come or go on a connection that is not HTTP.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.timeouts.read.max(self.timeouts.send)
    }

    /// Sends a request to a node. `more` says that it may go to others after this one.
    async fn at(
        &self,
        node: &Node,
        request: Request<RequestBody>,
        sending: Option<&Rc<Sending>>,
        more: bool,
        open: &mut Option<Open>,
    ) -> Result<Response<UpstreamBody>, Failed> {
        let address = match node {
            Node::Echo => return echo::answer(request).await.map_err(|error| (error, None)),
            Node::Tcp(address) => address,
        };
        if self.http2 {
            // Its future is large, and only who needs it pays for it.
            return Box::pin(self.on_stream(address, request, sending, open)).await;
        }
        let mut request = request;
        let mut replay = None;
        loop {
            let Some(lease) = address.checkout() else { break };
            replay = replay.or_else(|| copy_if_safe(&request));
            match self.attempt(lease, request, sending, open).await {
                Err((_, Some(unsent))) => request = unsent,
                Err((UpstreamError::Broken(error), None)) => match replay.take() {
                    Some(copy) => {
                        tracing::debug!(upstream = address.name(), "sent again: {}", error::chain(&error));
                        request = copy;
                        break;
                    }
                    None => return Err((UpstreamError::Broken(error), None)),
                },
                Err((error, None)) => return Err(again_if_unanswered(error, replay)),
                Ok(response) => return Ok(response),
            }
        }
        let lease = match address.connect(self.timeouts.connect).await {
            Ok(lease) => lease,
            Err(error) => return Err((error, Some(request))),
        };
        if more && replay.is_none() {
            replay = copy_if_safe(&request);
        }
        match self.attempt(lease, request, sending, open).await {
            Err((error, None)) => Err(again_if_unanswered(error, replay)),
            other => other,
        }
    }

    /// Sends a request on a stream of HTTP/2, and again if it was not taken, or if it is safe and was not answered.
    async fn on_stream(
        &self,
        address: &Rc<Address>,
        request: Request<RequestBody>,
        sending: Option<&Rc<Sending>>,
        open: &mut Option<Open>,
    ) -> Result<Response<UpstreamBody>, Failed> {
        let replay = copy_if_safe(&request);
        match stream::send(address, request, sending, self.timeouts).await {
            Ok((response, sent)) => {
                let told = response.headers().get(header::CONTENT_LENGTH);
                let length = told.and_then(|length| length.to_str().ok()?.parse().ok());
                let open = open.take();
                let limit = self.timeouts.read;
                Ok(response.map(|body| UpstreamBody::of_stream(body, length, sent, open, limit)))
            }
            Err((error, request)) => match request {
                Some(request) => Err((error, Some(request))),
                None => Err(again_if_unanswered(error, replay)),
            },
        }
    }

    /// One attempt on one connection; an error may give back a request of which nothing was written.
    async fn attempt(
        &self,
        mut lease: Lease,
        request: Request<RequestBody>,
        sending: Option<&Rc<Sending>>,
        open: &mut Option<Open>,
    ) -> Result<Response<UpstreamBody>, Failed> {
        let mut response = pin!(lease.sender().try_send_request(request));
        let response = within(self.timeouts, sending, response.as_mut()).await.map_err(|error| (error, None))?;
        match response {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                Err((UpstreamError::Switching, None))
            }
            Ok(response) if !response.body().is_end_stream() && !is_coded_as_sent(response.headers()) => {
                Err((UpstreamError::Coding, None))
            }
            Ok(response) => {
                let open = open.take();
                Ok(response.map(|body| UpstreamBody::new(body, lease, sending.cloned(), open, self.timeouts.read)))
            }
            Err(mut failed) => {
                let request = failed.take_message();
                let error = match sending.and_then(|sending| sending.failure()) {
                    Some(refusal) => UpstreamError::Client(refusal),
                    None => UpstreamError::Broken(failed.into_error()),
                };
                Err((error, request))
            }
        }
    }
}

/// Waits for the head of a response as long as its upstream may take.
async fn within<T>(
    timeouts: Timeouts,
    sending: Option<&Rc<Sending>>,
    response: impl Future<Output = T>,
) -> Result<T, UpstreamError> {
    let mut response = pin!(response);
    let begin = Instant::now();
    if let Some(sending) = sending {
        sending.now(Waits::Send);
    }
    loop {
        let (waits, since) = sending.map_or((Waits::Response, begin), |sending| sending.state());
        let (limit, error) = match waits {
            Waits::Response => (timeouts.read, UpstreamError::ReadTimeout),
            // How long to wait for a client is not decided here.
            Waits::Client | Waits::Send => (timeouts.send, UpstreamError::SendTimeout),
        };
        // When all of the request is gone, another limit is the one that counts.
        let answer = poll_fn(|cx| match response.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => match sending.filter(|_| waits != Waits::Response) {
                Some(sending) if sending.is_whole() => Poll::Ready(None),
                Some(sending) => {
                    sending.watch(cx);
                    Poll::Pending
                }
                None => Poll::Pending,
            },
        });
        match timeout_at(since + limit, answer).await {
            Ok(Some(response)) => return Ok(response),
            Ok(None) => continue,
            Err(_) => {}
        }
        match sending.map(|sending| sending.state()) {
            Some((Waits::Client, _)) => sending.into_iter().for_each(|sending| sending.now(Waits::Client)),
            Some(now) if now != (waits, since) => {}
            _ => return Err(error),
        }
    }
}

/// Whether a body that came with these fields has no transfer coding but `chunked`, which alone is undone. `identity` was
/// the name of none (RFC 2616, section 3.6).
fn is_coded_as_sent(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(header::TRANSFER_ENCODING).iter();
    let codings = fields.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let mut codings = codings.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
    codings.next().is_none_or(|first| first.eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

/// Gives a copy of the request with an error after which it may be sent again: nothing that was an answer has come.
fn again_if_unanswered(error: UpstreamError, copy: Option<Request<RequestBody>>) -> Failed {
    let unanswered = match &error {
        UpstreamError::Broken(error) => !error.is_parse(),
        UpstreamError::Stream(error) => error.is_go_away() || error.is_io() || error.is_reset(),
        UpstreamError::SendTimeout | UpstreamError::ReadTimeout => true,
        _ => false,
    };
    (error, copy.filter(|_| unanswered))
}

/// The host of a node, with its port unless that is HTTP's.
fn own_host(address: &NodeAddress) -> Option<HeaderValue> {
    let NodeAddress::Tcp(name) = address else { return None };
    HeaderValue::from_str(name.strip_suffix(":80").unwrap_or(name)).ok()
}

/// A copy of a request that may be sent twice.
fn copy_if_safe(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    if !safe || !matches!(request.body(), RequestBody::Empty) {
        return None;
    }
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

impl From<Bytes> for UpstreamBody {
    fn from(bytes: Bytes) -> Self {
        UpstreamBody::whole(bytes)
    }
}
