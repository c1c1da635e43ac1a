//! Modules: the front check, and the plan by which one that passed is linked.

use std::sync::OnceLock;

use chassis_abi::{EXPORTS, ProxyWasm, VmState};
use chassis_engine_api::compile::CompilePolicy;
use chassis_engine_api::native::NativeEngine;
use chassis_engine_api::{AnyEngine, CheckedModule, FrontLimits, erase};

/// Checks `data` as a module, and plans how to link it.
pub fn run(data: &[u8]) {
    static ENGINE: OnceLock<std::sync::Arc<dyn AnyEngine<VmState>>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| erase::<_, ProxyWasm, VmState>(NativeEngine::new(), EXPORTS));
    match CheckedModule::new(data, &FrontLimits::default()) {
        Ok(module) => {
            let info = format!("{:?}", module.info());
            assert!(!info.is_empty());
            // There is no guest of this module; what it imports and exports is judged first.
            if let Err(error) = engine.load(&module, &CompilePolicy::InProcess) {
                assert!(!error.to_string().is_empty());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
