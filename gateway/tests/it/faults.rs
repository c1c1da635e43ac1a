//! Upstreams and clients that fail.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::Gateway;
use crate::client::Client;
use crate::upstream::Upstream;

cases! {
    once: [
        an_upstream_that_is_down_is_502,
        answers_that_are_none_are_502,
        a_response_may_have_100_fields,
        an_upstream_that_takes_too_long_is_504,
        an_upstream_that_accepts_no_connection_is_504,
        an_upstream_that_does_not_take_the_body_is_504,
        a_body_that_breaks_off_never_looks_complete,
        a_waiting_connection_that_was_closed_is_replaced,
        what_a_waiting_connection_swallowed_is_sent_again_only_if_that_is_safe,
        an_answer_before_the_end_of_the_request_is_no_deadlock,
        a_client_that_leaves_ends_its_request_at_the_upstream,
        a_client_that_reads_slowly_slows_the_upstream,
        a_request_that_breaks_off_is_the_clients_fault,
        an_upstream_that_has_answered_gets_no_more_of_the_request,
    ]
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A gateway whose upstream has 300 ms for everything.
fn impatient(upstream: impl std::fmt::Display) -> Gateway {
    let timeout = "{ connect: 300ms, send: 300ms, read: 300ms }";
    Gateway::routes(&format!("[{{ uri: /*, upstream: {{ nodes: {{ \"{upstream}\": 1 }}, timeout: {timeout} }} }}]"))
}

fn an_upstream_that_is_down_is_502() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::to(address);
    let mut client = Client::connect(gateway.address);
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.status, response.text()), (502, "{\"error_msg\":\"502 Bad Gateway\"}\n"));
    }
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response("POST").status, 502);
}

fn answers_that_are_none_are_502() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(101));
    for bytes in [
        "",
        "garbage\r\n\r\n",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Length: 5",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 99999 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: GZIP\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        &long,
        &many,
    ] {
        let answer = bytes.to_owned();
        let upstream = Upstream::start(move |mut connection| {
            if connection.request().is_some() {
                connection.send(&answer);
            }
        });
        let gateway = impatient(upstream.address);
        let mut client = Client::connect(gateway.address);
        let shown = &bytes[..bytes.len().min(60)];
        assert_eq!(client.get("/").status, 502, "{shown:?}");
        assert_eq!(upstream.requests().len(), 1, "{shown:?}");
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(client.response("POST").status, 502, "{shown:?}");
    }
}

fn a_response_may_have_100_fields() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n", "X: y\r\n".repeat(99));
    let upstream = Upstream::start(move |mut connection| {
        while connection.request().is_some() {
            connection.send(&head);
        }
    });
    let response = Client::connect(Gateway::to(upstream.address).address).get("/");
    assert_eq!((response.status, response.headers.iter().filter(|(name, _)| name == "x").count()), (200, 99));
}

fn an_upstream_that_takes_too_long_is_504() {
    let silent = Upstream::start(|mut connection| {
        connection.request();
        thread::sleep(Duration::from_secs(5));
    });
    let drip = Upstream::start(|mut connection| {
        connection.request();
        for byte in "HTTP/1.1 200 OK\r\nX: ".bytes().chain(std::iter::repeat_n(b'x', 40)) {
            connection.send([byte]);
            thread::sleep(Duration::from_millis(50));
        }
    });
    let informs = Upstream::start(|mut connection| {
        connection.request();
        for _ in 0..200 {
            connection.send("HTTP/1.1 102 Processing\r\n\r\n");
            thread::sleep(Duration::from_millis(10));
        }
    });
    for upstream in [silent, drip, informs] {
        let gateway = impatient(upstream.address);
        let mut client = Client::connect(gateway.address);
        let started = Instant::now();
        assert_eq!(client.get("/").status, 504);
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(290) && took < Duration::from_millis(1500), "{took:?}");
    }
}

fn an_upstream_that_accepts_no_connection_is_504() {
    // A socket whose queue is full drops what comes next.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let fill: Vec<_> =
        (0..4).map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200))).collect();
    assert!(fill.iter().any(Result::is_err), "the queue is not full");
    let gateway = impatient(address);
    let started = Instant::now();
    assert_eq!(Client::connect(gateway.address).get("/").status, 504);
    assert!(started.elapsed() < Duration::from_millis(1500));
}

fn an_upstream_that_does_not_take_the_body_is_504() {
    let upstream = Upstream::start(|mut connection| {
        connection.head();
        thread::sleep(Duration::from_secs(5));
    });
    let gateway = impatient(upstream.address);
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
    assert!(before > 0 && before < 30_000_000, "{before}");
    assert_eq!(client.response("POST").status, 504);
    assert!(client.is_closed());
    drop(client);
    sending.join().unwrap();
}

fn a_body_that_breaks_off_never_looks_complete() {
    for head in ["Content-Length: 10000", "Transfer-Encoding: chunked"] {
        for how in ["reset", "close", "stall"] {
            let upstream = Upstream::start(move |mut connection| {
                connection.request();
                connection.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n1f\r\n{}\r\n", "x".repeat(31)));
                thread::sleep(Duration::from_millis(50));
                match how {
                    "reset" => connection.reset(),
                    "stall" => thread::sleep(Duration::from_secs(5)),
                    _ => {}
                }
            });
            let gateway = impatient(upstream.address);
            let mut client = Client::connect(gateway.address);
            let response = client.get("/");
            assert_eq!((response.status, response.complete), (200, false), "{head} {how}");
            assert!(client.is_closed(), "{head} {how}");
        }
    }
}

