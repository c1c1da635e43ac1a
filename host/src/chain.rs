//! The way of one direction through the plugins of a chain.
//!
//! Rules, beside those of the ABI:
//! - Headers that a plugin paused go on by a continue call alone. Body that comes meanwhile is shown to the plugin; what
//!   its body callback lets pass waits behind the headers. Of a plugin for Higress it lets the headers pass, too.
//! - Body is shown to a plugin for APISIX only if it asked for it when it was shown the headers, that of a request when all
//!   of it is here. Its headers wait until that has passed, paused or not: the end of the body ends no pause, and a continue
//!   call before it only the pause.
//! - Body that a plugin paused goes on by a continue call, or when a later body or trailers callback answers CONTINUE.
//! - A plugin without a callback for trailers lets them pass, unless it holds back body.
//! - HTTP/2 metadata passes beside all that; no plugin holds it.
//!
//! A TCP stream begins with its connection, which is to its plugins what headers are: one that paused there is shown the
//! data that comes, both ways, but lets none of it pass.

use chassis_abi::{Action, Callback, Context, ContextId, Direction, Key, StreamKind};

use crate::flow::{Headers, Trailers};
use crate::worker::{Availability, Link, Worker, metadata_callback};

/// Whether the way goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the body of this stage, and to the next one.
    On,
    /// Not now.
    Stop,
}

/// Whether a plugin is shown the body that follows headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Each piece, as it comes.
    Always,
    /// All of it at once.
    Whole,
    /// Nothing of it.
    No,
}

