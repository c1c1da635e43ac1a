//! Responses that plugins make, and those of the host.

use bytes::Bytes;
use chassis_abi::Direction;

use crate::guest::callbacks;
use crate::rig::Rig;

cases! {
    each_engine: [
        a_local_response_in_each_phase_takes_the_place_of_the_upstreams,
        a_local_response_stops_whatever_the_callback_returns,
        a_local_response_comes_from_a_tick_too,
        a_local_response_when_the_context_is_created,
        a_response_that_has_begun_is_not_replaced,
        the_second_local_response_has_no_effect,
        response_callbacks_of_those_that_know_the_stream_see_it,
        who_has_seen_the_upstreams_headers_is_not_shown_others,
        a_plugin_may_change_and_hold_another_ones_response,
        headers_and_details_of_a_local_response,
        what_comes_from_the_upstream_after_it_is_dropped,
        a_closed_stream_is_reset,
        the_hosts_own_answer_passes_no_plugin,
        a_grpc_client_gets_trailers_only,
        a_grpc_status_is_the_plugins_or_that_of_the_http_status,
        a_crash_is_unavailable_in_grpc,
    ]
}

const PHASES: [&str; 6] = [
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_response_trailers",
];

/// Everything of a request and a response, for as long as it is wanted.
fn whole(rig: &mut Rig, plugins: &[usize]) -> chassis_host::StreamKey {
    let trailers = || [("t", "1")].into_iter().collect();
    let key = rig.open(plugins, &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_body(key, Bytes::from_static(b"abc"), false);
    rig.worker.request_trailers(key, trailers());
    rig.worker.response_headers(key, [(":status", "200"), ("from", "upstream")].into_iter().collect(), false);
    rig.worker.response_body(key, Bytes::from_static(b"upstream"), false);
    rig.worker.response_trailers(key, trailers());
    key
}

const TEAPOT: &str = "(call $answer (i32.const 418) @\"teapot\")";

fn a_local_response_in_each_phase_takes_the_place_of_the_upstreams(engine: &'static str) {
    for phase in PHASES {
        let (mut rig, plugin) = Rig::with(engine, &callbacks(&[phase], &format!("{TEAPOT} (i32.const 0)")));
        let key = whole(&mut rig, &[plugin]);
        let progress = rig.progress(key);
        assert!(progress.answered && !progress.reset && !progress.response.paused, "{phase}");
        assert!(progress.response.ended && !progress.response.trailers, "{phase}");
        let response = rig.response(key).unwrap();
        assert_eq!((response.status(), response.body.as_str()), ("418", "teapot"), "{phase}");
        assert_eq!(response.header("from"), None, "{phase}");
        assert_eq!(rig.said(), ["s0"], "{phase}");
        rig.worker.close(key);
    }
}

fn a_local_response_stops_whatever_the_callback_returns(engine: &'static str) {
    for action in [0, 1] {
        let mut rig = Rig::new(engine);
        let body = format!("{TEAPOT} (i32.const {action})");
        let first = rig.add("a", &callbacks(&[PHASES[0]], &body));
        let second = rig.add("b", &callbacks(&PHASES, "(call $say @\"second\") (i32.const 0)"));
        let key = whole(&mut rig, &[first, second]);
        let progress = rig.progress(key);
        assert!(!progress.request.headers && !progress.request.paused && progress.request.held == 0);
        assert_eq!(rig.response(key).unwrap().status(), "418");
        assert_eq!(rig.said(), ["s0"]);
    }
}

fn a_local_response_comes_from_a_tick_too(engine: &'static str) {
    let guest = callbacks(&[PHASES[0]], "(i32.const 1)")
        + r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
               (drop (call $set_tick (i32.const 100))) (i32.const 1))
             (func (export "proxy_on_tick") (param i32)
               (call $answer (i32.const 500) @"no stream")
               (drop (call $set_effective (i32.const 2)))
               (call $answer (i32.const 403) @"by the timer"))"#;
    let (mut rig, plugin) = Rig::with(engine, &guest);
    let key = rig.get(&[plugin], &[]);
    assert!(rig.response(key).is_none());
    rig.tick();
    assert_eq!(rig.said(), ["s2", "s0"]);
    let response = rig.response(key).unwrap();
    assert_eq!((response.status(), response.body.as_str()), ("403", "by the timer"));
}

fn a_local_response_when_the_context_is_created(engine: &'static str) {
    let create = format!("(func (export \"proxy_on_context_create\") (param i32 i32) {TEAPOT})");
    let (mut rig, plugin) = Rig::with(engine, &(create + &callbacks(&[PHASES[0]], "unreachable")));
    assert_eq!(rig.round_trip(&[plugin], &[]).unwrap().status(), "418");
    // The plugin context has no stream to answer, in the VM and in its spare.
    assert_eq!(rig.said(), ["s2", "s2", "s0"]);
}

