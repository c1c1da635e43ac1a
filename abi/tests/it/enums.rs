//! Numbers beyond those that the ABI has.

use chassis_abi::{Action, BufferType, Callback, LogLevel, MapType, PeerType, Status, StreamType};

use crate::rig::{DATA, Rig};

const BEYOND: [u32; 3] = [0x7fff_ffff, 0x8000_0000, u32::MAX];
const BAD: u32 = Status::BadArgument as u32;

#[test]
fn log_levels() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        for level in (0..=6).chain(BEYOND) {
            let expected = if level <= 5 { 0 } else { BAD };
            assert_eq!(wasm.env("proxy_log", &[level, 0, 0]).unwrap(), expected, "{level}");
        }
    });
    let levels: Vec<LogLevel> = rig.take_logs().into_iter().map(|log| log.0).collect();
    assert_eq!(levels, (0..6).map(|level| LogLevel::from_u32(level).unwrap()).collect::<Vec<_>>());
}

#[test]
fn buffers() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        for buffer in (0..=255).chain(BEYOND) {
            let expected = match buffer {
                0 | 1 => 0,
                2..=8 => Status::NotFound as u32,
                _ => BAD,
            };
            // Those from 4 on can never be changed.
            let changed = if buffer < 4 { expected } else { BAD };
            assert_eq!(wasm.env("proxy_get_buffer_bytes", &[buffer, 0, 1, 0, 4]).unwrap(), expected, "{buffer}");
            assert_eq!(wasm.env("proxy_get_buffer_status", &[buffer, 0, 4]).unwrap(), expected, "{buffer}");
            assert_eq!(wasm.env("proxy_set_buffer_bytes", &[buffer, 0, 0, 0, 0]).unwrap(), changed, "{buffer}");
            // The number is judged before the memory.
            if expected == BAD {
                assert_eq!(wasm.env("proxy_get_buffer_status", &[buffer, u32::MAX, 4]).unwrap(), BAD);
            }
        }
    });
}

#[test]
fn maps() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        for map in (0..=255).chain(BEYOND) {
            let expected = if map <= 3 { 0 } else { BAD };
            let [name, len] = wasm.put(DATA, b"x");
            assert_eq!(wasm.env("proxy_add_header_map_value", &[map, name, len, 0, 0]).unwrap(), expected, "{map}");
            assert_eq!(wasm.env("proxy_get_header_map_value", &[map, name, len, 0, 4]).unwrap(), expected, "{map}");
            assert_eq!(wasm.env("proxy_replace_header_map_value", &[map, name, len, 0, 0]).unwrap(), expected, "{map}");
            assert_eq!(wasm.env("proxy_remove_header_map_value", &[map, name, len]).unwrap(), expected, "{map}");
            assert_eq!(wasm.env("proxy_get_header_map_size", &[map, 0]).unwrap(), expected, "{map}");
            assert_eq!(wasm.env("proxy_get_header_map_pairs", &[map, 0, 4]).unwrap(), expected, "{map}");
            if expected == BAD {
                assert_eq!(wasm.env("proxy_set_header_map_pairs", &[map, 0, 0]).unwrap(), expected, "{map}");
            }
        }
    });
}

#[test]
fn streams_metrics_and_contexts() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        for kind in (0..=4).chain(BEYOND) {
            let expected = if kind <= 3 { 0 } else { BAD };
            assert_eq!(wasm.env("proxy_continue_stream", &[kind]).unwrap(), expected, "{kind}");
            assert_eq!(wasm.env("proxy_close_stream", &[kind]).unwrap(), expected, "{kind}");
            // A name for each type.
            let [name, len] = wasm.put(0x1000, &kind.to_le_bytes());
            let metric = if kind <= 2 { 0 } else { BAD };
            assert_eq!(wasm.env("proxy_define_metric", &[kind, name, len, 0]).unwrap(), metric, "{kind}");
        }
        for context in BEYOND.into_iter().chain([0, 5, 1000]) {
            assert_eq!(wasm.env("proxy_set_effective_context", &[context]).unwrap(), BAD, "{context}");
        }
    });
}

#[test]
fn an_unknown_action_is_a_pause() {
    assert_eq!(Action::from_result(0), Action::Continue);
    for result in [1, 2, 3, 4, 5].into_iter().chain(BEYOND) {
        assert_eq!(Action::from_result(result), Action::Pause, "{result}");
    }
}

#[test]
fn names_and_numbers_of_the_types_agree() {
    assert!(
        (0..6).all(|n| LogLevel::from_u32(n).is_some_and(|level| level as u32 == n)) && LogLevel::from_u32(6).is_none()
    );
    assert!(
        (0..9).all(|n| BufferType::from_u32(n).is_some_and(|kind| kind as u32 == n))
            && BufferType::from_u32(9).is_none()
    );
    assert!(
        (0..8).all(|n| MapType::from_u32(n).is_some_and(|kind| kind as u32 == n)) && MapType::from_u32(8).is_none()
    );
    assert!(
        (0..4).all(|n| StreamType::from_u32(n).is_some_and(|kind| kind as u32 == n))
            && StreamType::from_u32(4).is_none()
    );
    assert!(
        (0..3).all(|n| PeerType::from_u32(n).is_some_and(|kind| kind as u32 == n)) && PeerType::from_u32(3).is_none()
    );
    assert_eq!(Callback::RequestHeaders.name(), "proxy_on_request_headers");
}
