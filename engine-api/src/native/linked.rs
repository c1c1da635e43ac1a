//! A module joined with its host functions, as a table of function pointers.

use std::fmt;
use std::sync::Arc;

use crate::capabilities::Profile;
use crate::engine::EngineError;
use crate::host::{HostFn, HostModule, Registrar};
use crate::native::engine::{NAME, NativeModule};
use crate::native::instance::Frame;
use crate::plan::{LinkPlan, PlannedImport};
use crate::sig::Sig;
use crate::stop::Stop;

/// A module with its host functions.
pub struct NativeLinked<S> {
    pub(super) inner: Arc<Inner<S>>,
}

pub(super) struct Inner<S> {
    pub(super) module: NativeModule,
    pub(super) plan: LinkPlan,
    pub(super) metered: bool,
    /// Sorted by name, then module.
    functions: Vec<Function<S>>,
}

pub(super) struct Function<S> {
    name: &'static str,
    module: &'static str,
    pub(super) sig: Sig,
    pub(super) call: Call<S>,
}

pub(super) type Call<S> = fn(&mut Frame<'_, S>, &mut [u64]) -> Result<(), Stop>;

impl<S: Send + 'static> NativeLinked<S> {
    pub(super) fn new<H: HostModule<S>>(
        module: NativeModule,
        plan: LinkPlan,
        profile: Profile,
    ) -> Result<Self, EngineError> {
        let mut table = Table { plan: &plan, functions: Vec::new() };
        H::register(&mut table);
        let mut functions = table.functions;
        functions.sort_by_key(|function| (function.name, function.module));
        let inner = Inner { module, metered: profile == Profile::Fuel, functions, plan };
        if let Some(import) = inner.plan.imports().iter().find(|i| inner.find(i.module, i.name).is_none()) {
            let message = format!("the plan has {}.{}, which the host does not offer", import.module, import.name);
            return Err(EngineError::Link { engine: NAME, message });
        }
        Ok(NativeLinked { inner: Arc::new(inner) })
    }
}

impl<S> fmt::Debug for NativeLinked<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeLinked").field("module", &self.inner.module).finish_non_exhaustive()
    }
}

impl<S> Inner<S> {
    pub(super) fn find(&self, module: &str, name: &str) -> Option<&Function<S>> {
        let found = self.functions.binary_search_by_key(&(name, module), |f| (f.name, f.module)).ok()?;
        self.functions.get(found)
    }
}

/// Keeps what the plan wants of what the host offers.
struct Table<'a, S> {
    plan: &'a LinkPlan,
    functions: Vec<Function<S>>,
}

impl<S: Send + 'static> Registrar<S> for Table<'_, S> {
    fn add<F: HostFn<S>>(&mut self) {
        let wanted = PlannedImport { module: F::MODULE, name: F::NAME, sig: F::SIG };
        if self.plan.imports().contains(&wanted) {
            // A closure: the item itself does not coerce to a pointer over every lifetime of the frame.
            let call: Call<S> = |frame, slots| F::call(frame, slots);
            self.functions.push(Function { name: F::NAME, module: F::MODULE, sig: F::SIG, call });
        }
    }
}
