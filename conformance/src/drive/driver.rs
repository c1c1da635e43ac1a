//! Drives requests and TCP streams through one plugin, without sockets and without waiting.
//!
//! The request goes in piece by piece; what the plugin lets pass is taken at once, as a proxy would. The upstream is
//! asked when the whole request has passed. While the plugin holds something back, its timer goes off at once, as the
//! time is put forward.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chassis_abi::{Callback, Configuration, Direction, GrpcCall, HeaderList, HttpCall};
use chassis_host::{
    CalloutFailure, GrpcEvent, GrpcStatus, HttpAnswer, Link, Plugin, PluginId, Preparer, StartError, Stores, StreamKey,
    Worker,
};

use super::callouts::Outside;
use super::record::{Entry, Recorder, START_SECTION};
use super::services::{Clock, RunServices, Silent};
use super::tcp::{TcpEvent, Wire};

/// A request or a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Pseudo-headers first.
    pub headers: HeaderList,
    /// `None` if the message ends with its headers.
    pub body: Option<Bytes>,
    /// `None` if there are none.
    pub trailers: Option<HeaderList>,
}

/// What answers requests that pass.
pub trait Upstream {
    /// Answers a request, or fails as a gateway would see it.
    fn answer(&mut self, request: &Message) -> Result<Message, UpstreamFailure>;

    /// What comes of a plugin's HTTP callout: nobody answers, unless there is something that does.
    fn http_call(&mut self, _call: &HttpCall) -> Scheduled {
        Scheduled { after: Duration::ZERO, outcome: Err(CalloutFailure::Connect) }
    }

    /// What comes of a plugin's gRPC call or stream, one after the other: nobody answers, unless there is something that
    /// does. A call has the first message, if the status is 0.
    fn grpc(&mut self, _call: &GrpcCall) -> Scheduled<Vec<GrpcEvent>> {
        Scheduled::unavailable()
    }
}

/// What comes of a callout, and when; one that comes after the call's timeout is a timeout then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled<T = Result<HttpAnswer, CalloutFailure>> {
    /// How long it takes, in the guest's time.
    pub after: Duration,
    /// What it is.
    pub outcome: T,
}

impl Scheduled<Vec<GrpcEvent>> {
    /// There is no server.
    pub fn unavailable() -> Self {
        let closed = GrpcEvent::Closed(GrpcStatus::new(GrpcStatus::UNAVAILABLE, "connection failure"));
        Scheduled { after: Duration::ZERO, outcome: vec![closed] }
    }
}

/// An upstream that did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamFailure {
    /// 502 or 504.
    pub status: u16,
    /// Why.
    pub message: String,
}

/// A request that is to be made, and how the plugin is shown the bodies; or a TCP stream in its place.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// What happens to a TCP stream once the client has connected; there is no request then, nor an upstream that is asked.
    pub tcp: Option<Arc<[TcpEvent]>>,
    /// The request.
    pub request: Message,
    /// How many entries each frame of HTTP/2 metadata has that comes behind the request's headers.
    pub request_metadata: Arc<[u32]>,
    /// Those behind the response's headers.
    pub response_metadata: Arc<[u32]>,
    /// How its body is cut.
    pub request_cut: Cut,
    /// How the response's body is cut.
    pub response_cut: Cut,
}

/// How a body is cut into the pieces in which it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Bytes of each piece but the last.
    pub piece: usize,
    /// Whether the end comes after the last piece, with no bytes, instead of with it.
    pub late_end: bool,
}

impl Default for Cut {
    /// All in one piece, which ends it.
    fn default() -> Self {
        Cut { piece: usize::MAX, late_end: false }
    }
}

/// How requests are driven.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often the timer goes off during a request; `None` is as often as it takes to go on.
    pub ticks: Option<u32>,
    /// For how long something may be held back, in the guest's time.
    pub pause_limit: Duration,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream's response passed.
    Response,
    /// The plugin answered.
    LocalResponse,
    /// The guest was stopped.
    Crash,
    /// The plugin could not be loaded or started.
    LoadError,
    /// The plugin held it back for too long.
    Paused,
    /// The client gets no further answer.
    Reset,
    /// A TCP stream was played to its end.
    Played,
}

/// Why a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// `trap`, `deadline`, `fuel`, `exit`, `host`, `memory`, `start` or `load`.
    pub kind: &'static str,
    /// In which export; empty if in none.
    pub callback: String,
    /// What happened.
    pub message: String,
    /// The guest's frames, innermost first.
    pub backtrace: Vec<String>,
}

