//! One worker: a thread with its own runtime, listening sockets, upstream connections and VMs.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use chassis_host::Preparer;
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinError, JoinSet, LocalSet, spawn_local};

use crate::body::{BodyError, ClientBody};
use crate::head::{Client, FrameGate, Gate};
use crate::http2::{self, Serving};
use crate::listen::BACKLOG;
use crate::logs::AccessLog;
use crate::metrics::WorkerMetrics;
use crate::proxy::Proxy;
use crate::reload::{PLUGIN_END, Running, Swap};
use crate::server::{ServeError, Settings};
use crate::tcp::StreamRoutes;
use crate::tls::Certificates;
use crate::upstream::Pool;

/// What a worker is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Accept and serve.
    Serve,
    /// Accept nothing that is not waiting already, end what is running.
    Drain,
    /// Leave everything.
    Stop,
}

/// What all tasks of a worker share.
struct Shared {
    settings: Settings,
    proxy: Rc<Proxy>,
    certificates: Option<Arc<Certificates>>,
    streams: RefCell<Rc<StreamRoutes>>,
    http: http1::Builder,
    metrics: Arc<WorkerMetrics>,
    draining: Cell<bool>,
    drain: Notify,
    connections: Cell<usize>,
    /// How many there may be.
    most_connections: Cell<usize>,
    ended: Notify,
    /// The listeners that wait for a connection to end before they accept another.
    waiting: RefCell<Vec<Waker>>,
    /// When it was logged last that they do.
    told_full: Cell<Option<Instant>>,
}

/// Serves until the phase is `Stop`, or `Drain` and nothing is left, or until a task that it needs ends. `listeners` is called when all plugins have started,
/// and may block; `None` ends the worker. `ready` is called when it serves.
pub(crate) fn run(
    settings: &Settings,
    certificates: Option<Arc<Certificates>>,
    preparer: Option<Preparer>,
    mut phase: watch::Receiver<Phase>,
    mut swaps: mpsc::UnboundedReceiver<Swap>,
    listeners: impl FnOnce() -> Option<Vec<(SocketAddr, StdListener)>>,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let pool = Rc::new(Pool::new(settings.pool, settings.health.clone()));
    let metrics = settings.metrics.worker();
    let running = Running::new(Rc::clone(&pool), Arc::clone(&metrics));
    let (snapshot, streams) = running.start(&settings.config, settings.plugins.as_ref().zip(preparer))?;
    let mut http = http1::Builder::new();
    // The gate limits heads and the time that they take; see `head`.
    http.header_read_timeout(None).max_buf_size(settings.head.bytes.max(8 << 10) * 2);
    if settings.head.lines > HYPER_LINES {
        http.max_headers(settings.head.lines);
    }
    let shared = Rc::new(Shared {
        proxy: Rc::new(Proxy::new(snapshot, certificates.clone(), &metrics, access_log(settings))),
        certificates,
        streams: RefCell::new(Rc::new(streams)),
        most_connections: Cell::new(settings.config.limits.connections),
        settings: settings.clone(),
        http,
        metrics,
        draining: Cell::new(false),
        drain: Notify::new(),
        connections: Cell::new(0),
        ended: Notify::new(),
        waiting: RefCell::default(),
        told_full: Cell::new(None),
    });
    let Some(listeners) = listeners() else { return Ok(()) };
    let ended = local.block_on(&runtime, async {
        let mut listening = Listening::default();
        // Those for TLS come after the plain ones, and those for streams last.
        let (plain, tls) = (settings.config.listen.len(), settings.config.ssl.listen.len());
        for (index, (address, listener)) in listeners.into_iter().enumerate() {
            let what = match index {
                index if index < plain => What::Http,
                index if index < plain + tls => What::Tls,
                _ => What::Stream,
            };
            listening.add(address, listener, what, &shared, &phase)?;
        }
        // These end only by a panic.
        let mut lasting: JoinSet<()> = JoinSet::new();
        if let Some(guests) = running.guests() {
            lasting.spawn_local(guests.keep());
        }
        let sweep_every = sweep_every(settings.pool.age);
        lasting.spawn_local(async move {
            loop {
                tokio::time::sleep(sweep_every).await;
                pool.sweep();
            }
        });
        ready();
        let phases = phase.clone();
        loop {
            tokio::select! {
                // A sender that is gone means the same as Stop.
                _ = phase.wait_for(|phase| *phase != Phase::Serve) => break,
                // A listener may know first that this phase is over; it ends otherwise when it was removed, or by a panic.
                Some(ended) = listening.tasks.join_next() => ended.map_err(|error| died("a listener", &error))?,
                Some(Err(error)) = lasting.join_next() => return Err(died("a task", &error)),
                Some(swap) = swaps.recv() => {
                    let had_guests = running.guests().is_some();
                    shared.swap(swap, &running, &mut listening, &phases);
                    if let Some(guests) = running.guests().filter(|_| !had_guests) {
                        lasting.spawn_local(guests.keep());
                    }
                }
            }
        }
        // Whoever waits for one learns that nothing comes of it.
        drop(swaps);
        while let Some(ended) = listening.tasks.join_next().await {
            ended.map_err(|error| died("a listener", &error))?;
        }
        shared.draining.set(true);
        shared.drain.notify_waiters();
        let mut stop = pin!(phase.wait_for(|phase| *phase == Phase::Stop));
        let mut stopped = false;
        while shared.connections.get() > 0 {
            tokio::select! {
                () = shared.ended.notified() => {}
                _ = &mut stop => {
                    stopped = true;
                    break;
                }
                Some(Err(error)) = lasting.join_next() => return Err(died("a task", &error)),
            }
        }
        // What plugins log of their last streams is theirs, too.
        if let Some(guests) = running.guests() {
            guests.close_ended(usize::MAX);
            if stopped {
                guests.shut_down(Duration::ZERO).await;
            } else {
                tokio::select! {
                    () = guests.shut_down(PLUGIN_END) => {}
                    _ = &mut stop => {}
                }
            }
        }
        Ok(())
    });
    // Names of upstreams that are still being looked up, on threads of their own, are not waited for.
    drop(local);
    runtime.shutdown_background();
    ended
}

