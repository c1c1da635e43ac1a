//! gRPC callouts: what is refused, what is reserved, and what is left to the host.

use bytes::Bytes;
use chassis_abi::{Callback, CalloutAnswer, Effect, GrpcCall, HeaderList, Status};
use chassis_engine_api::{Stop, TrapKind};

use crate::callouts::{GET, allow, http_call};
use crate::rig::{DATA, Rig, Wasm};

const OK: u32 = Status::Ok as u32;
const BAD: u32 = Status::BadArgument as u32;
const NO: u32 = Status::ParseFailure as u32;
const FULL: u32 = Status::InternalFailure as u32;
const NOT_FOUND: u32 = Status::NotFound as u32;

/// Names, metadata and a message.
struct Given<'a> {
    upstream: &'a [u8],
    service: &'a str,
    method: &'a str,
    metadata: &'a [u8],
    message: &'a [u8],
    timeout: u32,
}

impl Default for Given<'_> {
    fn default() -> Self {
        Given { upstream: b"side", service: "a.B", method: "C", metadata: b"", message: b"hello", timeout: 0 }
    }
}

impl Given<'_> {
    fn put(&self, wasm: &mut Wasm<'_>) -> Vec<u32> {
        let parts = [self.upstream, self.service.as_bytes(), self.method.as_bytes(), self.metadata, self.message];
        let parts = parts.iter().enumerate();
        parts.flat_map(|(i, part)| wasm.put(DATA + 0x1000 * i as u32, part)).collect()
    }

    /// Its status and its number.
    fn call(&self, wasm: &mut Wasm<'_>) -> (u32, u32) {
        let args = [self.put(wasm), vec![self.timeout, 0]].concat();
        (wasm.env("proxy_grpc_call", &args).unwrap(), wasm.u32_at(0))
    }

    fn stream(&self, wasm: &mut Wasm<'_>) -> (u32, u32) {
        let args = [&self.put(wasm)[..8], &[0]].concat();
        (wasm.env("proxy_grpc_stream", &args).unwrap(), wasm.u32_at(0))
    }
}

fn call(wasm: &mut Wasm<'_>) -> u32 {
    let (status, id) = Given::default().call(wasm);
    assert_eq!(status, OK);
    id
}

fn stream(wasm: &mut Wasm<'_>) -> u32 {
    let (status, id) = Given::default().stream(wasm);
    assert_eq!(status, OK);
    id
}

fn send(wasm: &mut Wasm<'_>, id: u32, message: &[u8], end: u32) -> u32 {
    let [at, len] = wasm.put(DATA, message);
    wasm.env("proxy_grpc_send", &[id, at, len, end]).unwrap()
}

fn cancel(wasm: &mut Wasm<'_>, id: u32) -> u32 {
    wasm.env("proxy_grpc_cancel", &[id]).unwrap()
}

fn close(wasm: &mut Wasm<'_>, id: u32) -> u32 {
    wasm.env("proxy_grpc_close", &[id]).unwrap()
}

fn allowed() -> Rig {
    let mut rig = Rig::new();
    allow(&mut rig, 1 << 20);
    rig
}

/// Makes the calls that the rows' statuses need which are not met by mistakes; with room for 320 bytes.
pub(crate) fn reach_statuses(wasm: &mut Wasm<'_>) {
    let id = call(wasm);
    assert_eq!((send(wasm, id, b"", 0), close(wasm, id)), (BAD, OK));
    let id = stream(wasm);
    assert_eq!((send(wasm, id, b"", 0), send(wasm, id, &[0; 100], 0), cancel(wasm, id)), (OK, FULL, OK));
    assert_eq!(Given { message: &[0; 320], ..Given::default() }.call(wasm).0, FULL);
    assert_eq!(Given { metadata: &large(), ..Given::default() }.stream(wasm).0, FULL);
}

fn large() -> Vec<u8> {
    [("a".to_owned(), "x".repeat(320))].into_iter().collect::<HeaderList>().encode()
}

