//! Other configurations while the gateway serves.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chassis_abi::LogLevel;
use chassis_engine_api::Profile;
use chassis_engine_api::compile::CompilePolicy;
use chassis_gateway::config::Config;
use chassis_gateway::plugins::{Plugins, PluginsError};
use chassis_gateway::{ReloadError, Reloader, Report, Server, Settings};
use chassis_host::{HostServices, LogSink, Stores};

use crate::client::{Client, Response};
use crate::sink::Sink;
use crate::upstream::Upstream;

cases! {
    each_engine: [
        a_storm_of_reloads_loses_nothing_and_mixes_nothing,
        what_cannot_be_served_is_refused_and_the_old_one_serves_on,
        a_request_keeps_the_plugins_that_it_began_with,
        plugins_that_have_not_changed_keep_their_vms,
        plugins_come_to_a_gateway_that_had_none_and_go,
    ]
    once: [
        routes_change_and_connections_to_upstreams_stay,
        listeners_come_and_go_and_those_that_stay_are_not_closed,
        a_server_that_drains_is_not_ready_and_takes_no_configuration,
    ]
}

const STAMP: &str = include_str!("../guests/stamp.wat");

/// A gateway whose configuration and modules are in a directory of its own.
struct Reloaded {
    dir: tempfile::TempDir,
    engine: String,
    _server: Server,
    reloader: Reloader,
    sink: Arc<Sink>,
}

impl Reloaded {
    /// With the module `stamp.wat` of version 1.
    fn start(engine: &str, workers: usize, rest: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_stamp(dir.path(), 1);
        let sink = Arc::new(Sink::default());
        let log: Arc<dyn LogSink> = sink.clone();
        let config = parse(dir.path(), workers, rest);
        let stores = Stores::new();
        let services = Arc::new({
            let log = log.clone();
            move || Box::new(HostServices::new(log.clone(), LogLevel::Trace).with_stores(stores.clone())) as Box<_>
        });
        let open = |_: Option<&str>| chassis_engines::open(engine, Profile::Deadline).map_err(|error| error.into());
        let plugins = Plugins::load(&config, "test.yaml", &open, &CompilePolicy::InProcess, services, log).unwrap();
        let server = Server::start(Settings::new(config, Some(plugins))).unwrap();
        Reloaded { dir, engine: engine.to_owned(), reloader: server.reloader(), _server: server, sink }
    }

    fn address(&self) -> SocketAddr {
        self.reloader.addresses()[0]
    }

    fn version(&self, version: u8) {
        write_stamp(self.dir.path(), version);
    }

    fn load(&self, rest: &str) -> (Config, Result<Plugins, PluginsError>) {
        let workers = self.reloader.config().workers.unwrap().get();
        let config = parse(self.dir.path(), workers, rest);
        let engine = &*self.engine;
        let open = |_: Option<&str>| chassis_engines::open(engine, Profile::Deadline).map_err(|error| error.into());
        let plugins = self.reloader.plugins().unwrap();
        let plugins = plugins.reload(&config, "test.yaml", &open, &CompilePolicy::InProcess);
        (config, plugins)
    }

    fn reload(&self, rest: &str) -> Result<Report, ReloadError> {
        let (config, plugins) = self.load(rest);
        self.reloader.reload(config, Some(plugins?))
    }

