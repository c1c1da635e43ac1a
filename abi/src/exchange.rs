//! One request and its response, or one TCP connection, as the plugins of a chain see them.

use std::collections::HashMap;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::buffer::Buffer;
use crate::context::ContextId;
use crate::headers::HeaderList;

/// A request with its response. Each plugin of the chain has a [`Lane`]; headers and trailers are shared.
///
/// Of a TCP stream, what comes from the client is the request's body and what comes from the upstream the response's;
/// there are neither headers nor trailers.
#[derive(Debug)]
pub struct Exchange {
    /// What it is, which decides the buffers and stream numbers that guests may use.
    pub kind: StreamKind,
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
    /// What guests set by `proxy_set_property`.
    pub properties: Properties,
    /// What the host knows of the stream: attribute values by their dotted Envoy names (`source.address`).
    pub attributes: FxHashMap<&'static str, Bytes>,
    /// How many bytes of body an edit of a guest may leave in one plugin's hands, in one direction.
    pub body_limit: usize,
}

/// What a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamKind {
    /// A request with its response.
    #[default]
    Http,
    /// A connection of a client with its connection to an upstream.
    Tcp,
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
    /// An exchange of a request with these headers, and a body limit of 16 MiB.
    pub fn new(request: HeaderList) -> Self {
        Exchange {
            kind: StreamKind::Http,
            request: Half { headers: request, has_headers: true, ..Half::default() },
            response: Half::default(),
            lanes: Vec::new(),
            answered: false,
            response_started: false,
            properties: Properties::default(),
            attributes: FxHashMap::default(),
            body_limit: BODY_LIMIT,
        }
    }

    /// An exchange of a TCP stream, and a limit of 16 MiB for the data that a plugin holds back.
    pub fn tcp() -> Self {
        let mut exchange = Exchange::new(HeaderList::default());
        exchange.make_tcp();
        exchange
    }

    /// Makes one that was cleared that of a TCP stream.
    pub fn make_tcp(&mut self) {
        self.kind = StreamKind::Tcp;
        self.request.has_headers = false;
    }

    /// Forgets everything, so that another request can take its place. What it was kept in stays, unless it is large.
    pub fn clear(&mut self) {
        let Exchange { kind, request, response, lanes, answered, response_started, properties, attributes, body_limit } =
            self;
        *kind = StreamKind::Http;
        request.clear();
        response.clear();
        lanes.clear();
        lanes.shrink_to(KEPT);
        *answered = false;
        *response_started = false;
        if !properties.is_empty() {
            *properties = Properties::default();
        }
        attributes.clear();
        attributes.shrink_to(KEPT);
        *body_limit = BODY_LIMIT;
    }

    /// One direction.
    pub fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }
}

/// How many bytes of body an exchange takes by itself.
const BODY_LIMIT: usize = 16 << 20;
/// How many lanes, and how many attributes, an exchange has room for when it is used again.
const KEPT: usize = 32;

impl Half {
    fn clear(&mut self) {
        let Half { headers, trailers, has_headers, has_trailers, headers_sent, trailers_sent } = self;
        headers.clear();
        trailers.clear();
        for flag in [has_headers, has_trailers, headers_sent, trailers_sent] {
            *flag = false;
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

/// How many properties guests may set on one stream, and how many bytes in all, paths included.
const MAX_PROPERTIES: usize = 1000;
const MAX_PROPERTY_BYTES: usize = 1 << 20;

/// What guests set on a stream, by path. Bounded, and hashed with a secret, because guests choose the paths.
#[derive(Debug, Default)]
pub struct Properties {
    values: HashMap<Box<[u8]>, Bytes>,
    bytes: usize,
}

impl Properties {
    /// The value under a path.
    pub fn get(&self, path: &[u8]) -> Option<&Bytes> {
        self.values.get(path)
    }

    /// Sets a value, if there is room; whether it was.
    pub fn insert(&mut self, path: &[u8], value: Bytes) -> bool {
        let room = self.has_room(path, value.len());
        if room {
            self.set(path, value);
        }
        room
    }

    /// Takes the value under a path away.
    pub fn remove(&mut self, path: &[u8]) -> Option<Bytes> {
        let value = self.values.remove(path)?;
        self.bytes -= path.len() + value.len();
        Some(value)
    }

    /// Whether a value of this size still has room under a path.
    pub(crate) fn has_room(&self, path: &[u8], size: usize) -> bool {
        let (count, bytes) = match self.values.get(path) {
            Some(old) => (self.values.len() - 1, self.bytes - path.len() - old.len()),
            None => (self.values.len(), self.bytes),
        };
        count < MAX_PROPERTIES && bytes + path.len() + size <= MAX_PROPERTY_BYTES
    }

    /// Sets a value for which there is room.
    pub(crate) fn set(&mut self, path: &[u8], value: Bytes) {
        let added = value.len();
        match self.values.insert(path.into(), value) {
            Some(old) => self.bytes = self.bytes - old.len() + added,
            None => self.bytes += path.len() + added,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_counted_as_they_come_and_are_replaced() {
        let mut properties = Properties::default();
        for i in 0..MAX_PROPERTIES {
            assert!(properties.has_room(&i.to_le_bytes(), 1));
            properties.set(&i.to_le_bytes(), Bytes::from_static(b"v"));
        }
        assert_eq!(properties.bytes, MAX_PROPERTIES * 9);
        assert!(!properties.has_room(b"one more", 0));
        let path = 7_usize.to_le_bytes();
        let room = MAX_PROPERTY_BYTES - (MAX_PROPERTIES - 1) * 9 - 8;
        assert!(properties.has_room(&path, room) && !properties.has_room(&path, room + 1));
        properties.set(&path, Bytes::from(vec![0; room]));
        assert_eq!(properties.bytes, MAX_PROPERTY_BYTES);
        properties.set(&path, Bytes::new());
        assert_eq!((properties.bytes, properties.len()), ((MAX_PROPERTIES - 1) * 9 + 8, MAX_PROPERTIES));
        assert_eq!((properties.remove(&path), properties.remove(&path)), (Some(Bytes::new()), None));
        assert_eq!((properties.bytes, properties.len()), ((MAX_PROPERTIES - 1) * 9, MAX_PROPERTIES - 1));
    }
}
