//! What a host function sees of its caller.

use chassis_engine_api::{Caller, Export, Stop};
use wasmtime::{AsContextMut, Extern, Memory};

use crate::instance::Data;
use crate::stop::stop;
use crate::values::Callee;

pub(crate) struct View<'a, S: Send + 'static> {
    pub(crate) caller: wasmtime::Caller<'a, Data<S>>,
}

impl<S: Send + 'static> Caller<S> for View<'_, S> {
    #[inline]
    fn state(&mut self) -> &mut S {
        &mut self.caller.data_mut().state
    }

    #[inline]
    fn memory(&mut self) -> (&mut [u8], &mut S) {
        let memory = match self.caller.data().memory {
            Some(memory) => memory,
            None => match self.memory_during_start() {
                Some(memory) => memory,
                None => return (&mut [], &mut self.caller.data_mut().state),
            },
        };
        let (bytes, data) = memory.data_and_store_mut(&mut self.caller);
        (bytes, &mut data.state)
    }

    fn has(&self, export: Export) -> bool {
        self.caller.data().has(export)
    }

    #[inline]
    fn call(&mut self, export: Export, slots: &mut [u64]) -> Result<(), Stop> {
        let callee = match self.caller.data().callee(export) {
            Some(callee) => callee,
            None => self.callee_during_start(export),
        };
        callee.call(self.caller.as_context_mut(), slots).map_err(stop)
    }
}

/// While the start section runs there is no instance yet of which the exports could have been taken down.
impl<S: Send + 'static> View<'_, S> {
    #[cold]
    fn memory_during_start(&mut self) -> Option<Memory> {
        let memory = self.caller.data().exports.memory?;
        match self.caller.get_module_export(&memory) {
            Some(Extern::Memory(memory)) => Some(memory),
            _ => None,
        }
    }

    #[cold]
    fn callee_during_start(&mut self, export: Export) -> Callee {
        let listed = self.caller.data().exports.functions.get(usize::from(export.0)).copied().flatten();
        let found = listed.and_then(|(module_export, spec)| match self.caller.get_module_export(&module_export) {
            Some(Extern::Func(func)) => Callee::new(func, &self.caller, &spec.sig),
            _ => None,
        });
        match found {
            Some(callee) => callee,
            None => panic!("the module does not export {export:?}"),
        }
    }
}
