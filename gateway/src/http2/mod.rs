//! HTTP/2 with clients: one task per connection, and one per stream.
//!
//! What one client can make a worker hold is limited: so many streams, so many bytes of each and of all together. What it
//! can make a worker do for nothing is limited at the gate (see [`head`](crate::head)). A stream whose client is waited for
//! too long is reset, and the others go on.

mod body;
mod stream;

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_local;
use tokio::time::timeout;

pub(crate) use self::body::Received;

use crate::head::{Client, ClientLimits, FrameGate, HeadLimits, Watch};
use crate::proxy::Proxy;

/// Streams that a client may have open.
const STREAMS: u32 = 128;
/// Bytes that have come on a stream, and on all of a connection, and were not read.
const WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of a stream that were given to its connection and are not written.
const SEND_BUFFER: usize = 64 << 10;
/// How often in the idle limit it is looked whether anything has moved.
const LOOKS: u32 = 4;

/// What a connection is served with.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) proxy: Rc<Proxy>,
    pub(crate) head: HeadLimits,
    pub(crate) limits: ClientLimits,
}

/// Serves a connection to its end. After `drain`, it takes no further streams, and ends with those that it has.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    gate: FrameGate<S>,
    client: Rc<Client>,
    serving: Serving,
    drain: impl Future<Output = ()>,
) {
    let watch = Rc::clone(gate.watch());
    let limits = serving.limits;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(serving.head.bytes).unwrap_or(u32::MAX))
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    let mut connection = match timeout(limits.head, builder.handshake::<_, Bytes>(gate)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return ended(&client, &error),
        Err(_) => return,
    };
    let mut drain = std::pin::pin!(drain);
    let mut patience = Patience { limits, quiet: 0, closing: None };
    let mut looks = tokio::time::interval(patience.every());
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let exchange = client.begin();
                    spawn_local(stream::answer(request, respond, exchange, serving.clone(), Rc::clone(&watch)));
                }
                Some(Err(error)) => return ended(&client, &error),
                None => return,
            },
            () = &mut drain, if !draining => {
                draining = true;
                connection.graceful_shutdown();
            }
            () = watch.flooded() => {
                tracing::info!(client = %client.address(), "connection closed: {}", crate::head::Flood);
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                patience.close();
            }
            _ = looks.tick() => {
                if patience.is_over(&watch, &client, &mut connection) {
                    return;
                }
            }
        }
    }
}

fn ended(client: &Client, error: &h2::Error) {
    tracing::debug!(client = %client.address(), "connection ended: {}", crate::upstream::error::chain(error));
}

/// How long a client is waited for that has no stream open.
struct Patience {
    limits: ClientLimits,
    /// How often it was looked, and no stream was open and nothing had moved.
    quiet: u32,
    /// When the connection is to be closed that was told so.
    closing: Option<Instant>,
}

impl Patience {
    fn every(&self) -> Duration {
        (self.limits.idle.min(self.limits.head) / LOOKS).max(Duration::from_millis(20))
    }

    fn close(&mut self) {
        self.closing.get_or_insert_with(|| Instant::now() + self.limits.linger * 2);
    }

    /// Whether the connection is to be dropped; before that it is told that it ends.
    fn is_over<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        watch: &Watch,
        client: &Client,
        connection: &mut Connection<S, Bytes>,
    ) -> bool {
        let now = Instant::now();
        if let Some(closing) = self.closing {
            return closing <= now;
        }
        if watch.open_since().is_some_and(|since| now.duration_since(since) >= self.limits.head) {
            tracing::info!(client = %client.address(), "connection closed: {}", crate::head::Refusal::HeadTimeout);
            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            self.close();
            return false;
        }
        self.quiet = if watch.moved() || !client.is_idle() { 0 } else { self.quiet + 1 };
        if self.every() * self.quiet >= self.limits.idle {
            connection.abrupt_shutdown(Reason::NO_ERROR);
            self.close();
        }
        false
    }
}
