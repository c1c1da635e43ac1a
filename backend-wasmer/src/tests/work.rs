//! How work is counted, and what a guest can do about it.

use std::time::{Duration, Instant};

use super::*;

fn with_fuel(instance: &mut WasmerInstance<State>, fuel: u64) -> Result<(), Stop> {
    instance.call(RUN, &mut [], Budget { ticks: 10_000, fuel: Some(fuel) }).map(|_| ())
}

/// `units` are enough for `run`, and one less is not.
fn needs(engine: &WasmerEngine, wat: &str, units: u64) {
    let mut instance = start(engine, wat);
    for _ in 0..2 {
        let enough = with_fuel(&mut instance, units);
        assert!(enough.is_ok(), "{units}: {enough:?}\n{wat}");
        assert!(matches!(with_fuel(&mut instance, units - 1), Err(Stop::Fuel)), "{}\n{wat}", units - 1);
    }
}

#[test]
fn fuel_is_what_the_operators_cost_on_the_way_that_was_taken() {
    each(Profile::Fuel, |engine| {
        for (body, units) in [
            ("(drop (i32.add (i32.const 1) (i32.const 2)))", 3),
            // The condition, `if`, and one of two arms.
            ("(if (i32.const 0) (then (nop)) (else (drop (i32.const 1)) (drop (i32.const 1))))", 4),
            ("(if (i32.const 1) (then (nop)) (else (drop (i32.const 1)) (drop (i32.const 1))))", 2),
            // Ten rounds of seven.
            (
                "(local i32) (loop (br_if 0 (i32.ne (i32.const 10) (local.tee 0 (i32.add (local.get 0) (i32.const 1))))))",
                70,
            ),
            ("(call $two) (call $two)", 14),
            // Three for the operands, 50 for the operator, one for each 64 bytes.
            ("(memory.fill (i32.const 0) (i32.const 1) (i32.const 6400))", 153),
            ("(table.fill (i32.const 0) (ref.null func) (i32.const 7))", 60),
        ] {
            let wat = format!(
                r#"(module (memory 1) (table 9 funcref) (func $two (drop (i32.const 1)) (drop (i32.const 1)))
                    (func (export "run") {body}))"#
            );
            needs(engine, &wat, units);
        }
    });
}

#[test]
fn a_bulk_operator_is_paid_before_it_traps() {
    each(Profile::Fuel, |engine| {
        for (body, units) in [
            // Three for the operands, 50 for the operator, one for each 64 of 4 GiB.
            ("(memory.fill (i32.const 0) (i32.const 1) (i32.const -1))", 53 + (u64::from(u32::MAX) >> 6)),
            ("(table.fill (i32.const 0) (ref.null func) (i32.const 10))", 63),
        ] {
            let wat = format!(r#"(module (memory 1) (table 9 funcref) (func (export "run") {body}))"#);
            assert!(matches!(with_fuel(&mut start(engine, &wat), units - 1), Err(Stop::Fuel)), "{body}");
            assert!(matches!(with_fuel(&mut start(engine, &wat), units), Err(Stop::Trap(_))), "{body}");
        }
    });
}

#[test]
fn a_guest_whose_names_are_those_of_the_additions_is_counted_all_the_same() {
    let wat = r#"(module (global $own (export "chassis:counter") (mut i64) (i64.const 1000000000))
        (table (export "chassis:refill") 1 funcref) (func $f (export "chassis:start") unreachable)
        (func (export "run") (loop (global.set $own (i64.const 1000000000)) (br 0))))"#;
    each(Profile::Deadline, |engine| {
        let ended = start(engine, wat).call(RUN, &mut [], ticks(20));
        assert!(matches!(ended, Err(Stop::Deadline)), "{ended:?}");
    });
    each(Profile::Fuel, |engine| {
        assert!(matches!(with_fuel(&mut start(engine, wat), 100_000), Err(Stop::Fuel)));
    });
}

#[test]
fn a_deadline_holds_in_whatever_a_guest_does() {
    each(Profile::Deadline, |engine| {
        for body in [
            "(loop (br 0))",
            "(loop (loop (br 1)))",
            "(local i32) (loop (br_if 0 (i32.eqz (local.get 0))) (br 0))",
            "(block (loop (br_table 0 0 (i32.const 1))))",
            "(loop (call $leaf) (br 0))",
            "(call $tree (i32.const 60))",
            "(loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x3000000)) (br 0))",
            "(loop (memory.copy (i32.const 0) (i32.const 1) (i32.const 0x2ffffff)) (br 0))",
            "(loop (drop (memory.grow (i32.const 0))) (br 0))",
            "(loop (drop (memory.size)) (br 0))",
            "(loop (table.copy (i32.const 0) (i32.const 1) (i32.const 9999)) (br 0))",
            "(loop (drop (table.grow (ref.null func) (i32.const 1))) (br 0))",
            "(loop (call $note (i32.const 1)) (br 0))",
            "(loop (call $nest) (br 0))",
        ] {
            let wat = format!(
                r#"(module {IMPORTS} (memory (export "memory") 768) (table 10000 funcref) (func $leaf)
                    (func $tree (param i32) (if (local.get 0) (then (call $tree (i32.sub (local.get 0) (i32.const 1)))
                        (call $tree (i32.sub (local.get 0) (i32.const 1))))))
                    (func (export "inner")) (func (export "run") {body}))"#
            );
            let mut instance = start(engine, &wat);
            let before = Instant::now();
            let ended = instance.call(RUN, &mut [], ticks(20));
            assert!(matches!(ended, Err(Stop::Deadline)), "{body}: {ended:?}");
            // A guest that does not get the CPU may take four times what it may on a quiet machine; tests have five
            // times as long as is promised.
            let promised = Duration::from_millis(20) * engine.capabilities().deadline_scale * 4;
            assert!(before.elapsed() < promised * 5, "{body}: {:?}", before.elapsed());
        }
    });
}

#[test]
fn a_call_that_was_stopped_leaves_nothing_to_the_next() {
    for profile in Profile::ALL {
        each(profile, |engine| {
            let wat = r#"(module (func (export "with") (param i32) (result i32)
                (loop (br_if 0 (local.get 0))) (i32.const 7)))"#;
            let mut instance = start(engine, wat);
            for _ in 0..3 {
                assert!(matches!(instance.call(WITH, &mut [1], ticks(5)), Err(Stop::Deadline)));
                let mut slots = [0];
                instance.call(WITH, &mut slots, ticks(5)).unwrap();
                assert_eq!(slots, [7]);
            }
        });
    }
}

#[test]
fn fuel_without_its_profile_is_refused_in_words() {
    for profile in [Profile::Deadline, Profile::Stream] {
        let engine = WasmerEngine::new(profile).unwrap();
        let mut instance = start(&engine, r#"(module (func (export "run")))"#);
        let Err(Stop::Host(error)) = with_fuel(&mut instance, 5) else { panic!() };
        assert_eq!(error.to_string(), "a fuel limit needs an engine with the profile `fuel`");
        run(&mut instance).unwrap();
    }
}