#[test]
fn a_call_and_a_stream_are_left_to_the_host_with_all_that_was_given() {
    let mut rig = allowed();
    rig.request(|wasm| {
        let metadata: HeaderList = [
            ("X-First", " 1 "),
            ("te", "gzip"),
            ("grpc-timeout", "1S"),
            ("content-type", "text/plain"),
            ("Host", "other"),
            ("grpc-trace-bin", "AAEC/w=="),
            ("x-first", "2"),
        ]
        .into_iter()
        .collect();
        let given = Given { metadata: &metadata.encode(), timeout: 1500, ..Given::default() };
        assert_eq!(given.call(wasm), (OK, 5));
        assert_eq!(Given { upstream: b"\x0a\x06\x0a\x04side", ..given }.stream(wasm), (OK, 10));
        assert_eq!(Given { message: b"", upstream: b"\x12\x06\x0a\x04side", ..Given::default() }.call(wasm), (OK, 13));
    });
    let expected = GrpcCall {
        upstream: "side".into(),
        service: "a.B".into(),
        method: "C".into(),
        metadata: [("x-first", "1"), ("grpc-trace-bin", "AAEC/w=="), ("x-first", "2")].into_iter().collect(),
        message: Some(Bytes::from_static(b"hello")),
        timeout: Some(std::time::Duration::from_millis(1500)),
    };
    let (root, stream) = (rig.root, rig.stream);
    assert_eq!(rig.board().effects[0], Effect::GrpcCall { id: 5, call: Box::new(expected.clone()) });
    let opened = GrpcCall { message: None, timeout: None, ..expected };
    assert_eq!(rig.board().effects[1], Effect::GrpcCall { id: 10, call: Box::new(opened) });
    let Effect::GrpcCall { id: 13, call } = &rig.board().effects[2] else { panic!("no third call") };
    assert_eq!(call.message.as_deref(), Some(&b""[..]));
    let callout = rig.instance.state().callouts.get(10).unwrap();
    assert_eq!((callout.context, callout.stream), (root, Some(stream)));
}

#[test]
fn what_is_no_call_to_an_upstream_is_refused_and_leaves_nothing() {
    let mut rig = allowed();
    let before = rig.snapshot();
    rig.request(|wasm| {
        let refused = |wasm: &mut Wasm<'_>, given: Given<'_>| {
            assert_eq!(given.call(wasm).0, NO);
            assert_eq!(given.stream(wasm).0, NO);
        };
        let no_service: [&[u8]; 8] =
            [b"", b"other", b"SIDE", b"side\0", b"\x0a\x07\x0a\x05other", b"\x0a\x06\x0a\x04sid", b"\x0a\x00", b"\xff"];
        for upstream in no_service {
            refused(wasm, Given { upstream, ..Given::default() });
        }
        for (service, method) in
            [("", "C"), ("a.B", ""), ("a b", "C"), ("/a", "C"), ("a", "C/D"), ("a", "C?x"), ("a\n", "C")]
        {
            refused(wasm, Given { service, method, ..Given::default() });
        }
        for (name, value) in [(":path", "/"), ("a b", "1"), ("a", "b\nc"), ("a-bin", "not base64!"), ("", "")] {
            let metadata: HeaderList = [(name, value)].into_iter().collect();
            refused(wasm, Given { metadata: &metadata.encode(), ..Given::default() });
        }
        refused(wasm, Given { metadata: b"\x01\0\0\0", ..Given::default() });
        assert_eq!(Given { timeout: u32::MAX, ..Given::default() }.call(wasm).0, NO);
        let args = Given::default().put(wasm);
        let bad = 0x2_0000 - 3;
        assert_eq!(wasm.env("proxy_grpc_call", &[&args[..], &[9, bad]].concat()).unwrap(), 6);
        assert_eq!(wasm.env("proxy_grpc_stream", &[&args[..8], &[bad]].concat()).unwrap(), 6);
    });
    assert_eq!(rig.snapshot(), before);
}

#[test]
fn messages_are_left_in_order_until_the_end() {
    let mut rig = allowed();
    let id = rig.request(|wasm| {
        let id = stream(wasm);
        assert_eq!(send(wasm, id, b"1", 0), OK);
        assert_eq!(send(wasm, id, b"", 0), OK);
        assert_eq!(send(wasm, id, b"1", 0), OK);
        assert_eq!(wasm.env("proxy_grpc_send", &[id, 0x1_ffff, 2, 1]).unwrap(), 6);
        assert_eq!(send(wasm, id, b"last", 7), OK);
        assert_eq!(send(wasm, id, b"late", 0), BAD);
        // What has ended is not ended again, and is still there.
        assert_eq!([close(wasm, id), close(wasm, id)], [OK, OK]);
        id
    });
    let sent = |message: &'static str, end_of_stream| Effect::GrpcSend {
        id,
        message: Some(Bytes::from_static(message.as_bytes())),
        end_of_stream,
    };
    assert_eq!(rig.board().effects[1..], [sent("1", false), sent("", false), sent("1", false), sent("last", true)]);
    assert!(rig.instance.state().callouts.get(id).is_some());
}

