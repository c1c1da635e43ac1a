//! Ticks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::guest::callbacks;
use crate::rig::{Rig, spec};

cases! {
    each_engine: [
        a_tick_comes_after_each_period,
        missed_ticks_are_not_made_up_for,
        a_period_of_zero_ends_it,
        a_tick_may_change_its_period,
        it_belongs_to_the_plugin_context_whoever_asks,
        each_plugin_context_has_its_own,
        it_ends_with_its_vm,
        a_vm_that_takes_over_waits_for_its_own_period,
        it_goes_by_the_embedders_clock,
        the_last_period_of_many_counts,
    ]
}

fn tick(action: &str) -> String {
    format!(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $set_tick (i32.const 100))) (i32.const 1))
           (func (export "proxy_on_tick") (param i32) {action})"#
    )
}

const PERIOD: Duration = Duration::from_millis(100);

/// The ticks since the last time.
fn ticks(rig: &Rig) -> Vec<String> {
    rig.calls().into_iter().filter(|call| call.starts_with("proxy_on_tick")).collect()
}

fn a_tick_comes_after_each_period(engine: &'static str) {
    let before = Instant::now();
    let (mut rig, _) = Rig::with(engine, &tick(""));
    let due = rig.worker.next_timer().unwrap();
    assert!(due >= before + PERIOD && due <= Instant::now() + PERIOD);
    rig.worker.run_timers(due - Duration::from_millis(1));
    assert!(ticks(&rig).is_empty());
    for i in 0..3 {
        rig.worker.run_timers(due + i * PERIOD);
        assert_eq!(ticks(&rig), ["proxy_on_tick(1)"]);
        assert_eq!(rig.worker.next_timer(), Some(due + (i + 1) * PERIOD));
    }
}

fn missed_ticks_are_not_made_up_for(engine: &'static str) {
    let (mut rig, _) = Rig::with(engine, &tick(""));
    let late = rig.worker.next_timer().unwrap() + 50 * PERIOD;
    rig.worker.run_timers(late);
    assert_eq!(ticks(&rig).len(), 1);
    assert_eq!(rig.worker.next_timer(), Some(late + PERIOD));
}

fn a_period_of_zero_ends_it(engine: &'static str) {
    let (mut rig, _) = Rig::with(engine, &tick("(drop (call $set_tick (i32.const 0)))"));
    rig.tick();
    assert_eq!(ticks(&rig).len(), 1);
    assert_eq!(rig.worker.next_timer(), None);
    rig.worker.run_timers(Instant::now() + 100 * PERIOD);
    assert!(ticks(&rig).is_empty());
}

fn a_tick_may_change_its_period(engine: &'static str) {
    let (mut rig, _) = Rig::with(engine, &tick("(drop (call $set_tick (i32.const 5000)))"));
    let now = Instant::now();
    rig.tick();
    assert!(rig.worker.next_timer().unwrap() >= now + Duration::from_secs(5));
}

fn it_belongs_to_the_plugin_context_whoever_asks(engine: &'static str) {
    let guest = callbacks(&["proxy_on_request_headers"], "(drop (call $set_tick (i32.const 10))) (i32.const 0)")
        + "(func (export \"proxy_on_tick\") (param i32))";
    let (mut rig, plugin) = Rig::with(engine, &guest);
    assert_eq!(rig.worker.next_timer(), None);
    for _ in 0..2 {
        let key = rig.get(&[plugin], &[]);
        rig.worker.close(key);
    }
    let due = rig.worker.next_timer().unwrap();
    rig.worker.run_timers(due);
    assert_eq!(ticks(&rig), ["proxy_on_tick(1)"]);
}

fn each_plugin_context_has_its_own(engine: &'static str) {
    // The second one ends the first one's timer when it ticks, and keeps its own.
    let guest = tick(
        "(if (i32.eq (local.get 0) (i32.const 2)) (then
           (drop (call $set_effective (i32.const 1))) (drop (call $set_tick (i32.const 0)))))",
    );
    let mut rig = Rig::new(engine);
    rig.add_with(&spec("a"), &guest, &["x", "y"]).unwrap();
    let other = rig.add("b", &tick(""));
    assert_eq!(rig.worker.plugin(other).unwrap().name(), "b");
    rig.calls();
    let later = Instant::now() + PERIOD;
    rig.worker.run_timers(later);
    assert_eq!(ticks(&rig), ["proxy_on_tick(1)", "proxy_on_tick(2)", "proxy_on_tick(1)"]);
    rig.worker.run_timers(later + PERIOD);
    assert_eq!(ticks(&rig), ["proxy_on_tick(2)", "proxy_on_tick(1)"]);
}

fn it_ends_with_its_vm(engine: &'static str) {
    // The timer is set by a stream, so that the VM that takes over has none.
    let guest = callbacks(&["proxy_on_request_headers"], "(drop (call $set_tick (i32.const 10))) (i32.const 0)")
        + "(func (export \"proxy_on_tick\") (param i32) unreachable)";
    let mut rig = Rig::new(engine);
    let bomb = rig.add("bomb", &guest);
    rig.add("calm", &tick(""));
    rig.get(&[bomb], &[]);
    rig.worker.run_timers(Instant::now() + PERIOD);
    assert_eq!(ticks(&rig), ["proxy_on_tick(1)", "proxy_on_tick(1) !! trap"]);
    rig.worker.run_timers(Instant::now() + 3 * PERIOD);
    assert_eq!(ticks(&rig), ["proxy_on_tick(1)"]);
}

fn a_vm_that_takes_over_waits_for_its_own_period(engine: &'static str) {
    let mut rig = Rig::new(engine);
    rig.add_with(&spec("bomb"), &tick("unreachable"), &["x", "y"]).unwrap();
    rig.calls();
    let (first, second) = (rig.worker.next_timer().unwrap(), Instant::now() + PERIOD);
    rig.worker.run_timers(second);
    // The first tick ended the VM. The second context of the new one has a timer too, which is not due.
    assert_eq!(ticks(&rig), ["proxy_on_tick(1) !! trap"]);
    assert!(rig.worker.next_timer().unwrap() > first);
}

fn it_goes_by_the_embedders_clock(engine: &'static str) {
    // One of them is before there was a worker.
    let now = Instant::now();
    for time in [now - PERIOD / 3, now + Duration::from_secs(1000)] {
        let mut rig = Rig::new(engine);
        rig.worker.set_clock(Arc::new(move || time));
        rig.add("a", &tick(""));
        assert_eq!(rig.worker.next_timer(), Some(time + PERIOD));
    }
    let mut rig = Rig::new(engine);
    rig.worker.set_clock(Arc::new(move || now - 9 * PERIOD));
    rig.add("a", &tick(""));
    assert_eq!(rig.worker.next_timer(), Some(now - 8 * PERIOD));
    rig.worker.run_timers(now - 8 * PERIOD - Duration::from_nanos(1));
    assert!(ticks(&rig).is_empty());
    rig.worker.run_timers(now - 8 * PERIOD);
    assert_eq!(ticks(&rig).len(), 1);
}

fn the_last_period_of_many_counts(engine: &'static str) {
    let periods: String = (1..100).map(|ms| format!("(drop (call $set_tick (i32.const {ms})))")).collect();
    let guest = format!(
        "(func (export \"proxy_on_configure\") (param i32 i32) (result i32) {periods}
           (drop (call $set_tick (i32.const 9000))) (i32.const 1))"
    );
    let now = Instant::now();
    let (rig, _) = Rig::with(engine, &guest);
    assert!(rig.worker.next_timer().unwrap() >= now + Duration::from_secs(9));
}
