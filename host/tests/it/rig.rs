//! A worker with everything around it, and what it said.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{Callback, Direction, HeaderList, HostCall, Identity, LogLevel, Observer, Services};
use chassis_engine_api::compile::CompilePolicy;
use chassis_engine_api::{Profile, Stop};
use chassis_host::{
    FailPolicy, HostServices, Link, LogLine, LogSink, Plugin, PluginError, PluginId, PluginLimits, PluginSpec,
    Preparer, Progress, Reason, StartError, Stores, StreamKey, Worker,
};

use crate::guest::guest;

/// For how long a spare is waited for: far more than it takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A line at which the sink, and so the host, panics.
pub(crate) const HOST_FAILS: &str = "the host fails";

/// A line that the sink got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) reason: Reason,
    pub(crate) level: LogLevel,
    pub(crate) message: String,
    pub(crate) plugin: String,
    pub(crate) context: u32,
    pub(crate) callback: &'static str,
}

#[derive(Default)]
struct Lines(Mutex<Vec<Line>>);

impl LogSink for Lines {
    fn log(&self, line: &LogLine<'_>) {
        assert_ne!(line.message, HOST_FAILS);
        self.0.lock().unwrap().push(Line {
            reason: line.reason,
            level: line.level,
            message: line.message.to_string(),
            plugin: line.plugin.to_owned(),
            context: line.context,
            callback: line.callback,
        });
    }
}

/// Writes each callback as `name(context, arguments...) -> result`.
#[derive(Default, Clone)]
struct Calls(Arc<Mutex<Vec<String>>>);

impl Observer for Calls {
    fn callback_begins(&mut self, callback: Callback, context: u32, args: &[u32]) {
        let all: Vec<String> = std::iter::once(&context).chain(args).map(u32::to_string).collect();
        self.0.lock().unwrap().push(format!("{}({})", callback.name(), all.join(", ")));
    }

    fn callback_ends(&mut self, _callback: Callback, result: Result<u32, &Stop>) {
        let mut calls = self.0.lock().unwrap();
        match result {
            Ok(0) => {}
            Ok(result) => calls.last_mut().unwrap().push_str(&format!(" -> {result}")),
            Err(stop) => calls.last_mut().unwrap().push_str(&format!(" !! {}", stop.kind())),
        }
    }

    fn host_call(&mut self, _call: HostCall<'_>) {}
}

/// A worker with plugins.
pub(crate) struct Rig {
    pub(crate) worker: Worker,
    engine: &'static str,
    lines: Arc<Lines>,
    calls: Calls,
    pub(crate) stores: Arc<Stores>,
}

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) headers: HeaderList,
    pub(crate) body: String,
    pub(crate) trailers: HeaderList,
}

impl Response {
    pub(crate) fn status(&self) -> &str {
        std::str::from_utf8(self.headers.get(b":status").unwrap()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name.as_bytes()).map(|value| std::str::from_utf8(value).unwrap())
    }
}

impl Rig {
    pub(crate) fn new(engine: &'static str) -> Self {
        Rig::sharing(engine, Stores::new())
    }

    /// A worker without plugins, with these stores.
    pub(crate) fn sharing(engine: &'static str, stores: Arc<Stores>) -> Self {
        let lines = Arc::new(Lines::default());
        let (sink, shared): (Arc<dyn LogSink>, _) = (lines.clone(), stores.clone());
        let services = move || {
            let services = HostServices::new(Arc::clone(&sink), LogLevel::Trace);
            Box::new(services.with_stores(shared.clone())) as Box<dyn Services>
        };
        let preparer = Preparer::new(Arc::new(services.clone())).unwrap();
        let mut worker = Worker::new(services(), lines.clone(), preparer);
        let calls = Calls::default();
        worker.set_observer(Some(Box::new(calls.clone())));
        Rig { worker, engine, lines, calls, stores }
    }

    /// A worker with one plugin of these functions, called `guest`.
    pub(crate) fn with(engine: &'static str, body: &str) -> (Self, PluginId) {
        let mut rig = Rig::new(engine);
        let plugin = rig.add("guest", body);
        (rig, plugin)
    }

    /// Adds a plugin of these functions with one empty configuration, and waits for its spare.
    pub(crate) fn add(&mut self, name: &str, body: &str) -> PluginId {
        self.add_with(&spec(name), body, &[""]).unwrap()
    }

