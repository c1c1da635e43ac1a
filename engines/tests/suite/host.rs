//! The suite's host: its state, its functions (module `env`) and the exports that it calls.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use chassis_engine_api::{Caller, Export, ExportSpec, HostError, HostFn, HostModule, Registrar, Sig, Stop, Ty};

use crate::shapes;

/// The state of an instance.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// What host functions noted.
    pub(crate) log: Vec<u64>,
    /// What the functions of module `shape` answer.
    pub(crate) reply: u64,
}

/// The exports that the suite calls: `run` with every type, and those that host functions call.
pub(crate) fn exports() -> &'static [ExportSpec] {
    static EXPORTS: OnceLock<Vec<ExportSpec>> = OnceLock::new();
    EXPORTS.get_or_init(|| {
        let fixed = [
            ExportSpec { name: "alloc", sig: Sig::new(&[Ty::I32], Some(Ty::I32)) },
            ExportSpec { name: "nest", sig: Sig::new(&[Ty::I32], Some(Ty::I32)) },
            ExportSpec { name: "absent", sig: Sig::new(&[], None) },
        ];
        let run = shapes::all().into_iter().map(|sig| ExportSpec { name: "run", sig });
        fixed.into_iter().chain(run).collect()
    })
}

const ALLOC: Export = Export(0);
const NEST: Export = Export(1);
const ABSENT: Export = Export(2);

/// All host functions.
pub(crate) struct Functions;

impl HostModule<State> for Functions {
    fn register<R: Registrar<State>>(registrar: &mut R) {
        register(registrar);
        shapes::register(registrar);
    }

    fn hint(_module: &str, name: &str) -> Option<&'static str> {
        (name == "hinted").then_some("a better host has it")
    }
}

macro_rules! host_functions {
    ($(
        $(#[$attribute:meta])*
        $type:ident $name:literal ($($param:ident)*) -> ($($result:ident)?) |$caller:ident, $slots:ident| $body:block
    )*) => {
        $(
            $(#[$attribute])*
            struct $type;

            impl HostFn<State> for $type {
                const MODULE: &'static str = "env";
                const NAME: &'static str = $name;
                const SIG: Sig = Sig::new(&[$(Ty::$param),*], [$(Some(Ty::$result),)? None][0]);

                fn call<C: Caller<State> + ?Sized>($caller: &mut C, $slots: &mut [u64]) -> Result<(), Stop> $body
            }
        )*

        fn register<R: Registrar<State>>(registrar: &mut R) {
            $(registrar.add::<$type>();)*
        }
    };
}

host_functions! {
    /// Notes a number.
    Log "log" (I32) -> () |caller, slots| {
        caller.state().log.push(slots[0]);
        Ok(())
    }

    /// Writes `slots[0]` bytes of value `slots[1]` to a place that the guest's allocator gives, and answers the place.
    /// Notes the size of the memory before and after the allocation.
    Store "store" (I32 I32) -> (I32) |caller, slots| {
        let before = caller.memory().0.len() as u64;
        let mut place = [slots[0]];
        caller.call(ALLOC, &mut place)?;
        let (memory, state) = caller.memory();
        state.log.extend([before, memory.len() as u64]);
        let start = usize::try_from(place[0]).unwrap();
        let end = start + usize::try_from(slots[0]).unwrap();
        let Some(bytes) = memory.get_mut(start..end) else {
            return Err(HostError::new("the allocator gave a place outside the memory").into());
        };
        bytes.fill(slots[1] as u8);
        slots[0] = place[0];
        Ok(())
    }

    /// Calls the export `nest`.
    Nest "nest" (I32) -> (I32) |caller, slots| {
        caller.call(NEST, &mut slots[..1])
    }

    /// Answers 1 if the guest exports `alloc` (for 0) or `absent` (for 1), else 0.
    Has "has" (I32) -> (I32) |caller, slots| {
        let export = if slots[0] == 0 { ALLOC } else { ABSENT };
        slots[0] = u64::from(caller.has(export));
        Ok(())
    }

    /// Calls `alloc` and goes on as if nothing was, whatever came of it.
    Swallow "swallow" () -> () |caller, _slots| {
        let _ = caller.call(ALLOC, &mut [0]);
        Ok(())
    }

    /// Notes the size of the memory.
    Size "size" () -> () |caller, _slots| {
        let (memory, state) = caller.memory();
        state.log.push(memory.len() as u64);
        Ok(())
    }

    /// Gives up.
    Fail "fail" (I32) -> () |_caller, slots| {
        Err(HostError::new(format!("failure {}", slots[0])).into())
    }

    /// Ends the guest.
    Exit "exit" (I32) -> () |_caller, slots| {
        Err(Stop::Exit(slots[0] as u32 as i32))
    }

    /// Panics with [`PANIC`] (without a message on stderr).
    Panic "panic" () -> () |_caller, _slots| {
        std::panic::resume_unwind(Box::new(PANIC))
    }

    /// Keeps the CPU busy for so many milliseconds.
    Spin "spin" (I32) -> () |_caller, slots| {
        let (start, length) = (Instant::now(), Duration::from_millis(slots[0]));
        while start.elapsed() < length {
            std::hint::spin_loop();
        }
        Ok(())
    }

    /// One of two functions of the same name.
    TwoWays "two-ways" () -> () |caller, _slots| {
        caller.state().log.push(1);
        Ok(())
    }

    /// The other one.
    OtherWay "two-ways" () -> (I32) |caller, slots| {
        caller.state().log.push(2);
        slots[0] = 2;
        Ok(())
    }
}

/// What `env.panic` panics with.
pub(crate) const PANIC: &str = "a host function was told to panic";