/// The kind of an [`Error`] that is the module's.
pub const LOAD: &str = "load";
/// The kind of an [`Error`] of a guest that refused to start.
const START: &str = "start";

/// A request that was driven to its end.
#[derive(Debug)]
pub struct Trip {
    /// How it ended.
    pub outcome: Outcome,
    /// Why the guest ended, if it did.
    pub error: Option<Error>,
    /// What reached the upstream: only a whole request does.
    pub upstream_request: Option<Message>,
    /// What the upstream answered, before the plugin saw it.
    pub upstream_response: Option<Message>,
    /// Why the upstream did not answer.
    pub upstream_failure: Option<UpstreamFailure>,
    /// What the client got.
    pub response: Option<Message>,
    /// What happened on the connections of a TCP stream, in order.
    pub wire: Vec<Wire>,
    /// What the guest did, from its start on for the first request.
    pub entries: Vec<Entry>,
    /// What the plugin had the host do for callouts, a line each.
    pub callouts: Vec<String>,
    /// What it did when the plugin was ended after the last request.
    pub ended: Vec<Entry>,
    /// How many entries came before the upstream was asked.
    pub before_upstream: usize,
    /// How many entries came before the client had its answer.
    pub before_answer: usize,
    /// The metrics that plugins have defined by its end, in the text format of Prometheus.
    pub metrics: String,
}

impl Trip {
    /// One that ended before it began.
    pub(super) fn not_loaded(error: Error, entries: Vec<Entry>) -> Self {
        Trip {
            outcome: Outcome::LoadError,
            error: Some(error),
            upstream_request: None,
            upstream_response: None,
            upstream_failure: None,
            response: None,
            callouts: Vec::new(),
            wire: Vec::new(),
            before_upstream: entries.len(),
            before_answer: entries.len(),
            entries,
            metrics: String::new(),
            ended: Vec::new(),
        }
    }

    /// What was seen on the connections of a TCP stream: `to upstream "data"`, `to client end`, `close downstream`,
    /// `reset`.
    pub fn seen_on_wire(&self) -> impl Iterator<Item = &str> {
        self.wire.iter().filter(|wire| !wire.is_event).map(|wire| wire.line.as_str())
    }

    /// Whether it ended because the plugin refused its configuration.
    pub fn refused_configuration(&self) -> bool {
        let judges = [Callback::ValidateConfiguration.name(), Callback::Configure.name()];
        self.error.as_ref().is_some_and(|error| error.kind == START && judges.contains(&error.callback.as_str()))
    }
}

/// What is around a plugin.
pub(super) struct World {
    pub(super) services: RunServices,
    pub(super) clock: Clock,
    /// The one that the services share.
    pub(super) recorder: Recorder,
    pub(super) preparer: Preparer,
    pub(super) stores: Arc<Stores>,
    /// A plugin that is started before, with its configuration.
    pub(super) beside: Option<(Arc<Plugin>, Bytes)>,
}

/// A started plugin.
pub(super) struct Driver {
    pub(super) worker: Worker,
    plugin: PluginId,
    pub(super) recorder: Recorder,
    pub(super) clock: Clock,
    pub(super) settings: Settings,
    pub(super) callouts: Outside,
    pub(super) stores: Arc<Stores>,
}

/// For how many turns signals are delivered at once: a guest may signal itself for ever.
const TURNS: u32 = 100;

/// For how long starting another VM is waited for, beyond all deadlines.
const PREPARED: Duration = Duration::from_secs(60);

impl Driver {
    /// Starts a plugin with its configurations, of which requests go to the first. What the guest did is in the recorder, even if it does not start.
    ///
    /// # Errors
    /// The plugin that does not start, and why.
    pub(super) fn start(
        plugin: Arc<Plugin>,
        configurations: Vec<Configuration>,
        world: World,
        settings: Settings,
    ) -> Result<Self, (Arc<Plugin>, StartError)> {
        let World { services, clock, recorder, preparer, stores, beside } = world;
        let mut worker = Worker::new(Box::new(services), Arc::new(Silent), preparer);
        let timers = clock.clone();
        worker.set_clock(Arc::new(move || timers.now()));
        worker.set_observer(Some(Box::new(recorder.clone())));
        let mut add = |plugin: Arc<Plugin>, configurations: Vec<Configuration>| {
            worker.add_plugin(plugin.clone(), configurations).map_err(|error| (plugin, error))
        };
        if let Some((beside, configuration)) = beside {
            add(beside, vec![configuration.into()])?;
        }
        let plugin = add(plugin, configurations)?;
        Ok(Driver { worker, plugin, recorder, clock, settings, stores, callouts: Outside::default() })
    }

