//! What guests left to be done, and responses that are not the upstream's.

use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{Direction, Effect, Half, HeaderList, Key, LocalResponse, StreamKind};

use super::{PluginId, StreamKey, Worker};
use crate::flow::{Flow, Headers};

impl Worker {
    /// Answers the stream from outside the chain, as for an upstream that failed or a pause that lasted too long: the
    /// response passes no plugin. A stream whose response has begun, and a TCP stream, is reset instead; where the response has passed the
    /// chain whole, what is left of the request is cut off.
    pub fn answer(&mut self, key: StreamKey, status: u16, body: Bytes) {
        self.respond(key, &plain(status, body), true);
        self.run();
    }

    /// Answers a stream whose plugin failed, or resets it if its response has begun.
    pub(crate) fn fail(&mut self, key: Key) {
        self.respond(key, &plain(503, Bytes::from_static(b"Service Unavailable\n")), true);
    }

    /// Carries out what the last entry left to be done.
    #[inline]
    pub(crate) fn apply_effects(&mut self) {
        if self.board.as_ref().is_some_and(|board| !board.effects.is_empty()) {
            self.apply_all();
        }
    }

    fn apply_all(&mut self) {
        let Some(board) = self.board.as_mut() else { return };
        let plugin = self.entered;
        let mut effects = std::mem::take(&mut board.effects);
        for effect in effects.drain(..) {
            self.apply(plugin, effect);
        }
        // Carrying effects out makes no further ones, so the room for them is used again.
        if let Some(board) = self.board.as_mut().filter(|board| board.effects.is_empty()) {
            effects.shrink_to(KEPT_EFFECTS);
            board.effects = effects;
        }
    }

    pub(super) fn apply(&mut self, plugin: PluginId, effect: Effect) {
        match effect {
            Effect::LocalResponse { exchange, response, .. } => {
                if self.has_room_for_answer(exchange, response.body.len()) {
                    self.respond(exchange, &response, false);
                } else {
                    self.fail(exchange);
                }
            }
            Effect::Continue { exchange, lane, direction } => self.resume(exchange, lane, direction),
            Effect::Close { exchange } => self.reset(exchange),
            Effect::CloseConnection { exchange, from } => self.close_connection(exchange, from),
            Effect::TickPeriod { context, milliseconds } => {
                self.set_timer(plugin, context, Duration::from_millis(u64::from(milliseconds)));
            }
            Effect::HttpCall { id, call } => self.start_http_call(plugin, id, call),
            Effect::ConsumeQueue { context, queue } => self.consume(plugin, context, queue),
            Effect::WakeConsumer { queue, items } => self.wake_consumer(queue, items),
            Effect::ListenForeign { context, callback } => self.listen(plugin, context, &callback),
            Effect::Done { context } => self.deferred_end(plugin, context),
            Effect::GrpcCall { id, call } => self.start_grpc(plugin, id, call),
            Effect::GrpcSend { id, message, end_of_stream } => self.send_grpc(plugin, id, message, end_of_stream),
            Effect::GrpcCancel { id } => self.cancel_grpc(plugin, id),
            _ => {}
        }
    }

    /// Has the embedder end the stream without an answer.
    fn reset(&mut self, key: Key) {
        if let Some(stream) = self.streams.get_mut(key).filter(|stream| !stream.reset) {
            stream.reset = true;
            self.mark(key, Direction::Response);
        }
    }

    /// Makes a response the stream's own; `bypass` leaves all plugins out.
    fn respond(&mut self, key: Key, response: &LocalResponse, bypass: bool) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.kind == StreamKind::Tcp {
            return self.reset(key);
        }
        let Some(exchange) = self.board.as_mut().and_then(|board| board.exchanges.get_mut(key)) else { return };
        if exchange.response_started {
            if !stream.response.is_done() {
                stream.reset = true;
                self.mark(key, Direction::Response);
                return;
            }
            // What has passed the chain whole needs no plugin any more. A request that has not has nobody left who could
            // answer it.
            if !stream.request.is_done() {
                stream.request.cut = true;
                stream.request.out.clear();
                exchange.lanes.iter_mut().for_each(|lane| lane.request = Default::default());
                self.mark(key, Direction::Request);
            }
            return;
        }
        let (headers, body) = match stream.is_grpc {
            true => (trailers_only(response), Bytes::new()),
            false => (with_status(response.status, &response.headers), response.body.clone()),
        };
        exchange.answered = true;
        exchange.response = Half { headers, has_headers: true, ..Half::default() };
        if !response.details.is_empty() {
            exchange.attributes.insert("response.code_details", response.details.clone());
        }
        for lane in &mut exchange.lanes {
            lane.request = Default::default();
            lane.response = Default::default();
        }
        stream.request.out.clear();
        let stages = stream.links.len();
        let flow = &mut stream.response;
        let reversed = flow.reversed;
        let before = std::mem::replace(flow, Flow::new(stages, reversed));
        let lane = flow.lane(0);
        flow.headers_come = true;
        flow.headers_end = body.is_empty();
        for (stage, before) in flow.stages.iter_mut().zip(before.stages) {
            // A plugin that has seen response headers is not shown others.
            stage.bypassed = bypass || before.bypassed || before.headers != Headers::Waiting;
        }
        match flow.stages.first_mut() {
            Some(first) => {
                first.fresh = !body.is_empty();
                first.ended = true;
                exchange.lanes[lane].response.body.push(body);
            }
            None => {
                flow.out.push(body);
                flow.ended = true;
            }
        }
        self.mark(key, Direction::Response);
    }
}

