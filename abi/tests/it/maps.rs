//! The header map calls.

use chassis_abi::{HeaderList, Status};

use crate::rig::{DATA, Rig, Wasm};

const BAD: u32 = Status::BadArgument as u32;
const ADD: &str = "proxy_add_header_map_value";
const REPLACE: &str = "proxy_replace_header_map_value";

fn set_pairs(wasm: &mut Wasm<'_>, map: u32, bytes: &[u8]) -> u32 {
    let [at, len] = wasm.put(DATA, bytes);
    wasm.env("proxy_set_header_map_pairs", &[map, at, len]).unwrap()
}

fn pairs(wasm: &mut Wasm<'_>, map: u32) -> Vec<u8> {
    assert_eq!(wasm.env("proxy_get_header_map_pairs", &[map, 0, 4]).unwrap(), 0);
    wasm.given()
}

#[test]
fn values_keep_their_order_and_their_bytes() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        assert_eq!(wasm.edit(ADD, 0, b"X-A", b"\x80\xff"), 0);
        assert_eq!(wasm.header(0, "X-a"), Ok(b"1".to_vec()));
        assert_eq!(wasm.env("proxy_get_header_map_size", &[0, 8]).unwrap(), 0);
        assert_eq!(wasm.u32_at(8), 10 + 6 + 11 + 11 + 4 + 4 + 5);
        assert_eq!(wasm.edit(REPLACE, 0, b"x-A", b" 3 "), 0);
        assert_eq!(wasm.header(0, "x-a"), Ok(b"3".to_vec()));
        assert_eq!(wasm.edit(REPLACE, 2, b":status", b"404"), 0);
    });
    assert_eq!(rig.exchange().request.headers.get_all(b"x-a").count(), 1);
    assert_eq!(rig.exchange().response.headers.get(b":status").unwrap(), "404");
}

#[test]
fn what_would_break_the_message_is_refused() {
    let mut rig = Rig::new();
    let before = rig.snapshot();
    rig.request(|wasm| {
        for name in ["", " ", "a b", "a:", "a\r", "\u{e9}", "transfer-encoding", "Connection", "TE", ":path2"] {
            assert_eq!(wasm.edit(ADD, 0, name.as_bytes(), b"v"), BAD, "{name:?}");
            assert_eq!(wasm.edit(REPLACE, 0, name.as_bytes(), b"v"), BAD, "{name:?}");
        }
        for value in [&b"\r"[..], b"\n", b"\0", b"a\r\nx: y", b"v\r\n", b"\x1b"] {
            assert_eq!(wasm.edit(ADD, 0, b"x", value), BAD, "{value:?}");
            assert_eq!(wasm.edit(REPLACE, 0, b"x-a", value), BAD, "{value:?}");
        }
        assert_eq!(wasm.edit(ADD, 0, b":path", b"/"), BAD);
        assert_eq!(wasm.edit(REPLACE, 0, b":status", b"200"), BAD);
        assert_eq!(wasm.edit("proxy_remove_header_map_value", 0, b":path", b""), BAD);
        assert_eq!(wasm.edit(REPLACE, 1, b":path", b"/"), BAD, "trailers have no pseudo-headers");
    });
    assert_eq!(rig.snapshot(), before);
}

#[test]
fn a_whole_map_comes_and_goes() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        let bytes = pairs(wasm, 0);
        let mut list = HeaderList::decode(&bytes).unwrap();
        assert_eq!(list.len(), 6);
        assert_eq!(set_pairs(wasm, 0, &bytes), 0);
        assert_eq!(pairs(wasm, 0), bytes);
        list.push_unchecked("x-b", "2");
        assert_eq!(set_pairs(wasm, 0, &list.encode()), 0);
        assert_eq!(wasm.header(0, "x-b"), Ok(b"2".to_vec()));
        for empty in [&b""[..], b"\0", b"\0\0\0\0"] {
            assert_eq!(set_pairs(wasm, 1, empty), 0, "trailers may be none");
            assert_eq!(pairs(wasm, 1), b"");
            assert_eq!(set_pairs(wasm, 0, empty), BAD, "a request without a path");
        }
        assert_eq!(pairs(wasm, 0), list.encode());
    });
}

