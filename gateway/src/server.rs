//! The whole gateway: workers, and how they end.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::control::State;
use crate::endpoints::{EndpointAddresses, Endpoints};
use crate::head::{ClientLimits, HeadLimits};
use crate::listen;
use crate::logs::LogWriter;
use crate::metrics::Metrics;
use crate::plugins::{Plugins, PluginsError};
use crate::reload::Reloader;
use crate::tls::{Certificates, TlsError};
use crate::upstream::{HealthChecks, PoolLimits};
use crate::worker::{self, Phase};

/// What a gateway is run with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// What to serve.
    pub config: Arc<Config>,
    /// Its plugins, loaded.
    pub plugins: Option<Plugins>,
    /// How large request heads may be.
    pub head: HeadLimits,
    /// How long clients may take.
    pub client: ClientLimits,
    /// Connections to upstreams that are kept.
    pub pool: PoolLimits,
    /// What is counted; of clones of these settings it is the same.
    pub metrics: Metrics,
    /// What is known of the health of upstreams; of clones of these settings it is the same.
    pub health: HealthChecks,
    /// Where the access log is written, if the configuration has one; none is without it.
    pub access_log: Option<LogWriter>,
    /// Other logs that are reopened together with it, at SIGUSR1.
    pub logs: Vec<LogWriter>,
    /// How long requests that are running have to end after a signal: 30 s by default.
    pub drain: Duration,
}

impl Settings {
    /// A configuration with the default limits. `plugins` may be `None` only if no route uses any.
    pub fn new(config: Config, plugins: Option<Plugins>) -> Self {
        Settings {
            config: Arc::new(config),
            plugins,
            head: HeadLimits::default(),
            client: ClientLimits::default(),
            pool: PoolLimits::default(),
            metrics: Metrics::default(),
            health: HealthChecks::default(),
            access_log: None,
            logs: Vec::new(),
            drain: Duration::from_secs(30),
        }
    }
}

/// Why the gateway does not run (any more).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Plugins did not start, or refused their configuration.
    #[error(transparent)]
    Plugins(#[from] PluginsError),
    /// A route uses plugins, and none were given: the embedder's fault.
    #[error("the configuration uses plugins that were not loaded")]
    NoPlugins,
    /// A certificate cannot be used.
    #[error("a certificate {0}")]
    Tls(#[from] TlsError),
    /// The system has no thread, timer or signal left for us.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// A worker ended by itself: a bug here.
    #[error("a worker has ended")]
    WorkerEnded,
}

/// A gateway that serves. Dropped, it stops at once.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    stream_addresses: Vec<SocketAddr>,
    endpoints: Endpoints,
    /// How many of them, the first ones, are without TLS.
    plain: usize,
    reloader: Reloader,
    drain: Duration,
    /// What is reopened at SIGUSR1.
    logs: Vec<LogWriter>,
    phase: watch::Sender<Phase>,
    ended: mpsc::UnboundedReceiver<()>,
    /// Each answers whether it ended because it was to.
    workers: Vec<JoinHandle<bool>>,
}