/// The access log of this worker.
fn access_log(settings: &Settings) -> Option<Rc<AccessLog>> {
    let format = settings.config.logs.access.as_ref()?.format.clone();
    settings.access_log.as_ref().map(|writer| AccessLog::new(writer, format))
}

/// Without the task the worker would go on half: it would accept nothing, or close no stream.
fn died(what: &str, error: &JoinError) -> ServeError {
    tracing::error!("{what} of a worker has failed: {error}");
    ServeError::WorkerEnded
}

/// Accepts until draining begins, and then what is waiting already, which is at most what the backlog holds: clients that
/// keep coming, or no descriptors, must not keep it from ending.
async fn accept(
    listener: TcpListener,
    what: What,
    shared: Rc<Shared>,
    mut phase: watch::Receiver<Phase>,
    removal: Rc<Removal>,
) {
    let mut pause = FIRST_PAUSE;
    let mut waiting = BACKLOG;
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = std::future::poll_fn(|cx| shared.poll_accept(&listener, cx)) => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Serve) => return,
            () = removal.told.notified() => return,
        };
        let now = if removal.begun.get() { Phase::Drain.max(*phase.borrow()) } else { *phase.borrow() };
        match now {
            Phase::Serve => {}
            Phase::Drain if waiting > 0 && accepted.as_ref().err().is_none_or(is_of_the_client) => waiting -= 1,
            Phase::Drain | Phase::Stop => return,
        }
        match accepted {
            Ok((stream, client)) => {
                pause = FIRST_PAUSE;
                shared.connections.set(shared.connections.get() + 1);
                shared.metrics.connection_begins();
                let live = Live(Rc::clone(&shared));
                match what {
                    What::Http => spawn_local(serve(stream, client, live)),
                    What::Tls => spawn_local(serve_tls(stream, client, live)),
                    What::Stream => spawn_local(serve_stream(stream, client, live)),
                };
            }
            // The client went away before it was accepted.
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                tracing::warn!("cannot accept, next try in {pause:?}: {error}");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = phase.wait_for(|phase| *phase != Phase::Serve) => {}
                    () = removal.told.notified() => return,
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The listeners of a worker.
#[derive(Default)]
struct Listening {
    tasks: JoinSet<()>,
    /// Of those for HTTP without TLS, by their addresses in the configuration.
    removals: HashMap<SocketAddr, Rc<Removal>>,
}

/// Has a listener accept what is waiting already, and close.
#[derive(Default)]
struct Removal {
    begun: Cell<bool>,
    told: Notify,
}

impl Listening {
    fn add(
        &mut self,
        address: SocketAddr,
        listener: StdListener,
        what: What,
        shared: &Rc<Shared>,
        phase: &watch::Receiver<Phase>,
    ) -> io::Result<()> {
        let removal = Rc::<Removal>::default();
        let listener = TcpListener::from_std(listener)?;
        self.tasks.spawn_local(accept(listener, what, Rc::clone(shared), phase.clone(), Rc::clone(&removal)));
        if let What::Http = what {
            self.removals.insert(address, removal);
        }
        Ok(())
    }

    fn keep(&mut self, addresses: &[SocketAddr]) {
        self.removals.retain(|address, removal| {
            let stays = addresses.contains(address);
            if !stays {
                removal.begun.set(true);
                removal.told.notify_one();
            }
            stays
        });
    }
}

/// How many header lines hyper reads without an allocation for them, and takes unless told otherwise.
const HYPER_LINES: usize = 100;

/// How often connections to upstreams are looked through that may wait for this long.
fn sweep_every(age: Duration) -> Duration {
    (age / 4).max(Duration::from_millis(100))
}

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | TimedOut)
}