    /// Waits until this was logged so many times.
    fn wait_for(&self, message: &str, times: usize) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.sink.lines().iter().filter(|line| line.message == message).count() < times {
            assert!(Instant::now() < deadline, "not {times} times `{message}`: {:?}", self.sink.lines());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn write_stamp(dir: &Path, version: u8) {
    let text = STAMP.replace("\"V\"", &format!("\"{version}\"")).replace(" V\"", &format!(" {version}\""));
    // In one piece: a reload may be under way.
    fs::write(dir.join("stamp.wat.part"), text).unwrap();
    fs::rename(dir.join("stamp.wat.part"), dir.join("stamp.wat")).unwrap();
}

fn parse(dir: &Path, workers: usize, rest: &str) -> Config {
    let listen = if rest.contains("listen:") { "" } else { "listen: [127.0.0.1:0]\n" };
    Config::parse(&format!("{listen}workers: {workers}\n{rest}"), &dir.join("test.yaml")).unwrap()
}

/// All requests through the stamp, with this configuration.
fn stamped(node: impl std::fmt::Display, conf: &str) -> String {
    format!(
        "wasm: {{ plugins: [{{ name: stamp, file: stamp.wat }}] }}\nroutes: [{{ uri: /*, plugins: {{ stamp: {{ conf: {conf} }} }}, upstream: {{ nodes: {{ \"{node}\": 1 }} }} }}]\n"
    )
}

/// The version that a response has, which is the one that the request had when the upstream got it.
fn version(response: &Response) -> String {
    assert_eq!(response.status, 200);
    let echo: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    let versions: Vec<_> = response.headers.iter().filter(|(name, _)| name == "x-version").collect();
    let [(_, version)] = &*versions else { panic!("{versions:?}") };
    let request = &echo["headers"];
    let named = request.as_array().map(|fields| fields.iter().filter(|field| field[0] == "x-version").count());
    assert!(request.to_string().contains(&format!("\"{version}\"")), "{version}: {request}");
    assert!(named.is_none_or(|named| named == 1), "{request}");
    version.clone()
}

fn a_storm_of_reloads_loses_nothing_and_mixes_nothing(engine: &str) {
    let rest = stamped("builtin:echo", "");
    let gateway = Reloaded::start(engine, 2, &rest);
    let (address, over) = (gateway.address(), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                let (mut client, mut seen, mut count) = (Client::connect(address), [0_u64; 2], 0);
                while !over.load(Ordering::Relaxed) {
                    // Some on connections that last, some on new ones.
                    if number % 2 == 0 {
                        client = Client::connect(address);
                    }
                    match &*version(&client.get("/")) {
                        "1" => seen[0] += 1,
                        "2" => seen[1] += 1,
                        other => panic!("{other}"),
                    }
                    count += 1;
                    thread::sleep(Duration::from_millis(2));
                }
                (seen, count)
            })
        })
        .collect();
    let (begin, reloads) = (Instant::now(), 15);
    for reload in 0..reloads {
        let next = 2 - u8::try_from(reload % 2).unwrap();
        gateway.version(next);
        let report = gateway.reload(&rest).unwrap();
        assert_eq!((&*report.started, &*report.ended), (&["stamp".to_owned()][..], &["stamp".to_owned()][..]));
        // From here on there is nothing else.
        assert_eq!(version(&Client::connect(address).get("/")), next.to_string());
        let due = Duration::from_millis(200) * (reload + 1);
        thread::sleep(due.saturating_sub(begin.elapsed()));
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        let (seen, count) = client.join().unwrap();
        assert!(seen[0] > 0 && seen[1] > 0 && seen[0] + seen[1] == count, "{seen:?} of {count}");
    }
    // Each version before the last one has ended, on both workers.
    gateway.wait_for("deleted 1", 2 * 8);
    gateway.wait_for("deleted 2", 2 * 7);
    assert!(gateway.sink.crashes().is_empty());
}

