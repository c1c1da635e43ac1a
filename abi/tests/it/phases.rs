//! What start functions and the allocator may call.

use chassis_abi::{Allowed, Answer, Callback, TABLE};
use chassis_engine_api::Stop;

use crate::rig::{Allocator, DATA, Rig};

/// What proxy-wasm's own hosts allow in each place; everything else ends the guest.
const EVERYWHERE: [&str; 8] = [
    "proxy_log",
    "fd_write",
    "clock_time_get",
    "poll_oneoff",
    "proc_exit",
    "sched_yield",
    "emscripten_notify_memory_growth",
    "pthread_equal",
];

fn message(result: Result<u32, Stop>) -> Option<String> {
    match result {
        Ok(_) | Err(Stop::Exit(_)) => None,
        Err(stop) => Some(stop.to_string()),
    }
}

#[test]
fn the_table_says_where() {
    for row in TABLE {
        let is_wasi = row.modules[0] != "env";
        let expected = match () {
            () if EVERYWHERE.contains(&row.name) => Allowed::Everywhere,
            () if is_wasi => Allowed::Start,
            () => Allowed::Callbacks,
        };
        assert_eq!(row.allowed, expected, "{}", row.name);
    }
}

#[test]
fn start_functions_may_log_and_use_wasi() {
    for start in [Callback::Initialize, Callback::Main, Callback::Start, Callback::MainVoid] {
        for row in TABLE.iter().filter(|row| row.answer != Answer::None || row.name == "proc_exit") {
            let mut rig = Rig::new();
            let args = vec![0; row.sig.params.len()];
            let seen = message(rig.run(start, 0, move |wasm| wasm.import(row.modules[0], row.name, &args)));
            let forbidden = format!("{} may not be called in a start function", row.name);
            assert_eq!(seen, (row.allowed == Allowed::Callbacks).then_some(forbidden), "{start:?} {}", row.name);
        }
    }
}

#[test]
fn the_allocator_may_only_log_tell_the_time_and_exit() {
    for row in TABLE.iter().filter(|row| row.answer != Answer::None || row.name == "proc_exit") {
        for module in row.modules {
            let mut rig = Rig::new();
            rig.allocator(Allocator::Calls(module, row.name));
            let seen = message(rig.run(Callback::RequestHeaders, 3, |wasm| {
                let [name, len] = wasm.put(DATA, b"x-a");
                wasm.env("proxy_get_header_map_value", &[0, name, len, 0, 4])
            }));
            let forbidden = format!("{} may not be called in the allocator", row.name);
            assert_eq!(seen, (row.allowed != Allowed::Everywhere).then_some(forbidden), "{}", row.name);
        }
    }
}

#[test]
fn after_the_allocator_everything_is_allowed_again() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        assert_eq!(wasm.header(0, "x-a"), Ok(b"1".to_vec()));
        assert_eq!(wasm.header(0, "x-a"), Ok(b"1".to_vec()));
    });
    // A panic while the allocator ran leaves nothing of that phase behind.
    *rig.shared.panics.lock().unwrap() = true;
    rig.allocator(Allocator::Calls("wasi_snapshot_preview1", "clock_time_get"));
    let panicked =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rig.request(|wasm| wasm.header(0, "x-a").is_ok())));
    assert!(panicked.is_err());
    rig.allocator(Allocator::Good);
    assert_eq!(rig.request(|wasm| wasm.header(0, "x-a")), Ok(b"1".to_vec()));
}
