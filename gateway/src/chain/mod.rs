//! The life of a request that passes plugins.
//!
//! Three futures work on a stream: [`Run`], until there is a response; the request's body, which the connection to the
//! upstream pulls through the chain; and the response's body, which the client's connection pulls. Each puts into the
//! chain what comes and takes what has passed; none waits inside a plugin.

mod body;
pub(crate) mod convert;
mod guests;
mod stream;

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use chassis_abi::{Callback, Direction};
use chassis_host::{DirectionProgress, Link, Plugin, Progress};
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body::Body;

pub(crate) use self::body::{RequestThrough, ResponseThrough};
pub(crate) use self::guests::Guests;
pub(crate) use self::stream::Stream;

use self::body::{PIECES_PER_TURN, Passing};
use self::convert::Kept;
use self::stream::Feed;
use crate::answer;
use crate::body::{ClientBody, Content, RequestBody, ResponseBody, Sending, refusal_in};
use crate::head::{Exchange, Refusal};
use crate::headers::{keep_told_length, says_length, set_framing};
use crate::logs::{REQUEST_LINE, request_event};
use crate::proxy::{Reset, Route, has_no_body, outgoing, report};
use crate::stall::Stall;
use crate::upstream::{Node, Subject, UpstreamBody, UpstreamError};

/// How long a body is when it comes out of the chain: what there is when all of it has passed; else what its head still
/// says, which a plugin has to remove if it makes that wrong, as elsewhere.
fn length_out(progress: &DirectionProgress, told: Option<u64>) -> Option<u64> {
    if progress.ended { (!progress.trailers).then_some(progress.body as u64) } else { told }
}

/// The plugins of a route, as one worker runs them.
#[derive(Debug)]
pub(crate) struct Chain {
    guests: Rc<Guests>,
    links: Arc<[Link]>,
    /// Whether any plugin has a callback for bodies or trailers of requests, and of responses. Others pass untouched.
    looks_at_requests: bool,
    looks_at_responses: bool,
    /// How long a stream may be held.
    pause: Duration,
    /// How many bytes of body may wait behind headers that are held.
    buffered_body: usize,
}

impl Chain {
    pub(crate) fn new(guests: &Rc<Guests>, links: Vec<Link>, plugins: &[&Plugin]) -> Self {
        let any = |callbacks: [Callback; 2]| {
            plugins.iter().any(|plugin| callbacks.iter().any(|callback| plugin.exports(*callback)))
        };
        Chain {
            guests: Rc::clone(guests),
            links: links.into(),
            looks_at_requests: any([Callback::RequestBody, Callback::RequestTrailers]),
            looks_at_responses: any([Callback::ResponseBody, Callback::ResponseTrailers]),
            pause: plugins.iter().map(|plugin| plugin.spec().limits.pause).min().unwrap_or(Duration::MAX),
            buffered_body: plugins.iter().map(|plugin| plugin.spec().limits.buffered_body).min().unwrap_or(usize::MAX),
        }
    }
}

impl Chain {
    /// Begins a TCP stream of a client; no plugin knows of it yet.
    pub(crate) fn open_tcp(&self, attributes: impl Iterator<Item = (&'static str, Bytes)>) -> Rc<Stream> {
        // Streams may not begin faster than they are closed.
        self.guests.close_ended(CLOSED_PER_REQUEST);
        let key = self.guests.with(|worker| worker.open_tcp(Arc::clone(&self.links), attributes));
        Stream::new(&self.guests, key)
    }

    /// How long a stream may be held.
    pub(crate) fn pause(&self) -> Duration {
        self.pause
    }
}

/// Answers a request through a chain.
pub(crate) async fn run(
    chain: &Chain,
    route: &Rc<Route>,
    request: Request<ClientBody>,
    exchange: Exchange,
) -> Result<Response<ResponseBody>, Reset> {
    // Streams may not begin faster than they are closed, or those that have ended would pile up.
    chain.guests.close_ended(CLOSED_PER_REQUEST);
    let (mut head, body) = request.into_parts();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let of_connection = exchange.client().attributes();
    let attributes = [
        ("request.time", Bytes::copy_from_slice(&u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).to_le_bytes())),
        ("request.protocol", Bytes::from_static(protocol(head.version))),
        (REQUEST_LINE, exchange.record().map_or_else(Bytes::new, |record| record.line().to_string().into())),
        ("xds.route_name", Bytes::copy_from_slice(route.id.as_bytes())),
    ];
    let method = head.method.clone();
    let scheme = if exchange.client().tls().is_some() { "https" } else { "http" };
    let (key, kept) = chain.guests.with(|worker| {
        let mut list = worker.empty_headers();
        let kept = convert::request_list(&mut list, &mut head, scheme);
        (worker.open(Arc::clone(&chain.links), list, of_connection.chain(attributes)), kept)
    });
    let mut run = Run {
        route: Rc::clone(route),
        chain,
        exchange,
        method,
        stream: Stream::new(&chain.guests, key),
        request: Some(Waiting::new(body, kept, chain.looks_at_requests, Direction::Request)),
        upstream: None,
        response: None,
        seen: Progress::default(),
        pause: Stall::new(chain.pause),
    };
    let ends = run.request.as_ref().is_some_and(|request| request.length == Some(0));
    run.stream.with(|worker, key| worker.request_headers(key, ends));
    std::future::poll_fn(|cx| run.poll(cx)).await?;
    run.finish()
}

fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_2 => b"HTTP/2",
        _ => b"HTTP/1.1",
    }
}

/// Tells plugins where the request goes.
fn tell_upstream(stream: &Stream, node: &Node) {
    let Node::Tcp(address) = node else { return };
    let name = Bytes::copy_from_slice(address.name().as_bytes());
    let port = address.name().rsplit_once(':').and_then(|(_, port)| port.parse::<u64>().ok());
    stream.with(|worker, key| {
        worker.set_attribute(key, "upstream.address", name);
        let port = port.map(|port| Bytes::copy_from_slice(&port.to_le_bytes()));
        port.into_iter().for_each(|port| worker.set_attribute(key, "upstream.port", port));
    });
}

/// How many streams that have ended are closed before another begins.
const CLOSED_PER_REQUEST: usize = 2;

/// A body of at most so many bytes is waited for before its head goes on, so that its length can be told.
const SMALL: u64 = 64 << 10;

type Answering = Pin<Box<dyn Future<Output = Result<Response<UpstreamBody>, UpstreamError>>>>;

/// A request until there is a response.
struct Run<'a> {
    route: Rc<Route>,
    chain: &'a Chain,
    exchange: Exchange,
    method: Method,
    stream: Rc<Stream>,
    /// The request, until it is sent.
    request: Option<Waiting<ClientBody>>,
    /// The upstream, while it is waited for.
    upstream: Option<Answering>,
    /// The upstream's response.
    response: Option<Waiting<UpstreamBody>>,
    /// How far the stream was when it was looked at last.
    seen: Progress,
    pause: Stall,
}

/// A message whose head is in the chain.
struct Waiting<B> {
    kept: Kept,
    /// How long its body came.
    length: Option<u64>,
    body: Source<B>,
}

enum Source<B> {
    /// No plugin looks at it.
    Untouched(B),
    Fed(Feed<B>),
}

impl<B> Waiting<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<crate::body::BodyError>,
{
    fn new(body: B, kept: Kept, fed: bool, direction: Direction) -> Self {
        let length = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
        let body = if fed { Source::Fed(Feed::new(body, direction)) } else { Source::Untouched(body) };
        Waiting { kept, length, body }
    }

    /// Whether it need not be waited for any more of the body.
    fn may_go(&self, ended: bool) -> bool {
        ended || matches!(self.body, Source::Untouched(_)) || self.length.is_none_or(|length| length > SMALL)
    }
}