fn a_response_that_has_begun_is_not_replaced(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &callbacks(&[PHASES[4]], &format!("{TEAPOT} (i32.const 0)")));
    let key = rig.get(&[plugin], &[]);
    rig.worker.response_headers(key, [(":status", "200")].into_iter().collect(), false);
    assert_eq!(rig.response(key).unwrap().status(), "200");
    rig.worker.response_body(key, Bytes::from_static(b"ok"), true);
    assert_eq!(rig.said(), ["s2"]);
    assert_eq!(rig.response(key).unwrap().body, "ok");
    assert!(!rig.progress(key).answered);
}

fn the_second_local_response_has_no_effect(engine: &'static str) {
    let again = "(call $answer (i32.const 500) @\"again\")";
    let guest = callbacks(&[PHASES[0]], &format!("{TEAPOT}{again}(i32.const 0)"))
        + &callbacks(&[PHASES[3], PHASES[4]], &format!("{again}(i32.const 0)"));
    let (mut rig, plugin) = Rig::with(engine, &guest);
    let response = rig.round_trip(&[plugin], &[]).unwrap();
    assert_eq!((response.status(), response.body.as_str()), ("418", "teapot"));
    let warning = "a second local response on one stream has no effect";
    assert_eq!(rig.said(), ["s0", warning, "s0", warning, "s0", warning, "s0"]);
}

fn response_callbacks_of_those_that_know_the_stream_see_it(engine: &'static str) {
    let says = |name: &str| callbacks(&[PHASES[3], PHASES[4]], &format!("(call $say @\"{name}\") (i32.const 0)"));
    let mut rig = Rig::new(engine);
    let a = rig.add("a", &says("a"));
    let b = rig.add("b", &(says("b") + &callbacks(&[PHASES[0]], &format!("{TEAPOT} (i32.const 1)"))));
    let c = rig.add("c", &says("c"));
    assert_eq!(rig.round_trip(&[a, b, c], &[]).unwrap().status(), "418");
    assert_eq!(rig.said(), ["s0", "b", "b", "a", "a"]);
}

fn who_has_seen_the_upstreams_headers_is_not_shown_others(engine: &'static str) {
    let says = |name: &str| callbacks(&[PHASES[3]], &format!("(call $say @\"{name}\") (i32.const 0)"));
    let mut rig = Rig::new(engine);
    let (a, c) = (rig.add("a", &says("a")), rig.add("c", &says("c")));
    let b = rig.add("b", &callbacks(&[PHASES[3]], &format!("(call $say @\"b\") {TEAPOT} (i32.const 0)")));
    assert_eq!(rig.round_trip(&[a, b, c], &[]).unwrap().status(), "418");
    assert_eq!(rig.said(), ["c", "b", "s0", "a"]);
}

fn a_plugin_may_change_and_hold_another_ones_response(engine: &'static str) {
    let holds = callbacks(&[PHASES[4]], "(i32.const 1)")
        + &callbacks(&[PHASES[3]], "(drop (call $add_header (i32.const 2) @\"x\" @\"y\")) (i32.const 0)")
        + r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
               (drop (call $set_tick (i32.const 100))) (i32.const 1))
             (func (export "proxy_on_tick") (param i32)
               (drop (call $set_effective (i32.const 2))) (drop (call $continue (i32.const 1))))"#;
    let mut rig = Rig::new(engine);
    let first = rig.add("a", &holds);
    let second = rig.add("b", &callbacks(&[PHASES[0]], &format!("{TEAPOT} (i32.const 0)")));
    let key = rig.get(&[first, second], &[]);
    let progress = rig.progress(key).response;
    assert!(progress.headers && progress.paused && !progress.ended && progress.body == 0);
    rig.tick();
    let response = rig.response(key).unwrap();
    assert_eq!((response.header("x"), response.body.as_str()), (Some("y"), "teapot"));
}

/// Headers `x: y` and `content-length: 9`, as the ABI writes them.
const PAIRS: &str = r"\02\00\00\00\01\00\00\00\01\00\00\00\0e\00\00\00\01\00\00\00x\00y\00content-length\009\00";

fn headers_and_details_of_a_local_response(engine: &'static str) {
    let guest = format!(
        r#"(data (i32.const 0x3000) "{PAIRS}")
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $say_digit @"s" (call $send (i32.const 403) @"because" @"" (i32.const 0x3000) (i32.const 41)
               (i32.const -1)))
             (i32.const 0))
           (data (i32.const 0x3100) "response\00code_details")
           (func (export "proxy_on_log") (param i32)
             (call $say_given
               (call $get_property (i32.const 0x3100) (i32.const 21) (i32.const 0) (i32.const 4))))"#
    );
    let (mut rig, plugin) = Rig::with(engine, &guest);
    let response = rig.round_trip(&[plugin], &[]).unwrap();
    assert_eq!(
        (response.header("x"), response.header("content-length"), response.body.as_str()),
        (Some("y"), None, "")
    );
    assert_eq!(response.headers.len(), 2);
    assert_eq!(rig.said(), ["s0", "because"]);
}