fn a_waiting_connection_that_was_closed_is_replaced() {
    // Each connection answers once, and is closed a little later.
    let upstream = Upstream::start(|mut connection| {
        connection.request();
        connection.send(OK);
        thread::sleep(Duration::from_millis(20));
    });
    let gateway = Gateway::to(upstream.address);
    let mut client = Client::connect(gateway.address);
    for _ in 0..5 {
        assert_eq!(client.get("/").status, 200);
        thread::sleep(Duration::from_millis(60));
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(client.response("POST").status, 200);
        thread::sleep(Duration::from_millis(60));
    }
    assert_eq!(upstream.requests().len(), 10);
}

fn what_a_waiting_connection_swallowed_is_sent_again_only_if_that_is_safe() {
    // Each connection answers once, takes a second request and closes without an answer.
    let upstream = Upstream::start(|mut connection| {
        connection.request();
        connection.send(OK);
        connection.request();
    });
    let gateway = Gateway::to(upstream.address);
    let mut client = Client::connect(gateway.address);
    assert_eq!(client.get("/1").status, 200);
    assert_eq!(client.get("/2").status, 200);
    client.send("POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response("POST").status, 502);
    client.send("DELETE /4 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response("DELETE").status, 200);
    client.send("DELETE /5 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response("DELETE").status, 502);
    let lines: Vec<_> = upstream.requests().into_iter().map(|request| request.line).collect();
    assert_eq!(lines, ["GET /1", "GET /2", "GET /2", "POST /3", "DELETE /4", "DELETE /5"]);
}

fn an_answer_before_the_end_of_the_request_is_no_deadlock() {
    let upstream = Upstream::start(|mut connection| {
        connection.head();
        connection.send("HTTP/1.1 413 Too Large\r\nContent-Length: 5000000\r\n\r\n");
        connection.send(vec![b'x'; 5_000_000]);
        thread::sleep(Duration::from_millis(500));
    });
    let gateway = Gateway::to(upstream.address);
    let mut client = Client::connect(gateway.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nfirst");
    let response = client.response("POST");
    assert_eq!((response.status, response.body.len(), response.complete), (413, 5_000_000, true));
}

fn a_client_that_leaves_ends_its_request_at_the_upstream() {
    for body_sent in [false, true] {
        let (tell, told) = mpsc::channel();
        let tell = std::sync::Mutex::new(tell);
        let upstream = Upstream::start(move |mut connection| {
            connection.head();
            if body_sent {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
            }
            let closed = connection.is_closed_within(Duration::from_secs(5));
            tell.lock().unwrap().send((closed, Instant::now())).unwrap();
        });
        let gateway = Gateway::to(upstream.address);
        let mut client = Client::connect(gateway.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        thread::sleep(Duration::from_millis(100));
        let left = Instant::now();
        drop(client);
        let (closed, when) = told.recv_timeout(Duration::from_secs(6)).unwrap();
        assert!(closed && when - left < Duration::from_secs(1), "{:?}", when - left);
    }
}

fn a_client_that_reads_slowly_slows_the_upstream() {
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
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
    let gateway = Gateway::to(upstream.address);
    let mut client = Client::connect(gateway.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let sent = told.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(sent < 30_000_000, "{sent}");
    let mut first = [0; 15];
    client.socket().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
}

fn a_request_that_breaks_off_is_the_clients_fault() {
    let upstream = Upstream::start(|mut connection| {
        connection.head();
        let mut rest = Vec::new();
        let _ = connection.stream.read_to_end(&mut rest);
        assert!(!String::from_utf8_lossy(&rest).contains("bad"), "the bad part arrived");
    });
    let gateway = Gateway::with(
        &format!("[{{ uri: /*, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]", upstream.address),
        |settings| settings.client.idle = Duration::from_millis(200),
    );
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, status) in
        [("4\r\ngood\r\nxbad\r\n", 400), ("4\r\ngood\r\n5;bad\nbad", 400), ("4\r\ngood\r\n9\r\nstall", 408)]
    {
        let mut client = Client::connect(gateway.address);
        client.send(format!("{head}{body}"));
        assert_eq!(client.response("POST").status, status, "{body:?}");
        assert!(client.is_closed());
    }
}

fn an_upstream_that_has_answered_gets_no_more_of_the_request() {
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let upstream = Upstream::start(move |mut connection| {
        connection.head();
        connection.send("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
        connection.stream.get_ref().set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // Reset or ended, but not open any more.
        let ended = std::io::copy(&mut connection.stream, &mut std::io::sink());
        let open = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        tell.lock().unwrap().send(open).unwrap();
    });
    let gateway = Gateway::to(upstream.address);
    let mut client = Client::connect(gateway.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nfirst");
    assert_eq!(client.response("POST").status, 413);
    assert!(!told.recv_timeout(Duration::from_secs(10)).unwrap(), "the connection was left open");
}
