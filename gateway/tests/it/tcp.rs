//! TCP streams.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use chassis_gateway::config::Config;
use chassis_gateway::{Server, Settings};

use crate::settings;
use crate::sink::Sink;

cases! {
    each_engine: [
        a_plugin_guards_a_protocol_of_lines,
        a_connection_that_is_held_is_reset_at_the_limit,
    ]
    once: [
        bytes_pass_both_ways_and_each_end_by_itself,
        who_does_not_read_slows_the_sender,
        the_first_route_that_fits_is_taken,
        an_upstream_that_is_not_there_resets_the_client,
        a_connection_that_breaks_is_no_end,
        silence_ends_a_stream,
    ]
}

/// A gateway for streams, shut down when it is dropped.
struct Streams {
    server: Option<Server>,
    sink: Arc<Sink>,
}

impl Streams {
    fn start(settings: Settings, sink: Arc<Sink>) -> Self {
        Streams { server: Some(Server::start(settings).unwrap()), sink }
    }

    fn routes(routes: &str) -> Self {
        let text = text("[]", routes);
        Self::start(Settings::new(Config::parse(&text, Path::new("test.yaml")).unwrap(), None), Arc::default())
    }

    fn through(engine: &str, plugin: &str, conf: &str, node: SocketAddr) -> Self {
        let routes =
            format!("[{{ plugins: {{ tested: {{ conf: {conf} }} }}, upstream: {{ nodes: {{ \"{node}\": 1 }} }} }}]");
        let (settings, sink) = settings(engine, &text(&format!("[{{ name: tested, {plugin} }}]"), &routes)).unwrap();
        Self::start(settings, sink)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.as_ref().unwrap().stream_addresses()[0]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        // Connections of a test that failed are not waited for.
        drop(self.server.take());
    }
}

fn text(plugins: &str, routes: &str) -> String {
    format!(
        "listen: [127.0.0.1:0]\nworkers: 1\nstream_proxy: {{ tcp: [127.0.0.2:0] }}\nwasm: {{ plugins: {plugins} }}\nstream_routes: {routes}\n"
    )
}

fn to(node: SocketAddr, more: &str) -> String {
    format!("[{{ upstream: {{ nodes: {{ \"{node}\": 1 }}{more} }} }}]")
}

/// Does this with each connection.
fn upstream(behave: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let behave = Arc::new(behave);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let behave = behave.clone();
            thread::spawn(move || behave(stream.unwrap()));
        }
    });
    address
}

/// Sends back what comes, and its end.
fn echo() -> SocketAddr {
    upstream(|mut stream| {
        let mut other = stream.try_clone().unwrap();
        let _ = std::io::copy(&mut stream, &mut other);
        let _ = other.shutdown(Shutdown::Write);
    })
}

/// What comes until the end; `None` if there is none, but a reset.
fn rest(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        Err(error) => panic!("{error}"),
    }
}

