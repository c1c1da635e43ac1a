//! A small host for the tests.

use std::time::{Duration, Instant};

use chassis_backend_wasmedge::{WasmedgeEngine, WasmedgeInstance};
use chassis_engine_api::{
    Budget, Caller, CheckedModule, Engine, EngineError, Export, ExportSpec, FrontLimits, HostFn, HostModule, Instance,
    Limits, LinkPlan, Profile, Registrar, Sig, Stop, Ty,
};

/// What the host's functions leave behind and use.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) seen: Vec<u64>,
    /// Another instance, which `other` calls with so many milliseconds.
    pub(crate) other: Option<(Box<WasmedgeInstance<State>>, u32)>,
}

const RUN: Export = Export(0);
const ALLOC: Export = Export(1);

static EXPORTS: &[ExportSpec] = &[
    ExportSpec { name: "run", sig: Sig::new(&[Ty::I32], Some(Ty::I32)) },
    ExportSpec { name: "alloc", sig: Sig::new(&[Ty::I32], Some(Ty::I32)) },
];

macro_rules! host_functions {
    ($($function:ident $name:literal |$caller:ident, $slots:ident| $body:block)*) => {
        $(
            struct $function;
            impl HostFn<State> for $function {
                const MODULE: &'static str = "env";
                const NAME: &'static str = $name;
                const SIG: Sig = Sig::new(&[Ty::I32], None);

                fn call<C: Caller<State> + ?Sized>($caller: &mut C, $slots: &mut [u64]) -> Result<(), Stop> $body
            }
        )*

        struct Host;
        impl HostModule<State> for Host {
            fn register<R: Registrar<State>>(registrar: &mut R) {
                $(registrar.add::<$function>();)*
            }
        }
    };
}

host_functions! {
    /* Notes a number. */
    Note "note" |caller, slots| {
        caller.state().seen.push(slots[0]);
        Ok(())
    }

    /* Keeps the CPU busy for so many milliseconds. */
    Spin "spin" |_caller, slots| {
        let (start, length) = (Instant::now(), Duration::from_millis(slots[0]));
        while start.elapsed() < length {
            std::hint::spin_loop();
        }
        Ok(())
    }

    /* Keeps the CPU busy for so many milliseconds, and panics. */
    Burst "burst" |_caller, slots| {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(slots[0]) {
            std::hint::spin_loop();
        }
        std::panic::resume_unwind(Box::new("burst"))
    }

    /* Calls `alloc`, and notes 1 if that succeeds, else 0. */
    Swallow "swallow" |caller, slots| {
        let ended = caller.call(ALLOC, slots);
        caller.state().seen.push(u64::from(ended.is_ok()));
        Ok(())
    }

    /* Calls the other instance; notes 1 if that succeeds, else 0. */
    Other "other" |caller, slots| {
        if let Some((other, ticks)) = &mut caller.state().other {
            let ended = other.call(RUN, slots, Budget { ticks: *ticks, fuel: None });
            caller.state().seen.push(u64::from(ended.is_ok()));
        }
        Ok(())
    }
}

/// The fields that import these functions.
pub(crate) const IMPORTS: &str = r#"(import "env" "note" (func $note (param i32)))
    (import "env" "spin" (func $spin (param i32))) (import "env" "swallow" (func $swallow (param i32)))
    (import "env" "other" (func $other (param i32))) (import "env" "burst" (func $burst (param i32)))"#;

pub(crate) fn compile(wat: &str) -> Result<(), EngineError> {
    let module = checked(wat);
    WasmedgeEngine::new(Profile::Deadline)?.compile(&module).map(|_| ())
}

fn checked(wat: &str) -> CheckedModule {
    CheckedModule::new(wat::parse_str(wat).unwrap(), &FrontLimits::default()).unwrap()
}

pub(crate) fn start_within(wat: &str, limits: &Limits) -> WasmedgeInstance<State> {
    let module = checked(wat);
    let engine = WasmedgeEngine::new(Profile::Deadline).unwrap();
    let plan = LinkPlan::new::<State, Host>(module.info(), EXPORTS).unwrap();
    let linked = engine.link::<State, Host>(&engine.compile(&module).unwrap(), plan).unwrap();
    engine.instantiate(&linked, State::default(), limits, AMPLE).unwrap()
}

pub(crate) fn start(wat: &str) -> WasmedgeInstance<State> {
    start_within(wat, &Limits::default())
}

/// Plenty of time.
pub(crate) const AMPLE: Budget = Budget { ticks: 20_000, fuel: None };

pub(crate) fn run(instance: &mut WasmedgeInstance<State>, value: u64) -> Result<u64, Stop> {
    run_for(instance, value, AMPLE.ticks)
}

pub(crate) fn run_for(instance: &mut WasmedgeInstance<State>, value: u64, ticks: u32) -> Result<u64, Stop> {
    let mut slots = [value];
    instance.call(RUN, &mut slots, Budget { ticks, fuel: None })?;
    Ok(slots[0])
}
