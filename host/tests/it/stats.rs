//! What is counted of plugins, as other threads read it.

use std::sync::Arc;
use std::time::Duration;

use chassis_host::{CRASH_KINDS, PluginState, Totals};

use crate::guest::callbacks;
use crate::rig::{LONG, Rig};

cases! {
    each_engine: [
        entries_crashes_starts_and_memory_are_counted,
        what_a_removed_plugin_counted_is_kept,
    ]
}

/// Traps if there is `x-boom`, else grows by a page.
fn guest() -> String {
    let action = "(if (i32.eqz (call $get_header (i32.const 0) @\"x-boom\" (i32.const 0) (i32.const 4)))
      (then unreachable)) (drop (memory.grow (i32.const 1))) (i32.const 0)";
    callbacks(&["proxy_on_request_headers"], action)
}

fn crashes(totals: &Totals) -> Vec<(&'static str, u64)> {
    CRASH_KINDS.into_iter().zip(totals.crashes).filter(|(_, count)| *count > 0).collect()
}

fn entries_crashes_starts_and_memory_are_counted(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &guest());
    let stats = Arc::clone(rig.worker.stats());
    let counted = stats.plugins().pop().unwrap();
    assert_eq!((counted.plugin().name(), counted.state()), ("guest", PluginState::Running));
    assert_eq!(counted.totals().starts, 1);
    let at_first = counted.memory_bytes();
    let before = counted.totals().callbacks;
    rig.round_trip(&[plugin], &[]);
    assert_eq!(counted.memory_bytes(), at_first + 65536);
    assert!(counted.totals().callbacks > before);
    rig.round_trip(&[plugin], &[("x-boom", "1")]);
    assert_eq!(crashes(&counted.totals()), [("trap", 1)]);
    // The spare has taken over.
    assert_eq!((counted.totals().starts, counted.state(), counted.memory_bytes()), (2, PluginState::Running, at_first));
    // There is none now.
    rig.round_trip(&[plugin], &[("x-boom", "1")]);
    assert_eq!((counted.state(), counted.memory_bytes()), (PluginState::Starting, 0));
    rig.worker.wait_prepared(LONG);
    assert_eq!((counted.totals().starts, counted.state()), (3, PluginState::Running));
}

fn what_a_removed_plugin_counted_is_kept(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &guest());
    rig.round_trip(&[plugin], &[("x-boom", "1")]);
    rig.worker.wait_prepared(LONG);
    let stats = Arc::clone(rig.worker.stats());
    let before = stats.totals()["guest"];
    rig.worker.remove_plugin(plugin, Duration::ZERO);
    assert!(rig.worker.has_ended(plugin) && stats.plugins().is_empty());
    let kept = stats.totals()["guest"];
    assert_eq!((crashes(&kept), kept.starts), (vec![("trap", 1)], 2));
    assert!(kept.callbacks >= before.callbacks);
    let other = rig.add("guest", &guest());
    rig.round_trip(&[other], &[("x-boom", "1")]);
    assert_eq!(crashes(&stats.totals()["guest"]), [("trap", 2)]);
}
