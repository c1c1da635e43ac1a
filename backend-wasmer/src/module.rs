//! Compiled code.

use std::fmt;
use std::sync::Arc;

use crate::limiter::Needs;
use crate::metering::Names;

/// Compiled code, with a Wasmer engine of its own. Cheap to clone.
#[derive(Clone)]
pub struct WasmerModule {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    // Dropped before its engine, which holds the code.
    pub(crate) module: wasmer::Module,
    pub(crate) engine: wasmer::Engine,
    pub(crate) digest: [u8; 32],
    pub(crate) names: Names,
    pub(crate) moved: usize,
    pub(crate) needs: Needs,
}

impl fmt::Debug for WasmerModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmerModule").field("needs", &self.inner.needs).finish_non_exhaustive()
    }
}
