//! TCP streams: a connection of a client, and one to an upstream, with plugins between them.

use std::sync::Arc;

use bytes::Bytes;
use chassis_abi::{Callback, Direction, Effect, HeaderList, Key, PeerType, StreamKind};

use super::{Link, StreamKey, Worker};

impl Worker {
    /// Begins a TCP stream; `attributes` are what properties answer by their Envoy names. Nothing runs until
    /// [`new_connection`](Worker::new_connection).
    ///
    /// What passes is taken as of a request: [`progress`](Worker::progress), and [`take_body`](Worker::take_body) with
    /// [`Direction::Request`] for what goes to the upstream and [`Direction::Response`] for what goes to the client. A
    /// direction may be taken from when its `headers` are there, and its data has ended where its body has. A stream that
    /// cannot go on, because of a plugin that failed or held too much, is reset.
    pub fn open_tcp(
        &mut self,
        links: Arc<[Link]>,
        attributes: impl IntoIterator<Item = (&'static str, Bytes)>,
    ) -> StreamKey {
        let reversed = self.is_answered_in_reverse(&links);
        let mut stream = self.spares.stream(links, &HeaderList::default(), reversed);
        stream.kind = StreamKind::Tcp;
        let exchange = self.spares.tcp_exchange();
        self.begin(stream, exchange, attributes)
    }

    /// The client has connected. Nothing passes a plugin, either way, that was not told so and has let it go on.
    pub fn new_connection(&mut self, key: StreamKey) {
        self.headers_come(key, Direction::Request, false);
        self.headers_come(key, Direction::Response, false);
    }

    /// Data came from the client. The end of what it sends may come with it or after it, with no bytes. What comes after
    /// the end, or after the connection is gone, is dropped.
    pub fn downstream_data(&mut self, key: StreamKey, data: Bytes, end_of_stream: bool) {
        self.body_comes(key, Direction::Request, data, end_of_stream);
    }

    /// Data came from the upstream, likewise.
    pub fn upstream_data(&mut self, key: StreamKey, data: Bytes, end_of_stream: bool) {
        self.body_comes(key, Direction::Response, data, end_of_stream);
    }

    /// The client's connection is gone, whoever closed it; plugins are told so once. What came from it before may still
    /// pass; what passes to it is dropped.
    pub fn downstream_closed(&mut self, key: StreamKey, peer: PeerType) {
        self.connection_closed(key, Direction::Request, peer);
    }

    /// The upstream's connection is gone, likewise.
    pub fn upstream_closed(&mut self, key: StreamKey, peer: PeerType) {
        self.connection_closed(key, Direction::Response, peer);
    }

    /// The connection at which a direction begins is gone.
    fn connection_closed(&mut self, key: Key, from: Direction, peer: PeerType) {
        let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.kind == StreamKind::Tcp) else { return };
        if std::mem::replace(stream.closed.of(from), true) {
            return;
        }
        let (callback, to) = match from {
            Direction::Request => (Callback::DownstreamConnectionClose, Direction::Response),
            Direction::Response => (Callback::UpstreamConnectionClose, Direction::Request),
        };
        stream.flow(from).gone = true;
        let to = stream.flow(to);
        to.unwanted = true;
        to.out.clear();
        let lanes = stream.links.len();
        for position in 0..lanes {
            let Some(lane) = self.flow(key, from).map(|flow| flow.lane(position)) else { return };
            let (Some(link), Some(context)) = (self.link(key, lane), self.context(key, lane)) else { continue };
            self.enter(link.plugin, callback, context, &[peer as u32]);
            self.apply_effects();
        }
        self.mark(key, Direction::Request);
        self.mark(key, Direction::Response);
        self.run();
        self.count(key);
    }

    /// A plugin closes the connection at which a direction begins. Of what has not passed, nothing does: who closes a
    /// connection for what came on it must not find that sent on.
    pub(super) fn close_connection(&mut self, key: Key, from: Direction) {
        let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.kind == StreamKind::Tcp) else { return };
        *stream.close.of(from) = true;
        stream.request.cut = true;
        stream.response.cut = true;
        if let Some(exchange) = self.exchange(key) {
            for lane in &mut exchange.lanes {
                lane.request = Default::default();
                lane.response = Default::default();
            }
        }
        self.mark(key, Direction::Request);
        self.mark(key, Direction::Response);
    }

    /// Whether the guest that has just returned closes a connection of this stream.
    pub(crate) fn is_closing(&self, key: Key) -> bool {
        let effects = self.board.as_ref().map_or(&[][..], |board| &board.effects);
        effects.iter().any(|effect| matches!(effect, Effect::CloseConnection { exchange, .. } if *exchange == key))
    }
}