    /// Drives one request, or one TCP stream, to its end.
    pub(super) fn play(&mut self, ask: &Ask, upstream: &mut dyn Upstream) -> Trip {
        // After a crash there may be no VM yet.
        self.worker.wait_prepared(PREPARED);
        self.deliver();
        let links: Arc<[Link]> = [Link { plugin: self.plugin, configuration: 0 }].into();
        match &ask.tcp {
            Some(events) => self.tcp(links, events, upstream),
            None => self.request(links, ask, upstream),
        }
    }

    fn request(&mut self, links: Arc<[Link]>, ask: &Ask, upstream: &mut dyn Upstream) -> Trip {
        let request = &ask.request;
        let key = self.worker.open(links, request.headers.clone(), attributes());
        let mut stream =
            Stream { key, ticks: self.settings.ticks, sent: Taken::default(), got: Taken::default(), paused: false };
        self.feed(&mut stream, Direction::Request, request, &ask.request_metadata, ask.request_cut);
        let passed = self.wait(&mut stream, Direction::Request, upstream);
        let before_upstream = self.recorder.len();
        let (mut upstream_response, mut upstream_failure) = (None, None);
        if passed {
            let asked = stream.sent.message();
            match upstream.answer(&asked) {
                Ok(response) => {
                    let metadata = &ask.response_metadata;
                    self.feed(&mut stream, Direction::Response, &response, metadata, ask.response_cut);
                    upstream_response = Some(response);
                }
                Err(failure) => {
                    let body = if failure.status == 504 { "Gateway Timeout\n" } else { "Bad Gateway\n" };
                    self.worker.answer(key, failure.status, Bytes::from(body));
                    upstream_failure = Some(failure);
                }
            }
        }
        self.wait(&mut stream, Direction::Response, upstream);
        self.remaining(&mut stream, upstream);
        let before_answer = self.recorder.len();
        let progress = self.worker.progress(key).unwrap_or_default();
        let (error, entries) = self.close(key);
        let outcome = match () {
            () if error.is_some() => Outcome::Crash,
            () if stream.paused => Outcome::Paused,
            () if progress.reset => Outcome::Reset,
            () if progress.answered && upstream_failure.is_none() => Outcome::LocalResponse,
            () => Outcome::Response,
        };
        Trip {
            outcome,
            error,
            upstream_request: passed.then(|| stream.sent.message()),
            upstream_response,
            upstream_failure,
            response: stream.got.headers.is_some().then(|| stream.got.message()),
            callouts: self.callouts.take_lines(),
            wire: Vec::new(),
            before_upstream: before_upstream.min(entries.len()),
            before_answer: before_answer.min(entries.len()),
            entries,
            ended: Vec::new(),
            metrics: self.stores.prometheus(),
        }
    }

    /// Delivers the signals of queues and foreign functions that are left.
    fn deliver(&mut self) {
        let mut turns = 0;
        while self.worker.has_work() && turns < TURNS {
            self.worker.receive_prepared();
            turns += 1;
        }
    }

    /// Ends a stream: why its guest ended, if it did, and all that was done.
    pub(super) fn close(&mut self, key: StreamKey) -> (Option<Error>, Vec<Entry>) {
        let crash = self.worker.crash(key).map(|crash| Error {
            kind: crash.kind,
            callback: crash.callback.to_owned(),
            message: crash.message.clone(),
            backtrace: crash.backtrace.iter().map(ToString::to_string).collect(),
        });
        self.worker.close(key);
        self.deliver();
        let entries = self.recorder.take();
        (crash.or_else(|| entries.iter().find_map(stopped)), entries)
    }

    /// Ends the plugin; what it did then. One that defers its end has its ticks until the pause limit.
    pub(super) fn finish(mut self) -> Vec<Entry> {
        self.worker.wait_prepared(PREPARED);
        self.worker.shutdown(self.settings.pause_limit);
        while let Some(due) = self.worker.next_timer().filter(|_| !self.worker.is_shut_down()) {
            self.forward(due);
        }
        self.recorder.take()
    }