fn what_cannot_be_served_is_refused_and_the_old_one_serves_on(engine: &str) {
    let rest = stamped("builtin:echo", "");
    let gateway = Reloaded::start(engine, 1, &rest);
    let mut client = Client::connect(gateway.address());
    let module = gateway.dir.path().join("stamp.wat");
    let refuses = STAMP.replace("(i32.const 1 (; configures ;))", "(i32.const 0)");
    let stops = STAMP.replace("(i32.const 1 (; configures ;))", "(unreachable)");
    let lacks = STAMP.replace("proxy_log", "proxy_logs");
    for (text, reason) in [
        (&*refuses, "refused its configuration"),
        (&*stops, "proxy_on_configure"),
        (&*lacks, "proxy_logs"),
        ("(module", "stamp.wat"),
        ("\0asm\x01\0\0\0\x0c", "stamp.wat"),
    ] {
        fs::write(&module, text).unwrap();
        let error = gateway.reload(&rest).unwrap_err().to_string();
        assert!(error.starts_with("test.yaml:") && error.contains("stamp.wat") && error.contains(reason), "{error}");
        assert_eq!(version(&client.get("/")), "1");
    }
    fs::remove_file(&module).unwrap();
    let error = gateway.reload(&rest).unwrap_err().to_string();
    assert!(error.contains("stamp.wat"), "{error}");
    // Without its plugins.
    let error = gateway.reloader.reload(parse(gateway.dir.path(), 1, &rest), None).unwrap_err();
    assert!(matches!(error, ReloadError::NoPlugins));
    // An address that is taken.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    gateway.version(2);
    let address = taken.local_addr().unwrap();
    let error = gateway.reload(&format!("listen: [\"127.0.0.1:0\", \"{address}\"]\n{rest}")).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
    assert_eq!(version(&client.get("/")), "1");
    assert_eq!(gateway.reload(&rest).unwrap().generation, 2);
    assert_eq!(version(&client.get("/")), "2");
}

