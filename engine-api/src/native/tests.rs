//! The native engine through its public interface.

#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::*;
use crate::{
    Budget, Caller, CheckedModule, Engine, EngineError, Export, ExportSpec, Failed, FrontLimits, HostError, HostFn,
    HostModule, Instance, Limits, LinkPlan, Outcome, Profile, Registrar, Sig, Stop, TrapKind, Ty,
};

const RUN: Export = Export(0);
const ALLOC: Export = Export(1);
const WIDE: Export = Export(2);

static EXPORTS: [ExportSpec; 3] = [
    ExportSpec { name: "run", sig: Sig::new(&[Ty::I32], Some(Ty::I32)) },
    ExportSpec { name: "alloc", sig: Sig::new(&[Ty::I32], Some(Ty::I32)) },
    ExportSpec { name: "run", sig: Sig::new(&[Ty::I64], None) },
];

const MODULE: &str = r#"(module
    (import "env" "note" (func (param i32 i64) (result i32)))
    (import "env" "fill" (func (param i32)))
    (import "env" "fail" (func))
    (memory (export "memory") 1 3)
    (func (export "run") (param i32) (result i32) unreachable)
    (func (export "alloc") (param i32) (result i32) unreachable)
    (@custom "chassis.native" "test"))"#;

/// The state: what host functions saw.
type Seen = Vec<u64>;

struct Note;

impl HostFn<Seen> for Note {
    const MODULE: &'static str = "env";
    const NAME: &'static str = "note";
    const SIG: Sig = Sig::new(&[Ty::I32, Ty::I64], Some(Ty::I32));

    fn call<C: Caller<Seen> + ?Sized>(caller: &mut C, slots: &mut [u64]) -> Result<(), Stop> {
        caller.state().extend(&*slots);
        slots[0] = u64::MAX;
        Ok(())
    }
}

/// Asks the guest for a place and writes there; notes how large the memory was before and after.
struct Fill;

impl HostFn<Seen> for Fill {
    const MODULE: &'static str = "env";
    const NAME: &'static str = "fill";
    const SIG: Sig = Sig::new(&[Ty::I32], None);

    fn call<C: Caller<Seen> + ?Sized>(caller: &mut C, slots: &mut [u64]) -> Result<(), Stop> {
        let before = caller.memory().0.len();
        caller.call(ALLOC, slots)?;
        let at = usize::try_from(slots[0]).unwrap();
        let (memory, seen) = caller.memory();
        memory[at] = 7;
        seen.extend([before as u64, memory.len() as u64]);
        Ok(())
    }
}

struct Fail;

impl HostFn<Seen> for Fail {
    const MODULE: &'static str = "env";
    const NAME: &'static str = "fail";
    const SIG: Sig = Sig::new(&[], None);

    fn call<C: Caller<Seen> + ?Sized>(_caller: &mut C, _slots: &mut [u64]) -> Result<(), Stop> {
        Err(HostError::new("as it was told").into())
    }
}

struct Functions;

impl HostModule<Seen> for Functions {
    fn register<R: Registrar<Seen>>(registrar: &mut R) {
        registrar.add::<Fail>();
        registrar.add::<Note>();
        registrar.add::<Fill>();
    }
}

struct Script<F>(F);

impl<F> Guest for Script<F>
where
    F: Fn(&str, &mut [u64], &mut dyn Host) -> Result<(), Stop> + Send,
{
    fn call(&self, export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
        (self.0)(export, slots, host)
    }
}

fn checked(wat: &str) -> CheckedModule {
    CheckedModule::new(wat::parse_str(wat).unwrap(), &FrontLimits::default()).unwrap()
}

fn linked(engine: &NativeEngine, wat: &str) -> NativeLinked<Seen> {
    let module = checked(wat);
    let plan = LinkPlan::new::<Seen, Functions>(module.info(), &EXPORTS).unwrap();
    engine.link::<Seen, Functions>(&engine.compile(&module).unwrap(), plan).unwrap()
}

fn instance<F>(profile: Profile, script: F) -> NativeInstance<Seen>
where
    F: Fn(&str, &mut [u64], &mut dyn Host) -> Result<(), Stop> + Send + Sync + Copy + 'static,
{
    let engine = NativeEngine::new().with_profile(profile).with_guest("test", move || Script(script));
    let limits = Limits { memory_bytes: 2 << 16, ..Limits::default() };
    engine.instantiate(&linked(&engine, MODULE), Seen::new(), &limits, Budget::UNLIMITED).unwrap()
}