fn what_comes_from_the_upstream_after_it_is_dropped(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &callbacks(&[PHASES[1]], &format!("{TEAPOT} (i32.const 0)")));
    let key = rig.open(&[plugin], &[]);
    rig.worker.request_headers(key, false);
    assert!(rig.passed(key, Direction::Request).is_some());
    rig.worker.request_body(key, Bytes::from_static(b"abc"), false);
    rig.worker.request_body(key, Bytes::from_static(b"def"), true);
    rig.reply(key);
    let progress = rig.progress(key);
    assert_eq!((progress.request.held, progress.request.body), (0, 0));
    assert_eq!(rig.response(key).unwrap().body, "teapot");
    assert_eq!(rig.calls().iter().filter(|call| call.starts_with(PHASES[1])).count(), 1);
}

fn a_closed_stream_is_reset(engine: &'static str) {
    let body = "(call $say_digit @\"c\" (call $close (i32.const 0))) (i32.const 0)";
    let mut rig = Rig::new(engine);
    let first = rig.add("a", &callbacks(&[PHASES[0]], body));
    let second = rig.add("b", &callbacks(&PHASES, "(call $say @\"second\") (i32.const 0)"));
    let key = whole(&mut rig, &[first, second]);
    assert!(rig.progress(key).reset);
    assert!(rig.response(key).is_none() && rig.passed(key, Direction::Request).is_none());
    assert_eq!(rig.said(), ["c0"]);
}

fn the_hosts_own_answer_passes_no_plugin(engine: &'static str) {
    let guest = callbacks(&[PHASES[0]], "(i32.const 1)") + &callbacks(&PHASES[3..], "(call $say @\"x\") (i32.const 0)");
    let (mut rig, plugin) = Rig::with(engine, &guest);
    let key = rig.get(&[plugin], &[]);
    rig.worker.answer(key, 503, Bytes::from_static(b"too long\n"));
    let response = rig.response(key).unwrap();
    assert_eq!((response.status(), response.body.as_str()), ("503", "too long\n"));
    assert!(rig.said().is_empty());
    // What has left whole stays; what has begun can only be broken off.
    rig.worker.answer(key, 500, Bytes::new());
    assert!(!rig.progress(key).reset);
    let (mut rig, plugin) = Rig::with(engine, "");
    let key = rig.get(&[plugin], &[]);
    rig.worker.response_headers(key, [(":status", "200")].into_iter().collect(), false);
    assert_eq!(rig.response(key).unwrap().status(), "200");
    rig.worker.answer(key, 502, Bytes::new());
    assert!(rig.progress(key).reset);
}

const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");

fn a_grpc_client_gets_trailers_only(engine: &'static str) {
    let guest = callbacks(&[PHASES[0]], "(call $answer (i32.const 403) @\"not \\c3\\bc, 5%\") (i32.const 0)")
        .replace("\\c3\\bc", "u\u{308}");
    let (mut rig, plugin) = Rig::with(engine, &guest);
    let key = rig.get(&[plugin], &[GRPC]);
    let progress = rig.progress(key).response;
    assert!(progress.ended && progress.body == 0 && !progress.trailers);
    let response = rig.response(key).unwrap();
    assert_eq!((response.status(), response.header("content-type")), ("200", Some("application/grpc")));
    assert_eq!(
        (response.header("grpc-status"), response.header("grpc-message")),
        (Some("7"), Some("not u%CC%88, 5%25"))
    );
    // Others get what the plugin said.
    let response = rig.round_trip(&[plugin], &[("content-type", "application/grpc-web")]).unwrap();
    assert_eq!((response.status(), response.header("grpc-status")), ("403", None));
}

fn a_grpc_status_is_the_plugins_or_that_of_the_http_status(engine: &'static str) {
    // The plugin's choice, what it may be, and what comes of it.
    for (http, given, wanted) in [
        (403, 9, "9"),
        (403, 0, "0"),
        (403, -1, "7"),
        (400, -1, "13"),
        (401, -1, "16"),
        (404, -1, "12"),
        (429, -1, "14"),
        (503, 17, "14"),
        (500, 255, "2"),
        (200, -1, "2"),
    ] {
        let send =
            format!("(drop (call $send (i32.const {http}) @\"\" @\"\" @\"\" (i32.const {given}))) (i32.const 0)");
        let (mut rig, plugin) = Rig::with(engine, &callbacks(&[PHASES[0]], &send));
        let response = rig.round_trip(&[plugin], &[GRPC]).unwrap();
        assert_eq!(response.header("grpc-status"), Some(wanted), "{http} {given}");
        assert_eq!(response.header("grpc-message"), None);
    }
}

fn a_crash_is_unavailable_in_grpc(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &callbacks(&[PHASES[0]], "unreachable"));
    let response = rig.round_trip(&[plugin], &[GRPC]).unwrap();
    assert_eq!((response.status(), response.header("grpc-status")), ("200", Some("14")));
    assert_eq!(response.header("grpc-message"), Some("Service Unavailable"));
}