impl Shared {
    /// Serves another configuration from now on.
    fn swap(
        self: &Rc<Self>,
        mut swap: Swap,
        running: &Running,
        listening: &mut Listening,
        phase: &watch::Receiver<Phase>,
    ) {
        let served = running.swap(&mut swap);
        let done = served.is_some();
        if let Some((snapshot, streams)) = served {
            self.proxy.replace(snapshot);
            self.streams.replace(Rc::new(streams));
            self.most_connections.set(swap.config.limits.connections);
            self.waiting.take().into_iter().for_each(Waker::wake);
            for (address, listener) in swap.listeners {
                if let Err(error) = listening.add(address, listener, What::Http, self, phase) {
                    tracing::error!("a worker cannot listen on {address}: {error}");
                }
            }
            listening.keep(&swap.config.listen);
        }
        // Who waits for it may have gone.
        let _ = swap.done.send(done);
    }

    /// The next connection, if there may be one more.
    fn poll_accept(&self, listener: &TcpListener, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let limit = self.most_connections.get();
        if self.connections.get() < limit {
            return listener.poll_accept(cx);
        }
        if self.told_full.get().is_none_or(|told| told.elapsed() >= TELL_FULL) {
            self.told_full.set(Some(Instant::now()));
            tracing::warn!("a worker has {limit} connections, which is its limit: others wait until one ends");
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// How long it is not said again that there are as many connections as there may be.
const TELL_FULL: Duration = Duration::from_secs(60);

/// A connection that is open.
struct Live(Rc<Shared>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.metrics.connection_ends();
        self.0.ended.notify_one();
        self.0.waiting.take().into_iter().for_each(Waker::wake);
    }
}

/// What comes on a listener.
#[derive(Debug, Clone, Copy)]
enum What {
    Http,
    Tls,
    Stream,
}

async fn serve_stream(stream: TcpStream, address: SocketAddr, live: Live) {
    let (local, id) = live.0.begin(&stream, address);
    let routes = Rc::clone(&live.0.streams.borrow());
    routes.serve(stream, &Client::new(address, local, id)).await;
}

/// How many connections the process has had.
static ACCEPTED: AtomicU64 = AtomicU64::new(0);

async fn serve(stream: TcpStream, address: SocketAddr, live: Live) {
    let (local, id) = live.0.begin(&stream, address);
    serve_http(stream, Client::new(address, local, id), &live.0).await;
}

async fn serve_tls(stream: TcpStream, address: SocketAddr, live: Live) {
    let shared = &*live.0;
    let (local, id) = shared.begin(&stream, address);
    let Some(certificates) = &shared.certificates else { return };
    match certificates.accept(stream, shared.settings.client.head).await {
        Ok((stream, tls, is_http2)) => {
            let client = Client::secured(address, local, id, tls);
            if is_http2 {
                let gate = FrameGate::new(stream, Vec::new(), shared.settings.client.linger);
                http2::serve(gate, client, shared.serving(), shared.drained()).await;
            } else {
                serve_http(stream, client, shared).await;
            }
        }
        Err(error) => tracing::info!(client = %address, "no TLS: {error}"),
    }
}

/// Serves a connection that is HTTP/1.1, or HTTP/2 if it begins so.
async fn serve_http<S: AsyncRead + AsyncWrite + Unpin>(stream: S, client: Rc<Client>, shared: &Shared) {
    let address = client.address();
    let gate = Gate::new(stream, shared.settings.head, shared.settings.client, Rc::clone(&client));
    let service = service_fn(|request: http::Request<Incoming>| {
        let exchange = client.begin();
        let request = request.map(ClientBody::Http1);
        async move {
            let mut response = shared.proxy.handle(request, exchange).await;
            if let Ok(response) = &mut response
                && shared.draining.get()
            {
                let close = http::HeaderValue::from_static("close");
                let _ = response.headers_mut().try_insert(http::header::CONNECTION, close);
            }
            response
        }
    });
    let mut connection = shared.http.serve_connection(TokioIo::new(gate), service);
    let ended = shared.serve_http1(&client, Pin::new(&mut connection)).await;
    log_end(address, ended);
    // Only a connection on which nothing was read ends in this way.
    if let Some((stream, early)) = connection.into_parts().io.into_inner().into_http2() {
        let serving = shared.serving();
        let gate = FrameGate::new(stream, early, serving.limits.linger);
        http2::serve(gate, client, serving, shared.drained()).await;
    }
}

impl Shared {
    /// Begins with a connection: the address that it came to, and its number.
    fn begin(&self, stream: &TcpStream, address: SocketAddr) -> (SocketAddr, u64) {
        // Only a matter of speed.
        let _ = stream.set_nodelay(true);
        let id = ACCEPTED.fetch_add(1, Ordering::Relaxed) + 1;
        // A socket that does not know its own address is about to fail.
        (stream.local_addr().unwrap_or(address), id)
    }

    /// Serves a connection to its end.
    async fn serve_http1<C: Http1>(&self, client: &Client, mut connection: Pin<&mut C>) -> hyper::Result<()> {
        let mut drained = pin!(self.drain.notified());
        drained.as_mut().enable();
        if !self.draining.get() {
            tokio::select! {
                ended = &mut connection => return ended,
                () = drained => {}
            }
        }
        if client.requests() == 0 {
            // Its first request may be on its way.
            if let Ok(ended) = tokio::time::timeout(FIRST_REQUEST, &mut connection).await {
                return ended;
            }
        }
        connection.as_mut().shut_down();
        connection.await
    }

    /// Ready when draining has begun, and a new connection had its time for a first request.
    async fn drained(&self) {
        let mut drained = pin!(self.drain.notified());
        drained.as_mut().enable();
        if self.draining.get() {
            tokio::time::sleep(FIRST_REQUEST).await;
        } else {
            drained.await;
        }
    }

    fn serving(&self) -> Serving {
        Serving { proxy: Rc::clone(&self.proxy), head: self.settings.head, limits: self.settings.client }
    }
}

/// A connection of hyper's, whose type has no short name.
trait Http1: Future<Output = hyper::Result<()>> {
    /// Takes no further request.
    fn shut_down(self: Pin<&mut Self>);
}

impl<I, S, B> Http1 for http1::Connection<I, S>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<BodyError>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: Body + 'static,
    B::Error: Into<BodyError>,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// How long a new connection may be silent once draining has begun.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

fn log_end(client: SocketAddr, ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%client, server = "_", "connection ended: {}", crate::upstream::error::chain(&error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_of_0_does_not_keep_a_worker_busy() {
        assert_eq!(sweep_every(Duration::ZERO), Duration::from_millis(100));
        assert_eq!(sweep_every(Duration::from_secs(60)), Duration::from_secs(15));
    }
}
