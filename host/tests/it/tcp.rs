//! TCP streams through one plugin and through several.

use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{Direction, HeaderList, PeerType};
use chassis_host::{StreamKey, Worker};

use crate::rig::{Rig, spec};

cases! {
    each_engine: [
        data_passes_both_ways_with_its_size_and_end,
        data_is_changed_both_ways,
        what_comes_from_the_upstream_passes_the_chain_in_reverse,
        a_connection_that_is_held_lets_nothing_pass,
        what_comes_from_the_upstream_waits_for_the_connection,
        data_that_is_held_grows_until_it_is_continued,
        who_closes_a_connection_lets_nothing_pass_any_more,
        a_close_is_told_once_and_what_came_before_may_still_pass,
        what_passes_to_a_connection_that_is_gone_is_dropped,
        too_much_held_data_resets_the_stream,
        a_plugin_that_fails_resets_the_stream,
        there_is_no_local_response,
        what_is_said_of_http_changes_nothing,
        a_chain_that_does_not_look_lets_everything_pass,
        a_stream_takes_the_place_of_one_of_another_kind,
        whatever_happens_data_comes_out_in_order_and_once,
    ]
}

const DOWN: Direction = Direction::Request;
const UP: Direction = Direction::Response;

fn down(worker: &mut Worker, key: StreamKey, data: &'static str) {
    worker.downstream_data(key, Bytes::from_static(data.as_bytes()), false);
}

fn up(worker: &mut Worker, key: StreamKey, data: &'static str) {
    worker.upstream_data(key, Bytes::from_static(data.as_bytes()), false);
}

/// Lets the timers of all plugins go off.
fn all_timers(rig: &mut Rig) {
    rig.worker.run_timers(rig.worker.next_timer().unwrap() + Duration::from_secs(1));
}

/// A guest that exports all callbacks of TCP; `new`, `down` and `up` are what the first three do, their actions last.
fn guest(new: &str, down: &str, up: &str) -> String {
    format!(
        r#"
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $set_tick (i32.const 1)))
    (i32.const 1))
  (func (export "proxy_on_new_connection") (param i32) (result i32) {new})
  (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32) {down})
  (func (export "proxy_on_upstream_data") (param i32 i32 i32) (result i32) {up})
  (func (export "proxy_on_downstream_connection_close") (param i32 i32))
  (func (export "proxy_on_upstream_connection_close") (param i32 i32))
  (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
  (func (export "proxy_on_log") (param i32))
  (func (export "proxy_on_delete") (param i32))"#
    )
}

const ON: &str = "(i32.const 0)";
const PAUSE: &str = "(i32.const 1)";

fn data_passes_both_ways_with_its_size_and_end(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &guest(ON, ON, ON));
    rig.calls();
    let key = rig.connect(&[plugin]);
    down(&mut rig.worker, key, "hello");
    down(&mut rig.worker, key, "");
    up(&mut rig.worker, key, "hi");
    rig.worker.downstream_data(key, Bytes::new(), true);
    down(&mut rig.worker, key, "after the end");
    rig.worker.upstream_data(key, Bytes::from_static(b"bye"), true);
    assert_eq!((rig.data(key, DOWN), rig.data(key, UP)), ("hello".to_owned(), "hibye".to_owned()));
    let progress = rig.progress(key);
    assert!(progress.request.ended && progress.response.ended && !progress.reset);
    rig.worker.downstream_closed(key, PeerType::Remote);
    rig.worker.upstream_closed(key, PeerType::Local);
    rig.worker.close(key);
    let calls = [
        "proxy_on_context_create(2, 1)",
        "proxy_on_new_connection(2)",
        "proxy_on_downstream_data(2, 5, 0)",
        "proxy_on_upstream_data(2, 2, 0)",
        "proxy_on_downstream_data(2, 0, 1)",
        "proxy_on_upstream_data(2, 3, 1)",
        "proxy_on_downstream_connection_close(2, 2)",
        "proxy_on_upstream_connection_close(2, 1)",
        "proxy_on_done(2) -> 1",
        "proxy_on_log(2)",
        "proxy_on_delete(2)",
    ];
    assert_eq!(rig.calls(), &calls[1..], "there is no callback for new contexts");
    assert_eq!(rig.worker.buffered(), 0);
}

