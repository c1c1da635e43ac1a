//! Effective contexts, continuing, closing, timers and the plugin's end.

use chassis_abi::{Callback, Context, Direction, Effect, Status};

use crate::rig::Rig;

#[test]
fn calls_are_about_the_effective_context() {
    let mut rig = Rig::new();
    let (root, other_root, other, other_exchange) = (rig.root, rig.other_root, rig.other, rig.other_exchange);
    rig.request(move |wasm| {
        assert_eq!(wasm.header(0, "x-a"), Ok(b"1".to_vec()));
        assert_eq!(wasm.env("proxy_set_effective_context", &[root]).unwrap(), 0);
        assert_eq!(wasm.header(0, "x-a"), Err(Status::BadArgument as u32));
        assert_eq!(wasm.env("proxy_set_effective_context", &[other]).unwrap(), 0);
        assert_eq!(wasm.edit("proxy_add_header_map_value", 0, b"x-b", b"2"), 0);
        assert_eq!(wasm.env("proxy_set_effective_context", &[99]).unwrap(), Status::BadArgument as u32);
        // A refused one changes nothing.
        assert_eq!(wasm.header(0, "x-b"), Ok(b"2".to_vec()));
        assert_eq!(wasm.env("proxy_set_tick_period_milliseconds", &[5]).unwrap(), 0);
        assert_eq!(wasm.env("proxy_continue_stream", &[1]).unwrap(), 0);
    });
    assert_eq!(rig.exchange().request.headers.get(b"x-b"), None);
    assert_eq!(
        rig.board().effects,
        [
            Effect::TickPeriod { context: other_root, milliseconds: 5 },
            Effect::Continue { exchange: other_exchange, lane: 0, direction: Direction::Response },
        ]
    );
    // The next callback begins with its own context.
    rig.request(|wasm| assert_eq!(wasm.header(0, "x-b"), Err(Status::NotFound as u32)));
}

#[test]
fn a_context_that_is_gone_is_not_valid() {
    let mut rig = Rig::new();
    let other = rig.other;
    rig.instance.state().contexts.remove(other);
    assert_eq!(rig.request(move |wasm| wasm.env("proxy_set_effective_context", &[other]).unwrap()), 2);
    // A live context whose stream is gone answers as one without a stream.
    let key = rig.exchange;
    rig.board().exchanges.remove(key);
    rig.request(|wasm| {
        assert_eq!(wasm.header(0, "x-a"), Err(Status::BadArgument as u32));
        assert_eq!(wasm.buffer(0, 0, 1), Err(Status::NotFound as u32));
        assert_eq!(wasm.set_property("a", b"b"), Status::NotFound as u32);
        assert_eq!(wasm.env("proxy_continue_stream", &[0]).unwrap(), 0);
        assert_eq!(wasm.env("proxy_close_stream", &[0]).unwrap(), 0);
    });
}

#[test]
fn what_is_asked_for_again_and_again_is_asked_for_once() {
    let mut rig = Rig::new();
    let (root, stream, exchange) = (rig.root, rig.stream, rig.exchange);
    let flood = move |rig: &mut Rig| {
        rig.run(Callback::Tick, root, move |wasm| {
            for i in 0..1000 {
                wasm.env("proxy_set_tick_period_milliseconds", &[i])?;
                wasm.env("proxy_set_effective_context", &[stream])?;
                wasm.env("proxy_continue_stream", &[0])?;
                wasm.env("proxy_close_stream", &[i % 4])?;
                wasm.env("proxy_set_effective_context", &[root])?;
            }
            Ok(())
        })
        .unwrap();
    };
    flood(&mut rig);
    let once = [
        Effect::TickPeriod { context: root, milliseconds: 999 },
        Effect::Continue { exchange, lane: 0, direction: Direction::Request },
        Effect::Close { exchange },
    ];
    assert_eq!(rig.board().effects, once);
    // Each entry may ask anew.
    flood(&mut rig);
    assert_eq!(rig.board().effects, [once.clone(), once].concat());
}

#[test]
fn without_a_stream_or_a_pause_continuing_and_closing_are_fine() {
    let mut rig = Rig::new();
    let root = rig.root;
    rig.run(Callback::Tick, root, |wasm| {
        for name in ["proxy_continue_stream", "proxy_close_stream"] {
            assert_eq!(wasm.env(name, &[0])?, 0);
            assert_eq!(wasm.env(name, &[1])?, 0);
        }
        assert_eq!(wasm.env("proxy_continue_request", &[])?, 0);
        assert_eq!(wasm.env("proxy_continue_response", &[])?, 0);
        Ok(())
    })
    .unwrap();
    assert!(rig.board().effects.is_empty());
}

#[test]
fn a_timer_belongs_to_the_plugin_context_and_takes_any_period() {
    for milliseconds in [0, 1, u32::MAX] {
        let mut rig = Rig::new();
        let context = rig.root;
        assert_eq!(
            rig.request(move |wasm| wasm.env("proxy_set_tick_period_milliseconds", &[milliseconds]).unwrap()),
            0
        );
        assert_eq!(rig.board().effects, [Effect::TickPeriod { context, milliseconds }]);
    }
}

#[test]
fn done_answers_only_a_plugin_context_that_deferred_its_end() {
    let mut rig = Rig::new();
    let (root, stream, other) = (rig.root, rig.stream, rig.other);
    let done =
        move |rig: &mut Rig, context| rig.run(Callback::Tick, context, |wasm| wasm.env("proxy_done", &[])).unwrap();
    assert_eq!(done(&mut rig, root), Status::NotFound as u32);
    assert_eq!(done(&mut rig, 77), Status::NotFound as u32);
    let Some(Context::Plugin { pending_done, .. }) = rig.instance.state().contexts.get_mut(root) else { panic!() };
    *pending_done = true;
    assert_eq!(done(&mut rig, other), Status::NotFound as u32, "another plugin context's stream");
    assert_eq!(done(&mut rig, stream), 0);
    assert_eq!(rig.board().effects, [Effect::Done { context: root }]);
    assert_eq!(done(&mut rig, root), Status::NotFound as u32, "once");
}
