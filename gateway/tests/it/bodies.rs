//! Bodies on their way through plugins: changed, looked at, untouched.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::client::Client;
use crate::upstream::{Request, Upstream};
use crate::{Gateway, SCRIPT};

cases! {
    each_engine: [
        bodies_are_rewritten_both_ways,
        trailers_that_a_plugin_adds_are_sent_where_the_head_can_announce_them,
        what_is_not_looked_at_passes_untouched,
        a_length_that_became_wrong_is_never_told,
        bodies_stream_through_plugins_that_continue,
        a_body_that_is_held_goes_on_whole,
        plugins_see_the_pieces_and_the_end,
        an_upstream_that_reads_slowly_slows_the_client,
        a_client_that_reads_slowly_slows_the_upstream,
        a_body_that_is_too_large_to_be_held_is_refused,
    ]
}

/// `size` bytes, with a cat in each KiB and at both ends.
fn cats(size: usize) -> Vec<u8> {
    let mut body: Vec<u8> = (0..size).map(|n| b"xyz \xff\0\n"[n % 7]).collect();
    for at in (0..size.saturating_sub(2)).step_by(1024).chain(size.checked_sub(3)) {
        body[at..at + 3].copy_from_slice(b"cat");
    }
    body
}

fn rewritten(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(first) = rest.first() {
        let (piece, length): (&[u8], _) = if rest.starts_with(b"cat") { (b"horse", 3) } else { (&[*first], 1) };
        out.extend_from_slice(piece);
        rest = &rest[length..];
    }
    out
}

/// `POST /framing/size`: framed and sized so.
fn request(framing: &str, size: usize) -> Vec<u8> {
    let head = format!("POST /{framing}/{size} HTTP/1.1\r\nHost: test\r\nTE: trailers\r\n");
    [head.into_bytes(), framed(framing, size)].concat()
}

/// A message from its framing fields on.
fn framed(framing: &str, size: usize) -> Vec<u8> {
    let body = cats(size);
    if framing == "sized" {
        return [format!("Content-Length: {size}\r\n\r\n").as_bytes(), &body].concat();
    }
    let mut message = b"Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(1000) {
        message.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    message.extend(match framing {
        "trailers" => &b"0\r\nX-Sum: 7\r\n\r\n"[..],
        _ => b"0\r\n\r\n",
    });
    message
}

/// Answers as it was asked.
fn mirror() -> Upstream {
    Upstream::start(|mut connection| {
        while let Some(request) = connection.request() {
            let path: Vec<_> = request.line.split('/').collect();
            connection.send("HTTP/1.1 200 OK\r\n");
            connection.send(framed(path[1], path[2].parse().unwrap()));
        }
    })
}

const SIZES: [usize; 5] = [0, 1, 3000, 70_000, 1 << 20];

fn bodies_are_rewritten_both_ways(engine: &str) {
    let upstream = mirror();
    let plugin = "file: rust/body-rewrite.wasm, limits: { deadline: 1s }";
    let gateway = Gateway::through(engine, plugin, "\"cat=>horse\"", upstream.address);
    let mut client = Client::connect(gateway.address);
    for framing in ["sized", "chunked", "trailers"] {
        for size in SIZES {
            client.send(request(framing, size));
            let response = client.response("POST");
            let expected = rewritten(&cats(size));
            assert!(response.complete && response.body == expected, "{framing} {size}: {}", response.body.len());
            let request: Request = upstream.requests().pop().unwrap();
            assert!(request.body == expected, "{framing} {size}: {}", request.body.len());
            let trailers = if framing == "trailers" { vec![("x-sum".to_owned(), "7".to_owned())] } else { vec![] };
            assert_eq!((&request.trailers, &response.trailers), (&trailers, &trailers), "{framing} {size}");
            // The length is told where the whole body was seen before its head had to go.
            let length = Some(expected.len().to_string()).filter(|_| framing == "sized" && size <= 64 << 10);
            assert_eq!(request.header("content-length"), length.as_deref(), "{framing} {size}");
            assert_eq!(response.header("content-length"), length.as_deref(), "{framing} {size}");
        }
    }
    assert_eq!(upstream.connections(), 1);
    assert!(gateway.sink.lines().is_empty(), "{:?}", gateway.sink.lines());
}

