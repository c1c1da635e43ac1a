//! Compiling untrusted code, in a child process by default.
//!
//! A compiler is large, and a small module can make it slow or hungry. The front check keeps the known cases out; the
//! child process bounds the others: it has a limit on CPU time and on memory, is killed when its time on the wall
//! clock is over, and takes only itself down when it crashes. It is not a sandbox against a compiler that was taken
//! over: what it returns is loaded as code. The digest with which it seals its answer shows that the answer is whole
//! and this child's, no more.
//!
//! The parent's side is [`ChildCompiler`], the child's [`worker`]. Limits are set by the child itself, and on Unix
//! only; elsewhere the wall clock alone bounds it.

mod child;
mod process;
mod protocol;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

pub use self::child::ChildCompiler;
pub use self::worker::worker;
use crate::artefact::ArtefactError;
use crate::engine::{Engine, EngineError};
use crate::module::CheckedModule;

/// Where modules are compiled.
#[derive(Debug, Clone)]
pub enum CompilePolicy {
    /// On the calling thread, without any bound on time and memory but the front check's: for modules that are
    /// trusted, and for interpreters.
    InProcess,
    /// In a child process with limits.
    Child(ChildCompiler),
}

impl CompilePolicy {
    /// Compiles a module. An engine that has no code to save (see [`Capabilities::aot`](crate::Capabilities::aot))
    /// does so in this process whatever the policy: what its child made could not be handed over, and an
    /// interpreter's translation takes time and memory in proportion to the module.
    pub(crate) fn compile<E: Engine>(&self, engine: &E, module: &CheckedModule) -> Result<E::Module, CompileError> {
        match self {
            CompilePolicy::Child(child) if engine.capabilities().aot.is_some() => {
                let artefact = child.compile(engine.capabilities().name, engine.profile(), module)?;
                Ok(engine.load(module, &artefact)?)
            }
            _ => Ok(engine.compile(module)?),
        }
    }
}

/// Why a module could not be compiled.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The engine refused the module, in this process; or it refused what the child compiled, which is then another
    /// version of this program.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The child refused the module; the message is its own.
    #[error("{0}")]
    Refused(String),
    /// The module took too long on the wall clock: the module's fault, or the machine is overloaded.
    #[error("compiling took longer than the limit of {} s", .0.as_secs_f64())]
    WallTime(Duration),
    /// The module took too much CPU time: the module's fault.
    #[error("compiling took more CPU time than the limit of {} s", .0.as_secs_f64())]
    CpuTime(Duration),
    /// The module took too much memory: the module's fault.
    #[error("compiling took more memory than the limit of {0} bytes")]
    Memory(u64),
    /// The compiled code is too large: the module's fault.
    #[error("the compiled code is larger than the limit of {0} bytes")]
    TooLarge(u64),
    /// The child could not be started or talked to: the fault of the machine or of the settings.
    #[error("the compiler `{}` could not be started: {message}", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        message: String,
    },
    /// The child died without an answer: a bug in the compiler that the module found, or the system killed it.
    #[error("the compiler died: {0}")]
    Died(String),
    /// The child's answer makes no sense, or its seal is wrong: it is not the program that was meant.
    #[error("the compiler's answer cannot be used: {0}")]
    Answer(String),
    /// No key could be made to seal the answer with.
    #[error(transparent)]
    Key(ArtefactError),
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::check::FrontLimits;
    use crate::native::NativeEngine;

    #[test]
    fn an_engine_without_code_to_save_never_needs_the_child() {
        let bytes = wat::parse_str(r#"(module (@custom "chassis.native" "nobody"))"#).unwrap();
        let module = CheckedModule::new(bytes, &FrontLimits::default()).unwrap();
        let child = CompilePolicy::Child(ChildCompiler::new("./no-such-program", ["compile"]));
        for policy in [child, CompilePolicy::InProcess] {
            let error = policy.compile(&NativeEngine::new(), &module).unwrap_err();
            assert!(matches!(error, CompileError::Engine(_)), "{error:?}");
        }
    }
}
