//! Drives TCP streams: what comes goes in, and what passes is taken at once, as a proxy would.
//!
//! Where the plugin closes a connection, or the stream is reset, both connections are closed, as nothing can pass any more.

use std::sync::Arc;

use bytes::Bytes;
use chassis_abi::{Direction, PeerType};
use chassis_host::{Link, StreamKey};

use super::driver::{Driver, MOST_ANSWERS, Outcome, Trip, Upstream, connection};
use super::text::bytes;

/// Something that happens to a TCP stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TcpEvent {
    /// Data comes on the connection at which the direction begins, the client's or the upstream's.
    Data {
        /// The direction that it goes.
        direction: Direction,
        /// The data.
        data: Bytes,
        /// Whether nothing comes after it.
        end: bool,
    },
    /// The connection at which the direction begins is gone.
    Closed {
        /// The direction.
        from: Direction,
        /// Who closed it.
        peer: PeerType,
    },
    /// The plugin's timer goes off.
    Tick,
}

impl TcpEvent {
    /// What it is, in words.
    fn line(&self) -> String {
        let name = |from: Direction| if from == Direction::Request { "client" } else { "upstream" };
        match self {
            TcpEvent::Data { direction, data, end } => {
                let data = if data.is_empty() { String::new() } else { format!(" {}", shown(data)) };
                format!("from {}{data}{}", name(*direction), if *end { " end" } else { "" })
            }
            TcpEvent::Closed { from, peer } => format!("{} gone, closed by {}", name(*from), peer.as_str()),
            TcpEvent::Tick => "timer".to_owned(),
        }
    }
}

/// Something that happened on the connections of a TCP stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// How many callbacks there were before it.
    pub after: usize,
    /// Whether it came from outside; else it is what the plugin let pass, or did.
    pub is_event: bool,
    /// What it was: `to upstream "data"`.
    pub line: String,
}

/// A stream under way.
struct Stream {
    key: StreamKey,
    wire: Vec<Wire>,
    /// Whether a direction has ended, as the other side was told.
    ended: [bool; 2],
    /// Whether the connection at which a direction begins is gone.
    gone: [bool; 2],
    reset: bool,
}

const BOTH: [Direction; 2] = [Direction::Request, Direction::Response];

impl Driver {
    /// Drives a TCP stream to its end.
    pub(super) fn tcp(&mut self, links: Arc<[Link]>, events: &[TcpEvent], upstream: &mut dyn Upstream) -> Trip {
        let key = self.worker.open_tcp(links, connection());
        let mut stream = Stream { key, wire: Vec::new(), ended: [false; 2], gone: [false; 2], reset: false };
        self.worker.new_connection(key);
        self.take_data(&mut stream);
        self.answer_callouts(&mut stream, upstream, false);
        for event in events {
            self.note(&mut stream, true, event.line());
            match event {
                TcpEvent::Data { direction: Direction::Request, data, end } => {
                    self.worker.downstream_data(key, data.clone(), *end);
                }
                TcpEvent::Data { direction: Direction::Response, data, end } => {
                    self.worker.upstream_data(key, data.clone(), *end);
                }
                TcpEvent::Closed { from, peer } => self.lose(&mut stream, *from, *peer),
                TcpEvent::Tick => {
                    if !self.timer_goes_off() {
                        self.note(&mut stream, false, "no timer".to_owned());
                    }
                }
            }
            self.take_data(&mut stream);
            self.answer_callouts(&mut stream, upstream, false);
        }
        self.answer_callouts(&mut stream, upstream, true);
        let before = self.recorder.len();
        let (error, entries) = self.close(key);
        let outcome = match () {
            () if error.is_some() => Outcome::Crash,
            () if stream.reset => Outcome::Reset,
            () => Outcome::Played,
        };
        Trip {
            ended: Vec::new(),
            outcome,
            error,
            upstream_request: None,
            upstream_response: None,
            upstream_failure: None,
            response: None,
            wire: stream.wire,
            callouts: self.callouts.take_lines(),
            metrics: self.stores.prometheus(),
            before_upstream: before.min(entries.len()),
            before_answer: before.min(entries.len()),
            entries,
        }
    }

    /// Has callouts answered for as long as the plugin holds something back that waits for them, or all of them.
    fn answer_callouts(&mut self, stream: &mut Stream, upstream: &mut dyn Upstream, all: bool) {
        let until = self.clock.now() + self.settings.pause_limit;
        for _ in 0..MOST_ANSWERS {
            let Some(progress) = self.worker.progress(stream.key) else { return };
            let waits = all || progress.request.paused || progress.response.paused;
            if !waits || !self.answer_callout(upstream, until) {
                return;
            }
            self.take_data(stream);
        }
    }

    /// Takes what has passed, and does what is asked for.
    fn take_data(&mut self, stream: &mut Stream) {
        let key = stream.key;
        for direction in BOTH {
            let mut data = Vec::new();
            while let Some(piece) = self.worker.take_body(key, direction) {
                data.extend_from_slice(&piece);
            }
            let to = if direction == Direction::Request { "upstream" } else { "client" };
            if !data.is_empty() {
                self.note(stream, false, format!("to {to} {}", shown(&data)));
            }
            let Some(progress) = self.worker.progress(key) else { return };
            let passed = if direction == Direction::Request { progress.request } else { progress.response };
            let is_there = !stream.gone[1 - direction as usize];
            if passed.ended && is_there && !std::mem::replace(&mut stream.ended[direction as usize], true) {
                self.note(stream, false, format!("to {to} end"));
            }
        }
        let Some(progress) = self.worker.progress(key) else { return };
        if progress.reset && !std::mem::replace(&mut stream.reset, true) {
            self.note(stream, false, "reset".to_owned());
            BOTH.into_iter().for_each(|from| self.lose(stream, from, PeerType::Local));
        }
        for (from, name, close) in [
            (Direction::Request, "downstream", progress.close_downstream),
            (Direction::Response, "upstream", progress.close_upstream),
        ] {
            if close && !stream.gone[from as usize] {
                self.note(stream, false, format!("close {name}"));
                self.lose(stream, from, PeerType::Local);
            }
        }
        if progress.close_downstream || progress.close_upstream {
            BOTH.into_iter().for_each(|from| self.lose(stream, from, PeerType::Local));
        }
    }

    fn note(&self, stream: &mut Stream, is_event: bool, line: String) {
        stream.wire.push(Wire { after: self.recorder.len(), is_event, line });
    }

    fn lose(&mut self, stream: &mut Stream, from: Direction, peer: PeerType) {
        if std::mem::replace(&mut stream.gone[from as usize], true) {
            return;
        }
        match from {
            Direction::Request => self.worker.downstream_closed(stream.key, peer),
            Direction::Response => self.worker.upstream_closed(stream.key, peer),
        }
    }
}

fn shown(data: &[u8]) -> String {
    format!("\"{}\"", bytes(data))
}