    pub(crate) fn add_with(
        &mut self,
        spec: &PluginSpec,
        body: &str,
        configurations: &[&'static str],
    ) -> Result<PluginId, StartError> {
        let plugin = load(self.engine, spec.clone(), &guest(body)).unwrap();
        let configurations = configurations.iter().map(|text| Bytes::from_static(text.as_bytes())).collect::<Vec<_>>();
        let id = self.worker.add_plugin(plugin, configurations)?;
        self.worker.wait_prepared(LONG);
        Ok(id)
    }

    /// Opens a stream of `GET /` through plugins, without any event.
    pub(crate) fn open(&mut self, plugins: &[PluginId], headers: &[(&'static str, &'static str)]) -> StreamKey {
        let links: Vec<Link> = plugins.iter().map(|plugin| Link { plugin: *plugin, configuration: 0 }).collect();
        let pseudo = [(":method", "GET"), (":path", "/"), (":authority", "host"), (":scheme", "http")];
        let request = pseudo.iter().chain(headers).copied().collect();
        self.worker.open(links.into(), request, [])
    }

    /// Opens a stream and lets its request's headers in, which are all of it.
    pub(crate) fn get(&mut self, plugins: &[PluginId], headers: &[(&'static str, &'static str)]) -> StreamKey {
        let key = self.open(plugins, headers);
        self.worker.request_headers(key, true);
        key
    }

    /// Opens a TCP stream through plugins, to which the client has connected.
    pub(crate) fn connect(&mut self, plugins: &[PluginId]) -> StreamKey {
        let links: Vec<Link> = plugins.iter().map(|plugin| Link { plugin: *plugin, configuration: 0 }).collect();
        let key = self.worker.open_tcp(links.into(), []);
        self.worker.new_connection(key);
        key
    }

    /// What has passed of a TCP stream since the last time that this was asked, in one direction.
    pub(crate) fn data(&mut self, key: StreamKey, direction: Direction) -> String {
        let mut data = Vec::new();
        while let Some(piece) = self.worker.take_body(key, direction) {
            data.extend_from_slice(&piece);
        }
        String::from_utf8(data).unwrap()
    }

    /// Lets a whole response in: 200 with the body `ok`.
    pub(crate) fn reply(&mut self, key: StreamKey) {
        self.worker.response_headers(key, [(":status", "200")].into_iter().collect(), false);
        self.worker.response_body(key, Bytes::from_static(b"ok"), true);
    }

    pub(crate) fn progress(&mut self, key: StreamKey) -> Progress {
        self.worker.progress(key).unwrap()
    }

    /// What has passed to the client; `None` while its headers have not.
    pub(crate) fn response(&mut self, key: StreamKey) -> Option<Response> {
        self.passed(key, Direction::Response)
    }

    /// What has passed in one direction; `None` while its headers have not.
    pub(crate) fn passed(&mut self, key: StreamKey, direction: Direction) -> Option<Response> {
        let progress = self.progress(key);
        let progress = if direction == Direction::Request { progress.request } else { progress.response };
        if !progress.headers {
            return None;
        }
        let headers = self.worker.take_headers(key, direction);
        let mut body = Vec::new();
        while let Some(piece) = self.worker.take_body(key, direction) {
            body.extend_from_slice(&piece);
        }
        assert_eq!(body.len(), progress.body);
        let trailers =
            if progress.trailers { self.worker.take_trailers(key, direction) } else { HeaderList::default() };
        Some(Response { headers, body: String::from_utf8(body).unwrap(), trailers })
    }

    /// Drives a request without body to its end.
    pub(crate) fn round_trip(
        &mut self,
        plugins: &[PluginId],
        headers: &[(&'static str, &'static str)],
    ) -> Option<Response> {
        let key = self.get(plugins, headers);
        self.reply(key);
        let response = self.response(key);
        self.worker.close(key);
        response
    }

    /// Lets the timer go off that is due next.
    pub(crate) fn tick(&mut self) {
        let due = self.worker.next_timer().expect("there is a timer");
        self.worker.run_timers(due);
    }

    /// The callbacks since the last time that this was asked, on this thread.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.0.lock().unwrap())
    }

    /// The lines since the last time that this was asked.
    pub(crate) fn lines(&self) -> Vec<Line> {
        std::mem::take(&mut *self.lines.0.lock().unwrap())
    }

    /// What guests said since the last time that lines were asked for.
    pub(crate) fn said(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.reason == Reason::Guest).map(|line| line.message).collect()
    }
}

/// A specification with the default limits but short deadlines.
pub(crate) fn spec(name: &str) -> PluginSpec {
    PluginSpec {
        identity: Identity { name: name.to_owned(), ..Identity::default() },
        file: PathBuf::new(),
        limits: PluginLimits {
            deadline: Duration::from_millis(30),
            start_deadline: Duration::from_millis(100),
            memory_bytes: 4 << 20,
            ..PluginLimits::default()
        },
        fail_policy: FailPolicy::Closed,
    }
}

/// Loads a plugin from text.
pub(crate) fn load(engine: &str, mut spec: PluginSpec, text: &str) -> Result<Arc<Plugin>, PluginError> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    spec.file = std::env::temp_dir().join(format!("chassis-host-{}-{number}.wat", std::process::id()));
    std::fs::write(&spec.file, text).unwrap();
    let file = spec.file.clone();
    let engine = chassis_engines::open(engine, Profile::Deadline).unwrap();
    let plugin = Plugin::load(spec, &*engine, &CompilePolicy::InProcess);
    std::fs::remove_file(file).unwrap();
    plugin
}
