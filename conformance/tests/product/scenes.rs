//! In which callbacks calls are made, and how far streams have come then.

use bytes::Bytes;
use chassis_abi::{Callback, CalloutAnswer, Exchange, Lane};

/// The plugin context whose streams the guest sees.
pub(crate) const ROOT: u32 = 1;
/// Another one of the same VM.
pub(crate) const OTHER_ROOT: u32 = 2;
/// A request, and what calls are about in callbacks of streams.
pub(crate) const STREAM: u32 = 3;
/// A request of the other plugin context.
pub(crate) const OTHER_STREAM: u32 = 4;
/// A TCP stream.
pub(crate) const CONNECTION: u32 = 5;
/// A stream that has ended.
pub(crate) const DEAD: u32 = 6;

/// A callback, and the context that it is called in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scene {
    pub(crate) callback: Callback,
    pub(crate) context: u32,
}

pub(crate) const SCENES: [Scene; 16] = [
    Scene { callback: Callback::RequestHeaders, context: STREAM },
    Scene { callback: Callback::RequestBody, context: STREAM },
    Scene { callback: Callback::RequestTrailers, context: STREAM },
    Scene { callback: Callback::ResponseHeaders, context: STREAM },
    Scene { callback: Callback::ResponseBody, context: STREAM },
    Scene { callback: Callback::ResponseTrailers, context: STREAM },
    Scene { callback: Callback::Log, context: STREAM },
    Scene { callback: Callback::DownstreamData, context: CONNECTION },
    Scene { callback: Callback::VmStart, context: ROOT },
    Scene { callback: Callback::Configure, context: ROOT },
    Scene { callback: Callback::Tick, context: ROOT },
    Scene { callback: Callback::HttpCallResponse, context: ROOT },
    Scene { callback: Callback::GrpcReceive, context: ROOT },
    Scene { callback: Callback::ForeignFunction, context: ROOT },
    Scene { callback: Callback::Done, context: OTHER_ROOT },
    Scene { callback: Callback::Initialize, context: 0 },
];

/// How much a guest may leave in a body.
pub(crate) const BODY_LIMIT: usize = 4096;

impl Scene {
    /// Whether it is a start function, where most calls end the guest.
    pub(crate) fn is_start(self) -> bool {
        self.callback == Callback::Initialize
    }

    /// Whether what is the same in each callback is called in this one.
    pub(crate) fn is_for_all(self) -> bool {
        matches!(self.callback, Callback::RequestHeaders | Callback::Tick | Callback::VmStart) || self.is_start()
    }

    /// The buffer that the callback is about.
    pub(crate) fn buffer(self) -> u64 {
        match self.callback {
            Callback::ResponseBody => 1,
            Callback::DownstreamData => 2,
            Callback::HttpCallResponse => 4,
            Callback::GrpcReceive => 5,
            Callback::VmStart => 6,
            Callback::Configure => 7,
            Callback::ForeignFunction => 8,
            _ => 0,
        }
    }

    /// The map that the callback is about.
    pub(crate) fn map(self) -> u64 {
        match self.callback {
            Callback::RequestTrailers => 1,
            Callback::ResponseHeaders | Callback::ResponseBody => 2,
            Callback::ResponseTrailers => 3,
            Callback::HttpCallResponse => 6,
            _ => 0,
        }
    }

    /// A request that has come as far as the callback.
    pub(crate) fn request(self) -> Exchange {
        use Callback::{Log, RequestBody, RequestTrailers, ResponseBody, ResponseHeaders, ResponseTrailers};
        let is_in = |callbacks: &[Callback]| callbacks.contains(&self.callback);
        let headers =
            [(":method", "GET"), (":path", "/"), (":authority", "a"), (":scheme", "http"), ("x-a", "1"), ("x-a", "2")];
        let mut exchange = Exchange::new(headers.into_iter().collect());
        exchange.body_limit = BODY_LIMIT;
        let in_response = is_in(&[ResponseHeaders, ResponseBody, ResponseTrailers, Log]);
        exchange.request.headers_sent = in_response;
        exchange.request.has_trailers = in_response || is_in(&[RequestTrailers]);
        exchange.request.trailers = [("t-a", "1")].into_iter().collect();
        exchange.request.trailers_sent = in_response;
        exchange.response.has_headers = in_response;
        exchange.response.headers = [(":status", "200"), ("r-a", "1")].into_iter().collect();
        exchange.response.headers_sent = is_in(&[Log]);
        exchange.response.has_trailers = is_in(&[ResponseTrailers, Log]);
        exchange.response.trailers = [("rt-a", "1")].into_iter().collect();
        exchange.response.trailers_sent = is_in(&[Log]);
        exchange.response_started = is_in(&[Log]);
        exchange.lanes.push(lane(is_in(&[RequestBody]), is_in(&[ResponseBody])));
        exchange
    }

    /// A TCP stream.
    pub(crate) fn connection(self) -> Exchange {
        let mut exchange = Exchange::tcp();
        exchange.body_limit = BODY_LIMIT;
        exchange.lanes.push(lane(self.callback == Callback::DownstreamData, false));
        exchange
    }

    /// What the callback is about, if it is a callout's.
    pub(crate) fn answer(self) -> Option<Box<CalloutAnswer>> {
        if !matches!(self.callback, Callback::HttpCallResponse | Callback::GrpcReceive) {
            return None;
        }
        Some(Box::new(CalloutAnswer {
            headers: [(":status", "200"), ("x-a", "1")].into_iter().collect(),
            body: Bytes::from_static(b"body"),
            trailers: [("t-a", "1")].into_iter().collect(),
            code: 2,
            message: Bytes::from_static(b"timeout"),
        }))
    }
}

fn lane(request_open: bool, response_open: bool) -> Lane {
    let mut lane = Lane::default();
    lane.request.body.push(Bytes::from_static(b"hello "));
    lane.request.body.push(Bytes::from_static(b"world"));
    lane.request.body_open = request_open;
    lane.response.body.push(Bytes::from_static(b"answer"));
    lane.response.body_open = response_open;
    lane
}