fn bytes_pass_both_ways_and_each_end_by_itself() {
    let streams = Streams::routes(&to(echo(), ""));
    let mut client = streams.connect();
    client.write_all(b"ping").unwrap();
    let mut got = [0; 4];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"ping");
    // More than all buffers, and then the end of one direction.
    let sent: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut sender = client.try_clone().unwrap();
    let expected = sent.clone();
    let sending = thread::spawn(move || {
        sender.write_all(&sent).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let got = rest(&mut client).unwrap();
    sending.join().unwrap();
    assert!(got == expected, "{} bytes came back of {}", got.len(), expected.len());
    // The upstream may end first.
    let (heard, hears) = mpsc::channel();
    let says_bye = upstream(move |mut stream| {
        stream.write_all(b"bye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut got = String::new();
        stream.read_to_string(&mut got).unwrap();
        heard.send(got).unwrap();
    });
    let streams = Streams::routes(&to(says_bye, ""));
    let mut client = streams.connect();
    assert_eq!(rest(&mut client).unwrap(), b"bye");
    client.write_all(b"later").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(hears.recv_timeout(Duration::from_secs(10)).unwrap(), "later");
}

fn who_does_not_read_slows_the_sender() {
    let node = upstream(|stream| {
        thread::sleep(Duration::from_secs(20));
        drop(stream);
    });
    let streams = Streams::routes(&to(node, ""));
    let mut client = streams.connect();
    client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let (piece, mut sent) = ([7; 64 << 10], 0_usize);
    while let Ok(count) = client.write(&piece) {
        sent += count;
        assert!(sent < 256 << 20, "nothing slows it");
    }
}

fn the_first_route_that_fits_is_taken() {
    let says = |word: &'static str| upstream(move |mut stream| stream.write_all(word.as_bytes()).unwrap());
    let node = |word| format!("upstream: {{ nodes: {{ \"{}\": 1 }} }}", says(word));
    for (first, expected) in [
        ("remote_addr: 127.0.0.0/8", Some("one")),
        ("remote_addr: 10.0.0.0/8", Some("two")),
        ("server_addr: 127.0.0.2", Some("one")),
        ("server_addr: 127.0.0.1", Some("two")),
        ("server_port: 1", Some("two")),
    ] {
        let streams = Streams::routes(&format!("[{{ {first}, {} }}, {{ {} }}]", node("one"), node("two")));
        let got = rest(&mut streams.connect()).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(got.as_deref(), expected, "{first}");
    }
    let streams = Streams::routes(&format!("[{{ server_port: 1, {} }}]", node("none")));
    assert_eq!(rest(&mut streams.connect()).unwrap_or_default(), b"");
}

fn an_upstream_that_is_not_there_resets_the_client() {
    let nobody = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let streams = Streams::routes(&to(nobody(), ""));
    assert_eq!(rest(&mut streams.connect()), None);
    // Another node is tried.
    let good = upstream(|mut stream| stream.write_all(b"ok").unwrap());
    let nodes = format!("\"{}\": 1, \"{good}\": 1", nobody());
    let streams = Streams::routes(&format!("[{{ upstream: {{ nodes: {{ {nodes} }} }} }}]"));
    for _ in 0..4 {
        assert_eq!(rest(&mut streams.connect()).unwrap(), b"ok");
    }
}

fn a_connection_that_breaks_is_no_end() {
    let node = upstream(|mut stream| {
        let mut got = [0; 1];
        stream.read_exact(&mut got).unwrap();
        // What it has not read makes its system reset the connection.
    });
    let streams = Streams::routes(&to(node, ""));
    let mut client = streams.connect();
    client.write_all(&[0; 1000]).unwrap();
    assert_eq!(rest(&mut client), None);
}

fn silence_ends_a_stream() {
    let streams = Streams::routes(&to(echo(), ", timeout: { read: 300ms, send: 200ms }"));
    let mut client = streams.connect();
    let begin = Instant::now();
    for _ in 0..4 {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(rest(&mut client), None);
    assert!(begin.elapsed() >= Duration::from_millis(600), "{:?}", begin.elapsed());
}

fn a_plugin_guards_a_protocol_of_lines(engine: &str) {
    let conf = "{ refuse: QUIT, banner: \"hello \" }";
    let streams =
        Streams::through(engine, "file: go/tcp.wasm, limits: { deadline: 2s, start_deadline: 30s }", conf, echo());
    let mut client = streams.connect();
    client.write_all(b"fir").unwrap();
    thread::sleep(Duration::from_millis(100));
    client.write_all(b"st\nsecond\n").unwrap();
    let mut got = [0; 19];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello first\nsecond\n");
    client.write_all(b"QUIT\n").unwrap();
    assert_eq!(rest(&mut client).unwrap_or_default(), b"");
    // One that ends by itself.
    let mut client = streams.connect();
    client.write_all(b"last").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client).unwrap(), b"hello last");
    let begin = Instant::now();
    for line in [
        "connection from 127.0.0.1:",
        "refused: QUIT",
        "the client's connection was closed by the other end",
        "13 bytes to the upstream",
        "4 bytes to the upstream",
    ] {
        while !streams.sink.lines().iter().any(|logged| logged.message.contains(line)) {
            assert!(begin.elapsed() < Duration::from_secs(10), "{line}: {:?}", streams.sink.lines());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn a_connection_that_is_held_is_reset_at_the_limit(engine: &str) {
    let plugin = "file: ../gateway/tests/guests/hold-connection.wat, limits: { pause: 300ms }";
    let streams = Streams::through(engine, plugin, "\"\"", echo());
    let mut client = streams.connect();
    let begin = Instant::now();
    client.write_all(b"x").unwrap();
    assert_eq!(rest(&mut client), None);
    assert!(begin.elapsed() >= Duration::from_millis(300));
}
