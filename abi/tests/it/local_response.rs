//! Local responses.

use chassis_abi::{Callback, Effect, HeaderList, LocalResponse, Status};

use crate::rig::{DATA, Rig, Wasm};

const BAD: u32 = Status::BadArgument as u32;

fn send(wasm: &mut Wasm<'_>, status: u32, headers: &[u8], grpc_status: i32) -> u32 {
    let [headers, headers_len] = wasm.put(DATA + 0x1000, headers);
    let [details, details_len] = wasm.put(DATA, b"why\r\n");
    let [body, body_len] = wasm.put(DATA + 0x100, b"body");
    let args = [status, details, details_len, body, body_len, headers, headers_len, grpc_status as u32];
    wasm.env("proxy_send_local_response", &args).unwrap()
}

fn sent(rig: &mut Rig) -> LocalResponse {
    match rig.board().effects.as_slice() {
        [Effect::LocalResponse { response, .. }] => (**response).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_final_statuses_that_have_a_meaning_are_taken() {
    for (status, expected) in [
        (0, BAD),
        (99, BAD),
        (100, BAD),
        (199, BAD),
        (200, 0),
        (599, 0),
        (600, BAD),
        (1000, BAD),
        // 200 in 16 bits.
        (65_736, BAD),
        (u32::MAX, BAD),
    ] {
        let mut rig = Rig::new();
        assert_eq!(rig.request(move |wasm| send(wasm, status, b"", -1)), expected, "{status}");
        assert_eq!(rig.board().effects.len(), usize::from(expected == 0), "{status}");
    }
}

#[test]
fn it_carries_what_was_given() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        let headers: HeaderList = [("X-B", "1"), ("x-b", "2")].into_iter().collect();
        assert_eq!(send(wasm, 418, &headers.encode(), 16), 0);
        // Its memory may change before the response is sent.
        wasm.put(DATA, &[0; 0x2000]);
    });
    let (context, exchange) = (rig.stream, rig.exchange);
    let headers = [("x-b", "1"), ("x-b", "2")].into_iter().collect();
    let (details, body) = (b"why\r\n"[..].to_vec().into(), b"body"[..].to_vec().into());
    let response = LocalResponse { status: 418, details, headers, body, grpc_status: Some(16) };
    assert_eq!(rig.board().effects, [Effect::LocalResponse { exchange, context, response: Box::new(response) }]);
}

#[test]
fn a_grpc_status_that_is_none_is_none() {
    for (given, expected) in
        [(-1, None), (0, Some(0)), (16, Some(16)), (17, None), (256, None), (999, None), (i32::MIN, None)]
    {
        let mut rig = Rig::new();
        assert_eq!(rig.request(move |wasm| send(wasm, 200, b"", given)), 0);
        assert_eq!(sent(&mut rig).grpc_status, expected, "{given}");
    }
}

#[test]
fn what_belongs_to_the_host_is_left_out_and_what_breaks_refuses_the_call() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        let bad: [&[(&str, &str)]; 4] =
            [&[("a b", "1")], &[("", "1")], &[("a", "1\r\nb: 2")], &[("ok", "1"), ("a", "\0")]];
        for headers in bad {
            let headers: HeaderList = headers.iter().copied().collect();
            assert_eq!(send(wasm, 200, &headers.encode(), -1), BAD);
        }
        assert_eq!(send(wasm, 200, b"\x01", -1), BAD);
        let owned = [
            (":status", "500"),
            ("Content-Length", "99"),
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
            (":other", "1"),
            ("kept", "1"),
        ];
        let owned: HeaderList = owned.into_iter().collect();
        assert_eq!(send(wasm, 200, &owned.encode(), -1), 0);
    });
    assert_eq!(sent(&mut rig).headers, [("kept", "1")].into_iter().collect());
}

#[test]
fn the_first_one_wins() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        assert_eq!(send(wasm, 401, b"", -1), 0);
        assert_eq!(send(wasm, 402, b"", -1), 0);
    });
    assert_eq!(sent(&mut rig).status, 401);
    assert_eq!(rig.take_logs().len(), 1, "a warning");
    rig.board().effects.clear();
    rig.exchange().answered = true;
    assert_eq!(rig.request(|wasm| send(wasm, 403, b"", -1)), 0);
    rig.exchange().response_started = true;
    assert_eq!(rig.request(|wasm| send(wasm, 404, b"", -1)), 0);
    assert!(rig.board().effects.is_empty());
    assert_eq!(rig.take_logs().len(), 2);
}

#[test]
fn it_needs_a_stream_whose_response_has_not_begun() {
    let mut rig = Rig::new();
    let (root, stream) = (rig.root, rig.stream);
    let seen = rig.run(Callback::Tick, root, move |wasm| {
        let without = send(wasm, 200, b"", -1);
        wasm.env("proxy_set_effective_context", &[stream])?;
        Ok((without, send(wasm, 200, b"", -1)))
    });
    assert_eq!(seen.unwrap(), (BAD, 0));

    let mut rig = Rig::new();
    rig.exchange().response_started = true;
    assert_eq!(rig.request(|wasm| send(wasm, 200, b"", -1)), BAD);

    let mut rig = Rig::new();
    let key = rig.exchange;
    rig.board().exchanges.remove(key);
    assert_eq!(rig.request(|wasm| send(wasm, 200, b"", -1)), BAD, "the stream is gone");
}

#[test]
fn details_are_cut_and_the_body_has_a_limit() {
    let mut rig = Rig::new();
    rig.exchange().body_limit = 4096;
    rig.request(|wasm| {
        let with = |details, body| [200, 0, details, 0, body, 0, 0, 0];
        assert_eq!(wasm.env("proxy_send_local_response", &with(0, 4097)).unwrap(), Status::InternalFailure as u32);
        assert_eq!(wasm.env("proxy_send_local_response", &with(5000, 4096)).unwrap(), 0);
    });
    let response = sent(&mut rig);
    assert_eq!((response.details.len(), response.body.len()), (1024, 4096));
}
