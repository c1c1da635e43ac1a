//! An engine that calls Rust functions instead of the module's own.
//!
//! This is all that an engine must do. The module was checked before, what it imports is planned, and the Proxy-Wasm
//! functions are brought along; what stays is to run code, to hold the limits, and to say how well. One that does more,
//! for tests, is `chassis::engine_api::native`.

use std::sync::Arc;

use chassis::engine_api::{
    Artefact, ArtefactError, Budget, Caller, Capabilities, CheckedModule, Engine, EngineError, Export, Failed,
    HostError, HostFn, HostModule, Instance, Limits, LinkPlan, Meter, Outcome, Profile, Registrar, Stop, Support,
    TrapKind, Verdict, clock,
};

/// What stands for a module's functions: the name of the export, its parameters (the result goes to the first), and
/// what there is besides.
pub(crate) type Guest = fn(&str, &mut [u64], &mut dyn World) -> Result<(), Stop>;

/// What a guest sees of its instance.
pub(crate) trait World {
    fn memory(&mut self) -> &mut [u8];
    /// Calls a host function that the module imports.
    fn import(&mut self, name: &str, slots: &mut [u64]) -> Result<(), Stop>;
}

#[derive(Clone)]
pub(crate) struct OwnEngine {
    guest: Guest,
}

impl OwnEngine {
    pub(crate) fn new(guest: Guest) -> Self {
        OwnEngine { guest }
    }
}

static CAPABILITIES: Capabilities = Capabilities {
    name: "own",
    version: "1.0.0",
    native_code: true,
    aot: Support::None("there is no code to save"),
    deadline: Support::Coarse("looked at when the guest makes a host call"),
    deadline_scale: 1,
    fuel: Support::None("nothing is counted"),
    memory_limit: Support::Exact,
    table_limit: Support::Exact,
    depth_limit: Support::Coarse("counts entries, not the calls within the guest"),
    backtrace: Support::None("there are no frames"),
    cheap_instances: Support::Exact,
};

impl Engine for OwnEngine {
    type Module = CheckedModule;
    type Linked<S: Send + 'static> = Arc<Linked<S>>;
    type Instance<S: Send + 'static> = OwnInstance<S>;

    fn capabilities(&self) -> &'static Capabilities {
        &CAPABILITIES
    }

    fn profile(&self) -> Profile {
        Profile::Deadline
    }

    fn compile(&self, module: &CheckedModule) -> Result<CheckedModule, EngineError> {
        Ok(module.clone())
    }

    fn save(&self, _module: &CheckedModule) -> Result<Option<Artefact>, EngineError> {
        Ok(None)
    }

    fn load(&self, _module: &CheckedModule, _artefact: &Artefact) -> Result<CheckedModule, EngineError> {
        let message = "there is no saved code".to_owned();
        Err(ArtefactError::Engine { engine: CAPABILITIES.name, message }.into())
    }

    fn cache_key(&self) -> String {
        format!("{}-{}", CAPABILITIES.name, CAPABILITIES.version)
    }

    /// Keeps the host functions that the module imports. The host offers each as a type, so that `F::call` below is
    /// compiled for this engine's caller.
    fn link<S: Send + 'static, H: HostModule<S>>(
        &self,
        module: &CheckedModule,
        plan: LinkPlan,
    ) -> Result<Arc<Linked<S>>, EngineError> {
        let mut wanted = Wanted { plan: &plan, functions: Vec::new() };
        H::register(&mut wanted);
        let functions = wanted.functions;
        let pages = module.info().memories.first().map_or(0, |memory| memory.minimum_pages);
        Ok(Arc::new(Linked { guest: self.guest, pages, functions, plan }))
    }

    fn instantiate<S: Send + 'static>(
        &self,
        linked: &Arc<Linked<S>>,
        state: S,
        limits: &Limits,
        budget: Budget,
    ) -> Result<OwnInstance<S>, Failed<S>> {
        let bytes = linked.pages.saturating_mul(64 << 10);
        let Some(bytes) = usize::try_from(bytes).ok().filter(|_| bytes <= limits.memory_bytes) else {
            return Err(Failed { stop: HostError::new("more memory than an instance may have").into(), state });
        };
        let meter = Meter::start(&budget);
        Ok(OwnInstance { linked: linked.clone(), store: Store { state, memory: vec![0; bytes], meter, depth: 0 } })
    }
}