    /// Hands a message in, piece by piece, for as long as anybody wants it.
    fn feed(&mut self, stream: &mut Stream, direction: Direction, message: &Message, metadata: &[u32], cut: Cut) {
        let ends = message.body.is_none() && message.trailers.is_none();
        match direction {
            Direction::Request => self.worker.request_headers(stream.key, ends),
            Direction::Response => self.worker.response_headers(stream.key, message.headers.clone(), ends),
        }
        self.take(stream);
        for entries in metadata {
            match direction {
                Direction::Request => self.worker.request_metadata(stream.key, *entries),
                Direction::Response => self.worker.response_metadata(stream.key, *entries),
            }
            self.take(stream);
        }
        let body = message.body.clone().unwrap_or_default();
        let mut pieces = pieces(&body, cut.piece);
        if message.body.is_some() && (pieces.is_empty() || cut.late_end) && message.trailers.is_none() {
            pieces.push(Bytes::new());
        }
        let last = pieces.len();
        for (index, piece) in pieces.into_iter().enumerate() {
            let end = index + 1 == last && message.trailers.is_none();
            match direction {
                Direction::Request => self.worker.request_body(stream.key, piece, end),
                Direction::Response => self.worker.response_body(stream.key, piece, end),
            }
            self.take(stream);
        }
        if let Some(trailers) = message.trailers.clone() {
            match direction {
                Direction::Request => self.worker.request_trailers(stream.key, trailers),
                Direction::Response => self.worker.response_trailers(stream.key, trailers),
            }
            self.take(stream);
        }
    }

    /// Waits until a direction has passed the plugin. For the request the answer is whether it did: not if it was
    /// answered, reset or held back for too long.
    fn wait(&mut self, stream: &mut Stream, direction: Direction, upstream: &mut dyn Upstream) -> bool {
        let until = self.clock.now() + self.settings.pause_limit;
        loop {
            self.take(stream);
            let Some(progress) = self.worker.progress(stream.key) else { return false };
            if progress.reset || (progress.answered && direction == Direction::Request) {
                return false;
            }
            if stream.taken(direction).ended {
                return true;
            }
            if progress.waits_for_vm {
                self.worker.wait_prepared(PREPARED);
                continue;
            }
            if self.answer_callout(upstream, until) {
                continue;
            }
            let due = self.worker.next_timer().is_some_and(|due| due <= until);
            if !due || !self.tick(stream) {
                stream.paused = true;
                self.clock.advance(until.saturating_duration_since(self.clock.now()));
                self.worker.answer(stream.key, 503, Bytes::from_static(b"Service Unavailable\n"));
                self.take(stream);
                return false;
            }
        }
    }

    /// Lets the timer go off, if there is one and it may.
    fn tick(&mut self, stream: &mut Stream) -> bool {
        if stream.ticks == Some(0) || !self.timer_goes_off() {
            return false;
        }
        if let Some(ticks) = &mut stream.ticks {
            *ticks -= 1;
        }
        true
    }

    /// Puts the time forward to the timer, if there is one.
    pub(super) fn timer_goes_off(&mut self) -> bool {
        let Some(due) = self.worker.next_timer() else { return false };
        self.forward(due);
        true
    }

    /// Puts the time forward to when a timer is due.
    fn forward(&mut self, due: Instant) {
        // Each tick takes some time, so that a timer that is always due does not go off for ever.
        let ahead = due.saturating_duration_since(self.clock.now());
        self.clock.advance(ahead.max(Duration::from_millis(1)));
        self.worker.run_timers(self.clock.now());
    }

    /// Has the callouts answered that are still under way and do not take for ever, and lets the timer go off as often as
    /// it is to.
    fn remaining(&mut self, stream: &mut Stream, upstream: &mut dyn Upstream) {
        let until = self.clock.now() + self.settings.pause_limit;
        // What was held back for too long has ended, and so has the waiting.
        for _ in 0..MOST_ANSWERS {
            if stream.paused || !self.answer_callout(upstream, until) {
                break;
            }
            self.take(stream);
        }
        while stream.ticks.is_some() && self.tick(stream) {
            self.take(stream);
        }
    }

    /// Begins the callouts that the plugin has asked for, and has the next one answered that is due before the timer goes
    /// off and not later than `until`. `false` if there is none.
    pub(super) fn answer_callout(&mut self, upstream: &mut dyn Upstream, until: Instant) -> bool {
        while let Some(work) = self.worker.take_callout() {
            self.callouts.begin(work, &mut self.worker, upstream, self.clock.now());
        }
        let until = self.worker.next_timer().map_or(until, |due| due.min(until));
        let Some(due) = self.callouts.next().filter(|due| *due <= until) else { return false };
        // Each answer takes some time, so that one that leads to another call does not do so for ever.
        let ahead = due.saturating_duration_since(self.clock.now());
        self.clock.advance(ahead.max(Duration::from_millis(1)));
        self.callouts.answer(&mut self.worker);
        true
    }

