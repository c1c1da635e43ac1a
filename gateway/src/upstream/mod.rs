//! Upstreams: choosing a node, sending it a request, reading its response.

mod balance;
mod echo;
pub(crate) mod error;
mod http2;
mod pool;
mod response;

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Body;
use tokio::time::{Instant, timeout_at};

use self::balance::Balance;
use self::pool::Lease;
use crate::body::{RequestBody, Sending, Waits};
use crate::config::{NodeAddress, Timeouts, UpstreamConfig};

pub(crate) use error::UpstreamError;
pub(crate) use http2::Http2Lease;
pub use pool::PoolLimits;
pub(crate) use pool::{Address, Pool};
pub(crate) use response::UpstreamBody;

/// The upstream of a route, as one worker sees it.
#[derive(Debug)]
pub(crate) struct Upstream {
    nodes: Vec<Node>,
    balance: Balance,
    timeouts: Timeouts,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Echo,
    Tcp(Rc<Address>),
}

impl Upstream {
    /// An upstream whose connections are those of `pool`.
    pub(crate) fn new(config: &UpstreamConfig, pool: &Pool) -> Self {
        let node = |address: &NodeAddress| match address {
            NodeAddress::Echo => Node::Echo,
            NodeAddress::Tcp(name) => Node::Tcp(pool.address(name)),
        };
        Upstream {
            nodes: config.nodes.iter().map(|config| node(&config.address)).collect(),
            balance: Balance::new(config.nodes.iter().map(|node| node.weight)),
            timeouts: config.timeout,
        }
    }

    /// The node whose turn it is.
    pub(crate) fn pick(&self) -> &Node {
        &self.nodes[self.balance.next()]
    }

    /// How long connecting may take.
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.timeouts.connect
    }

    /// Sends a request to a node. `sending` is the one of the request's body, if it has one.
    ///
    /// A request that a waiting connection did not take any more is sent again on another one: always if nothing of it
    /// was written, else if it has no body and is safe (RFC 9110, section 9.2.1).
    pub(crate) async fn send(
        &self,
        node: &Node,
        request: Request<RequestBody>,
        sending: Option<Rc<Sending>>,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let address = match node {
            Node::Echo => return echo::answer(request).await,
            Node::Tcp(address) => address,
        };
        let mut request = request;
        loop {
            let Some(lease) = address.checkout() else { break };
            let replay = copy_if_safe(&request);
            match self.attempt(lease, request, sending.as_ref()).await {
                Err((_, Some(unsent))) => request = unsent,
                Err((UpstreamError::Broken(error), None)) => match replay {
                    Some(copy) => {
                        tracing::debug!(upstream = address.name(), "sent again: {}", error::chain(&error));
                        request = copy;
                        break;
                    }
                    None => return Err(UpstreamError::Broken(error)),
                },
                other => return other.map_err(|(error, _)| error),
            }
        }
        let lease = address.connect(self.timeouts.connect).await?;
        self.attempt(lease, request, sending.as_ref()).await.map_err(|(error, _)| error)
    }

    /// One attempt on one connection; an error may give back a request of which nothing was written.
    async fn attempt(
        &self,
        mut lease: Lease,
        request: Request<RequestBody>,
        sending: Option<&Rc<Sending>>,
    ) -> Result<Response<UpstreamBody>, (UpstreamError, Option<Request<RequestBody>>)> {
        let mut response = pin!(lease.sender().try_send_request(request));
        let begin = Instant::now();
        if let Some(sending) = sending {
            sending.now(Waits::Send);
        }
        let response = loop {
            let (waits, since) = sending.map_or((Waits::Response, begin), |sending| sending.state());
            let (limit, error) = match waits {
                Waits::Response => (self.timeouts.read, UpstreamError::ReadTimeout),
                // How long to wait for a client is not decided here.
                Waits::Client | Waits::Send => (self.timeouts.send, UpstreamError::SendTimeout),
            };
            if let Ok(response) = timeout_at(since + limit, &mut response).await {
                break response;
            }
            match sending.map(|sending| sending.state()) {
                Some((Waits::Client, _)) => sending.into_iter().for_each(|sending| sending.now(Waits::Client)),
                Some(now) if now != (waits, since) => {}
                _ => return Err((error, None)),
            }
        };
        match response {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                Err((UpstreamError::Switching, None))
            }
            Ok(response) if !response.body().is_end_stream() && !is_coded_as_sent(response.headers()) => {
                Err((UpstreamError::Coding, None))
            }
            Ok(response) => {
                Ok(response.map(|body| UpstreamBody::new(body, lease, sending.cloned(), self.timeouts.read)))
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

/// Whether a body that came with these fields has no transfer coding but `chunked`, which alone is undone. `identity` was
/// the name of none (RFC 2616, section 3.6).
fn is_coded_as_sent(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(header::TRANSFER_ENCODING).iter();
    let codings = fields.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let mut codings = codings.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
    codings.next().is_none_or(|first| first.eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
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
