//! Host calls of guests whose stream is a TCP connection.

use bytes::Bytes;
use chassis_abi::{Direction, Effect, Exchange, Lane, Status};

use crate::rig::{DATA, Rig};

const BAD: u32 = Status::BadArgument as u32;
const NOT_FOUND: u32 = Status::NotFound as u32;

/// A rig whose stream is a TCP connection on which data came both ways.
fn rig() -> Rig {
    let mut rig = Rig::new();
    let mut exchange = Exchange::tcp();
    let mut lane = Lane::default();
    lane.request.body.push(Bytes::from_static(b"from client"));
    lane.request.body_open = true;
    lane.response.body.push(Bytes::from_static(b"from upstream"));
    lane.response.body_open = true;
    exchange.lanes.push(lane);
    *rig.exchange() = exchange;
    rig
}

#[test]
fn its_buffers_are_those_of_tcp() {
    let mut rig = rig();
    rig.request(|wasm| {
        assert_eq!(wasm.buffer(2, 5, 99), Ok(b"client".to_vec()));
        assert_eq!(wasm.buffer(3, 5, 99), Ok(b"upstream".to_vec()));
        for http in [0, 1] {
            assert_eq!(wasm.buffer(http, 0, 99), Err(NOT_FOUND), "{http}");
            assert_eq!(wasm.env("proxy_set_buffer_bytes", &[http, 0, 0, 0, 0]).unwrap(), NOT_FOUND, "{http}");
            assert_eq!(wasm.env("proxy_get_buffer_status", &[http, 0, 4]).unwrap(), NOT_FOUND, "{http}");
        }
        let [at, len] = wasm.put(DATA, b"by");
        assert_eq!(wasm.env("proxy_set_buffer_bytes", &[2, 0, 4, at, len]).unwrap(), 0);
        assert_eq!(wasm.env("proxy_set_buffer_bytes", &[3, 99, 0, at, len]).unwrap(), 0);
    });
    let lane = &rig.exchange().lanes[0];
    assert_eq!(
        (lane.request.body.to_bytes(), lane.response.body.to_bytes()),
        ("by client".into(), "from upstreamby".into())
    );
}

#[test]
fn it_has_no_maps_and_takes_no_local_response() {
    let mut rig = rig();
    let before = rig.snapshot();
    rig.request(|wasm| {
        for map in 0..=8 {
            assert_eq!(wasm.header(map, "x-a"), Err(BAD), "{map}");
            assert_eq!(wasm.env("proxy_get_header_map_pairs", &[map, 0, 4]).unwrap(), BAD, "{map}");
            assert_eq!(wasm.edit("proxy_add_header_map_value", map, b"a", b"b"), BAD, "{map}");
        }
        assert_eq!(wasm.env("proxy_send_local_response", &[200, 0, 0, 0, 0, 0, 0, 0]).unwrap(), BAD);
    });
    assert_eq!(rig.snapshot(), before);
}

#[test]
fn its_directions_are_continued_and_its_connections_closed_by_their_own_numbers() {
    let mut rig = rig();
    let exchange = rig.exchange;
    rig.request(|wasm| {
        for call in ["proxy_continue_stream", "proxy_close_stream"] {
            for kind in [0, 1, 2, 2, 3] {
                assert_eq!(wasm.env(call, &[kind]).unwrap(), 0, "{call} {kind}");
            }
            assert_eq!(wasm.env(call, &[4]).unwrap(), BAD);
        }
        assert_eq!(wasm.env("proxy_continue_request", &[]).unwrap(), 0);
    });
    let [request, response] = [Direction::Request, Direction::Response];
    assert_eq!(
        rig.board().effects,
        [
            Effect::Continue { exchange, lane: 0, direction: request },
            Effect::Continue { exchange, lane: 0, direction: response },
            Effect::CloseConnection { exchange, from: request },
            Effect::CloseConnection { exchange, from: response },
        ]
    );
}

#[test]
fn of_a_request_nothing_is_closed_or_continued_by_the_numbers_of_tcp() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        for call in ["proxy_continue_stream", "proxy_close_stream"] {
            assert_eq!(wasm.env(call, &[2]).unwrap(), 0);
            assert_eq!(wasm.env(call, &[3]).unwrap(), 0);
        }
    });
    assert!(rig.board().effects.is_empty());
}

#[test]
fn an_exchange_that_was_cleared_can_be_either() {
    let mut exchange = Exchange::tcp();
    exchange.clear();
    assert_eq!(exchange.kind, chassis_abi::StreamKind::Http);
    exchange.request.has_headers = true;
    exchange.make_tcp();
    assert!(!exchange.request.has_headers);
}