fn trailers_that_a_plugin_adds_are_sent_where_the_head_can_announce_them(engine: &str) {
    let upstream = mirror();
    let plugin = "file: ../gateway/tests/guests/trailers.wat, limits: { deadline: 1s }";
    let gateway = Gateway::through(engine, plugin, "", upstream.address);
    let mut client = Client::connect(gateway.address);
    for framing in ["sized", "chunked"] {
        for size in [1, 3000, 70_000] {
            client.send(request(framing, size));
            let response = client.response("POST");
            let request = upstream.requests().pop().unwrap();
            assert!(response.complete && response.body == cats(size), "{framing} {size}");
            assert!(request.body == cats(size), "{framing} {size}");
            // A head that has left before the end of the body is seen cannot announce them; whether one of a body in
            // chunks has is a matter of time.
            let added = [("x-sum".to_owned(), "7".to_owned())];
            for trailers in [request.trailers, response.trailers] {
                let is_sent = trailers == added;
                assert!(is_sent || trailers.is_empty(), "{framing} {size}: {trailers:?}");
                assert!(framing == "chunked" || is_sent == (size <= 64 << 10), "{size}: {trailers:?}");
            }
        }
    }
    assert_eq!(upstream.connections(), 1);
}

fn what_is_not_looked_at_passes_untouched(engine: &str) {
    let upstream = mirror();
    for (plugin, conf) in [("file: wat/local-response.wat", ""), (SCRIPT, ""), ("file: rust/body-rewrite.wasm", "")] {
        let gateway = Gateway::through(engine, plugin, conf, upstream.address);
        let mut client = Client::connect(gateway.address);
        for framing in ["sized", "chunked", "trailers"] {
            for size in SIZES {
                client.send(request(framing, size));
                let response = client.response("POST");
                let request = upstream.requests().pop().unwrap();
                let expected = cats(size);
                assert!(response.complete && response.body == expected, "{plugin} {framing} {size}");
                assert!(request.body == expected, "{plugin} {framing} {size}");
                let trailers = usize::from(framing == "trailers");
                assert_eq!((request.trailers.len(), response.trailers.len()), (trailers, trailers), "{plugin} {size}");
                let length = Some(size.to_string()).filter(|_| framing == "sized");
                assert_eq!(request.header("content-length"), length.as_deref(), "{plugin} {framing} {size}");
                assert_eq!(response.header("content-length"), length.as_deref(), "{plugin} {framing} {size}");
            }
        }
    }
}

/// By a plugin that leaves `content-length` as it is.
fn a_length_that_became_wrong_is_never_told(engine: &str) {
    let upstream = mirror();
    let gateway = Gateway::through(engine, SCRIPT, "", upstream.address);
    let ask = |act: &str, framing: &str, size: usize| {
        let request = String::from_utf8_lossy(&request(framing, 0)).replace("/0 ", &format!("/{size} "));
        let mut client = Client::connect(gateway.address);
        client.send(request.replace("Host", &format!("X-Act: {act}\r\nHost")));
        client.response("POST")
    };
    for (act, change) in [("....x", 1), ("....d", -3000_isize)] {
        for (framing, size, complete) in
            [("sized", 3000, true), ("sized", 500_000, false), ("chunked", 3000, true), ("chunked", 500_000, true)]
        {
            let response = ask(act, framing, size);
            assert_eq!((response.status, response.complete), (200, complete), "{act} {framing} {size}");
            if size == 3000 {
                let length = 3000_usize.checked_add_signed(change).unwrap();
                assert_eq!(response.body.len(), length, "{act} {framing}");
                assert_eq!(response.header("content-length").is_some(), framing == "sized");
            }
        }
    }
    // The upstream gets as many bytes as it was told, or is told nothing, or sees that it breaks off.
    for (act, size, status) in [(".x", 3000, 200), (".d", 3000, 200), (".x", 500_000, 502), (".d", 500_000, 502)] {
        let before = upstream.requests().len();
        let text = request("sized", size);
        let head = format!("POST /sized/1 HTTP/1.1\r\nHost: test\r\nX-Act: {act}\r\nContent-Length: {size}\r\n\r\n");
        let mut client = Client::connect(gateway.address);
        client.send([head.as_bytes(), &text[text.len() - size..]].concat());
        assert_eq!(client.response("POST").status, status, "{act} {size}");
        assert_eq!(upstream.requests().len(), before + usize::from(status == 200), "{act} {size}");
    }
}