impl Server {
    /// Starts the workers and, on each, the plugins; then binds all addresses. Serves when it returns.
    ///
    /// # Errors
    /// [`ServeError`]; nothing runs then.
    pub fn start(settings: Settings) -> Result<Self, ServeError> {
        let needed = settings.config.uses_plugins();
        let loaded = settings.plugins.as_ref().map_or(0, |plugins| plugins.plugins().len());
        if needed && loaded != settings.config.plugins.len() {
            return Err(ServeError::NoPlugins);
        }
        let preparer = settings.plugins.as_ref().filter(|_| needed).map(Plugins::preparer).transpose()?;
        let count = settings.config.workers.or_else(|| thread::available_parallelism().ok());
        let count = count.map_or(1, NonZeroUsize::get);
        let ssl = &settings.config.ssl;
        let certificates = (!ssl.listen.is_empty()).then(|| Certificates::new(ssl)).transpose()?.map(Arc::new);
        let (phase, phases) = watch::channel(Phase::Serve);
        let state = State::new(&settings, phases.clone());
        // Asked already while it starts.
        let endpoints = Endpoints::start(&state, &settings.metrics, phases.clone())?;
        let (ending, ended) = mpsc::unbounded_channel();
        let (tell, told) = std::sync::mpsc::channel();
        let (swapping, swaps): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::unbounded_channel()).unzip();
        let reloader = Reloader::new(&state, settings.plugins.clone(), preparer.clone(), swapping, phases.clone());
        let logs = settings.access_log.iter().chain(&settings.logs).cloned().collect();
        let mut server = Server {
            addresses: Vec::new(),
            stream_addresses: Vec::new(),
            plain: settings.config.listen.len(),
            endpoints,
            reloader,
            drain: settings.drain,
            logs,
            phase,
            ended,
            workers: Vec::new(),
        };
        // Dropped before the server, which waits for workers that may wait for theirs.
        let mut hands = Vec::with_capacity(count);
        for (number, swaps) in swaps.into_iter().enumerate() {
            let (settings, phases) = (settings.clone(), phases.clone());
            let certificates = certificates.clone();
            let ending = Ending { ended: ending.clone(), told: tell.clone() };
            let (tell, preparer) = (tell.clone(), preparer.clone());
            let (hand, listeners) = std::sync::mpsc::channel();
            let body = move || {
                let _ending = ending;
                // Who started it may have gone, with the first error of another worker.
                let listeners = || {
                    let _ = tell.send(Ok(()));
                    listeners.recv().ok()
                };
                let ready = || {
                    let _ = tell.send(Ok(()));
                };
                let ended = worker::run(&settings, certificates, preparer, phases, swaps, listeners, ready);
                // Who started it may be waiting for it to serve.
                ended.map_err(|error| tell.send(Err(error))).is_ok()
            };
            server.workers.push(thread::Builder::new().name(format!("chassis-worker-{number}")).spawn(body)?);
            hands.push(hand);
        }
        drop(tell);
        let all = || (0..count).try_for_each(|_| told.recv().unwrap_or(Err(ServeError::WorkerEnded)));
        all()?;
        let mut shares: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        let http = settings.config.listen.iter().chain(&settings.config.ssl.listen).map(|address| (address, true));
        for (address, is_http) in http.chain(settings.config.stream.listen.iter().map(|address| (address, false))) {
            let failed = |source| ServeError::Listen { address: *address, source };
            let listeners = listen::bind(*address, count).map_err(failed)?;
            let bound = if is_http { &mut server.addresses } else { &mut server.stream_addresses };
            bound.push(listeners[0].local_addr().map_err(failed)?);
            shares.iter_mut().zip(listeners).for_each(|(share, listener)| share.push((*address, listener)));
        }
        server.reloader.set_addresses(settings.config.listen.iter().copied().zip(server.addresses.iter().copied()));
        // One that has ended is missed below.
        hands.iter().zip(shares).for_each(|(hand, share)| drop(hand.send(share)));
        all()?;
        state.has_started();
        Ok(server)
    }

    /// What replaces the configuration while it is served.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// The addresses that were listened on first, in the order of the configuration, those with TLS last; ports are the real ones.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses that are listened on for TCP streams, likewise.
    pub fn stream_addresses(&self) -> &[SocketAddr] {
        &self.stream_addresses
    }

    /// Where operators ask and tell it.
    pub fn endpoints(&self) -> EndpointAddresses {
        self.endpoints.addresses()
    }

    /// Logs where it listens, and serves until SIGTERM or SIGINT, or until its [`Reloader`] was told to quit; then accepts
    /// nothing new, and returns when all requests have ended, when the drain limit is over, or at a second signal. It
    /// returns at once when its reloader was told to stop.
    ///
    /// # Errors
    /// [`ServeError`] if signals cannot be caught or a worker ended by itself.
    pub fn run(mut self) -> Result<(), ServeError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            // Before the lines at which others know that they may send signals.
            let mut signals = Signals::new()?;
            let mut asked = self.reloader.asked();
            reopen_at_signals(self.logs.clone())?;
            for (index, address) in self.addresses.iter().enumerate() {
                let scheme = if index < self.plain { "http" } else { "https" };
                tracing::info!("listening on {scheme}://{address}");
            }
            for address in &self.stream_addresses {
                tracing::info!("listening on tcp://{address}");
            }
            self.endpoints.addresses().log();
            tokio::select! {
                () = signals.next() => {}
                _ = asked.wait_for(|phase| *phase != Phase::Serve) => {}
                _ = self.ended.recv() => return Err(ServeError::WorkerEnded),
            }
            if *asked.borrow() == Phase::Stop {
                return Ok(());
            }
            tracing::info!("draining for at most {:?}", self.drain);
            self.drain(async {
                tokio::select! {
                    () = signals.next() => tracing::warn!("stopped by a second signal"),
                    _ = asked.wait_for(|phase| *phase == Phase::Stop) => {}
                }
            })
            .await;
            Ok(())
        })?;
        self.end()
    }

    /// Accepts nothing new, waits until all requests have ended or the drain limit is over, and stops.
    ///
    /// # Errors
    /// [`ServeError`] if a worker ended by itself, before or then.
    pub fn shut_down(mut self) -> Result<(), ServeError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(self.drain(std::future::pending()));
        self.end()
    }

    fn end(&mut self) -> Result<(), ServeError> {
        if self.stop() { Ok(()) } else { Err(ServeError::WorkerEnded) }
    }

    async fn drain(&mut self, hurry: impl Future<Output = ()>) {
        let _ = self.phase.send(Phase::Drain);
        let mut left = self.workers.len();
        let all = async {
            while left > 0 && self.ended.recv().await.is_some() {
                left -= 1;
            }
        };
        tokio::select! {
            () = all => {}
            () = tokio::time::sleep(self.drain) => tracing::warn!("requests were still running when the drain limit was over"),
            () = hurry => {}
        }
    }

    /// Ends all workers. Whether each ended because it was to; if not, it has said why.
    fn stop(&mut self) -> bool {
        let _ = self.phase.send(Phase::Stop);
        let mut all = true;
        for worker in self.workers.drain(..) {
            // A panic was reported by the thread itself.
            all &= worker.join().unwrap_or(false);
        }
        self.endpoints.join();
        all
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Tells the server when a worker ends, by a panic too, and whoever still waits for it to serve.
struct Ending {
    ended: mpsc::UnboundedSender<()>,
    told: std::sync::mpsc::Sender<Result<(), ServeError>>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.ended.send(());
        let _ = self.told.send(Err(ServeError::WorkerEnded));
    }
}

/// Reopens logs at SIGUSR1, as nginx does, while the runtime that this is called in runs.
#[cfg(unix)]
fn reopen_at_signals(logs: Vec<LogWriter>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut reopen = signal(SignalKind::user_defined1())?;
    tokio::spawn(async move {
        while reopen.recv().await.is_some() {
            logs.iter().for_each(LogWriter::reopen);
        }
    });
    Ok(())
}

#[cfg(not(unix))]
fn reopen_at_signals(_logs: Vec<LogWriter>) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Signals)
    }

    async fn next(&mut self) {
        // Without a source of signals there is nothing to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
