//! Starting, draining, many connections.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chassis_abi::{LogLevel, Services};
use chassis_engine_api::Profile;
use chassis_engine_api::compile::CompilePolicy;
use chassis_gateway::config::Config;
use chassis_gateway::plugins::Plugins;
use chassis_gateway::{ServeError, Server, Settings};
use chassis_host::{HostServices, LogLine, LogSink, Reason};

use crate::client::Client;
use crate::upstream::Upstream;
use crate::{Gateway, SCRIPT, config, settings_with};

cases! {
    each_engine: [
        a_worker_that_panics_while_it_starts_is_an_error,
        a_worker_whose_task_panics_ends_and_that_is_an_error,
    ]
    once: [
        an_address_in_use_is_an_error_that_names_it,
        draining_ends_what_runs_and_takes_what_waits,
        the_drain_limit_ends_what_does_not_end,
        many_clients_on_several_workers,
    ]
}

fn an_address_in_use_is_an_error_that_names_it() {
    let gateway = Gateway::to("builtin:echo");
    let text = format!("listen: [{}]", gateway.address);
    let error = Server::start(Settings::new(Config::parse(&text, Path::new("")).unwrap(), None)).unwrap_err();
    assert!(matches!(&error, ServeError::Listen { address, .. } if *address == gateway.address));
    assert!(error.to_string().starts_with(&format!("cannot listen on {}: ", gateway.address)), "{error}");
}

fn draining_ends_what_runs_and_takes_what_waits() {
    let upstream = Upstream::start(|mut connection| {
        while connection.request().is_some() {
            thread::sleep(Duration::from_millis(400));
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let mut gateway = Gateway::to(upstream.address);
    let (mut running, mut idle, mut silent) =
        (Client::connect(gateway.address), Client::connect(gateway.address), Client::connect(gateway.address));
    assert_eq!(idle.get("/").status, 200);
    running.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    thread::sleep(Duration::from_millis(100));
    let server = gateway.server.take().unwrap();
    let address = gateway.address;
    let started = Instant::now();
    let shutting = thread::spawn(move || server.shut_down());
    thread::sleep(Duration::from_millis(100));
    assert!(TcpStream::connect(address).is_err(), "still listening");
    assert!(idle.is_closed());
    // A connection from before, whose first request comes now.
    silent.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = running.response("GET");
    assert_eq!((response.text(), response.header("connection")), ("ok", Some("close")));
    assert_eq!(silent.response("GET").text(), "ok");
    shutting.join().unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(3));
}

fn the_drain_limit_ends_what_does_not_end() {
    let upstream = Upstream::start(|mut connection| {
        connection.request();
        thread::sleep(Duration::from_secs(10));
    });
    let mut gateway = Gateway::with(
        &format!("[{{ uri: /*, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]", upstream.address),
        |settings| settings.drain = Duration::from_millis(300),
    );
    let mut client = Client::connect(gateway.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    thread::sleep(Duration::from_millis(100));
    let started = Instant::now();
    gateway.server.take().unwrap().shut_down().unwrap();
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(2), "{took:?}");
    assert!(client.is_closed());
}

fn many_clients_on_several_workers() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let text = format!(
        "listen: [127.0.0.1:0]\nworkers: 4\nroutes: [{{ uri: /*, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]",
        upstream.address
    );
    let server = Server::start(Settings::new(Config::parse(&text, Path::new("")).unwrap(), None)).unwrap();
    let address = server.addresses()[0];
    let clients: Vec<_> = (0..50)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Client::connect(address);
                (0..20).filter(|_| client.get("/").text() == "ok").count()
            })
        })
        .collect();
    let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!((answered, upstream.requests().len()), (1000, 1000));
    server.shut_down().unwrap();
}

fn a_worker_that_panics_while_it_starts_is_an_error(engine: &str) {
    let routes = "[{ uri: /*, plugins: { a: }, upstream: { nodes: { \"builtin:echo\": 1 } } }]";
    let text = config(&format!("[{{ name: a, {SCRIPT} }}]"), routes).replace("workers: 1", "workers: 3");
    let made = Arc::new(AtomicUsize::new(0));
    let (settings, _sink) = settings_with(engine, &text, {
        let made = made.clone();
        move |services| {
            let on_worker = thread::current().name().is_some_and(|name| name.starts_with("chassis-worker"));
            assert!(!on_worker || made.fetch_add(1, Ordering::SeqCst) != 1, "on purpose");
            services
        }
    })
    .unwrap();
    assert!(matches!(Server::start(settings), Err(ServeError::WorkerEnded)));
}

/// Panics where a crash is told, which is outside of what a guest's entry catches.
struct Trapdoor;

impl LogSink for Trapdoor {
    fn log(&self, line: &LogLine<'_>) {
        assert_ne!(line.reason, Reason::Crash, "on purpose");
    }
}

fn a_worker_whose_task_panics_ends_and_that_is_an_error(engine: &str) {
    let routes = "[{ uri: /*, plugins: { a: }, upstream: { nodes: { \"builtin:echo\": 1 } } }]";
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/test.yaml"));
    let load = || {
        let config = Config::parse(&config(&format!("[{{ name: a, {SCRIPT} }}]"), routes), file).unwrap();
        let open = |_: Option<&str>| chassis_engines::open(engine, Profile::Deadline).map_err(|error| error.into());
        let services =
            Arc::new(|| Box::new(HostServices::new(Arc::new(Trapdoor), LogLevel::Trace)) as Box<dyn Services>);
        let policy = CompilePolicy::InProcess;
        let plugins = Plugins::load(&config, file, &open, &policy, services, Arc::new(Trapdoor)).unwrap();
        let gateway = Gateway::start(Settings::new(config, Some(plugins)), Arc::default()).unwrap();
        (Client::connect(gateway.address), gateway)
    };
    for draining in [false, true] {
        let (mut client, mut gateway) = load();
        let server = gateway.server.take().unwrap();
        let send = |client: &mut Client| {
            // The trap is met when the stream is closed, which is the work of a task beside the requests.
            client.send("GET / HTTP/1.1\r\nHost: test\r\nX-Act: ......t\r\n\r\n");
        };
        let begin = Instant::now();
        if draining {
            let mut stays = Client::connect(gateway.address);
            stays.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhello");
            thread::sleep(Duration::from_millis(200));
            let shutting = thread::spawn(move || server.shut_down());
            thread::sleep(Duration::from_millis(200));
            send(&mut client);
            let ended = shutting.join().unwrap();
            assert!(matches!(ended, Err(ServeError::WorkerEnded)), "{ended:?}");
            assert!(stays.is_closed());
        } else {
            send(&mut client);
            assert_eq!(client.response("GET").status, 200);
            // It serves nobody any more, instead of some.
            while TcpStream::connect(gateway.address).is_ok() {
                assert!(begin.elapsed() < Duration::from_secs(10), "still listening");
                thread::sleep(Duration::from_millis(20));
            }
            let ended = server.shut_down();
            assert!(matches!(ended, Err(ServeError::WorkerEnded)), "{ended:?}");
        }
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}
