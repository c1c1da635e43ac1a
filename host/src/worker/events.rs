//! What comes in from the client and the upstream.

use bytes::Bytes;
use chassis_abi::{Callback, Direction, HeaderList, Key, StreamKind};

use super::{StreamKey, Worker};
use crate::flow::Trailers;

impl Worker {
    /// The request's headers begin their way; `end_of_stream` if nothing follows them.
    pub fn request_headers(&mut self, key: StreamKey, end_of_stream: bool) {
        self.headers_come(key, Direction::Request, end_of_stream);
    }

    /// A part of the request's body came. The end of a body may come with it or after it, with no bytes. What comes after
    /// the end is dropped.
    pub fn request_body(&mut self, key: StreamKey, data: Bytes, end_of_stream: bool) {
        self.body_comes(key, Direction::Request, data, end_of_stream);
    }

    /// The request's trailers came, which end it.
    pub fn request_trailers(&mut self, key: StreamKey, trailers: HeaderList) {
        self.trailers_come(key, Direction::Request, trailers);
    }

    /// The upstream's response headers came. This and all else of the upstream's response is dropped if the stream was
    /// answered otherwise.
    pub fn response_headers(&mut self, key: StreamKey, headers: HeaderList, end_of_stream: bool) {
        let come = self.flow(key, Direction::Response).is_none_or(|flow| flow.headers_come);
        let Some(exchange) = self.exchange(key).filter(|exchange| !exchange.answered && !come) else { return };
        if exchange.kind == StreamKind::Tcp {
            return;
        }
        exchange.response.headers = headers;
        exchange.response.has_headers = true;
        self.headers_come(key, Direction::Response, end_of_stream);
    }

    /// A part of the upstream's response body came.
    pub fn response_body(&mut self, key: StreamKey, data: Bytes, end_of_stream: bool) {
        self.body_comes(key, Direction::Response, data, end_of_stream);
    }

    /// The upstream's trailers came.
    pub fn response_trailers(&mut self, key: StreamKey, trailers: HeaderList) {
        self.trailers_come(key, Direction::Response, trailers);
    }

    /// HTTP/2 metadata of so many entries came with the request. Plugins are told how many there are; there is no map
    /// from which they could read them.
    ///
    /// Who has not been shown the headers yet is told after them. No more than 64 wait for that; what comes then is not
    /// told.
    pub fn request_metadata(&mut self, key: StreamKey, entries: u32) {
        self.metadata_comes(key, Direction::Request, entries);
    }

    /// HTTP/2 metadata of so many entries came with the upstream's response, likewise.
    pub fn response_metadata(&mut self, key: StreamKey, entries: u32) {
        self.metadata_comes(key, Direction::Response, entries);
    }

    fn metadata_comes(&mut self, key: Key, direction: Direction, entries: u32) {
        let Some(lanes) = self.streams.get(key).map(|stream| stream.links.len()) else { return };
        let callback = metadata_callback(direction);
        let is_asked_for = (0..lanes).any(|lane| self.lane_exports(key, lane, callback));
        if !is_asked_for || self.exchange(key).is_none_or(|exchange| exchange.answered) {
            return;
        }
        if let Some(flow) = self.flow(key, direction).filter(|flow| flow.metadata.len() < MOST_METADATA) {
            flow.metadata.push((0, entries));
        }
        self.mark(key, direction);
        self.run();
    }

    pub(super) fn headers_come(&mut self, key: Key, direction: Direction, end_of_stream: bool) {
        let Some(flow) = self.flow(key, direction).filter(|flow| !flow.headers_come) else { return };
        flow.headers_come = true;
        flow.headers_end = end_of_stream;
        self.mark(key, direction);
        self.run();
    }

    pub(super) fn body_comes(&mut self, key: Key, direction: Direction, data: Bytes, end_of_stream: bool) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(exchange) = self.board.as_mut().and_then(|board| board.exchanges.get_mut(key)) else { return };
        let limit = exchange.body_limit;
        let flow = stream.flow(direction);
        if exchange.answered || flow.cut || flow.has_come() {
            return;
        }
        let lane = flow.lane(0);
        match flow.stages.first_mut() {
            Some(first) => {
                first.fresh |= !data.is_empty() || end_of_stream;
                first.ended |= end_of_stream;
                exchange.lanes[lane].half(direction).body.push(data);
            }
            None => {
                if !flow.unwanted {
                    flow.out.push(data);
                }
                flow.ended |= end_of_stream;
            }
        }
        self.mark(key, direction);
        self.run();
        self.count(key);
        let held = self.held(key, direction);
        if held > limit || (held > 0 && self.buffered > self.buffer_limit) {
            let (status, text) = match direction {
                Direction::Request => (413, "Content Too Large\n"),
                Direction::Response => (502, "Bad Gateway\n"),
            };
            self.answer(key, status, Bytes::from_static(text.as_bytes()));
        }
    }

    fn trailers_come(&mut self, key: Key, direction: Direction, trailers: HeaderList) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(exchange) = self.board.as_mut().and_then(|board| board.exchanges.get_mut(key)) else { return };
        let flow = stream.flow(direction);
        if exchange.answered || flow.cut || flow.has_come() {
            return;
        }
        if exchange.kind == StreamKind::Tcp {
            return;
        }
        let half = exchange.half(direction);
        half.trailers = trailers;
        half.has_trailers = true;
        match flow.stages.first_mut() {
            Some(first) => {
                // A body without any bytes is not shown before its trailers.
                first.ended = true;
                first.trailers = Trailers::Arrived;
            }
            None => {
                flow.ended = true;
                flow.trailers = true;
            }
        }
        self.mark(key, direction);
        self.run();
    }
}

/// How much metadata of one direction may wait for headers to pass.
const MOST_METADATA: usize = 64;

/// What tells a plugin of metadata.
pub(crate) fn metadata_callback(direction: Direction) -> Callback {
    match direction {
        Direction::Request => Callback::RequestMetadata,
        Direction::Response => Callback::ResponseMetadata,
    }
}