fn run(instance: &mut NativeInstance<Seen>, slot: u64) -> Result<u64, Stop> {
    let mut slots = [slot];
    assert_eq!(instance.call(RUN, &mut slots, Budget::UNLIMITED)?, Outcome::Done);
    Ok(slots[0])
}

#[test]
fn values_pass_both_ways_with_the_bits_of_their_types() {
    let mut instance = instance(Profile::Deadline, |export, slots, host| {
        assert_eq!((export, &*slots), ("run", &[0x8000_0001_u64][..]));
        let mut call = [u64::MAX, u64::MAX - 1];
        host.import("env", "note", &mut call)?;
        slots[0] = call[0] | 1 << 40;
        Ok(())
    });
    assert_eq!(run(&mut instance, 0xffff_ffff_8000_0001).unwrap(), 0xffff_ffff);
    assert_eq!(*instance.state(), [0xffff_ffff, u64::MAX - 1]);
    assert!(instance.has(RUN) && instance.has(ALLOC) && !instance.has(WIDE));
}

#[test]
fn a_host_function_reenters_the_guest_and_sees_its_memory_grow() {
    let mut instance = instance(Profile::Deadline, |export, slots, host| match export {
        "alloc" => {
            assert_eq!(host.grow(1), Some(1));
            slots[0] = 65_536 + 8;
            Ok(())
        }
        _ => {
            host.import("env", "fill", &mut [8])?;
            slots[0] = u64::from(host.memory()[65_536 + 8]);
            Ok(())
        }
    });
    assert_eq!(run(&mut instance, 0).unwrap(), 7);
    assert_eq!(*instance.state(), [65_536, 131_072]);
    assert_eq!(instance.memory_bytes(), 131_072);
}

#[test]
fn memory_grows_up_to_the_limit_and_the_modules_own_maximum() {
    let script = |_: &str, slots: &mut [u64], host: &mut dyn Host| {
        slots[0] = host.grow(u32::try_from(slots[0]).unwrap()).map_or(99, u64::from);
        Ok(())
    };
    let mut limited = instance(Profile::Deadline, script);
    assert_eq!([2, u64::from(u32::MAX), 1, 1, 0].map(|n| run(&mut limited, n).unwrap()), [99, 99, 1, 99, 2]);

    let engine = NativeEngine::new().with_guest("test", move || Script(script));
    let linked = linked(&engine, MODULE);
    let mut roomy = engine.instantiate(&linked, Seen::new(), &Limits::default(), Budget::UNLIMITED).unwrap();
    assert_eq!([3, 2, 1].map(|n| run(&mut roomy, n).unwrap()), [99, 1, 99]);
}

#[test]
fn what_does_not_fit_the_limits_is_refused_and_the_state_comes_back() {
    let engine = NativeEngine::new().with_guest("test", || Script(|_: &str, _: &mut [u64], _: &mut dyn Host| Ok(())));
    let linked = linked(
        &engine,
        r#"(module (memory (export "memory") 2) (table 10 funcref) (@custom "chassis.native" "test"))"#,
    );
    let exact = Limits { memory_bytes: 2 << 16, table_elements: 10 };
    assert!(engine.instantiate(&linked, vec![1], &exact, Budget::UNLIMITED).is_ok());
    for limits in [Limits { memory_bytes: (2 << 16) - 1, ..exact }, Limits { table_elements: 9, ..exact }] {
        let Failed { stop, state } = engine.instantiate(&linked, vec![1], &limits, Budget::UNLIMITED).unwrap_err();
        assert!(matches!(stop, Stop::Host(_)), "{stop}");
        assert_eq!(state, [1]);
    }
}

#[test]
fn endless_nesting_ends_as_a_stack_overflow() {
    let mut instance = instance(Profile::Deadline, |_, _, host| host.import("env", "fill", &mut [0]));
    for _ in 0..2 {
        let stop = run(&mut instance, 0).unwrap_err();
        assert!(matches!(&stop, Stop::Trap(trap) if trap.kind == TrapKind::StackOverflow), "{stop}");
    }
}

#[test]
fn the_deadline_is_seen_at_checkpoints_and_host_calls() {
    for way in 0..3 {
        let mut instance = instance(Profile::Deadline, |export, slots, host| {
            loop {
                match (export, slots[0]) {
                    ("alloc", _) | (_, 0) => host.checkpoint()?,
                    (_, 1) => host.import("env", "note", &mut [0, 0])?,
                    _ => host.import("env", "fill", &mut [0])?,
                }
            }
        });
        let before = Instant::now();
        let stop = instance.call(RUN, &mut [way], Budget::deadline(Duration::from_millis(20))).unwrap_err();
        assert!(matches!(stop, Stop::Deadline), "{stop}");
        assert!(before.elapsed() >= Duration::from_millis(18), "{:?}", before.elapsed());
        assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    }
}