fn bodies_stream_through_plugins_that_continue(engine: &str) {
    // Each piece is sent only when the one before it was answered by a piece of response.
    let upstream = Upstream::start(|mut connection| {
        connection.head();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for n in 0..5 {
            assert_eq!(connection.line().unwrap(), "5");
            assert_eq!(connection.line().unwrap(), format!("part{n}"));
            connection.send(format!("4\r\nack{n}\r\n"));
        }
        assert_eq!(connection.line().unwrap(), "0");
        connection.send("0\r\n\r\n");
    });
    for plugin in ["file: wat/local-response.wat", SCRIPT] {
        let gateway = Gateway::through(engine, plugin, "", upstream.address);
        let mut client = Client::connect(gateway.address);
        client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\npart0\r\n");
        while !client.line().unwrap().is_empty() {}
        for n in 0..5 {
            if n > 0 {
                client.send(format!("5\r\npart{n}\r\n"));
            }
            assert_eq!(
                (client.line().unwrap(), client.line().unwrap()),
                ("4".to_owned(), format!("ack{n}")),
                "{plugin}"
            );
        }
        client.send("0\r\n\r\n");
        assert_eq!(client.line().unwrap(), "0", "{plugin}");
    }
}

fn a_body_that_is_held_goes_on_whole(engine: &str) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let upstream = Upstream::start(move |mut connection| {
        connection.head();
        tell.lock().unwrap().send(connection.line()).unwrap();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\non\r\n");
        thread::sleep(Duration::from_millis(200));
        connection.send("2\r\ne!\r\n0\r\n\r\n");
    });
    // The limit counts from the last piece, so that a slow client is not one that a plugin holds.
    let plugin = format!("{SCRIPT}, limits: {{ pause: 400ms }}");
    let gateway = Gateway::through(engine, &plugin, "", upstream.address);
    let mut client = Client::connect(gateway.address);
    client.send("POST / HTTP/1.1\r\nHost: test\r\nX-Act: .e..e\r\nTransfer-Encoding: chunked\r\n\r\n");
    for n in 0..8 {
        client.send(format!("5\r\npart{n}\r\n"));
        thread::sleep(Duration::from_millis(100));
    }
    assert!(told.try_recv().is_err(), "a part of a body that is held has arrived");
    client.send("0\r\n\r\n");
    // 8 parts of 5 bytes, in one piece or several: the first is there only now.
    assert!(told.recv_timeout(Duration::from_secs(5)).unwrap().is_some());
    let response = client.response("POST");
    assert_eq!((response.status, response.text(), response.complete), (200, "one!", true));
}

fn plugins_see_the_pieces_and_the_end(engine: &str) {
    let upstream = mirror();
    let gateway = Gateway::through(engine, SCRIPT, "", upstream.address);
    let end = ["done=1", "log=1", "delete=1"];
    for (framing, size, expected) in [
        ("sized", 0, vec!["request_headers=1", "response_headers=1"]),
        ("sized", 1, vec!["request_headers=0", "request_body=1", "response_headers=0", "response_body=1"]),
        ("chunked", 0, vec!["request_headers=0", "request_body=1", "response_headers=0", "response_body=1"]),
        ("trailers", 0, vec!["request_headers=0", "request_trailers=1", "response_headers=0", "response_trailers=1"]),
    ] {
        gateway.sink.clear();
        let mut client = Client::connect(gateway.address);
        client.send(request(framing, size));
        assert_eq!(client.response("POST").status, 200);
        assert_eq!(gateway.sink.story(), [&expected[..], &end].concat(), "{framing} {size}");
    }
    // With trailers, the end of the body is not its last piece.
    gateway.sink.clear();
    let mut client = Client::connect(gateway.address);
    client.send(request("trailers", 5000));
    assert_eq!(client.response("POST").status, 200);
    let story = gateway.sink.story();
    assert!(!story.contains(&"request_body=1".to_owned()), "{story:?}");
    for direction in ["request", "response"] {
        let of = |what: &str| story.iter().filter(|line| **line == format!("{direction}_{what}")).count();
        assert!(of("body=0") >= 1 && of("body=1") == 0 && of("trailers=1") == 1, "{story:?}");
    }
}

