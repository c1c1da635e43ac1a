//! HTTP/2 to an upstream that is known to speak it: one connection per address and worker, for all that is
//! under way there at once. A connection that its upstream has ended, or is about to, is replaced at the next use.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::UpstreamError;
use crate::tls::Connector;

/// The connection to one address.
#[derive(Default)]
pub(super) struct Shared {
    open: RefCell<Option<Rc<Connection>>>,
    /// Held by who connects.
    connecting: Mutex<()>,
}

struct Connection {
    sender: SendRequest<Bytes>,
    task: AbortHandle,
    used: RefCell<Instant>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Http2Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http2Lease")
    }
}

/// A connection for one request. It stays open for as long as there is any of these.
pub(crate) struct Http2Lease {
    sender: SendRequest<Bytes>,
    connection: Rc<Connection>,
}

impl Http2Lease {
    /// What sends the request; it was ready when the connection was given out.
    pub(crate) fn sender(&mut self) -> &mut SendRequest<Bytes> {
        &mut self.sender
    }
}

impl Drop for Http2Lease {
    fn drop(&mut self) {
        *self.connection.used.borrow_mut() = Instant::now();
    }
}

impl Shared {
    /// The connection, which is made if there is none. It is kept for others unless `keep` is false.
    pub(super) async fn get(
        &self,
        name: &str,
        tls: Option<&Connector>,
        limit: Duration,
        keep: bool,
    ) -> Result<Http2Lease, UpstreamError> {
        // Whoever waits for somebody else's connection has no more time than who makes one.
        let found = tokio::time::timeout(limit, self.find(name, tls, keep)).await;
        found.unwrap_or(Err(UpstreamError::ConnectTimeout))
    }

    async fn find(&self, name: &str, tls: Option<&Connector>, keep: bool) -> Result<Http2Lease, UpstreamError> {
        if let Some(lease) = self.ready().await {
            return Ok(lease);
        }
        // Of those that find none, one makes it.
        let _connecting = self.connecting.lock().await;
        if let Some(lease) = self.ready().await {
            return Ok(lease);
        }
        let connection = Rc::new(connect(name, tls).await.map_err(UpstreamError::Connect)?);
        if keep {
            self.open.replace(Some(Rc::clone(&connection)));
        }
        Ok(Http2Lease { sender: connection.sender.clone(), connection })
    }

    /// The connection that is open, if it still takes requests.
    async fn ready(&self) -> Option<Http2Lease> {
        let connection = self.open.borrow().clone()?;
        match connection.sender.clone().ready().await {
            Ok(sender) => Some(Http2Lease { sender, connection }),
            Err(_) => {
                let mut open = self.open.borrow_mut();
                if open.as_ref().is_some_and(|open| Rc::ptr_eq(open, &connection)) {
                    *open = None;
                }
                None
            }
        }
    }

    /// Gives no one else this connection: something on it took too long, so that it may be dead. What is under way goes on.
    pub(super) fn doubt(&self, lease: &Http2Lease) {
        let mut open = self.open.borrow_mut();
        if open.as_ref().is_some_and(|open| Rc::ptr_eq(open, &lease.connection)) {
            *open = None;
        }
    }

    /// Closes the connection if nothing was done on it for so long.
    pub(super) fn sweep(&self, now: Instant, age: Duration) {
        let mut open = self.open.borrow_mut();
        let is_idle = |connection: &Rc<Connection>| {
            Rc::strong_count(connection) == 1 && now.duration_since(*connection.used.borrow()) >= age
        };
        if open.as_ref().is_some_and(is_idle) {
            *open = None;
        }
    }
}

async fn connect(name: &str, tls: Option<&Connector>) -> io::Result<Connection> {
    let stream = TcpStream::connect(name).await?;
    // Only a matter of speed.
    let _ = stream.set_nodelay(true);
    match tls {
        None => begin(name, stream).await,
        Some(tls) => begin(name, tls.connect(stream).await?).await,
    }
}

async fn begin<S: AsyncRead + AsyncWrite + Unpin + 'static>(name: &str, stream: S) -> io::Result<Connection> {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .max_header_list_size(MAX_HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let (sender, connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
    let name: Box<str> = name.into();
    let task = tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(upstream = %name, "connection ended: {}", super::error::chain(&error));
        }
    });
    Ok(Connection { sender, task: task.abort_handle(), used: RefCell::new(Instant::now()) })
}

/// Bytes of headers, and of trailers.
const MAX_HEADERS: u32 = 128 << 10;
/// Bytes that a stream has given to its connection and that are not written.
const SEND_BUFFER: usize = 64 << 10;
/// Bytes that have come on a stream and were not read.
const WINDOW: u32 = 64 << 10;
/// As many on a connection as there can be: streams that are not read must not keep others waiting, and each has its own
/// limit.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2").field("open", &self.open.borrow().is_some()).finish()
    }
}
