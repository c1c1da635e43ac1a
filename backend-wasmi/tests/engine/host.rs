//! A small host for the tests.

use std::time::Duration;

use chassis_backend_wasmi::{WasmiEngine, WasmiInstance};
use chassis_engine_api::{
    Budget, Caller, CheckedModule, Engine, Export, ExportSpec, Failed, FrontLimits, HostError, HostFn, HostModule,
    Instance, Limits, LinkPlan, Profile, Registrar, Sig, Stop, Ty,
};

/// What the host's functions leave behind.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) seen: Vec<u64>,
    /// Whether `reenter` hides the failure of the call that it makes.
    pub(crate) swallow: bool,
    pub(crate) swallowed: Vec<&'static str>,
}

pub(crate) const RUN: Export = Export(0);
pub(crate) const ALLOC: Export = Export(1);
pub(crate) const WITH: Export = Export(2);

/// `run`, `alloc` and `with` are what most tests need.
pub(crate) static EXPORTS: &[ExportSpec] = &[
    ExportSpec { name: "run", sig: Sig::new(&[], None) },
    ExportSpec { name: "alloc", sig: Sig::new(&[Ty::I32], Some(Ty::I32)) },
    ExportSpec { name: "with", sig: Sig::new(&[Ty::I32], Some(Ty::I32)) },
];

macro_rules! host_functions {
    ($($function:ident $name:literal ($($param:ident)*) -> ($($result:ident)?) = $body:expr;)*) => {
        $(
            pub(crate) struct $function;
            impl HostFn<State> for $function {
                const MODULE: &'static str = "env";
                const NAME: &'static str = $name;
                const SIG: Sig = Sig::new(&[$(Ty::$param),*], host_functions!(@result $($result)?));

                fn call<C: Caller<State> + ?Sized>(caller: &mut C, slots: &mut [u64]) -> Result<(), Stop> {
                    #[allow(clippy::redundant_closure_call)]
                    ($body)(caller, slots)
                }
            }
        )*

        pub(crate) struct Host;
        impl HostModule<State> for Host {
            fn register<R: Registrar<State>>(registrar: &mut R) {
                $(registrar.add::<$function>();)*
            }
        }
    };
    (@result) => { None };
    (@result $result:ident) => { Some(Ty::$result) };
}

host_functions! {
    Note "note" (I32) -> () = |caller: &mut C, slots: &mut [u64]| { caller.state().seen.push(slots[0]); Ok(()) };
    Exit "exit" (I32) -> () = |_: &mut C, slots: &mut [u64]| Err(Stop::Exit(slots[0] as i32));
    Refuse "refuse" () -> () = |_: &mut C, _: &mut [u64]| Err(HostError::new("refused").into());
    Burst "burst" () -> () = |_: &mut C, _: &mut [u64]| -> Result<(), Stop> { panic!("the host function burst") };
    Reenter "reenter" (I32) -> (I32) = reenter::<C>;
    Grab "grab" (I32) -> (I32) = grab::<C>;
}

/// Calls `alloc` with its parameter and returns what that returned.
fn reenter<C: Caller<State> + ?Sized>(caller: &mut C, slots: &mut [u64]) -> Result<(), Stop> {
    match caller.call(ALLOC, slots) {
        Err(stop) if caller.state().swallow => {
            caller.state().swallowed.push(stop.kind());
            slots[0] = 0;
            Ok(())
        }
        result => result,
    }
}

/// Asks the guest for memory and writes its whole length with 7, as a host does that returns a buffer.
fn grab<C: Caller<State> + ?Sized>(caller: &mut C, slots: &mut [u64]) -> Result<(), Stop> {
    let len = slots[0] as usize;
    let before = caller.memory().0.len();
    caller.call(ALLOC, slots)?;
    let at = slots[0] as usize;
    let (memory, state) = caller.memory();
    state.seen.extend([before as u64, memory.len() as u64]);
    memory[at..at + len].fill(7);
    Ok(())
}

pub(crate) fn checked(wat: &str) -> CheckedModule {
    CheckedModule::new(wat::parse_str(wat).unwrap(), &FrontLimits::default()).unwrap()
}

pub(crate) struct Setup {
    pub(crate) profile: Profile,
    pub(crate) limits: Limits,
    pub(crate) budget: Budget,
}

impl Default for Setup {
    fn default() -> Self {
        Setup { profile: Profile::Deadline, limits: Limits::default(), budget: Budget { ticks: 5_000, fuel: None } }
    }
}

impl Setup {
    pub(crate) fn try_start(&self, wat: &str) -> Result<WasmiInstance<State>, Failed<State>> {
        let module = checked(wat);
        let engine = WasmiEngine::new(self.profile).unwrap();
        let plan = LinkPlan::new::<State, Host>(module.info(), EXPORTS).unwrap();
        let linked = engine.link::<State, Host>(&engine.compile(&module).unwrap(), plan).unwrap();
        engine.instantiate(&linked, State::default(), &self.limits, self.budget)
    }
}

pub(crate) fn start(wat: &str) -> WasmiInstance<State> {
    Setup::default().try_start(wat).unwrap()
}

/// Plenty of time.
pub(crate) const AMPLE: Budget = Budget { ticks: 5_000, fuel: None };

pub(crate) fn run(instance: &mut WasmiInstance<State>) -> Result<(), Stop> {
    instance.call(RUN, &mut [], AMPLE).map(|_| ())
}

pub(crate) fn with(instance: &mut WasmiInstance<State>, value: i32) -> Result<i32, Stop> {
    let mut slots = [value as u32 as u64];
    instance.call(WITH, &mut slots, AMPLE)?;
    Ok(slots[0] as i32)
}

/// The CPU time that `work` takes on this thread, and its result. Wall time would measure the other tests too.
pub(crate) fn cpu_time<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let begin = now();
    let result = work();
    (now() - begin, result)
}
