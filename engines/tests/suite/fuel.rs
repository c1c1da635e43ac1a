//! Fuel, to the unit.

use chassis_engine_api::{Budget, Failed, Instance, Limits, Stop};

use crate::case::engine_test;
use crate::guest::{GENEROUS, Loaded, failed, load};
use crate::host::State;
use crate::subject::Subject;

const COUNT_DOWN: &str = r#"(module (func (export "run") (param i32)
    (loop (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (local.get 0)))))"#;

engine_test! { "fuel";
    fn a_call_needs_an_exact_amount(engine) in [Fuel] needs [Wasm, Fuel] {
        for n in [1, 100, 100_000, 1_000_000] {
            let loaded = load(engine, COUNT_DOWN);
            let least = least(&loaded, &[n]);
            assert!(least >= n, "{least} units for {n} rounds");
            edge(&loaded, &[n], least);
        }
    }

    fn more_work_needs_more(engine) in [Fuel] needs [Wasm, Fuel] {
        let loaded = load(engine, COUNT_DOWN);
        let [one, two, three] = [1000, 2000, 3000].map(|n| least(&loaded, &[n]));
        assert!(one < two && two < three);
        assert_eq!(three - two, two - one);
    }

    fn the_first_call_needs_as_much_as_later_ones(engine) in [Fuel] needs [Wasm, Fuel] {
        let amount = least(&load(engine, COUNT_DOWN), &[50]);
        edge(&load(engine, COUNT_DOWN), &[50], amount);
        let first_too_little = load(engine, COUNT_DOWN);
        assert!(matches!(run(&first_too_little, &[50], amount - 1), Err(Stop::Fuel)));
        run(&first_too_little, &[50], amount).unwrap();
    }

    fn each_call_gets_its_own_fuel(engine) in [Fuel] needs [Wasm, Fuel] {
        let loaded = load(engine, COUNT_DOWN);
        let least = least(&loaded, &[500]);
        let mut guest = loaded.start();
        for _ in 0..10 {
            guest.call_within("run", &[500], fuel(least)).unwrap();
        }
        guest.call_within("run", &[500], fuel(u64::MAX)).unwrap();
        assert!(matches!(guest.call_within("run", &[500], fuel(least - 1)), Err(Stop::Fuel)));
    }

    fn no_amount_means_no_limit(engine) in [Fuel] needs [Wasm] {
        let mut guest = load(engine, COUNT_DOWN).start();
        guest.call_within("run", &[3_000_000], GENEROUS).unwrap();
    }

    fn nothing_is_not_enough(engine) in [Fuel] needs [Wasm, Fuel] {
        let loaded = load(engine, COUNT_DOWN);
        assert!(matches!(run(&loaded, &[1], 0), Err(Stop::Fuel)));
    }

    fn an_endless_loop_ends(engine) in [Fuel] needs [Wasm, Fuel] {
        let loaded = load(engine, r#"(module (func (export "run") (loop (br 0))))"#);
        assert!(matches!(run(&loaded, &[], 1_000_000), Err(Stop::Fuel)));
    }

    fn reentry_spends_the_same_fuel(engine) in [Fuel] needs [Wasm, Fuel] {
        let guest = |work: u32| {
            load(
                engine,
                &format!(
                    r#"(module (import "env" "store" (func $store (param i32 i32) (result i32)))
                        (import "env" "log" (func $log (param i32))) (memory (export "memory") 1)
                        (func (export "alloc") (param i32) (result i32) (local.set 0 (i32.const {work}))
                            (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) (i32.const 1024))
                        (func (export "run") (drop (call $store (i32.const 1) (i32.const 1)))
                            (drop (call $store (i32.const 1) (i32.const 1)))))"#
                ),
            )
        };
        let (short, long) = (least(&guest(1000), &[]), least(&guest(3000), &[]));
        edge(&guest(1000), &[], short);
        // Each of the two re-entries works 2000 rounds longer.
        assert!(long - short >= 4000, "{short} and {long}");
        // Half is spent within the second re-entry.
        assert!(matches!(run(&guest(3000), &[], long * 3 / 4), Err(Stop::Fuel)));
    }

    fn a_host_function_that_swallows_the_end_does_not_renew_it(engine) in [Fuel] needs [Wasm, Fuel] {
        let loaded = load(
            engine,
            r#"(module (import "env" "swallow" (func $swallow))
                (func (export "alloc") (param i32) (result i32) (loop (br 0)) unreachable)
                (func (export "run") (loop (call $swallow) (br 0))))"#,
        );
        assert!(matches!(run(&loaded, &[], 10_000), Err(Stop::Fuel)));
    }

    /// Bulk operations cost by their size on some engines; the amount is exact all the same.
    fn a_large_fill_needs_an_exact_amount(engine) in [Fuel] needs [Wasm, Fuel] {
        let loaded = load(
            engine,
            r#"(module (memory 512) (func (export "run") (param i32)
                (memory.fill (i32.const 0) (i32.const 7) (local.get 0))))"#,
        );
        for size in [1, 0x1000, 0x200_0000] {
            let least = least(&loaded, &[size]);
            edge(&loaded, &[size], least);
        }
    }

    fn host_calls_within_do_not_change_the_amount(engine) in [Fuel] needs [Wasm, Fuel] {
        let guest = |body: &str| {
            load(engine, &format!(r#"(module (import "env" "spin" (func $spin (param i32))) (func (export "run") {body}))"#))
        };
        let (idle, busy) = (guest("(call $spin (i32.const 0))"), guest("(call $spin (i32.const 5))"));
        assert_eq!(least(&idle, &[]), least(&busy, &[]));
    }

    fn the_start_section_needs_an_exact_amount(engine) in [Fuel] needs [Wasm, Fuel] {
        let loaded = load(
            engine,
            r#"(module (global $n (mut i32) (i32.const 1000)) (func $start
                (loop (global.set $n (i32.sub (global.get $n) (i32.const 1))) (br_if 0 (global.get $n)))) (start $start))"#,
        );
        let start = |amount| loaded.start_with(State { reply: 5, ..State::default() }, &Limits::default(), fuel(amount));
        let least = search(|amount| start(amount).map(|_| ()).map_err(|failed: Failed<State>| failed.stop));
        assert!(least >= 1000);
        let failed = failed(start(least - 1));
        assert!(matches!(failed.stop, Stop::Fuel));
        assert_eq!(failed.state.reply, 5);
        assert!(start(least).is_ok());
    }

    fn the_state_stays_readable(engine) in [Fuel] needs [Wasm, Fuel] {
        let mut guest = load(
            engine,
            r#"(module (import "env" "log" (func $log (param i32)))
                (func (export "run") (call $log (i32.const 8)) (loop (br 0))))"#,
        )
        .start();
        assert!(matches!(guest.call_within("run", &[], fuel(10_000)), Err(Stop::Fuel)));
        assert_eq!(guest.instance.state().log, [8]);
    }

    /// A limit that cannot be held is refused, not forgotten.
    fn other_profiles_refuse_it(engine) in [Deadline, Stream] {
        let mut guest = load(
            engine,
            r#"(module (import "env" "log" (func $log (param i32))) (func (export "run") (param i32) (call $log (local.get 0)))
                (@custom "chassis.native" "logging"))"#,
        )
        .start();
        assert!(matches!(guest.call_within("run", &[1], fuel(1_000_000)), Err(Stop::Host(_))));
        assert!(guest.log().is_empty());
        guest.run(&[2]).unwrap();
    }
}