/// A module with its host functions.
pub(crate) struct Linked<S> {
    guest: Guest,
    pages: u64,
    functions: Vec<(&'static str, HostCall<S>)>,
    plan: LinkPlan,
}

type HostCall<S> = fn(&mut Running<'_, S>, &mut [u64]) -> Result<(), Stop>;

struct Wanted<'a, S> {
    plan: &'a LinkPlan,
    functions: Vec<(&'static str, HostCall<S>)>,
}

impl<S: Send + 'static> Registrar<S> for Wanted<'_, S> {
    fn add<F: HostFn<S>>(&mut self) {
        if self.plan.wants::<S, F>() {
            self.functions.push((F::NAME, |running, slots| F::call(running, slots)));
        }
    }
}

pub(crate) struct OwnInstance<S> {
    linked: Arc<Linked<S>>,
    store: Store<S>,
}

struct Store<S> {
    state: S,
    memory: Vec<u8>,
    /// What the call that is running has left.
    meter: Meter,
    depth: u32,
}

impl<S: Send + 'static> Instance<S> for OwnInstance<S> {
    // The clock by which deadlines go ticks only while somebody runs; so does whoever calls this.
    fn call_while(
        &mut self,
        _: &clock::Running,
        export: Export,
        slots: &mut [u64],
        budget: &Budget,
    ) -> Result<Outcome, Stop> {
        self.store.meter = Meter::start(budget);
        self.store.depth = 0;
        Running { linked: &self.linked, store: &mut self.store }.enter(export, slots)?;
        Ok(Outcome::Done)
    }

    fn state(&mut self) -> &mut S {
        &mut self.store.state
    }

    fn has(&self, export: Export) -> bool {
        self.linked.plan.has(export)
    }

    fn memory(&mut self) -> (&mut [u8], &mut S) {
        (&mut self.store.memory, &mut self.store.state)
    }

    fn memory_bytes(&self) -> u64 {
        self.store.memory.len() as u64
    }
}

/// A call that is running, as the guest sees it and as the host functions see it that the guest calls.
struct Running<'a, S> {
    linked: &'a Linked<S>,
    store: &'a mut Store<S>,
}

impl<S: Send + 'static> Running<'_, S> {
    fn enter(&mut self, export: Export, slots: &mut [u64]) -> Result<(), Stop> {
        if self.store.depth == 100 {
            return Err(Stop::trap(TrapKind::StackOverflow));
        }
        self.store.depth += 1;
        let ended = (self.linked.guest)(self.linked.plan.exports()[usize::from(export.0)].name, slots, self);
        self.store.depth -= 1;
        ended
    }
}

impl<S: Send + 'static> World for Running<'_, S> {
    fn memory(&mut self) -> &mut [u8] {
        &mut self.store.memory
    }

    fn import(&mut self, name: &str, slots: &mut [u64]) -> Result<(), Stop> {
        if self.store.meter.check() == Verdict::Expired {
            return Err(Stop::Deadline);
        }
        match self.linked.functions.iter().find(|(known, _)| *known == name) {
            Some((_, call)) => call(self, slots),
            None => Err(HostError::new("the module does not import this").into()),
        }
    }
}

impl<S: Send + 'static> Caller<S> for Running<'_, S> {
    fn state(&mut self) -> &mut S {
        &mut self.store.state
    }

    fn memory(&mut self) -> (&mut [u8], &mut S) {
        (&mut self.store.memory, &mut self.store.state)
    }

    fn has(&self, export: Export) -> bool {
        self.linked.plan.has(export)
    }

    fn call(&mut self, export: Export, slots: &mut [u64]) -> Result<(), Stop> {
        self.enter(export, slots)
    }
}
