//! HTTP callouts: what is refused, what is reserved, and what a guest sees of an answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{Callback, CalloutAnswer, CalloutRules, Effect, HeaderList, HttpCall, Status};
use chassis_engine_api::{Stop, TrapKind};

use crate::rig::{DATA, Rig, Wasm};

pub(crate) const GET: &[(&str, &str)] = &[(":method", "GET"), (":path", "/"), (":authority", "side")];

const OK: u32 = Status::Ok as u32;
const BAD: u32 = Status::BadArgument as u32;
const FULL: u32 = Status::InternalFailure as u32;
const NOT_FOUND: u32 = Status::NotFound as u32;

/// Lets a VM call `side`, with so many bytes at once.
pub(crate) fn allow(rig: &mut Rig, bytes: usize) {
    let upstreams = Arc::new(["side".to_owned()].into());
    rig.instance.state().callouts.rules = CalloutRules { upstreams, bytes, ..CalloutRules::default() };
}

/// Makes a call whose number goes to 0; the status.
pub(crate) fn http_call(
    wasm: &mut Wasm<'_>,
    upstream: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    timeout: u32,
) -> u32 {
    let list: HeaderList = headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    raw_call(wasm, upstream, &list.encode(), body, b"", timeout)
}

fn raw_call(wasm: &mut Wasm<'_>, upstream: &str, headers: &[u8], body: &[u8], trailers: &[u8], timeout: u32) -> u32 {
    let [upstream, upstream_len] = wasm.put(DATA, upstream.as_bytes());
    let [headers, headers_len] = wasm.put(DATA + 0x100, headers);
    let [body, body_len] = wasm.put(DATA + 0x1000, body);
    let [trailers, trailers_len] = wasm.put(DATA + 0x2000, trailers);
    let args = [upstream, upstream_len, headers, headers_len, body, body_len, trailers, trailers_len, timeout, 0];
    wasm.env("proxy_http_call", &args).unwrap()
}

fn allowed() -> Rig {
    let mut rig = Rig::new();
    allow(&mut rig, 1 << 20);
    rig
}

#[test]
fn a_call_is_left_to_the_host_with_all_that_was_given() {
    let mut rig = allowed();
    rig.request(|wasm| {
        let headers: HeaderList = [
            ("x-first", "1"),
            (":path", "/check?a"),
            (":method", "POST"),
            ("Connection", "close"),
            (":authority", "side:80"),
            ("content-length", "9"),
            ("Host", "other"),
            (":scheme", "https"),
            ("X-Second", " 2 "),
        ]
        .into_iter()
        .collect();
        let trailers: HeaderList = [("t", "1"), ("transfer-encoding", "chunked")].into_iter().collect();
        assert_eq!(raw_call(wasm, "side", &headers.encode(), b"body", &trailers.encode(), 1500), OK);
        assert_eq!(wasm.u32_at(0), 4);
        assert_eq!(http_call(wasm, "side", GET, b"", 0), OK);
        assert_eq!(wasm.u32_at(0), 8);
    });
    let expected = HttpCall {
        upstream: "side".into(),
        headers: [
            (":path", "/check?a"),
            (":method", "POST"),
            (":authority", "side:80"),
            (":scheme", "https"),
            ("x-first", "1"),
            ("x-second", "2"),
        ]
        .into_iter()
        .collect(),
        body: Bytes::from_static(b"body"),
        trailers: [("t", "1")].into_iter().collect(),
        timeout: Some(Duration::from_millis(1500)),
    };
    assert_eq!(rig.board().effects[0], Effect::HttpCall { id: 4, call: Box::new(expected) });
    let Effect::HttpCall { id: 8, call } = &rig.board().effects[1] else { panic!("no second call") };
    assert_eq!((call.timeout, call.headers.len()), (None, 3));
    let (root, stream) = (rig.root, rig.stream);
    let callouts = &rig.instance.state().callouts;
    assert_eq!(callouts.ids(), [4, 8]);
    let callout = callouts.get(4).unwrap();
    assert_eq!((callout.context, callout.stream), (root, Some(stream)));
}

#[test]
fn what_is_no_request_to_an_upstream_is_refused_and_leaves_nothing() {
    let mut rig = allowed();
    let before = rig.snapshot();
    rig.request(|wasm| {
        for upstream in ["", "other", "side:80", "http://side", "SIDE", "side\0", "user@side"] {
            assert_eq!(http_call(wasm, upstream, GET, b"", 1), BAD, "{upstream}");
        }
        let without = |name: &str| GET.iter().copied().filter(|(n, _)| *n != name).collect::<Vec<_>>();
        for name in [":method", ":path", ":authority"] {
            assert_eq!(http_call(wasm, "side", &without(name), b"", 1), BAD, "{name}");
        }
        for (name, value) in [
            (":method", "CONNECT"),
            (":method", "G T"),
            (":path", "http://other/"),
            (":path", "/\r\nx: y"),
            (":authority", "user@host"),
            (":authority", ""),
        ] {
            let headers = [without(name), vec![(name, value)]].concat();
            assert_eq!(http_call(wasm, "side", &headers, b"", 1), BAD, "{name} {value:?}");
        }
        for field in [(":path", "/"), (":status", "200"), (":other", "1"), ("x y", "1"), ("x", "a\nb"), ("", "1")] {
            assert_eq!(http_call(wasm, "side", &[GET, &[field]].concat(), b"", 1), BAD, "{field:?}");
        }
        for timeout in [1 << 31, u32::MAX] {
            assert_eq!(http_call(wasm, "side", GET, b"", timeout), BAD);
        }
        let headers: HeaderList = GET.iter().copied().collect();
        assert_eq!(raw_call(wasm, "side", b"\x01\0\0\0", b"", b"", 1), BAD);
        assert_eq!(raw_call(wasm, "side", &headers.encode(), b"", b"\x01\0\0\0", 1), BAD);
        let pseudo: HeaderList = [(":path", "/")].into_iter().collect();
        assert_eq!(raw_call(wasm, "side", &headers.encode(), b"", &pseudo.encode(), 1), BAD);
        let bad = 0x2_0000 - 3;
        let [at, len] = wasm.put(DATA, b"side");
        let [pairs, pairs_len] = wasm.put(DATA + 0x100, &headers.encode());
        assert_eq!(wasm.env("proxy_http_call", &[at, len, pairs, pairs_len, 0, 0, 0, 0, 9, bad]).unwrap(), 6);
    });
    assert_eq!(rig.snapshot(), before);
}