fn fuel(amount: u64) -> Budget {
    Budget { fuel: Some(amount), ..GENEROUS }
}

/// Runs a fresh instance.
fn run<E: Subject>(loaded: &Loaded<E>, params: &[u64], amount: u64) -> Result<u64, Stop> {
    loaded.start().call_within("run", params, fuel(amount))
}

/// The least fuel with which `run` returns.
fn least<E: Subject>(loaded: &Loaded<E>, params: &[u64]) -> u64 {
    search(|amount| run(loaded, params, amount).map(|_| ()))
}

fn search(attempt: impl Fn(u64) -> Result<(), Stop>) -> u64 {
    let enough = |amount| match attempt(amount) {
        Ok(()) => true,
        Err(Stop::Fuel) => false,
        Err(other) => panic!("{other:?}"),
    };
    let (mut low, mut high) = (0, 1 << 30);
    assert!(enough(high));
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// That `amount` is enough and one unit less is not, again and again.
#[track_caller]
fn edge<E: Subject>(loaded: &Loaded<E>, params: &[u64], amount: u64) {
    for _ in 0..3 {
        assert!(run(loaded, params, amount).is_ok(), "{amount} units were enough before");
        assert!(matches!(run(loaded, params, amount - 1), Err(Stop::Fuel)), "{} units are too little", amount - 1);
    }
}
