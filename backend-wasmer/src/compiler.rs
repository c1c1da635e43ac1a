//! Wasmer's compilers and their settings.

use std::sync::Arc;

use wasmer::Engine;
use wasmer::sys::{CompilerConfig, Cranelift, Features, ModuleMiddleware, NativeEngineExt, Target};

/// What turns modules into machine code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compiler {
    /// Optimises.
    #[default]
    Cranelift,
    /// Compiles some ten times faster, to code that runs at about half the speed.
    #[cfg(feature = "singlepass")]
    Singlepass,
}

impl Compiler {
    /// The compiler's name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Compiler::Cranelift => "cranelift",
            #[cfg(feature = "singlepass")]
            Compiler::Singlepass => "singlepass",
        }
    }

    /// An engine that compiles, with `middleware` on the way.
    pub(crate) fn engine(self, middleware: Arc<dyn ModuleMiddleware>) -> Engine {
        let mut config = self.config();
        config.push_middleware(middleware);
        <Engine as NativeEngineExt>::new(config, Target::default(), features())
    }

    fn config(self) -> Box<dyn CompilerConfig> {
        match self {
            Compiler::Cranelift => Box::new(Cranelift::new()),
            #[cfg(feature = "singlepass")]
            Compiler::Singlepass => Box::new(wasmer::sys::Singlepass::new()),
        }
    }
}

/// Target and CPU features of this machine, in one word each.
pub(crate) fn target() -> String {
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    format!("{arch}-{os} {:x}", Target::default().cpu_features().as_u64())
}

/// WebAssembly 2.0 with SIMD. The front check has the last word on what a module may use; this keeps the engine's own
/// defaults, which move with its version, from offering more.
fn features() -> Features {
    let mut features = Features::none();
    features.reference_types(true).simd(true).bulk_memory(true).multi_value(true);
    features
}
