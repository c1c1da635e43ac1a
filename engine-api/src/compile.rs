//! Compiling untrusted code, in a child process by default.

use thiserror::Error;

use crate::engine::{Engine, EngineError};
use crate::module::CheckedModule;

/// placeholder
#[derive(Debug, Clone)]
pub enum CompilePolicy {
    /// placeholder
    InProcess,
}
/// placeholder
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// placeholder
    #[error(transparent)]
    Engine(#[from] EngineError),
}
impl CompilePolicy {
    pub(crate) fn compile<E: Engine>(&self, engine: &E, module: &CheckedModule) -> Result<E::Module, CompileError> {
        Ok(engine.compile(module)?)
    }
}