impl Run<'_> {
    /// Ready when the response's head may be taken.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        for _ in 0..PIECES_PER_TURN {
            let progress = self.stream.progress()?;
            if self.has_response(&progress) {
                return Poll::Ready(Ok(()));
            }
            if progress != self.seen {
                self.seen = progress.clone();
                self.pause.came();
            }
            if progress.answered {
                self.request = None;
                self.upstream = None;
                self.response = None;
            }
            let goes = self.request.as_ref().is_some_and(|request| request.may_go(progress.request.ended));
            if goes && progress.request.headers {
                self.send(&progress);
                continue;
            }
            if self.holds_too_much(&progress) || self.poll_sources(cx) {
                continue;
            }
            if progress.request.paused || progress.response.paused || progress.waits_for_vm {
                if self.pause.poll(cx).is_ready() {
                    self.give_up(StatusCode::SERVICE_UNAVAILABLE, "a plugin paused it for too long");
                    continue;
                }
            } else {
                self.pause.came();
            }
            self.stream.wait(Direction::Response, cx);
            return Poll::Pending;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn has_response(&self, progress: &Progress) -> bool {
        let body = match &self.response {
            Some(response) if !progress.answered => response.may_go(progress.response.ended),
            _ => progress.response.ended,
        };
        progress.response.headers && body
    }

    /// Gives up if too much of a body has passed the chain while its headers may not go. What is inside of the chain is
    /// limited there.
    fn holds_too_much(&mut self, progress: &Progress) -> bool {
        let limit = self.chain.buffered_body;
        let status = match (&self.request, &self.response) {
            (Some(_), _) if progress.request.body > limit => StatusCode::PAYLOAD_TOO_LARGE,
            (_, Some(_)) if progress.response.body > limit => StatusCode::BAD_GATEWAY,
            _ => return false,
        };
        self.give_up(status, "too much of a body waits behind headers that a plugin paused");
        true
    }

    /// Puts into the chain what is there. `false` if nothing was.
    fn poll_sources(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(Waiting { body: Source::Fed(feed), .. }) = &mut self.request {
            match feed.poll(&self.stream, cx) {
                Poll::Ready(Ok(true)) => return true,
                Poll::Ready(Err(error)) => {
                    let refusal = refusal_in(&*error);
                    self.give_up(refusal.status(), &format!("the request broke off: {refusal}"));
                    return true;
                }
                Poll::Ready(Ok(false)) | Poll::Pending => {}
            }
        }
        if let Some(upstream) = &mut self.upstream
            && let Poll::Ready(result) = upstream.as_mut().poll(cx)
        {
            self.upstream = None;
            match result {
                Ok(response) => self.receive(response),
                Err(UpstreamError::Client(refusal)) => self.give_up_quietly(refusal.status()),
                // Plugins see it as a response, as they do in Envoy.
                Err(error) => self.receive(answer::of_upstream(error.status())),
            }
            return true;
        }
        if let Some(Waiting { body: Source::Fed(feed), .. }) = &mut self.response {
            match feed.poll(&self.stream, cx) {
                Poll::Ready(Ok(true)) => return true,
                Poll::Ready(Err(_)) => {
                    self.give_up_quietly(StatusCode::BAD_GATEWAY);
                    return true;
                }
                Poll::Ready(Ok(false)) | Poll::Pending => {}
            }
        }
        false
    }

    /// Sends the request as the chain has let it pass.
    fn send(&mut self, progress: &Progress) {
        let Some(Waiting { kept, length, body }) = self.request.take() else { return };
        let head = self.stream.pass_headers(Direction::Request, |list| convert::request_head(list, kept));
        let mut head = match head {
            Ok(head) => head,
            Err(error) => {
                return self.give_up(StatusCode::INTERNAL_SERVER_ERROR, &format!("a plugin's request: {error}"));
            }
        };
        let progress = &progress.request;
        let sending = Sending::new();
        let (body, length) = match body {
            Source::Untouched(_) if length == Some(0) => (RequestBody::Empty, length),
            Source::Untouched(body) => (RequestBody::Client(body, Rc::clone(&sending)), length),
            Source::Fed(_) if progress.ended && progress.body == 0 && !progress.trailers => {
                (RequestBody::Empty, Some(0))
            }
            Source::Fed(feed) => {
                let told = length.filter(|length| says_length(&head.headers, *length));
                let length = length_out(progress, told);
                let passing = Passing::new(Rc::clone(&self.stream), length);
                (RequestBody::Through(RequestThrough::new(passing, feed, Rc::clone(&sending))), length)
            }
        };
        if progress.trailers {
            self.announce(Direction::Request, &mut head.headers);
        }
        let has_body = !matches!(body, RequestBody::Empty) || head.headers.contains_key(header::CONTENT_LENGTH);
        // A plugin may have taken the length of an empty body away (RFC 9110, section 8.6).
        if has_body || matches!(head.method, Method::POST | Method::PUT | Method::PATCH) {
            set_framing(&mut head.headers, length, true);
        }
        let (route, record) = (Rc::clone(&self.route), self.exchange.record().cloned());
        let client = Some(self.exchange.client().address());
        let mut turn = route.upstream.begin(&Subject { client, head: &head });
        turn.set_record(record.as_ref());
        tell_upstream(&self.stream, route.upstream.node(&turn));
        let stream = Rc::clone(&self.stream);
        self.upstream = Some(Box::pin(async move {
            let request = outgoing(head, body).map_err(|_| UpstreamError::Client(Refusal::RequestLine))?;
            let sending = (!request.body().is_end_stream()).then_some(sending);
            let asked = Instant::now();
            let result = route.upstream.send(&mut turn, request, sending).await;
            route.metrics.upstream_took(asked.elapsed());
            let node = route.upstream.node(&turn);
            if turn.was_elsewhere() {
                tell_upstream(&stream, node);
            }
            result.inspect_err(|error| report(&route, node, error, record.as_deref()))
        }));
    }

    /// Takes the upstream's response into the chain.
    fn receive(&mut self, response: Response<UpstreamBody>) {
        let (head, body) = response.into_parts();
        let ends = body.is_end_stream();
        let kept = self.stream.with(|worker, key| {
            let mut list = worker.empty_headers();
            let kept = convert::response_list(&mut list, head.status, head.headers);
            worker.response_headers(key, list, ends);
            kept
        });
        self.response = Some(Waiting::new(body, kept, self.chain.looks_at_responses, Direction::Response));
    }

    /// The response as the chain has let it pass.
    fn finish(self) -> Result<Response<ResponseBody>, Reset> {
        let progress = self.stream.progress()?;
        let (kept, came) = match self.response {
            Some(Waiting { kept, length, body }) if !progress.answered => (kept, Some((body, length))),
            _ => (Kept::default(), None),
        };
        let head = self.stream.pass_headers(Direction::Response, |list| convert::response_head(list, kept));
        let record = self.exchange.record().cloned();
        let (status, mut headers) = head.map_err(|error| {
            request_event!(WARN, record.as_deref(), route = self.route.id, "a plugin's response: {error}");
            Reset
        })?;
        let progress = &progress.response;
        if progress.trailers {
            let trailers = self.stream.with(|worker, key| worker.take_trailers(key, Direction::Response));
            convert::announce(&mut headers, &trailers);
        }
        let told = came.as_ref().and_then(|(_, length)| length.filter(|length| says_length(&headers, *length)));
        let known = length_out(progress, told);
        let through = |feed| ResponseThrough::new(Passing::new(Rc::clone(&self.stream), known), feed, self.chain.pause);
        let (content, length) = match came {
            Some((Source::Untouched(body), length)) => (Content::Upstream(body), length),
            _ if known == Some(0) => (Content::Whole(Bytes::new()), known),
            Some((Source::Fed(feed), _)) => (Content::Through(through(Some(feed))), known),
            None => (Content::Through(through(None)), known),
        };
        let no_body = has_no_body(&self.method, status) || status == StatusCode::NO_CONTENT;
        let content = if no_body { Content::Whole(Bytes::new()) } else { content };
        // The length of what a GET would get is told if it is known here, else as the upstream told it.
        let is_known = self.method == Method::HEAD && length.is_some_and(|length| length > 0);
        if no_body && !is_known {
            keep_told_length(&mut headers);
        } else {
            set_framing(&mut headers, length, false);
        }
        let mut response = Response::new(ResponseBody::of_stream(content, self.stream, self.exchange));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    fn announce(&self, direction: Direction, headers: &mut http::HeaderMap) {
        let trailers = self.stream.with(|worker, key| worker.take_trailers(key, direction));
        convert::announce(headers, &trailers);
    }

    /// Answers instead of the upstream, and says why.
    fn give_up(&mut self, status: StatusCode, why: &str) {
        let record = self.exchange.record().map(Rc::as_ref);
        request_event!(WARN, record, route = self.route.id, "answered with {}: {why}", status.as_u16());
        self.give_up_quietly(status);
    }

    fn give_up_quietly(&mut self, status: StatusCode) {
        let body = Bytes::from(format!("{status}\n"));
        self.stream.with(|worker, key| worker.answer(key, status.as_u16(), body));
    }
}