#[test]
fn malformed_maps_are_refused_and_change_nothing() {
    let mut rig = Rig::new();
    let before = rig.snapshot();
    rig.request(|wasm| {
        let good = HeaderList::encode(&[("a", "1"), ("b", "2")].into_iter().collect());
        let mut bad: Vec<Vec<u8>> = (2..good.len()).map(|end| good[..end].to_vec()).collect();
        bad.push([&good[..], b"x"].concat());
        bad.push((1..=7).map(|n| n as u8).collect());
        bad.push(vec![1]);
        // Counts and lengths that lie, or wrap when they are added.
        for number in [0xffff_ffff_u32, 0x8000_0000, 0x2000_0000, 1025] {
            bad.push([&number.to_le_bytes()[..], &good[4..]].concat());
            bad.push([&good[..4], &number.to_le_bytes()[..], &good[8..]].concat());
        }
        for bytes in bad {
            assert_eq!(set_pairs(wasm, 1, &bytes), BAD, "{bytes:x?}");
        }
        let many: HeaderList = (0..1025).map(|_| ("a", "")).collect();
        assert_eq!(set_pairs(wasm, 1, &many.encode()), BAD);
        let inner_nul: HeaderList = [("a\0b", "1")].into_iter().collect();
        assert_eq!(set_pairs(wasm, 1, &inner_nul.encode()), BAD);
    });
    assert_eq!(rig.snapshot(), before);
    let most: HeaderList = (0..1024).map(|_| ("a", "")).collect();
    assert_eq!(rig.request(move |wasm| set_pairs(wasm, 1, &most.encode())), 0);
}

#[test]
fn a_map_stops_growing_at_1024_entries() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        let accepted = (0..2000).filter(|_| wasm.edit(ADD, 1, b"a", b"") == 0).count();
        assert_eq!(accepted, 1023);
        assert_eq!(wasm.edit(REPLACE, 1, b"b", b""), BAD);
        assert_eq!(wasm.edit(REPLACE, 1, b"t-a", b"2"), 0, "what is there can be replaced in a full map");
        assert_eq!(wasm.edit(REPLACE, 1, b"a", b"2"), 0);
        assert_eq!(wasm.header(1, "a"), Ok(b"2".to_vec()));
    });
    assert_eq!(rig.exchange().request.trailers.len(), 2);
}

#[test]
fn maps_that_have_not_come_or_have_left() {
    let mut rig = Rig::new();
    let exchange = rig.exchange();
    exchange.request.headers_sent = true;
    exchange.request.trailers_sent = true;
    exchange.response.has_headers = false;
    exchange.response.has_trailers = false;
    rig.request(|wasm| {
        for map in [0, 1] {
            // What has left can still be read: access logs need it.
            assert_eq!(wasm.edit(ADD, map, b"x", b"1"), BAD);
            assert_eq!(wasm.edit("proxy_remove_header_map_value", map, b"x-a", b""), BAD);
            assert!(!pairs(wasm, map).is_empty());
            assert_eq!(wasm.env("proxy_get_header_map_size", &[map, 0]).unwrap(), 0);
        }
        for map in [2, 3] {
            assert_eq!(wasm.header(map, "r-a"), Err(BAD));
            assert_eq!(wasm.env("proxy_get_header_map_pairs", &[map, 0, 4]).unwrap(), BAD);
            assert_eq!(wasm.env("proxy_get_header_map_size", &[map, 0]).unwrap(), BAD);
            assert_eq!(wasm.edit(ADD, map, b"x", b"1"), BAD);
        }
    });
}