/// For how many effects there is room without asking for memory.
const KEPT_EFFECTS: usize = 32;

/// Whether a request is one of gRPC: `application/grpc`, alone or with the message's format behind a plus.
pub(super) fn is_grpc(request: &HeaderList) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    request.get(b"content-type").is_some_and(|value| match value.split_at_checked(TYPE.len()) {
        Some((start, rest)) => start.eq_ignore_ascii_case(TYPE) && matches!(rest.first(), None | Some(b'+')),
        None => false,
    })
}

fn plain(status: u16, body: Bytes) -> LocalResponse {
    let headers = [(Bytes::from("content-type"), Bytes::from("text/plain; charset=utf-8"))].into_iter().collect();
    LocalResponse { status, headers, body, ..LocalResponse::default() }
}

fn with_status(status: u16, fields: &HeaderList) -> HeaderList {
    let mut headers = HeaderList::with_capacity(fields.len() + 1);
    headers.push_unchecked(":status", status.to_string());
    fields.iter().for_each(|(name, value)| headers.push_unchecked(name.clone(), value.clone()));
    headers
}

/// A response as gRPC has it: nothing but headers, with what would have been its body as the message.
fn trailers_only(response: &LocalResponse) -> HeaderList {
    let owned: [&[u8]; 3] = [b"content-type", b"grpc-status", b"grpc-message"];
    let fields: HeaderList = response
        .headers
        .iter()
        .filter(|(name, _)| !owned.contains(&name.as_ref()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut headers = with_status(200, &fields);
    headers.push_unchecked("content-type", "application/grpc");
    // A status among the plugin's own headers is its word too.
    let code = match response.headers.get(b"grpc-status") {
        Some(code) => code.clone(),
        None => response.grpc_status.unwrap_or_else(|| grpc_status(response.status)).to_string().into(),
    };
    headers.push_unchecked("grpc-status", code);
    let message = match response.headers.get(b"grpc-message") {
        Some(message) => message.clone(),
        None => percent_encoded(response.body.trim_ascii_end()).into(),
    };
    if !message.is_empty() {
        headers.push_unchecked("grpc-message", message);
    }
    headers
}

/// The gRPC status that an HTTP status stands for (gRPC, "HTTP to gRPC Status Code Mapping").
fn grpc_status(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// How much of a body becomes a gRPC message.
const MAX_MESSAGE: usize = 4096;

/// What is not printable ASCII as `%XX` (gRPC over HTTP/2, "Percent-Encoded").
fn percent_encoded(text: &[u8]) -> String {
    let mut out = String::new();
    for byte in text.iter().take(MAX_MESSAGE) {
        match byte {
            b'%' => out.push_str("%25"),
            b' '..=b'~' => out.push(char::from(*byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_grpc() {
        let judged = |value: &'static str| is_grpc(&[("content-type", value)].into_iter().collect());
        for yes in ["application/grpc", "application/grpc+proto", "Application/gRPC"] {
            assert!(judged(yes), "{yes}");
        }
        for no in ["", "application/grp", "application/grpc-web", "application/json", "x-application/grpc"] {
            assert!(!judged(no), "{no}");
        }
        assert!(!is_grpc(&HeaderList::default()));
    }

    #[test]
    fn messages_are_percent_encoded_and_cut() {
        assert_eq!(percent_encoded(b"a b%~"), "a b%25~");
        assert_eq!(percent_encoded(b"\n\x7f\xc3\xbc"), "%0A%7F%C3%BC");
        assert_eq!(percent_encoded(&[b'x'; MAX_MESSAGE + 1]).len(), MAX_MESSAGE);
    }
}
