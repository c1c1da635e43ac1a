//! Guests: from Wasm text to calls.

use std::sync::Arc;
use std::time::Duration;

use chassis_engine_api::{
    Budget, CheckedModule, Engine, Export, Failed, FrontLimits, Instance, Limits, LinkError, LinkPlan, Outcome, Stop,
    Trap, TrapKind,
};

use crate::host::{Functions, State, exports};
use crate::subject::Subject;

/// Long enough for any call that is to return, short enough that a case which hangs is seen to.
pub(crate) const GENEROUS: Budget = Budget { ticks: 20_000, fuel: None };

/// A linked module.
pub(crate) struct Loaded<E: Engine> {
    engine: E,
    linked: Arc<E::Linked<State>>,
}

impl<E: Engine> Clone for Loaded<E> {
    fn clone(&self) -> Self {
        Loaded { engine: self.engine.clone(), linked: self.linked.clone() }
    }
}

/// Checks a module in text form.
pub(crate) fn checked(wat: &str) -> CheckedModule {
    let bytes = wat::parse_str(wat).unwrap_or_else(|error| panic!("{error}\n{wat}"));
    CheckedModule::new(bytes, &FrontLimits::default()).unwrap_or_else(|error| panic!("{error}\n{wat}"))
}

/// Plans the linking of a module with the suite's host.
pub(crate) fn planned(module: &CheckedModule) -> Result<LinkPlan, LinkError> {
    LinkPlan::new::<State, Functions>(module.info(), exports())
}

/// Compiles and links a module that is in order.
pub(crate) fn load<E: Subject>(engine: &E, wat: &str) -> Loaded<E> {
    let module = checked(wat);
    let compiled = engine.compile(&module).unwrap();
    link(engine, &module, &compiled)
}

/// Links compiled code.
pub(crate) fn link<E: Subject>(engine: &E, module: &CheckedModule, compiled: &E::Module) -> Loaded<E> {
    let linked = engine.link::<State, Functions>(compiled, planned(module).unwrap()).unwrap();
    Loaded { engine: engine.clone(), linked: Arc::new(linked) }
}

impl<E: Subject> Loaded<E> {
    /// Makes an instance with default limits.
    pub(crate) fn start(&self) -> Guest<E> {
        self.start_within(&Limits::default()).unwrap_or_else(|failed| panic!("{}", failed.stop))
    }

    pub(crate) fn start_within(&self, limits: &Limits) -> Result<Guest<E>, Failed<State>> {
        self.start_with(State::default(), limits, GENEROUS)
    }

    pub(crate) fn start_with(&self, state: State, limits: &Limits, budget: Budget) -> Result<Guest<E>, Failed<State>> {
        let instance = self.engine.instantiate(&self.linked, state, limits, budget)?;
        Ok(Guest { instance })
    }
}

/// An instance.
pub(crate) struct Guest<E: Engine> {
    pub(crate) instance: E::Instance<State>,
}

impl<E: Subject> Guest<E> {
    /// Calls an export that is there, whatever its type. Answers the first slot.
    pub(crate) fn call(&mut self, name: &str, params: &[u64]) -> Result<u64, Stop> {
        self.call_within(name, params, GENEROUS)
    }

    pub(crate) fn call_within(&mut self, name: &str, params: &[u64], budget: Budget) -> Result<u64, Stop> {
        let export = self.export(name).unwrap_or_else(|| panic!("no export {name}"));
        let mut slots = params.to_vec();
        slots.resize(params.len().max(1), 0);
        assert_eq!(self.instance.call(export, &mut slots, budget)?, Outcome::Done);
        Ok(slots[0])
    }

    pub(crate) fn run(&mut self, params: &[u64]) -> Result<u64, Stop> {
        self.call("run", params)
    }

    /// The handle of an export that is there.
    pub(crate) fn export(&self, name: &str) -> Option<Export> {
        let found = exports().iter().enumerate().filter(|(_, spec)| spec.name == name);
        let mut handles = found.map(|(index, _)| Export(u8::try_from(index).unwrap()));
        handles.find(|export| self.instance.has(*export))
    }

    pub(crate) fn log(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.instance.state().log)
    }

    /// One byte of the memory.
    pub(crate) fn byte(&mut self, at: usize) -> u8 {
        self.instance.memory().0[at]
    }
}

/// A deadline of so many milliseconds.
pub(crate) fn milliseconds(n: u64) -> Budget {
    Budget::deadline(Duration::from_millis(n))
}

/// The trap that ended a call.
#[track_caller]
pub(crate) fn trap<T: std::fmt::Debug>(ended: Result<T, Stop>) -> Trap {
    match ended {
        Err(Stop::Trap(trap)) => *trap,
        other => panic!("no trap: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_trap<T: std::fmt::Debug>(ended: Result<T, Stop>, kind: TrapKind) {
    let trap = trap(ended);
    assert_eq!(trap.kind, kind, "{trap}");
}

/// What a failed instantiation gave back.
#[track_caller]
pub(crate) fn failed<E: Engine>(result: Result<Guest<E>, Failed<State>>) -> Failed<State> {
    match result {
        Ok(_) => panic!("an instance was made"),
        Err(failed) => failed,
    }
}