#[test]
fn quotas_are_per_stream_and_per_vm() {
    let mut rig = allowed();
    rig.instance.state().callouts.rules.per_vm = 40;
    let root = rig.root;
    let made = |wasm: &mut Wasm<'_>| (0..100).take_while(|_| http_call(wasm, "side", GET, b"", 1) == OK).count();
    assert_eq!(rig.request(move |wasm| (made(wasm), http_call(wasm, "side", GET, b"", 1))), (32, FULL));
    assert_eq!(rig.run(Callback::Tick, root, move |wasm| Ok(made(wasm))).unwrap(), 8);
    assert_eq!(rig.board().effects.len(), 40);
    rig.instance.state().callouts.end(4);
    assert_eq!(rig.request(made), 1);
    let mut rig = allowed();
    allow(&mut rig, 100);
    // The headers count, too.
    let sent = rig.request(|wasm| [100, 50, 10, 30, 1].map(|bytes| http_call(wasm, "side", GET, &vec![1; bytes], 1)));
    assert_eq!(sent, [FULL, OK, FULL, FULL, FULL]);
}

#[test]
fn a_guest_that_is_stopped_calls_nobody() {
    let mut rig = allowed();
    rig.request(|wasm| assert_eq!(http_call(wasm, "side", GET, b"", 1), OK));
    let stream = rig.stream;
    let stopped = rig.run(Callback::RequestBody, stream, |wasm| {
        assert_eq!(http_call(wasm, "side", GET, b"", 1), OK);
        Err::<(), _>(Stop::trap(TrapKind::Unreachable))
    });
    assert!(stopped.is_err());
    assert_eq!(rig.instance.state().callouts.ids(), [4]);
    assert_eq!(rig.board().effects.len(), 1);
}

#[test]
fn an_answer_is_there_in_its_callback_only() {
    let mut rig = allowed();
    let answer = CalloutAnswer {
        headers: [(":status", "200"), ("x", "1"), ("x", "2")].into_iter().collect(),
        body: Bytes::from_static(b"hello"),
        trailers: [("t", "3")].into_iter().collect(),
        code: 11,
        message: Bytes::from_static(b"reset"),
    };
    let look = |wasm: &mut Wasm<'_>| {
        let status = wasm.env("proxy_get_status", &[8, 0, 4])?;
        let status = (status, wasm.u32_at(8), wasm.given());
        let maps = [(6, "x"), (7, "t"), (6, "none"), (4, "x"), (5, "t")].map(|(map, name)| wasm.header(map, name));
        Ok((status, maps, wasm.buffer(4, 1, 3), wasm.buffer(5, 0, 9)))
    };
    let (root, stream) = (rig.root, rig.stream);
    rig.instance.state().answer = Some(Box::new(answer.clone()));
    let seen = rig.run(Callback::HttpCallResponse, root, look).unwrap();
    assert_eq!(seen.0, (OK, 11, b"reset".to_vec()));
    let value = |text: &str| Ok(text.as_bytes().to_vec());
    assert_eq!(seen.1, [value("1"), value("3"), Err(NOT_FOUND), Err(BAD), Err(BAD)]);
    assert_eq!((seen.2, seen.3), (value("ell"), Err(NOT_FOUND)));

    rig.instance.state().answer = Some(Box::new(answer));
    let (pairs, size, writes) = rig
        .run(Callback::HttpCallResponse, root, move |wasm| {
            // It is the VM's, whichever context the guest has chosen.
            wasm.env("proxy_set_effective_context", &[stream])?;
            assert_eq!(wasm.env("proxy_get_header_map_pairs", &[6, 0, 4])?, OK);
            let pairs = wasm.given();
            assert_eq!(wasm.env("proxy_get_header_map_size", &[6, 0])?, OK);
            let size = wasm.u32_at(0);
            let writes = [
                wasm.edit("proxy_add_header_map_value", 6, b"a", b"b"),
                wasm.edit("proxy_replace_header_map_value", 7, b"a", b"b"),
                wasm.env("proxy_set_header_map_pairs", &[6, 0, 0])?,
                wasm.env("proxy_set_buffer_bytes", &[4, 0, 0, 0, 0])?,
            ];
            Ok((HeaderList::decode(&pairs).unwrap(), size, writes))
        })
        .unwrap();
    assert_eq!((pairs.len(), size), (3, 14));
    assert_eq!(writes, [BAD; 4]);

    rig.instance.state().answer = None;
    let seen = rig.run(Callback::HttpCallResponse, root, look).unwrap();
    let bad = || Err(BAD);
    assert_eq!(seen, ((OK, 0, Vec::new()), [bad(), bad(), bad(), bad(), bad()], Err(NOT_FOUND), Err(NOT_FOUND)));
}
