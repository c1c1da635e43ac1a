//! The engine value: settings, compiling, linking, instantiating.

use std::fmt;
use std::sync::Arc;

use chassis_engine_api::{
    Artefact, ArtefactError, Budget, Capabilities, CheckedModule, Engine, EngineError, Failed, HostModule, Limits,
    LinkPlan, Profile, Support,
};
use wasmi::{CompilationMode, Config, Linker, Module, OperatorCost, Store};

use crate::instance::{Data, WasmiInstance};
use crate::limiter::Needs;
use crate::rewrite::{self, Rewritten};
use crate::{dispatch, link, slots, stop};

/// The version of wasmi that this crate is built with.
pub const WASMI_VERSION: &str = "2.0.0";

const NAME: &str = "wasmi";
const NO_CODE: &str = "wasmi interprets: there is no compiled code to save";

static CAPABILITIES: Capabilities = Capabilities {
    name: NAME,
    version: WASMI_VERSION,
    native_code: false,
    aot: Support::None(NO_CODE),
    deadline: Support::Coarse("resumable slices of fuel"),
    deadline_scale: 2,
    fuel: Support::Exact,
    memory_limit: Support::Exact,
    table_limit: Support::Exact,
    depth_limit: Support::Exact,
    backtrace: Support::None("wasmi does not record the guest's frames"),
    cheap_instances: Support::Exact,
};

/// Guest frames that may be on the stack at once.
const RECURSION_DEPTH: usize = 1000;
/// Bytes that the values of all frames may take.
const STACK_BYTES: usize = 1_000_000;
/// Stacks kept for the next call; one module's calls on all threads and their nested calls share them.
const CACHED_STACKS: usize = 32;
/// What a call costs: it clears the callee's locals, so it takes about this many times as long as other operators.
const CALL_COST: u8 = 10;

/// wasmi with its settings.
#[derive(Debug, Clone)]
pub struct WasmiEngine {
    profile: Profile,
    config: Arc<Config>,
}

impl WasmiEngine {
    /// wasmi with the settings for `profile`.
    ///
    /// # Errors
    /// [`EngineError::Setup`] if wasmi was built in a way in which it must not run guests: each instruction takes
    /// native stack then, and no limit would hold.
    pub fn new(profile: Profile) -> Result<Self, EngineError> {
        dispatch::check().map_err(|message| EngineError::Setup { engine: NAME, message })?;
        Ok(WasmiEngine { profile, config: Arc::new(config()) })
    }
}

/// A module in wasmi's own code, with a wasmi engine of its own: wasmi frees code with the engine only, and calls on
/// one engine share a lock.
#[derive(Clone)]
pub struct WasmiModule {
    engine: wasmi::Engine,
    module: Module,
    start: Option<Arc<str>>,
    needs: Needs,
}

impl fmt::Debug for WasmiModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmiModule").field("start", &self.start).finish_non_exhaustive()
    }
}

/// A module with its host functions.
pub struct WasmiLinked<S: 'static> {
    module: WasmiModule,
    linker: Linker<Data<S>>,
    plan: LinkPlan,
    metered: bool,
}

impl<S> fmt::Debug for WasmiLinked<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmiLinked").field("module", &self.module).finish_non_exhaustive()
    }
}

impl Engine for WasmiEngine {
    type Module = WasmiModule;
    type Linked<S: Send + 'static> = WasmiLinked<S>;
    type Instance<S: Send + 'static> = WasmiInstance<S>;

    fn capabilities(&self) -> &'static Capabilities {
        &CAPABILITIES
    }

    fn profile(&self) -> Profile {
        self.profile
    }

    fn compile(&self, module: &CheckedModule) -> Result<WasmiModule, EngineError> {
        let compile_error = |message| EngineError::Compile { engine: NAME, message };
        let Rewritten { bytes, start } = rewrite::rewrite(module).map_err(|error| compile_error(error.to_string()))?;
        let engine = wasmi::Engine::new(&self.config);
        let compiled = Module::new(&engine, bytes).map_err(|error| compile_error(error.to_string()))?;
        Ok(WasmiModule { engine, module: compiled, start, needs: Needs::of(module.info()) })
    }

    fn save(&self, _module: &WasmiModule) -> Result<Option<Artefact>, EngineError> {
        Ok(None)
    }

    fn load(&self, module: &CheckedModule, artefact: &Artefact) -> Result<WasmiModule, EngineError> {
        artefact.check(&self.cache_key(), module.digest())?;
        Err(ArtefactError::Engine { engine: NAME, message: NO_CODE.to_owned() }.into())
    }

    fn cache_key(&self) -> String {
        format!("{NAME} {WASMI_VERSION} {} {}", self.profile.as_str(), std::env::consts::ARCH)
    }

    fn link<S: Send + 'static, H: HostModule<S>>(
        &self,
        module: &WasmiModule,
        plan: LinkPlan,
    ) -> Result<WasmiLinked<S>, EngineError> {
        let link_error = |message| EngineError::Link { engine: NAME, message };
        if let Some(spec) = plan.exports().iter().find(|spec| !slots::fits(&spec.sig)) {
            return Err(link_error(format!("export {} has a type that cannot be called", spec.name)));
        }
        let linker = link::linker::<S, H>(&module.engine, &plan).map_err(link_error)?;
        Ok(WasmiLinked { module: module.clone(), linker, plan, metered: self.profile == Profile::Fuel })
    }

    fn instantiate<S: Send + 'static>(
        &self,
        linked: &WasmiLinked<S>,
        state: S,
        limits: &Limits,
        budget: Budget,
    ) -> Result<WasmiInstance<S>, Failed<S>> {
        let WasmiModule { engine, module, start, needs } = &linked.module;
        if let Err(error) = needs.check(limits) {
            return Err(Failed { stop: error.into(), state });
        }
        let mut store = Store::new(engine, Data::new(state, limits));
        store.limiter(|data| &mut data.limits);
        let made = match linked.linker.instantiate_and_start(&mut store, module) {
            Ok(made) => made,
            Err(error) => {
                return Err(Failed { stop: stop::from_instantiation(&error), state: store.into_data().state });
            }
        };
        let mut instance = WasmiInstance::new(store, made, &linked.plan, linked.metered)
            .map_err(|(stop, state)| Failed { stop, state })?;
        let Some(start) = start else {
            return Ok(instance);
        };
        match instance.start(made, start, budget) {
            Ok(()) => Ok(instance),
            Err(stop) => Err(Failed { stop, state: instance.into_state() }),
        }
    }
}