fn an_upstream_that_reads_slowly_slows_the_client(engine: &str) {
    for plugin in ["file: wat/local-response.wat", SCRIPT] {
        let upstream = Upstream::start(|mut connection| {
            connection.head();
            thread::sleep(Duration::from_secs(5));
        });
        let gateway = Gateway::through(engine, plugin, "", upstream.address);
        let mut client = Client::connect(gateway.address);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
        let mut sender = client.socket().try_clone().unwrap();
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = sent.clone();
        let sending = thread::spawn(move || {
            while let Ok(count) = sender.write(&[b'x'; 65536]) {
                if counter.fetch_add(count, Ordering::SeqCst) > 100_000_000 {
                    break;
                }
            }
        });
        thread::sleep(Duration::from_millis(200));
        // What was taken of the client sits in buffers of sockets; the gateway holds next to nothing.
        let before = sent.load(Ordering::SeqCst);
        assert!(before > 0 && before < 30_000_000, "{plugin}: {before}");
        assert_eq!(client.response("POST").status, 504, "{plugin}");
        assert!(client.is_closed());
        drop(client);
        sending.join().unwrap();
    }
}

fn a_client_that_reads_slowly_slows_the_upstream(engine: &str) {
    for plugin in ["file: wat/local-response.wat", SCRIPT] {
        let (tell, told) = mpsc::channel();
        let tell = Mutex::new(tell);
        let upstream = Upstream::start(move |mut connection| {
            connection.request();
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
            let mut sent = 0;
            connection.stream.get_ref().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            while let Ok(count) = connection.stream.get_mut().write(&[b'x'; 65536]) {
                sent += count;
            }
            tell.lock().unwrap().send(sent).unwrap();
        });
        let gateway = Gateway::through(engine, plugin, "", upstream.address);
        let mut client = Client::connect(gateway.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let sent = told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(sent < 30_000_000, "{plugin}: {sent}");
        assert_eq!(client.line().unwrap(), "HTTP/1.1 200 OK");
    }
}

fn a_body_that_is_too_large_to_be_held_is_refused(engine: &str) {
    let upstream = Upstream::start(|mut connection| {
        while let Some(request) = connection.request() {
            if request.line != "GET /" {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                continue;
            }
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for _ in 0..17 {
                connection.send([b"100000\r\n", &[b'x'; 1 << 20][..], b"\r\n"].concat());
            }
            connection.send("0\r\n\r\n");
        }
    });
    let gateway = Gateway::through(engine, SCRIPT, "", upstream.address);
    // Held by the plugin that is shown the body, or behind headers that it paused.
    for act in [".e", "p.", "pp"] {
        let mut client = Client::connect(gateway.address);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nX-Act: {act}\r\nTransfer-Encoding: chunked\r\n\r\n"));
        let mut sender = client.socket().try_clone().unwrap();
        let sending = thread::spawn(move || {
            let chunk = [b"100000\r\n", &[b'x'; 1 << 20][..], b"\r\n"].concat();
            let _ = (0..40).try_for_each(|_| sender.write_all(&chunk));
        });
        assert_eq!(client.response("POST").status, 413, "{act}");
        drop(client);
        sending.join().unwrap();
    }
    for act in ["...p.", "...pp"] {
        let mut client = Client::connect(gateway.address);
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Act: {act}\r\n\r\n"));
        assert_eq!(client.response("GET").status, 502, "{act}");
        assert_eq!(client.get("/none").status, 200);
    }
}