fn a_request_keeps_the_plugins_that_it_began_with(engine: &str) {
    let upstream = Upstream::start(|mut connection| {
        while connection.request().is_some() {
            thread::sleep(Duration::from_millis(700));
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let rest = stamped(upstream.address, "");
    let gateway = Reloaded::start(engine, 1, &rest);
    let mut before = Client::connect(gateway.address());
    before.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    thread::sleep(Duration::from_millis(200));
    gateway.version(2);
    gateway.reload(&rest).unwrap();
    assert!(gateway.sink.lines().is_empty(), "it is needed");
    let mut after = Client::connect(gateway.address());
    after.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(before.response("GET").header("x-version"), Some("1"));
    gateway.wait_for("deleted 1", 1);
    assert_eq!(after.response("GET").header("x-version"), Some("2"));
    assert_eq!(gateway.sink.take(), ["done 1", "deleted 1"]);
}

fn plugins_that_have_not_changed_keep_their_vms(engine: &str) {
    let gateway = Reloaded::start(engine, 1, &stamped("builtin:echo", "a"));
    let mut client = Client::connect(gateway.address());
    // Another route, without it.
    let more = stamped("builtin:echo", "a")
        .replace("routes: [", "routes: [{ uri: /x, upstream: { nodes: { \"builtin:echo\": 1 } } }, ");
    let report = gateway.reload(&more).unwrap();
    assert_eq!((report.generation, &*report.kept), (2, &["stamp".to_owned()][..]));
    assert!(report.started.is_empty() && report.ended.is_empty());
    assert_eq!(client.get("/x").header("x-version"), None);
    assert_eq!(version(&client.get("/")), "1");
    assert!(gateway.sink.lines().is_empty());
    // Another configuration, and other settings.
    let other = stamped("builtin:echo", "b");
    let limited = other.replace("stamp.wat }", "stamp.wat, limits: { deadline: 40ms } }");
    for (ends, rest) in [(1, &other), (2, &limited)] {
        let report = gateway.reload(rest).unwrap();
        assert_eq!((report.started.len(), report.kept.len(), report.ended.len()), (1, 0, 1));
        gateway.wait_for("deleted 1", ends);
        assert_eq!(version(&client.get("/")), "1");
    }
}

fn plugins_come_to_a_gateway_that_had_none_and_go(engine: &str) {
    let without = "routes: [{ uri: /*, upstream: { nodes: { \"builtin:echo\": 1 } } }]";
    let gateway = Reloaded::start(engine, 2, without);
    let mut client = Client::connect(gateway.address());
    for round in 1..=2 {
        assert_eq!(client.get("/").header("x-version"), None);
        gateway.reload(&stamped("builtin:echo", "")).unwrap();
        assert_eq!(version(&client.get("/")), "1");
        let report = gateway.reload(without).unwrap();
        assert_eq!(report.ended, ["stamp"]);
        gateway.wait_for("deleted 1", 2 * round);
    }
    assert_eq!(client.get("/").header("x-version"), None);
}

fn routes_change_and_connections_to_upstreams_stay() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let route =
        |uri: &str| format!("routes: [{{ uri: {uri}, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]", upstream.address);
    let text = |uri: &str| {
        Config::parse(&format!("listen: [127.0.0.1:0]\nworkers: 1\n{}", route(uri)), Path::new("")).unwrap()
    };
    let server = Server::start(Settings::new(text("/a"), None)).unwrap();
    let mut client = Client::connect(server.addresses()[0]);
    assert_eq!((client.get("/a").status, client.get("/b").status), (200, 404));
    let report = server.reloader().reload(text("/b"), None).unwrap();
    assert_eq!(report.generation, 2);
    assert_eq!((client.get("/a").status, client.get("/b").status), (404, 200));
    assert_eq!(upstream.connections(), 1);
    let mut more = text("/b");
    more.workers = std::num::NonZeroUsize::new(2);
    // For as long as it is not what the process was started with.
    for _ in 0..2 {
        assert_eq!(server.reloader().reload(more.clone(), None).unwrap().needs_restart, ["workers"]);
    }
    assert!(server.reloader().reload(text("/b"), None).unwrap().needs_restart.is_empty());
}

fn listeners_come_and_go_and_those_that_stay_are_not_closed() {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = |listen: &[SocketAddr]| {
        let listen: Vec<_> = listen.iter().map(|address| format!("\"{address}\"")).collect();
        let route = "{ uri: /*, upstream: { nodes: { \"builtin:echo\": 1 } } }";
        let text = format!("listen: [{}]\nworkers: 2\nroutes: [{route}]", listen.join(", "));
        Config::parse(&text, Path::new("")).unwrap()
    };
    let (stays, goes, comes) = (free(), free(), free());
    let server = Server::start(Settings::new(text(&[stays, goes]), None)).unwrap();
    let reloader = server.reloader();
    let mut open = Client::connect(goes);
    assert_eq!(open.get("/").status, 200);
    assert!(TcpStream::connect(comes).is_err());
    reloader.reload(text(&[comes, stays]), None).unwrap();
    assert_eq!(reloader.addresses(), [comes, stays]);
    for address in [comes, stays] {
        assert_eq!(Client::connect(address).get("/").status, 200);
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(goes).is_ok() {
        assert!(Instant::now() < deadline, "still listening");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(open.get("/").status, 200, "connections outlive their listener");
    // And back.
    reloader.reload(text(&[goes, stays]), None).unwrap();
    assert_eq!(Client::connect(goes).get("/").status, 200);
}

fn a_server_that_drains_is_not_ready_and_takes_no_configuration() {
    let upstream = Upstream::start(|mut connection| {
        connection.request();
        thread::sleep(Duration::from_secs(1));
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let text = format!(
        "listen: [127.0.0.1:0]\nworkers: 1\nroutes: [{{ uri: /*, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]",
        upstream.address
    );
    let config = || Config::parse(&text, Path::new("")).unwrap();
    let server = Server::start(Settings::new(config(), None)).unwrap();
    let (reloader, address) = (server.reloader(), server.addresses()[0]);
    assert!(reloader.is_ready());
    let mut client = Client::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    thread::sleep(Duration::from_millis(100));
    let serving = thread::spawn(move || server.run());
    thread::sleep(Duration::from_millis(100));
    reloader.quit();
    thread::sleep(Duration::from_millis(200));
    assert!(!reloader.is_ready());
    assert!(matches!(reloader.reload(config(), None), Err(ReloadError::Ending)));
    assert_eq!(client.response("GET").text(), "ok");
    serving.join().unwrap().unwrap();
    assert!(!reloader.is_ready());
    // At once, whatever runs.
    let server = Server::start(Settings::new(config(), None)).unwrap();
    let (reloader, address) = (server.reloader(), server.addresses()[0]);
    let mut client = Client::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    thread::sleep(Duration::from_millis(100));
    let (serving, begin) = (thread::spawn(move || server.run()), Instant::now());
    reloader.stop();
    serving.join().unwrap().unwrap();
    assert!(begin.elapsed() < Duration::from_millis(800) && client.is_closed());
}