/// Says what there is in a buffer, and puts a mark around it.
fn marks(buffer: u32, mark: &str) -> String {
    format!(
        r#"(call $say_given (call $get_buffer (i32.const {buffer}) (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 4)))
           (drop (call $set_buffer (i32.const {buffer}) (i32.const 0) (i32.const 0) @"{mark}"))
           (drop (call $set_buffer (i32.const {buffer}) (i32.const 999) (i32.const 0) @"{mark}"))
           (i32.const 0)"#
    )
}

fn data_is_changed_both_ways(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &guest(ON, &marks(2, "<"), &marks(3, ">")));
    let key = rig.connect(&[plugin]);
    down(&mut rig.worker, key, "a");
    up(&mut rig.worker, key, "b");
    down(&mut rig.worker, key, "c");
    assert_eq!((rig.data(key, DOWN), rig.data(key, UP)), ("<a<<c<".to_owned(), ">b>".to_owned()));
    assert_eq!(rig.said(), ["a", "b", "c"]);
}

fn what_comes_from_the_upstream_passes_the_chain_in_reverse(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let first = rig.add("first", &guest(ON, &marks(2, "1"), &marks(3, "1")));
    let second = rig.add("second", &guest(ON, &marks(2, "2"), &marks(3, "2")));
    let key = rig.connect(&[first, second]);
    down(&mut rig.worker, key, "d");
    up(&mut rig.worker, key, "u");
    assert_eq!((rig.data(key, DOWN), rig.data(key, UP)), ("21d12".to_owned(), "12u21".to_owned()));
    assert_eq!(rig.said(), ["d", "1d1", "u", "2u2"]);
    rig.lines();
    rig.worker.upstream_closed(key, PeerType::Unknown);
    rig.worker.close(key);
    assert!(rig.worker.progress(key).is_none());
}

/// Continues a direction of the first stream.
fn continues(kind: u32) -> String {
    format!(
        r#"(func (export "proxy_on_tick") (param i32)
             (drop (call $set_effective (i32.const 2)))
             (drop (call $continue (i32.const {kind}))))"#
    )
}

fn a_connection_that_is_held_lets_nothing_pass(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let before = rig.add("before", &guest(ON, ON, ON));
    let holds = rig.add("holds", &(guest(PAUSE, ON, ON) + &continues(2)));
    let after = rig.add("after", &guest(ON, ON, ON));
    rig.calls();
    let key = rig.connect(&[before, holds, after]);
    down(&mut rig.worker, key, "d");
    // Nothing comes from an upstream to plugins that know of no connection.
    up(&mut rig.worker, key, "u");
    assert_eq!((rig.data(key, DOWN), rig.data(key, UP)), (String::new(), String::new()));
    let progress = rig.progress(key);
    assert!(progress.request.paused && !progress.request.headers);
    // Who holds the connection is shown what comes.
    let calls = [
        "proxy_on_new_connection(2)",
        "proxy_on_new_connection(2) -> 1",
        "proxy_on_downstream_data(2, 1, 0)",
        "proxy_on_downstream_data(2, 1, 0)",
    ];
    assert_eq!(rig.calls(), calls);
    all_timers(&mut rig);
    assert_eq!((rig.data(key, DOWN), rig.data(key, UP)), ("d".to_owned(), "u".to_owned()));
    let calls = rig.calls();
    let seen: Vec<&str> = calls.iter().filter(|call| !call.contains("tick")).map(String::as_str).collect();
    let expected = [
        "proxy_on_new_connection(2)",
        "proxy_on_downstream_data(2, 1, 0)",
        "proxy_on_upstream_data(2, 1, 0)",
        "proxy_on_upstream_data(2, 1, 0)",
        "proxy_on_upstream_data(2, 1, 0)",
    ];
    assert_eq!(seen, expected);
    assert!(!rig.progress(key).request.paused);
}

fn what_comes_from_the_upstream_waits_for_the_connection(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let before = rig.add("before", &guest(ON, ON, ON));
    let holds = rig.add("holds", &(guest(PAUSE, ON, ON) + &continues(2)));
    let key = rig.connect(&[before, holds]);
    rig.calls();
    // Who holds the connection comes first here, and lets it pass to where it waits.
    for _ in 0..2 {
        up(&mut rig.worker, key, "u");
        assert_eq!(
            (rig.data(key, UP), rig.calls()),
            (String::new(), vec!["proxy_on_upstream_data(2, 1, 0)".to_owned()])
        );
        assert!(!rig.progress(key).response.headers);
    }
    all_timers(&mut rig);
    assert_eq!(rig.data(key, UP), "uu");
    assert_eq!(rig.calls().last().unwrap(), "proxy_on_upstream_data(2, 2, 0)");
}