    /// Takes what has passed.
    fn take(&mut self, stream: &mut Stream) {
        for direction in [Direction::Request, Direction::Response] {
            let Some(progress) = self.worker.progress(stream.key) else { return };
            if direction == Direction::Request && progress.answered {
                continue;
            }
            let passed = match direction {
                Direction::Request => progress.request,
                Direction::Response => progress.response,
            };
            let key = stream.key;
            let taken = stream.taken(direction);
            if passed.headers && taken.headers.is_none() {
                taken.headers = Some(self.worker.take_headers(key, direction));
            }
            if !passed.headers {
                continue;
            }
            while let Some(piece) = self.worker.take_body(key, direction) {
                taken.body.extend_from_slice(&piece);
            }
            if passed.trailers && taken.trailers.is_none() {
                taken.trailers = Some(self.worker.take_trailers(key, direction));
            }
            taken.ended |= passed.ended || passed.trailers;
        }
    }
}

/// How many callouts are answered that nobody waits for.
pub(super) const MOST_ANSWERS: usize = 1000;

/// A stream under way.
struct Stream {
    key: StreamKey,
    ticks: Option<u32>,
    sent: Taken,
    got: Taken,
    paused: bool,
}

impl Stream {
    fn taken(&mut self, direction: Direction) -> &mut Taken {
        match direction {
            Direction::Request => &mut self.sent,
            Direction::Response => &mut self.got,
        }
    }
}

/// What passed of one direction.
#[derive(Default)]
struct Taken {
    headers: Option<HeaderList>,
    body: Vec<u8>,
    trailers: Option<HeaderList>,
    ended: bool,
}

impl Taken {
    fn message(&self) -> Message {
        Message {
            headers: self.headers.clone().unwrap_or_default(),
            body: Some(Bytes::copy_from_slice(&self.body)).filter(|body| !body.is_empty()),
            trailers: self.trailers.clone(),
        }
    }
}

/// Why an entry was stopped, where no stream says so.
fn stopped(entry: &Entry) -> Option<Error> {
    let stopped = entry.stopped.as_ref()?;
    Some(Error {
        kind: stopped.kind,
        callback: entry.name().to_owned(),
        message: stopped.message.clone(),
        backtrace: Vec::new(),
    })
}

/// Why a plugin did not start.
pub(super) fn start_error(plugin: &Plugin, error: &StartError) -> Error {
    let crash = chassis_host::Crash::starting(plugin.name(), error);
    let limits = &plugin.spec().limits;
    let memories = plugin.module().info().memories.iter();
    let needs = memories.map(|memory| memory.minimum_pages.saturating_mul(64 << 10)).fold(0, u64::saturating_add);
    let too_large = crash.callback == START_SECTION && needs > limits.memory_bytes;
    // Engines say this each in its own words.
    let message = match too_large {
        true => format!("the module starts with {needs} bytes of memory, the limit is {}", limits.memory_bytes),
        false => crash.message,
    };
    let callback = match error {
        StartError::VmStartRefused => Callback::VmStart.name(),
        StartError::ConfigurationInvalid => Callback::ValidateConfiguration.name(),
        StartError::ConfigurationRefused => Callback::Configure.name(),
        // None of it ran.
        _ if too_large => "",
        _ => crash.callback,
    };
    Error {
        kind: if too_large { "memory" } else { crash.kind },
        callback: callback.to_owned(),
        message,
        backtrace: crash.backtrace.iter().map(ToString::to_string).collect(),
    }
}

fn pieces(body: &Bytes, size: usize) -> Vec<Bytes> {
    let size = size.max(1);
    (0..body.len()).step_by(size).map(|start| body.slice(start..body.len().min(start + size))).collect()
}

/// What a gateway would know of a request.
fn attributes() -> impl Iterator<Item = (&'static str, Bytes)> {
    std::iter::once(("request.protocol", Bytes::from_static(b"HTTP/1.1"))).chain(connection())
}

/// What a gateway would know of a connection.
pub(super) fn connection() -> [(&'static str, Bytes); 6] {
    let port = |port: u64| Bytes::copy_from_slice(&port.to_le_bytes());
    [
        ("source.address", Bytes::from_static(b"127.0.0.1:40000")),
        ("source.port", port(40_000)),
        ("destination.address", Bytes::from_static(b"127.0.0.1:80")),
        ("destination.port", port(80)),
        ("connection.id", port(1)),
        ("connection.mtls", Bytes::from_static(&[0])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_cut_into_pieces_that_make_it_up() {
        let body = Bytes::from_static(b"abcdefg");
        assert_eq!(pieces(&body, 3), ["abc", "def", "g"]);
        assert_eq!(pieces(&body, 7), ["abcdefg"]);
        assert_eq!(pieces(&body, usize::MAX / 2), ["abcdefg"]);
        assert!(pieces(&Bytes::new(), 3).is_empty());
    }
}