impl Worker {
    /// Moves one direction of a stream as far as it goes.
    pub(crate) fn advance(&mut self, key: Key, direction: Direction) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let kind = stream.kind;
        let flow = stream.flow(direction);
        let (stages, has_metadata) = (flow.stages.len(), !flow.metadata.is_empty());
        for position in 0..stages {
            if !self.may_advance(key, direction) || self.headers(key, kind, direction, position) == Way::Stop {
                return;
            }
            if has_metadata && self.metadata(key, direction, position) == Way::Stop {
                return;
            }
            if !self.may_advance(key, direction) || self.body(key, kind, direction, position) == Way::Stop {
                return;
            }
            if !self.may_advance(key, direction) || self.trailers(key, direction, position) == Way::Stop {
                return;
            }
        }
        self.release(key, direction);
    }

    /// Undoes a pause: whatever the plugin holds back in this direction goes on. Body of which the plugin has not been
    /// shown everything is shown to it first, and goes on if it then says so.
    pub(crate) fn resume(&mut self, key: Key, lane: usize, direction: Direction) {
        if !self.may_advance(key, direction) {
            return;
        }
        let Some(flow) = self.flow(key, direction) else { return };
        let position = flow.lane(lane);
        let Some(stage) = flow.stages.get_mut(position) else { return };
        if !stage.is_paused() {
            return;
        }
        stage.headers_paused = false;
        stage.let_headers_go();
        let held_body = std::mem::take(&mut stage.paused);
        let held_trailers = stage.trailers == Trailers::Paused;
        let unseen = stage.fresh;
        if (held_body && !unseen) || held_trailers {
            self.pass_body(key, direction, position);
        }
        if held_trailers {
            self.pass_trailers(key, direction, position);
        }
        self.mark(key, direction);
        if self.kind(key) == StreamKind::Tcp {
            // What comes from the upstream may have waited for the connection to be let go on.
            self.mark(key, Direction::Response);
        }
    }

    fn headers(&mut self, key: Key, kind: StreamKind, direction: Direction, position: usize) -> Way {
        if kind == StreamKind::Tcp && direction == Direction::Response {
            return self.follow_connection(key, position);
        }
        let Some(flow) = self.flow(key, direction) else { return Way::Stop };
        let come = if position == 0 { flow.headers_come } else { flow.stages[position - 1].headers == Headers::Passed };
        let stage = &flow.stages[position];
        match stage.headers {
            Headers::Passed => return Way::On,
            // The body may be shown to the plugin that holds the headers, but nothing goes further.
            Headers::Held => return Way::On,
            Headers::Waiting if !come => return Way::Stop,
            Headers::Waiting => {}
        }
        let (bypassed, end) = (stage.bypassed, flow.headers_end);
        let lane = flow.lane(position);
        if !bypassed {
            match self.availability(key, lane, direction) {
                Availability::Ready => {}
                Availability::Skip => self.bypass(key, direction, position),
                Availability::Wait => return Way::Stop,
                Availability::Failed => {
                    self.fail(key);
                    return Way::Stop;
                }
            }
        }
        let callback = match (kind, direction) {
            (StreamKind::Tcp, _) => Callback::NewConnection,
            (StreamKind::Http, Direction::Request) => Callback::RequestHeaders,
            (StreamKind::Http, Direction::Response) => Callback::ResponseHeaders,
        };
        let count = self.exchange(key).map_or(0, |exchange| exchange.half(direction).headers.len());
        let mut until_body = false;
        let mut asked = Asked::Always;
        let action = if self.is_bypassed(key, direction, position) {
            Action::Continue
        } else {
            let args = [u32::try_from(count).unwrap_or(u32::MAX), u32::from(end)];
            match self.call_stream_result(key, lane, callback, &args) {
                Some(result) => {
                    until_body = result == Some(1) && self.lane_is_higress(key, lane);
                    asked = self.asked_for_body(key, kind, lane, direction);
                    result.map_or(Action::Continue, Action::from_result)
                }
                None => return Way::Stop,
            }
        };
        // The callback's own effects may have resumed, answered or closed the stream; they are applied after this.
        if let Some(stage) = self.flow(key, direction).and_then(|flow| flow.stages.get_mut(position)) {
            stage.unasked = asked == Asked::No;
            stage.whole_body = asked == Asked::Whole && !end;
            stage.until_body = until_body;
            stage.headers_paused = action == Action::Pause;
            stage.headers = Headers::Held;
            stage.let_headers_go();
        }
        self.apply_effects();
        if kind == StreamKind::Tcp {
            self.mark(key, Direction::Response);
        }
        Way::On
    }

    /// Whether a plugin for APISIX, which was just shown headers, asked to be shown their body: such a plugin sets a
    /// property, which counts once. The body of a request is shown in one piece, before any plugin after it sees the
    /// headers, so that all of one phase is over when the next one begins.
    fn asked_for_body(&mut self, key: Key, kind: StreamKind, lane: usize, direction: Direction) -> Asked {
        if kind == StreamKind::Tcp || !self.lane_is_of_apisix(key, lane) {
            return Asked::Always;
        }
        let (property, whole): (&[u8], _) = match direction {
            Direction::Request => (b"wasm_process_req_body", true),
            Direction::Response => (b"wasm_process_resp_body", false),
        };
        let value = self.exchange(key).and_then(|exchange| exchange.properties.remove(property));
        match value {
            Some(value) if !value.is_empty() && whole && self.lane_exports(key, lane, Callback::RequestBody) => {
                Asked::Whole
            }
            Some(value) if !value.is_empty() => Asked::Always,
            _ => Asked::No,
        }
    }

    /// What comes from the upstream of a TCP stream begins at each plugin when the connection does.
    fn follow_connection(&mut self, key: Key, position: usize) -> Way {
        let Some(stream) = self.streams.get_mut(key) else { return Way::Stop };
        let come = match position {
            0 => stream.response.headers_come,
            _ => stream.response.stages[position - 1].headers == Headers::Passed,
        };
        let connection = &stream.request.stages[stream.response.lane(position)];
        let (headers, paused, bypassed) = (connection.headers, connection.headers_paused, connection.bypassed);
        let stage = &mut stream.response.stages[position];
        stage.headers = headers;
        stage.headers_paused = paused;
        stage.bypassed = bypassed;
        if come && headers != Headers::Waiting { Way::On } else { Way::Stop }
    }

    /// Tells a plugin that was shown the headers of the metadata that has come to it.
    #[cold]
    fn metadata(&mut self, key: Key, direction: Direction, position: usize) -> Way {
        let callback = metadata_callback(direction);
        while self.may_advance(key, direction) {
            let Some(flow) = self.flow(key, direction) else { return Way::Stop };
            let stages = flow.stages.len();
            let stage = &flow.stages[position];
            let here = flow.metadata.iter().position(|(next, _)| *next == position);
            let Some(index) = here.filter(|_| stage.headers != Headers::Waiting) else { return Way::On };
            let (next, entries) = &mut flow.metadata[index];
            *next += 1;
            let entries = *entries;
            if *next == stages {
                flow.metadata.remove(index);
            }
            let lane = flow.lane(position);
            if !flow.stages[position].bypassed && self.lane_exports(key, lane, callback) {
                // There is but one answer: going on.
                if self.call_stream(key, lane, callback, &[entries]).is_none() {
                    return Way::Stop;
                }
                self.apply_effects();
            }
        }
        Way::Stop
    }

    fn body(&mut self, key: Key, kind: StreamKind, direction: Direction, position: usize) -> Way {
        let Some(flow) = self.flow(key, direction) else { return Way::Stop };
        let lane = flow.lane(position);
        let stage = &mut flow.stages[position];
        if stage.headers == Headers::Waiting || !stage.fresh || (stage.whole_body && !stage.ended) {
            return Way::On;
        }
        stage.fresh = false;
        let bypassed = stage.bypassed || stage.unasked;
        let end = stage.ended && (stage.trailers == Trailers::None || stage.whole_body);
        let callback = match (kind, direction) {
            (StreamKind::Http, Direction::Request) => Callback::RequestBody,
            (StreamKind::Http, Direction::Response) => Callback::ResponseBody,
            (StreamKind::Tcp, Direction::Request) => Callback::DownstreamData,
            (StreamKind::Tcp, Direction::Response) => Callback::UpstreamData,
        };
        if bypassed || !self.lane_exports(key, lane, callback) {
            self.pass_body(key, direction, position);
            return Way::On;
        }
        let Some(exchange) = self.exchange(key) else { return Way::Stop };
        if end && kind == StreamKind::Http {
            // Trailers may be added now (ABI 0.2.1, "proxy_add_header_map_value").
            exchange.half(direction).has_trailers = true;
        }
        let half = exchange.lanes[lane].half(direction);
        half.body_open = true;
        let size = u32::try_from(half.body.len()).unwrap_or(u32::MAX);
        let Some(mut action) = self.call_stream(key, lane, callback, &[size, u32::from(end)]) else { return Way::Stop };
        if kind == StreamKind::Tcp && self.is_closing(key) {
            action = Action::Pause;
        }
        self.settle(key, direction, position, action);
        self.apply_effects();
        Way::On
    }

    fn trailers(&mut self, key: Key, direction: Direction, position: usize) -> Way {
        let Some(flow) = self.flow(key, direction) else { return Way::Stop };
        let lane = flow.lane(position);
        let stage = &mut flow.stages[position];
        if stage.headers == Headers::Waiting || stage.trailers != Trailers::Arrived {
            return Way::On;
        }
        let (bypassed, holds_body) = (stage.bypassed || stage.unasked, stage.paused);
        if !holds_body {
            // Of a body without any bytes there was nothing to be shown.
            stage.whole_body = false;
            stage.let_headers_go();
        }
        let callback = trailers_callback(direction);
        if bypassed || !self.lane_exports(key, lane, callback) {
            if holds_body {
                self.set_trailers(key, direction, position, Trailers::Paused);
            } else {
                self.pass_trailers(key, direction, position);
            }
            return Way::On;
        }
        let count = self.exchange(key).map_or(0, |exchange| exchange.half(direction).trailers.len());
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let Some(action) = self.call_stream(key, lane, callback, &[count]) else { return Way::Stop };
        if action == Action::Pause {
            self.set_trailers(key, direction, position, Trailers::Paused);
        } else {
            self.settle(key, direction, position, Action::Continue);
            self.pass_trailers(key, direction, position);
        }
        self.apply_effects();
        Way::On
    }

    /// Follows what a body callback answered.
    fn settle(&mut self, key: Key, direction: Direction, position: usize, action: Action) {
        let Some(stage) = self.flow(key, direction).and_then(|flow| flow.stages.get_mut(position)) else { return };
        stage.paused = action == Action::Pause;
        if action == Action::Continue {
            stage.headers_paused &= !stage.until_body;
            stage.let_headers_go();
            self.pass_body(key, direction, position);
        }
    }

    /// Moves a stage's body to the next stage, or out of the chain, and has headers go on that waited for that alone.
    fn pass_body(&mut self, key: Key, direction: Direction, position: usize) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(exchange) = self.board.as_mut().and_then(|board| board.exchanges.get_mut(key)) else { return };
        let flow = stream.flow(direction);
        let (lane, next_lane) = (flow.lane(position), flow.lane(position + 1));
        let stage = &mut flow.stages[position];
        stage.whole_body &= !stage.ended;
        stage.let_headers_go();
        // Where trailers follow, they end the body.
        let ended = stage.ended && stage.trailers == Trailers::None;
        let half = exchange.lanes[lane].half(direction);
        half.body_open = false;
        let mut body = std::mem::take(&mut half.body);
        let moved = !body.is_empty();
        if let Some(next) = flow.stages.get_mut(position + 1) {
            body.move_to(&mut exchange.lanes[next_lane].half(direction).body);
            let ends_now = ended && !next.ended;
            next.fresh |= moved || ends_now;
            next.ended |= ended;
            if ended && !exchange.half(direction).trailers.is_empty() {
                self.show_added_trailers(key, direction, position + 1);
            }
        } else {
            if flow.unwanted {
                body.clear();
            }
            body.move_to(&mut flow.out);
            flow.ended |= ended;
            // A plugin may have added trailers to a body that came without any.
            flow.trailers |= ended && !exchange.half(direction).trailers.is_empty();
        }
    }

    /// Has a plugin shown the trailers that one before it added to a body, if it has a callback for them. To another one the
    /// body ends as it came.
    #[cold]
    fn show_added_trailers(&mut self, key: Key, direction: Direction, position: usize) {
        let Some(lane) = self.flow(key, direction).map(|flow| flow.lane(position)) else { return };
        if self.lane_exports(key, lane, trailers_callback(direction)) {
            self.set_trailers(key, direction, position, Trailers::Arrived);
        }
    }

    fn pass_trailers(&mut self, key: Key, direction: Direction, position: usize) {
        self.set_trailers(key, direction, position, Trailers::Passed);
        let Some(flow) = self.flow(key, direction) else { return };
        match flow.stages.get_mut(position + 1) {
            Some(next) => {
                next.ended = true;
                next.trailers = Trailers::Arrived;
            }
            None => {
                flow.ended = true;
                flow.trailers = true;
            }
        }
    }

    fn set_trailers(&mut self, key: Key, direction: Direction, position: usize, trailers: Trailers) {
        if let Some(stage) = self.flow(key, direction).and_then(|flow| flow.stages.get_mut(position)) {
            stage.trailers = trailers;
        }
    }

    /// Lets headers out that have passed all plugins.
    fn release(&mut self, key: Key, direction: Direction) {
        if let Some(flow) = self.flow(key, direction) {
            let passed = flow.stages.last().map_or(flow.headers_come, |stage| stage.headers == Headers::Passed);
            flow.released |= passed;
        }
    }

    fn bypass(&mut self, key: Key, direction: Direction, position: usize) {
        if let Some(stage) = self.flow(key, direction).and_then(|flow| flow.stages.get_mut(position)) {
            stage.bypassed = true;
        }
    }

    fn is_bypassed(&mut self, key: Key, direction: Direction, position: usize) -> bool {
        self.flow(key, direction).is_some_and(|flow| flow.stages[position].bypassed)
    }

    /// Calls a stream callback of a lane; `None` if the way ends here, which is then dealt with: the guest was stopped,
    /// or has answered the stream already when its context was created.
    fn call_stream(&mut self, key: Key, lane: usize, callback: Callback, args: &[u32]) -> Option<Action> {
        let result = self.call_stream_result(key, lane, callback, args)?;
        Some(result.map_or(Action::Continue, Action::from_result))
    }

    /// As [`call_stream`](Self::call_stream), with the number that the guest answered, if it has the callback.
    fn call_stream_result(&mut self, key: Key, lane: usize, callback: Callback, args: &[u32]) -> Option<Option<u32>> {
        let link = self.link(key, lane)?;
        let context = match self.exchange(key)?.lanes.get(lane)?.context {
            Some(context) => context,
            None => self.create_context(key, lane, link)?,
        };
        self.enter(link.plugin, callback, context, args)
    }

    /// Makes the stream context of a lane.
    fn create_context(&mut self, key: Key, lane: usize, link: Link) -> Option<ContextId> {
        let vm = self.vm(link.plugin)?;
        let parent = *vm.roots.get(link.configuration)?;
        let context = vm.instance.state().contexts.create(Context::Stream { parent, exchange: key, lane });
        self.exchange(key)?.lanes.get_mut(lane)?.context = Some(context);
        self.enter(link.plugin, Callback::ContextCreate, context, &[parent])?;
        self.apply_effects();
        self.may_advance(key, Direction::Request).then_some(context)
    }
}

fn trailers_callback(direction: Direction) -> Callback {
    match direction {
        Direction::Request => Callback::RequestTrailers,
        Direction::Response => Callback::ResponseTrailers,
    }
}