fn data_that_is_held_grows_until_it_is_continued(engine: &'static str) {
    for (kind, direction) in [(2, DOWN), (3, UP)] {
        let (mut rig, plugin) = Rig::with(engine, &(guest(ON, PAUSE, PAUSE) + &continues(kind)));
        let key = rig.connect(&[plugin]);
        rig.calls();
        for data in ["ab", "cde"] {
            down(&mut rig.worker, key, data);
            up(&mut rig.worker, key, data);
        }
        assert_eq!((rig.data(key, DOWN), rig.data(key, UP)), (String::new(), String::new()));
        let grown: Vec<String> = rig.calls().into_iter().filter(|call| call.contains("downstream")).collect();
        assert_eq!(grown, ["proxy_on_downstream_data(2, 2, 0) -> 1", "proxy_on_downstream_data(2, 5, 0) -> 1"]);
        rig.tick();
        assert_eq!(rig.data(key, direction), "abcde");
        let progress = rig.progress(key);
        assert_eq!((progress.request.paused, progress.response.paused), (direction != DOWN, direction != UP));
        assert_eq!(progress.request.held + progress.response.held, 5);
    }
}

fn who_closes_a_connection_lets_nothing_pass_any_more(engine: &'static str) {
    for (kind, is_downstream) in [(2, true), (3, false)] {
        let closes =
            format!("(drop (call $close (i32.const {kind}))) (drop (call $close (i32.const {kind}))) (i32.const 0)");
        let (mut rig, plugin) = Rig::with(engine, &guest(ON, &closes, ON));
        let key = rig.connect(&[plugin]);
        up(&mut rig.worker, key, "greeting");
        rig.calls();
        down(&mut rig.worker, key, "bad");
        let progress = rig.progress(key);
        assert_eq!((progress.close_downstream, progress.close_upstream), (is_downstream, !is_downstream));
        assert!(progress.request.cut && progress.response.cut && !progress.reset);
        down(&mut rig.worker, key, "more");
        up(&mut rig.worker, key, "more");
        assert_eq!(rig.calls(), ["proxy_on_downstream_data(2, 3, 0)"]);
        // What had passed is delivered.
        assert_eq!((rig.data(key, DOWN), rig.data(key, UP)), (String::new(), "greeting".to_owned()));
        rig.worker.downstream_closed(key, PeerType::Local);
        rig.worker.upstream_closed(key, PeerType::Local);
        rig.worker.close(key);
        let calls = [
            "proxy_on_downstream_connection_close(2, 1)",
            "proxy_on_upstream_connection_close(2, 1)",
            "proxy_on_done(2) -> 1",
            "proxy_on_log(2)",
            "proxy_on_delete(2)",
        ];
        assert_eq!(rig.calls(), calls);
        assert_eq!(rig.worker.buffered(), 0);
    }
}

fn a_close_is_told_once_and_what_came_before_may_still_pass(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &(guest(ON, PAUSE, ON) + &continues(2)));
    let key = rig.connect(&[plugin]);
    down(&mut rig.worker, key, "last words");
    rig.calls();
    rig.worker.downstream_closed(key, PeerType::Remote);
    rig.worker.downstream_closed(key, PeerType::Local);
    down(&mut rig.worker, key, "from a grave");
    assert_eq!(rig.calls(), ["proxy_on_downstream_connection_close(2, 2)"]);
    assert!(!rig.progress(key).request.ended);
    rig.tick();
    assert!(rig.progress(key).request.ended);
    assert_eq!(rig.data(key, DOWN), "last words");
}