/// WebAssembly 2.0 with SIMD and nothing later; code is translated when a module is loaded, so that the first call
/// pays nothing (a translation would spend the call's fuel, and cannot be resumed when that ends).
pub(crate) fn config() -> Config {
    let costs = OperatorCost { call: CALL_COST, call_indirect: CALL_COST, ..OperatorCost::default() };
    let mut config = Config::default();
    config
        .consume_fuel(true)
        .operator_cost(costs)
        .compilation_mode(CompilationMode::Eager)
        .ignore_custom_sections(true)
        .set_max_recursion_depth(RECURSION_DEPTH)
        .set_max_stack_height(STACK_BYTES)
        .set_max_cached_stacks(CACHED_STACKS)
        .wasm_mutable_global(true)
        .wasm_sign_extension(true)
        .wasm_saturating_float_to_int(true)
        .wasm_multi_value(true)
        .wasm_bulk_memory(true)
        .wasm_reference_types(true)
        .wasm_simd(true)
        .floats(true)
        .wasm_relaxed_simd(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_extended_const(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false);
    config
}

#[cfg(test)]
mod tests {
    use chassis_engine_api::FrontLimits;

    use super::*;

    fn engine() -> WasmiEngine {
        WasmiEngine::new(Profile::Deadline).unwrap()
    }

    #[test]
    fn wasmi_itself_accepts_webassembly_2_and_nothing_later() {
        let engine = wasmi::Engine::new(&config());
        let valid = |wat: &str| Module::validate(&engine, &wat::parse_str(wat).unwrap()).is_ok();
        for wat in [
            "(module (func (result i32 i64) (i32.const 0) (i64.const 1)))",
            "(module (func (param f32) (result i32) (i32.trunc_sat_f32_s (local.get 0))))",
            "(module (func (result i32) (i32.extend8_s (i32.const 200))))",
            "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0))))",
            "(module (table 1 externref) (func (result externref) (table.get (i32.const 0))))",
            "(module (func (result v128) (i8x16.swizzle (v128.const i64x2 1 2) (v128.const i64x2 1 2))))",
            "(module (global (export \"g\") (mut i32) (i32.const 0)))",
        ] {
            assert!(valid(wat), "{wat}");
        }
        for wat in [
            "(module (memory i64 1))",
            "(module (memory 1 1 shared))",
            "(module (memory 1) (memory 1))",
            "(module (memory 1 (pagesize 1)))",
            "(module (func $f (return_call $f)))",
            "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))",
            "(module (func (param v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))",
            "(module (func (param i64) (result i64 i64) (i64.mul_wide_s (local.get 0) (local.get 0))))",
            "(module (tag))",
            "(module (type (struct)))",
        ] {
            assert!(!valid(wat), "{wat}");
        }
    }

    #[test]
    fn what_cannot_be_translated_is_refused_when_it_is_loaded() {
        // More values on the stack at once than wasmi can count.
        let many = "(call $f)".repeat(70_000) + &"drop ".repeat(70_000);
        let wat = format!("(module (func $f (result i32) (i32.const 1)) (func {many}))");
        let module = CheckedModule::new(wat::parse_str(wat).unwrap(), &FrontLimits::default()).unwrap();
        let error = engine().compile(&module).unwrap_err();
        assert!(matches!(error, EngineError::Compile { engine: "wasmi", .. }), "{error}");
    }

    #[test]
    fn there_is_no_code_to_save() {
        let module = CheckedModule::new(b"\0asm\x01\0\0\0".as_slice(), &FrontLimits::default()).unwrap();
        let compiled = engine().compile(&module).unwrap();
        assert_eq!(engine().save(&compiled).unwrap(), None);
        assert_eq!(engine().capabilities().aot.reason(), Some(NO_CODE));
    }
}
