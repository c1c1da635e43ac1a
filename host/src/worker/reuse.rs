//! What streams that have ended leave for others, so that a request in steady state asks for no memory.
//!
//! Nothing of a stream's content is left in it, and no more is kept than what a few dozen streams use.

use std::sync::Arc;

use chassis_abi::{Exchange, HeaderList};

use super::stream::Stream;
use super::{Link, Worker};

/// How many of each kind are kept.
const KEPT: usize = 64;

/// What is kept of streams that have ended.
#[derive(Default)]
pub(super) struct Spares {
    exchanges: Vec<Exchange>,
    // As they are stored where they are used: nothing is moved but the box.
    #[allow(clippy::vec_box)]
    streams: Vec<Box<Stream>>,
    headers: Vec<HeaderList>,
}

impl Spares {
    /// A stream of a request, in what another one was kept in.
    pub(super) fn stream(&mut self, links: Arc<[Link]>, request: &HeaderList, reversed: bool) -> Box<Stream> {
        let Some(mut stream) = self.streams.pop() else { return Box::new(Stream::new(links, request, reversed)) };
        stream.renew(links, request, reversed);
        stream
    }

    /// An exchange of a request, in what another one was kept in.
    pub(super) fn exchange(&mut self, request: HeaderList) -> Exchange {
        let Some(mut exchange) = self.exchanges.pop() else { return Exchange::new(request) };
        exchange.request.headers = request;
        exchange.request.has_headers = true;
        exchange
    }

    /// An exchange of a TCP stream, in what another one was kept in.
    pub(super) fn tcp_exchange(&mut self) -> Exchange {
        let Some(mut exchange) = self.exchanges.pop() else { return Exchange::tcp() };
        exchange.make_tcp();
        exchange
    }

    pub(super) fn keep_stream(&mut self, mut stream: Box<Stream>) {
        if self.streams.len() < KEPT {
            stream.clear();
            self.streams.push(stream);
        }
    }

    pub(super) fn keep_exchange(&mut self, mut exchange: Exchange) {
        if self.exchanges.len() < KEPT {
            exchange.clear();
            self.keep_headers(std::mem::take(&mut exchange.request.headers));
            self.keep_headers(std::mem::take(&mut exchange.response.headers));
            self.exchanges.push(exchange);
        }
    }

    /// Keeps a list that is empty.
    fn keep_headers(&mut self, headers: HeaderList) {
        if self.headers.len() < 2 * KEPT {
            self.headers.push(headers);
        }
    }
}

impl Worker {
    /// An empty list for the headers of a request or response, in what those of another one were kept in.
    pub fn empty_headers(&mut self) -> HeaderList {
        self.spares.headers.pop().unwrap_or_default()
    }
}