fn what_passes_to_a_connection_that_is_gone_is_dropped(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &guest(ON, ON, ON));
    for plugins in [&[plugin][..], &[]] {
        let key = rig.connect(plugins);
        up(&mut rig.worker, key, "passed and not taken");
        rig.worker.downstream_closed(key, PeerType::Remote);
        up(&mut rig.worker, key, "nobody is there");
        assert_eq!(rig.data(key, UP), "");
        assert_eq!(rig.worker.buffered(), 0);
        down(&mut rig.worker, key, "dropped");
        rig.worker.upstream_closed(key, PeerType::Remote);
        assert!(rig.progress(key).request.ended && rig.progress(key).response.ended);
        rig.worker.close(key);
    }
}

fn too_much_held_data_resets_the_stream(engine: &'static str) {
    let mut limited = spec("guest");
    limited.limits.buffered_body = 8;
    for kind in [DOWN, UP] {
        let mut rig = Rig::new(engine);
        let plugin = rig.add_with(&limited, &guest(ON, PAUSE, PAUSE), &[""]).unwrap();
        let key = rig.connect(&[plugin]);
        let send = if kind == DOWN { down } else { up };
        send(&mut rig.worker, key, "12345678");
        assert!(!rig.progress(key).reset);
        send(&mut rig.worker, key, "9");
        let progress = rig.progress(key);
        assert!(progress.reset && !progress.answered);
        // What the plugin was called for it keeps; its contexts end as ever.
        rig.calls();
        rig.worker.downstream_closed(key, PeerType::Local);
        rig.worker.close(key);
        assert_eq!(rig.calls()[..2], ["proxy_on_downstream_connection_close(2, 1)", "proxy_on_done(2) -> 1"]);
        assert_eq!(rig.worker.buffered(), 0);
    }
}

fn a_plugin_that_fails_resets_the_stream(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &guest(ON, "(unreachable)", ON));
    let key = rig.connect(&[plugin]);
    let other = rig.connect(&[plugin]);
    rig.calls();
    down(&mut rig.worker, key, "x");
    for stream in [key, other] {
        assert!(rig.progress(stream).reset);
        assert_eq!(rig.worker.crash(stream).unwrap().callback, "proxy_on_downstream_data");
    }
    // Nobody is there to be told.
    rig.worker.downstream_closed(key, PeerType::Local);
    rig.worker.close(key);
    rig.worker.close(other);
    assert_eq!(rig.calls(), ["proxy_on_downstream_data(2, 1, 0) !! trap"]);
    rig.worker.wait_prepared(crate::rig::LONG);
    let next = rig.connect(&[plugin]);
    up(&mut rig.worker, next, "works");
    assert_eq!(rig.data(next, UP), "works");
}

fn there_is_no_local_response(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &guest(r#"(call $answer (i32.const 403) @"no") (i32.const 0)"#, ON, ON));
    let key = rig.connect(&[plugin]);
    down(&mut rig.worker, key, "x");
    assert_eq!(rig.said(), ["s2"]);
    assert_eq!(rig.data(key, DOWN), "x");
    assert!(!rig.progress(key).answered);
    // A pause that lasted too long, as for HTTP.
    rig.worker.answer(key, 503, Bytes::from_static(b"nothing that TCP could say"));
    assert!(rig.progress(key).reset);
    assert_eq!(rig.data(key, UP), "");
}

fn what_is_said_of_http_changes_nothing(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &guest(ON, ON, ON));
    let key = rig.connect(&[plugin]);
    rig.calls();
    let headers: HeaderList = [(":status", "200")].into_iter().collect();
    rig.worker.request_headers(key, true);
    rig.worker.response_headers(key, headers.clone(), true);
    rig.worker.request_trailers(key, headers.clone());
    rig.worker.response_trailers(key, headers);
    rig.worker.request_metadata(key, 1);
    assert!(rig.calls().is_empty());
    down(&mut rig.worker, key, "x");
    assert_eq!(rig.data(key, DOWN), "x");
    // Nor does TCP of a request.
    let request = rig.get(&[plugin], &[]);
    rig.calls();
    rig.worker.downstream_closed(request, PeerType::Remote);
    rig.worker.upstream_closed(request, PeerType::Remote);
    assert!(rig.calls().is_empty());
    rig.reply(request);
    assert_eq!(rig.response(request).unwrap().body, "ok");
}

