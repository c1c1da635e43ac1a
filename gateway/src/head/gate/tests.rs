use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const HEAD: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// What a busy machine may add to a time.
const SLACK: Duration = Duration::from_secs(2);
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";

fn gate(limits: ClientLimits) -> (DuplexStream, Gate<DuplexStream>, Rc<Client>) {
    let (far, near) = duplex(1 << 20);
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let client = Client::new(address, address, 1);
    (far, Gate::new(near, HeadLimits::default(), limits, Rc::clone(&client)), client)
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), future).await.unwrap() })
}

#[test]
fn heads_come_out_whole_however_they_came_in() {
    run(async {
        for step in [1, 5, 26, 40, 1000] {
            let (mut far, mut gate, _client) = gate(ClientLimits::default());
            let one = format!("{HEAD}{POST}abc");
            let sent = one.repeat(3);
            let mut got = String::new();
            for piece in sent.as_bytes().chunks(step) {
                far.write_all(piece).await.unwrap();
                let mut buf = [0; 300];
                let read = std::future::poll_fn(|cx| {
                    let mut buf = ReadBuf::new(&mut buf);
                    let result = Pin::new(&mut gate).poll_read(cx, &mut buf);
                    Poll::Ready(result.map_ok(|()| buf.filled().len()))
                });
                if let Poll::Ready(count) = read.await {
                    got += str::from_utf8(&buf[..count.unwrap()]).unwrap();
                }
                let inside = (got.len() % one.len()) as isize;
                let second = inside - HEAD.len() as isize;
                assert!(inside == 0 || second == 0 || second >= POST.len() as isize, "a part of a head: {got:?}");
            }
            drop(far);
            gate.read_to_string(&mut got).await.unwrap();
            assert_eq!(got, sent, "in pieces of {step}");
        }
    });
}

#[test]
fn a_refusal_waits_for_earlier_answers_and_is_written_at_shutdown() {
    run(async {
        let (mut far, mut gate, client) = gate(ClientLimits::default());
        far.write_all(format!("{HEAD}GET /\n\r\n").as_bytes()).await.unwrap();
        let mut buf = [0; 100];
        assert_eq!(gate.read(&mut buf).await.unwrap(), HEAD.len());
        let exchange = client.begin();
        let wait = tokio::time::timeout(Duration::from_millis(20), gate.read(&mut buf));
        assert!(wait.await.is_err(), "the end came before the answer");
        gate.write_all(b"answer ").await.unwrap();
        drop(exchange);
        let wait = tokio::time::timeout(Duration::from_millis(20), gate.read(&mut buf));
        assert!(wait.await.is_err(), "the end came before the flush");
        gate.flush().await.unwrap();
        assert_eq!(gate.read(&mut buf).await.unwrap(), 0);
        let mut got = String::new();
        let (shut, _) = tokio::join!(gate.shutdown(), async {
            let mut space = [0; 500];
            let count = far.read(&mut space).await.unwrap();
            got = String::from_utf8_lossy(&space[..count]).into_owned();
            let rest = far.read(&mut space).await.unwrap();
            got += &String::from_utf8_lossy(&space[..rest]);
            drop(far);
        });
        shut.unwrap();
        assert!(got.starts_with("answer HTTP/1.1 400 Bad Request\r\n"), "{got}");
        assert!(got.contains("connection: close\r\n") && got.ends_with("a carriage return\"}\n"), "{got}");
    });
}

#[test]
fn patience_ends_for_heads_bodies_and_idle_connections() {
    let limits = ClientLimits {
        head: Duration::from_millis(60),
        idle: Duration::from_millis(100),
        linger: Duration::from_millis(10),
    };
    run(async {
        // A head that drips.
        let (mut far, mut gate, _client) = gate(limits);
        let drip = async {
            for byte in HEAD.bytes().cycle() {
                if far.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let read = async { gate.read(&mut [0; 100]).await.unwrap() };
        let started = Instant::now();
        assert_eq!(tokio::select! { count = read => count, () = drip => 1 }, 0);
        assert!(started.elapsed() >= limits.head && started.elapsed() < limits.head + SLACK);
        assert!(matches!(gate.ending, Ending::Refused(Refusal::HeadTimeout)));
    });
    run(async {
        // A connection that is idle, at first and after a request.
        let (mut far, mut gate, _client) = gate(limits);
        far.write_all(HEAD.as_bytes()).await.unwrap();
        let mut buf = [0; 100];
        assert_eq!(gate.read(&mut buf).await.unwrap(), HEAD.len());
        let started = Instant::now();
        assert_eq!(gate.read(&mut buf).await.unwrap(), 0);
        assert!(started.elapsed() >= limits.idle && started.elapsed() < limits.idle + SLACK);
        assert!(matches!(gate.ending, Ending::Closed));
    });
    run(async {
        // A body that stops.
        let (mut far, mut gate, client) = gate(limits);
        far.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").await.unwrap();
        let mut buf = [0; 100];
        assert!(gate.read(&mut buf).await.unwrap() > 0);
        let _exchange = client.begin();
        let error = gate.read(&mut buf).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let refusal = error.get_ref().and_then(|inner| inner.downcast_ref());
        assert_eq!(refusal, Some(&Refusal::BodyTimeout));
    });
    run(async {
        // An answer that takes its time is nobody's fault here.
        let (mut far, mut gate, client) = gate(limits);
        far.write_all(HEAD.as_bytes()).await.unwrap();
        let mut buf = [0; 100];
        assert!(gate.read(&mut buf).await.unwrap() > 0);
        let _exchange = client.begin();
        let wait = tokio::time::timeout(limits.idle * 3, gate.read(&mut buf));
        assert!(wait.await.is_err());
    });
}
