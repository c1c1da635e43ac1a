//! The buffer calls on bodies.

use chassis_abi::{Callback, Status};

use crate::rig::{DATA, Rig, Wasm};

fn set(wasm: &mut Wasm<'_>, buffer: u32, start: u32, size: u32, value: &[u8]) -> u32 {
    let [at, len] = wasm.put(DATA, value);
    wasm.env("proxy_set_buffer_bytes", &[buffer, start, size, at, len]).unwrap()
}

#[test]
fn any_range_can_be_read() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        for (start, max, expected) in [
            (0, 5, "hello"),
            (0, 11, "hello world"),
            (0, u32::MAX, "hello world"),
            // A sum that wraps in 32 bits means the rest.
            (1, u32::MAX, "ello world"),
            (4, 4, "o wo"),
            (5, 3, " wo"),
            (6, 1, "w"),
            (10, 9, "d"),
            (11, 1, ""),
            (u32::MAX, u32::MAX, ""),
            (3, 0, ""),
        ] {
            assert_eq!(wasm.buffer(0, start, max), Ok(expected.into()), "{start} {max}");
        }
        assert_eq!(wasm.buffer(1, 0, 99), Ok(b"answer".to_vec()));
    });
}

#[test]
fn any_range_can_be_replaced() {
    for (start, size, value, expected) in [
        (0, 0, ">", ">hello world"),
        (11, 0, "!", "hello world!"),
        (12, 7, "!", "hello world!"),
        (u32::MAX, u32::MAX, "!", "hello world!"),
        (4, 4, "-", "hell-rld"),
        (0, 6, "", "world"),
        (5, u32::MAX, "", "hello"),
        (0, u32::MAX, "all", "all"),
        (0, 11, "", ""),
        (6, 5, "there, world", "hello there, world"),
    ] {
        let mut rig = Rig::new();
        let seen = rig.request(move |wasm| {
            assert_eq!(set(wasm, 0, start, size, value.as_bytes()), 0);
            assert_eq!(wasm.env("proxy_get_buffer_status", &[0, 8, 12]).unwrap(), 0);
            (wasm.u32_at(8), wasm.buffer(0, 0, u32::MAX))
        });
        assert_eq!(seen, (expected.len() as u32, Ok(expected.into())), "{start} {size} {value}");
        assert_eq!(rig.exchange().lanes[0].request.body.to_bytes(), expected.as_bytes());
        assert_eq!(rig.exchange().lanes[0].response.body.to_bytes(), "answer");
    }
}

#[test]
fn a_body_that_is_not_shown_cannot_be_touched() {
    let mut rig = Rig::new();
    rig.exchange().lanes[0].request.body_open = false;
    rig.request(|wasm| {
        assert_eq!(wasm.buffer(0, 0, 1), Err(Status::NotFound as u32));
        assert_eq!(set(wasm, 0, 0, 0, b"x"), Status::NotFound as u32);
        assert_eq!(wasm.buffer(1, 0, 1), Ok(b"a".to_vec()));
    });
    let (root, stream) = (rig.root, rig.stream);
    rig.run(Callback::Tick, root, move |wasm| {
        assert_eq!(wasm.buffer(1, 0, 1), Err(Status::NotFound as u32), "no stream");
        wasm.env("proxy_set_effective_context", &[stream])?;
        assert_eq!(wasm.buffer(1, 0, 1), Ok(b"a".to_vec()));
        Ok(())
    })
    .unwrap();
}

#[test]
fn edits_stop_at_the_streams_limit() {
    let mut rig = Rig::new();
    rig.exchange().body_limit = 20;
    rig.request(|wasm| {
        assert_eq!(set(wasm, 0, 11, 0, b"123456789"), 0);
        assert_eq!(set(wasm, 0, 20, 0, b"0"), Status::InternalFailure as u32);
        assert_eq!(set(wasm, 0, 0, 3, b"1234"), Status::InternalFailure as u32);
        assert_eq!(set(wasm, 0, 0, 4, b"1234"), 0);
        assert_eq!(wasm.buffer(0, 0, 99), Ok(b"1234o world123456789".to_vec()));
    });
    // What is over the limit already may shrink.
    rig.exchange().body_limit = 5;
    rig.request(|wasm| {
        assert_eq!(set(wasm, 0, 0, 4, b"abcd"), 0);
        assert_eq!(set(wasm, 0, 0, 4, b"abcde"), Status::InternalFailure as u32);
        assert_eq!(set(wasm, 0, 0, 4, b""), 0);
    });
}

#[test]
fn a_body_appended_to_again_and_again_stops_at_16_mib() {
    let mut rig = Rig::new();
    let accepted = rig.request(|wasm| {
        let piece = [7; 1 << 14];
        (0..2000).filter(|_| set(wasm, 0, u32::MAX, 0, &piece) == 0).count()
    });
    assert_eq!(accepted, ((16 << 20) - 11) / (1 << 14));
}
