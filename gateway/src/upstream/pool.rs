//! Connections to upstreams that wait for the next request. One pool per worker; nothing here crosses threads.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::http2::{self, Http2Lease};
use super::{HealthChecks, UpstreamError};
use crate::body::RequestBody;
use crate::config::UpstreamTls;
use crate::tls::Connector;

/// How many connections may wait, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolLimits {
    /// Connections per address and worker: 128 by default.
    pub idle: usize,
    /// How long one may wait: 60 s by default; 0 keeps none.
    pub age: Duration,
}

impl Default for PoolLimits {
    fn default() -> Self {
        PoolLimits { idle: 128, age: Duration::from_secs(60) }
    }
}

/// The connections of one worker, by address.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    limits: PoolLimits,
    health: HealthChecks,
    addresses: RefCell<HashMap<Key, Rc<Address>>>,
}

impl Pool {
    /// An empty pool, and what is known of who may be connected to.
    pub(crate) fn new(limits: PoolLimits, health: HealthChecks) -> Self {
        Pool { limits, health, addresses: RefCell::default() }
    }

    /// What is known of the nodes of upstreams.
    pub(super) fn health(&self) -> &HealthChecks {
        &self.health
    }

    /// The connections to `host:port`, with TLS if there is any, which is then with the host of that name.
    pub(crate) fn address(&self, name: &str, tls: Option<(&UpstreamTls, String)>) -> Rc<Address> {
        let mut addresses = self.addresses.borrow_mut();
        let key = Key { name: name.into(), tls: tls.map(|(tls, name)| (tls.clone(), name)) };
        if let Some(address) = addresses.get(&key) {
            return Rc::clone(address);
        }
        // A configuration has none that cannot be connected with.
        let connector = key.tls.as_ref().and_then(|(tls, name)| tls.connector(name));
        let address = Rc::new(Address {
            name: name.into(),
            is_tls: key.tls.is_some(),
            tls: connector,
            limits: self.limits,
            idle: RefCell::default(),
            http2: http2::Shared::default(),
        });
        addresses.insert(key, Rc::clone(&address));
        address
    }

    /// Closes what has waited for too long, and forgets addresses that nothing uses.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.addresses.borrow_mut().retain(|_, address| {
            address
                .idle
                .borrow_mut()
                .retain(|idle| !idle.connection.sender.is_closed() && now.duration_since(idle.since) < self.limits.age);
            address.http2.sweep(now, self.limits.age);
            Rc::strong_count(address) > 1 || !address.idle.borrow().is_empty()
        });
    }
}

/// What connections have in common that may be used for the same requests.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    name: Box<str>,
    tls: Option<(UpstreamTls, String)>,
}

/// The connections to one address.
pub(crate) struct Address {
    name: Box<str>,
    is_tls: bool,
    tls: Option<Connector>,
    limits: PoolLimits,
    /// The one that was used last comes last, and is taken first.
    idle: RefCell<Vec<Idle>>,
    http2: http2::Shared,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// An open connection. Dropped, it is closed, even if the upstream takes nothing of what is being sent.
struct Connection {
    sender: SendRequest<RequestBody>,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection that is in use. Dropped, it is closed; to be kept, it is given back.
pub(super) struct Lease {
    address: Rc<Address>,
    connection: Connection,
}

impl Lease {
    /// Puts the connection back, to be used when hyper says that it is ready for another request.
    pub(super) fn give_back(self) {
        if self.connection.sender.is_closed() || self.address.limits.age.is_zero() {
            return;
        }
        let mut idle = self.address.idle.borrow_mut();
        if idle.len() < self.address.limits.idle {
            idle.push(Idle { connection: self.connection, since: Instant::now() });
        }
    }

    /// What sends a request on it.
    pub(super) fn sender(&mut self) -> &mut SendRequest<RequestBody> {
        &mut self.connection.sender
    }
}

impl Address {
    /// `host:port`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How its URIs begin.
    pub(super) fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    /// The HTTP/2 connection to it, which is made within `limit` if there is none.
    pub(crate) async fn http2(&self, limit: Duration) -> Result<Http2Lease, UpstreamError> {
        self.http2.get(&self.name, self.tls.as_ref(), limit, !self.limits.age.is_zero()).await
    }

    /// Has later requests make another connection of HTTP/2 than this one.
    pub(super) fn doubt_http2(&self, lease: &Http2Lease) {
        self.http2.doubt(lease);
    }

    /// A connection that waits, and seems to be open.
    pub(super) fn checkout(self: &Rc<Self>) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        let mut now = None;
        for index in (0..idle.len()).rev() {
            let Idle { connection: Connection { sender, .. }, since } = &idle[index];
            if sender.is_ready() && now.get_or_insert_with(Instant::now).duration_since(*since) < self.limits.age {
                let connection = idle.remove(index).connection;
                return Some(Lease { address: Rc::clone(self), connection });
            }
            if sender.is_closed() || sender.is_ready() {
                idle.remove(index);
            }
        }
        None
    }

    /// A connection without a protocol.
    pub(super) async fn socket(&self, limit: Duration) -> Result<TcpStream, UpstreamError> {
        if self.tls.is_some() {
            return Err(UpstreamError::Connect(io::Error::other("TLS is for HTTP, and not for streams")));
        }
        let stream = within(Instant::now() + limit, TcpStream::connect(&*self.name)).await?;
        // Only a matter of speed.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    /// A connection of its own.
    pub(super) async fn connect(self: &Rc<Self>, limit: Duration) -> Result<Lease, UpstreamError> {
        let until = Instant::now() + limit;
        let stream = within(until, TcpStream::connect(&*self.name)).await?;
        // Only a matter of speed.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.begin(stream).await,
            // Its future is large, and only who needs it pays for it.
            Some(tls) => self.begin(Box::pin(within(until, tls.connect(stream))).await?).await,
        }
    }

    async fn begin<S: AsyncRead + AsyncWrite + Unpin + 'static>(
        self: &Rc<Self>,
        stream: S,
    ) -> Result<Lease, UpstreamError> {
        let handshake = http1::Builder::new().max_buf_size(MAX_BUFFER).handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(UpstreamError::Broken)?;
        let name: Box<str> = self.name.clone();
        let task = tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(upstream = %name, "connection ended: {}", super::error::chain(&error));
            }
        });
        let connection = Connection { sender, task: task.abort_handle() };
        Ok(Lease { address: Rc::clone(self), connection })
    }
}

async fn within<T>(until: Instant, connecting: impl Future<Output = io::Result<T>>) -> Result<T, UpstreamError> {
    match tokio::time::timeout_at(until, connecting).await {
        Ok(connected) => connected.map_err(UpstreamError::Connect),
        Err(_) => Err(UpstreamError::ConnectTimeout),
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("name", &self.name).field("idle", &self.idle.borrow().len()).finish()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("address", &self.address.name).finish_non_exhaustive()
    }
}

/// The most that hyper buffers of a response, and the largest response head.
const MAX_BUFFER: usize = 128 << 10;
