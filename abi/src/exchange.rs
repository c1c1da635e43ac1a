//! One request and its response, as the plugins of a chain see them.

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::buffer::Buffer;
use crate::context::ContextId;
use crate::headers::HeaderList;

/// A request with its response. Each plugin of the chain has a [`Lane`]; headers and trailers are shared.
#[derive(Debug, Default)]
pub struct Exchange {
    /// The request.
    pub request: Half,
    /// The response.
    pub response: Half,
    /// One entry per plugin of the chain, in the order of the request.
    pub lanes: Vec<Lane>,
    /// Whether a local response was decided on.
    pub answered: bool,
    /// Whether the response headers have left, so that no local response is possible any more.
    pub response_started: bool,
    /// What guests set by `proxy_set_property`, by path.
    pub properties: FxHashMap<Vec<u8>, Bytes>,
    /// What the host knows of the stream: attribute values by their dotted Envoy names (`source.address`).
    pub attributes: FxHashMap<&'static str, Bytes>,
}

/// The headers and trailers of one direction.
#[derive(Debug, Default)]
pub struct Half {
    /// Headers, pseudo-headers first.
    pub headers: HeaderList,
    /// Trailers.
    pub trailers: HeaderList,
    /// Whether the headers have come.
    pub has_headers: bool,
    /// Whether the trailers have come, or may be added because the body has ended.
    pub has_trailers: bool,
    /// Whether the headers have left; they can be read but not changed then.
    pub headers_sent: bool,
    /// Whether the trailers have left.
    pub trailers_sent: bool,
}

/// What one plugin of the chain has of the exchange.
#[derive(Debug, Default)]
pub struct Lane {
    /// The stream context, once it was created.
    pub context: Option<ContextId>,
    /// The request's side.
    pub request: LaneHalf,
    /// The response's side.
    pub response: LaneHalf,
}

/// One direction of a lane.
#[derive(Debug, Default)]
pub struct LaneHalf {
    /// Body bytes that this plugin has not let pass yet.
    pub body: Buffer,
    /// Whether the guest may look at `body`: in the body callback, and while it paused from there.
    pub body_open: bool,
}

/// One direction of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Response,
}

impl Exchange {
    /// An exchange of a request with these headers.
    pub fn new(request: HeaderList) -> Self {
        let request = Half { headers: request, has_headers: true, ..Half::default() };
        Exchange { request, ..Exchange::default() }
    }

    /// One direction.
    pub fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }
}

impl Lane {
    /// One direction.
    pub fn half(&mut self, direction: Direction) -> &mut LaneHalf {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }
}