#[test]
fn the_end_can_be_sent_alone_and_a_call_is_cancelled_by_it() {
    let mut rig = allowed();
    let (first, second, third) = rig.request(|wasm| {
        let (first, second, third) = (stream(wasm), call(wasm), stream(wasm));
        assert_eq!([close(wasm, first), close(wasm, second), cancel(wasm, third)], [OK, OK, OK]);
        for id in [second, third] {
            assert_eq!([send(wasm, id, b"", 0), close(wasm, id), cancel(wasm, id)], [NOT_FOUND; 3]);
        }
        (first, second, third)
    });
    let ended = Effect::GrpcSend { id: first, message: None, end_of_stream: true };
    let effects = [ended, Effect::GrpcCancel { id: second }, Effect::GrpcCancel { id: third }];
    assert_eq!(rig.board().effects[3..], effects);
}

#[test]
fn numbers_that_are_no_grpc_callouts_are_not_found() {
    let mut rig = allowed();
    rig.request(|wasm| {
        assert_eq!(http_call(wasm, "side", GET, b"", 1), OK);
        let http = wasm.u32_at(0);
        for id in [http, http + 1, http + 2, 0, 3, u32::MAX] {
            assert_eq!([send(wasm, id, b"", 0), close(wasm, id), cancel(wasm, id)], [NOT_FOUND; 3], "{id}");
        }
        let id = call(wasm);
        assert_eq!(send(wasm, id, b"", 0), BAD);
    });
}

#[test]
fn calls_and_what_waits_to_be_sent_are_limited() {
    let mut rig = allowed();
    rig.request(|wasm| {
        for _ in 0..16 {
            stream(wasm);
            call(wasm);
        }
        assert_eq!((Given::default().stream(wasm).0, Given::default().call(wasm).0), (FULL, FULL));
    });
    let mut rig = allowed();
    allow(&mut rig, 1000);
    rig.request(|wasm| {
        let id = stream(wasm);
        // Each costs something, even if it is empty.
        let sent = (0..1000).take_while(|_| send(wasm, id, b"", 0) == OK).count();
        assert_eq!((sent, send(wasm, id, b"", 1)), (7, FULL));
        assert_eq!((Given { message: &[0; 200], ..Given::default() }.call(wasm).0, close(wasm, id)), (FULL, OK));
    });
}

#[test]
fn a_guest_that_is_stopped_sends_and_cancels_nothing() {
    let mut rig = allowed();
    let id = rig.request(stream);
    let at = rig.stream;
    let stopped = rig.run(Callback::RequestBody, at, move |wasm| {
        assert_eq!([send(wasm, id, b"x", 1), cancel(wasm, id)], [OK, OK]);
        let other = stream(wasm);
        assert_eq!(send(wasm, other, b"x", 1), OK);
        Err::<(), _>(Stop::trap(TrapKind::Unreachable))
    });
    assert!(stopped.is_err());
    assert_eq!(rig.board().effects.len(), 1);
    assert_eq!(rig.instance.state().callouts.ids(), [id]);
    assert_eq!(rig.request(move |wasm| send(wasm, id, b"x", 0)), OK);
}

#[test]
fn each_part_of_an_answer_is_there_in_its_callback_only() {
    let mut rig = allowed();
    let answer = CalloutAnswer {
        headers: [("x", "1")].into_iter().collect(),
        body: Bytes::from_static(b"hello"),
        trailers: [("t", "2")].into_iter().collect(),
        code: 14,
        message: Bytes::from_static(b"gone"),
    };
    let root = rig.root;
    let mut seen = |callback| {
        rig.instance.state().answer = Some(Box::new(answer.clone()));
        rig.run(callback, root, |wasm| {
            assert_eq!(wasm.env("proxy_get_status", &[8, 0, 4])?, OK);
            let status = (wasm.u32_at(8), wasm.given());
            Ok((wasm.header(4, "x"), wasm.buffer(5, 0, 9), wasm.header(5, "t"), status.0, status.1))
        })
        .unwrap()
    };
    let value = |text: &str| Ok(text.as_bytes().to_vec());
    let gone = b"gone".to_vec();
    assert_eq!(seen(Callback::GrpcReceiveInitialMetadata), (value("1"), Err(NOT_FOUND), Err(BAD), 14, gone.clone()));
    assert_eq!(seen(Callback::GrpcReceive), (Err(BAD), value("hello"), Err(BAD), 14, gone.clone()));
    assert_eq!(seen(Callback::GrpcReceiveTrailingMetadata), (Err(BAD), Err(NOT_FOUND), value("2"), 14, gone.clone()));
    assert_eq!(seen(Callback::GrpcClose), (Err(BAD), Err(NOT_FOUND), Err(BAD), 14, gone));
}
