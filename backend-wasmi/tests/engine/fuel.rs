//! The fuel limit is exact, re-entry included.

use chassis_backend_wasmi::WasmiInstance;
use chassis_engine_api::{Budget, Instance, Profile, Stop};

use crate::host::{Setup, State, WITH, start};

fn metered(wat: &str) -> WasmiInstance<State> {
    Setup { profile: Profile::Fuel, ..Setup::default() }.try_start(wat).unwrap()
}

fn enough(instance: &mut WasmiInstance<State>, value: u64, fuel: u64) -> bool {
    match instance.call(WITH, &mut [value], Budget { ticks: 60_000, fuel: Some(fuel) }) {
        Ok(_) => true,
        Err(Stop::Fuel) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// The least fuel that is enough; checks on the way that more always is and less never.
fn needs(instance: &mut WasmiInstance<State>, value: u64) -> u64 {
    let (mut low, mut high) = (0, 1 << 30);
    while low < high {
        let middle = (low + high) / 2;
        if enough(instance, value, middle) { high = middle } else { low = middle + 1 }
    }
    for more in [low, low + 1, low + 16_383, low + 16_384, low * 2, u64::MAX] {
        assert!(enough(instance, value, more), "{low} is enough, {more} is not");
    }
    for less in [0, 1, low / 2, low - 1] {
        assert!(!enough(instance, value, less), "{less} is enough, as is {low}");
    }
    low
}

const LOOP: &str = "(local $i i32)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get 0))))";

#[test]
fn fuel_is_counted_alike_in_one_slice_and_in_many() {
    let mut instance =
        metered(&format!(r#"(module (func (export "with") (param i32) (result i32) {LOOP} (i32.const 0)))"#));
    let (ten, hundred, million) =
        (needs(&mut instance, 10), needs(&mut instance, 100), needs(&mut instance, 1_000_000));
    let each = (hundred - ten) / 90;
    assert_eq!(hundred - ten, each * 90);
    assert_eq!(million - hundred, each * 999_900);
}

#[test]
fn nested_calls_spend_the_outer_budget_and_no_unit_is_lost_or_given_twice() {
    let wat = |call: &str| {
        format!(
            r#"(module (import "env" "reenter" (func $reenter (param i32) (result i32)))
                (func $alloc (export "alloc") (param i32) (result i32) {LOOP} (i32.const 1))
                (func (export "with") (param i32) (result i32) (local $n i32)
                    (loop $again
                        (drop (call {call} (local.get 0)))
                        (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 20))))
                    (i32.const 0)))"#
        )
    };
    let mut nested = metered(&wat("$reenter"));
    let mut direct = metered(&wat("$alloc"));
    // Less than a slice, a few slices, and more than one slice within each of the nested calls.
    for iterations in [3, 4_000, 20_000] {
        assert_eq!(needs(&mut nested, iterations), needs(&mut direct, iterations), "{iterations}");
    }
}

#[test]
fn a_bulk_operation_is_paid_in_full_or_not_done() {
    let mut instance = metered(
        r#"(module (memory (export "memory") 512) (func (export "with") (param i32) (result i32)
            (memory.fill (i32.const 0) (i32.const 1) (local.get 0)) (i32.const 0)))"#,
    );
    let bytes = 32 << 20;
    assert!(!enough(&mut instance, bytes, bytes / 64));
    assert!(instance.memory().0.iter().all(|byte| *byte == 0));
    let fuel = needs(&mut instance, bytes);
    assert!(fuel > bytes / 64 && fuel < bytes / 64 + 10, "{fuel}");
}

#[test]
fn a_host_function_that_hides_it_gains_nothing() {
    let mut instance = metered(&format!(
        r#"(module (import "env" "reenter" (func $reenter (param i32) (result i32)))
            (func (export "alloc") (param i32) (result i32) {LOOP} (i32.const 1))
            (func (export "with") (param i32) (result i32)
                (loop $l (drop (call $reenter (local.get 0))) (br $l)) (unreachable)))"#
    ));
    instance.state().swallow = true;
    assert!(!enough(&mut instance, 1_000_000, 500_000));
    let swallowed = instance.state().swallowed.len();
    assert!((1..10).contains(&swallowed), "{swallowed}");
}

#[test]
fn without_the_fuel_profile_a_fuel_limit_is_refused() {
    let wat = r#"(module (func (export "with") (param i32) (result i32) (local.get 0)))"#;
    match start(wat).call(WITH, &mut [1], Budget { ticks: 10, fuel: Some(1) }) {
        Err(Stop::Host(error)) => assert!(error.to_string().contains("profile `fuel`")),
        other => panic!("{other:?}"),
    }
    let unlimited = Budget { ticks: 10, fuel: None };
    metered(wat).call(WITH, &mut [1], unlimited).unwrap();
}