fn a_chain_that_does_not_look_lets_everything_pass(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, "");
    for plugins in [&[plugin][..], &[]] {
        let key = rig.connect(plugins);
        down(&mut rig.worker, key, "to");
        rig.worker.upstream_data(key, Bytes::from_static(b"fro"), true);
        assert_eq!((rig.data(key, DOWN), rig.data(key, UP)), ("to".to_owned(), "fro".to_owned()));
        assert!(rig.progress(key).response.ended && !rig.progress(key).request.ended);
        rig.worker.close(key);
    }
}

fn a_stream_takes_the_place_of_one_of_another_kind(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &guest(ON, ON, ON));
    for _ in 0..3 {
        let tcp = rig.connect(&[plugin]);
        rig.worker.downstream_closed(tcp, PeerType::Remote);
        rig.worker.close(tcp);
        assert_eq!(rig.round_trip(&[plugin], &[]).unwrap().body, "ok");
    }
    let tcp = rig.connect(&[plugin]);
    up(&mut rig.worker, tcp, "again");
    assert_eq!(rig.data(tcp, UP), "again");
    assert_eq!(
        rig.progress(tcp),
        chassis_host::Progress {
            request: chassis_host::DirectionProgress { headers: true, ..Default::default() },
            response: chassis_host::DirectionProgress { headers: true, ..Default::default() },
            ..Default::default()
        }
    );
}

/// Holds back whatever has an odd size, until its timer lets everything go.
const ODD: &str = r#"
  (global $stream (mut i32) (i32.const 0))
  (func (export "proxy_on_tick") (param i32)
    (drop (call $set_effective (global.get $stream)))
    (drop (call $continue (i32.const 2)))
    (drop (call $continue (i32.const 3))))"#;

fn whatever_happens_data_comes_out_in_order_and_once(engine: &'static str) {
    let odd = "(i32.and (local.get 1) (i32.const 1))";
    let holds = guest("(global.set $stream (local.get 0)) (i32.const 0)", odd, odd) + ODD;
    let (mut rig, plugin) = Rig::with(engine, &holds);
    let through = rig.add("through", &guest(ON, ON, ON));
    let mut seed = 7_u32;
    let mut random = |most: u32| {
        // Numerical Recipes' generator: the same numbers in each run.
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % most
    };
    for _ in 0..200 {
        let key = rig.connect(&[plugin, through]);
        let (mut came, mut passed) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        let (mut ended, mut gone) = ([false; 2], [false; 2]);
        for number in 0..30_u8 {
            let from = random(2) as usize;
            match random(12) {
                0 => all_timers(&mut rig),
                1 if from == 0 => rig.worker.downstream_closed(key, PeerType::Remote),
                1 => rig.worker.upstream_closed(key, PeerType::Remote),
                event => {
                    let data = vec![number; random(4) as usize];
                    if !ended[from] && !gone[from] {
                        came[from].extend_from_slice(&data);
                    }
                    let end = event == 2;
                    ended[from] |= end;
                    match from {
                        0 => rig.worker.downstream_data(key, data.into(), end),
                        _ => rig.worker.upstream_data(key, data.into(), end),
                    }
                }
            }
            for (index, direction) in [DOWN, UP].into_iter().enumerate() {
                while let Some(piece) = rig.worker.take_body(key, direction) {
                    passed[index].extend_from_slice(&piece);
                }
            }
            // A close is seen by what can come and pass after it.
            let progress = rig.progress(key);
            assert!(!progress.reset && !progress.request.cut);
            for call in rig.calls() {
                gone[0] |= call.starts_with("proxy_on_downstream_connection_close");
                gone[1] |= call.starts_with("proxy_on_upstream_connection_close");
            }
        }
        all_timers(&mut rig);
        for (index, direction) in [DOWN, UP].into_iter().enumerate() {
            while let Some(piece) = rig.worker.take_body(key, direction) {
                passed[index].extend_from_slice(&piece);
            }
            let to_nobody = gone[1 - index];
            assert!(came[index].starts_with(&passed[index]), "{:?} of {:?}", passed[index], came[index]);
            assert!(to_nobody || came[index] == passed[index], "{:?} of {:?}", passed[index], came[index]);
        }
        let progress = rig.progress(key);
        assert_eq!((progress.request.held, progress.response.held), (0, 0));
        assert_eq!(progress.request.ended, ended[0] || gone[0]);
        assert_eq!(progress.response.ended, ended[1] || gone[1]);
        rig.worker.close(key);
        assert_eq!(rig.worker.buffered(), 0);
    }
}