#[test]
fn fuel_is_spent_by_entries_host_calls_and_checkpoints() {
    let script = |_: &str, _: &mut [u64], host: &mut dyn Host| {
        host.checkpoint()?;
        host.import("env", "note", &mut [0, 0])
    };
    let with = |profile, fuel| {
        let budget = Budget { fuel, ..Budget::UNLIMITED };
        instance(profile, script).call(RUN, &mut [0], budget)
    };
    assert!(with(Profile::Fuel, Some(3)).is_ok());
    assert!(matches!(with(Profile::Fuel, Some(2)), Err(Stop::Fuel)));
    assert!(matches!(with(Profile::Fuel, Some(0)), Err(Stop::Fuel)));
    assert!(with(Profile::Fuel, None).is_ok());
    assert!(matches!(with(Profile::Deadline, Some(9)), Err(Stop::Host(_))));
}

#[test]
fn errors_of_host_functions_and_of_the_guest_end_the_call() {
    let mut instance = instance(Profile::Deadline, |_, slots, host| match slots[0] {
        0 => host.import("env", "fail", &mut []),
        1 => host.import("env", "unknown", &mut []),
        2 => host.import("env", "note", &mut [1]),
        _ => Err(Stop::Exit(3)),
    });
    let words = [0, 1, 2, 3].map(|way| run(&mut instance, way).unwrap_err().to_string());
    assert_eq!(words[0], "as it was told");
    assert_eq!(words[1], "the module does not import env.unknown");
    assert_eq!(words[2], "too few slots for env.note (i32, i64) -> i32");
    assert_eq!(words[3], "the guest exited with code 3");
}

#[test]
fn each_instance_has_a_guest_of_its_own_and_panics_leave_it_usable() {
    struct Counter(Cell<u64>);

    impl Guest for Counter {
        fn call(&self, _: &str, slots: &mut [u64], _: &mut dyn Host) -> Result<(), Stop> {
            self.0.set(self.0.get() + 1);
            if slots[0] == 1 {
                std::panic::resume_unwind(Box::new("told to"));
            }
            slots[0] = self.0.get();
            Ok(())
        }
    }

    let engine = NativeEngine::new().with_guest("test", || Counter(Cell::new(0)));
    let linked = linked(&engine, MODULE);
    let make = || engine.instantiate(&linked, Seen::new(), &Limits::default(), Budget::UNLIMITED).unwrap();
    let (mut one, mut two) = (make(), make());
    assert_eq!(run(&mut one, 0).unwrap(), 1);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&mut one, 1)));
    assert!(panicked.is_err());
    assert_eq!(run(&mut one, 0).unwrap(), 3);
    assert_eq!(run(&mut two, 0).unwrap(), 1);
}

#[test]
fn modules_without_a_known_guest_are_refused() {
    let engine = NativeEngine::new().with_guest("test", || Script(|_: &str, _: &mut [u64], _: &mut dyn Host| Ok(())));
    for (wat, words) in [
        ("(module)", "no custom section"),
        (r#"(module (@custom "chassis.native" "other"))"#, "no guest is named `other`"),
        (r#"(module (func) (start 0) (@custom "chassis.native" "test"))"#, "start section"),
    ] {
        let error = engine.compile(&checked(wat)).unwrap_err();
        assert!(matches!(&error, EngineError::Compile { engine: "native", message } if message.contains(words)));
    }
}

#[test]
fn a_memory_that_is_not_exported_is_the_guests_own() {
    let engine = NativeEngine::new().with_guest("test", || {
        Script(|_: &str, slots: &mut [u64], host: &mut dyn Host| {
            slots[0] = host.memory().len() as u64;
            Ok(())
        })
    });
    let linked = linked(
        &engine,
        r#"(module (memory 1) (func (export "run") (param i32) (result i32) unreachable)
            (@custom "chassis.native" "test"))"#,
    );
    let mut instance = engine.instantiate(&linked, Seen::new(), &Limits::default(), Budget::UNLIMITED).unwrap();
    assert_eq!(run(&mut instance, 0).unwrap(), 65_536);
    assert!(instance.memory().0.is_empty());
    assert_eq!(instance.memory_bytes(), 0);
}
