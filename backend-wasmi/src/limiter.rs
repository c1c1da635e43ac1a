//! The memory and table limits of one instance.

use chassis_engine_api::{HostError, Limits, ModuleInfo};
use wasmi::{StoreLimits, StoreLimitsBuilder};

/// What an instance of a module has from the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    memory_bytes: u64,
    table_elements: u64,
}

impl Needs {
    pub(crate) fn of(info: &ModuleInfo) -> Self {
        const PAGE: u64 = 1 << 16;
        let pages: u64 = info.memories.iter().map(|memory| memory.minimum_pages).sum();
        Needs { memory_bytes: pages * PAGE, table_elements: info.table_elements }
    }

    /// Says so in words where a module starts beyond a limit; wasmi would refuse it too.
    pub(crate) fn check(self, limits: &Limits) -> Result<(), HostError> {
        let Needs { memory_bytes, table_elements } = self;
        if memory_bytes > limits.memory_bytes {
            let limit = limits.memory_bytes;
            return Err(HostError::new(format!("the memory starts with {memory_bytes} bytes, the limit is {limit}")));
        }
        if table_elements > u64::from(limits.table_elements) {
            let limit = limits.table_elements;
            return Err(HostError::new(format!("a table starts with {table_elements} elements, the limit is {limit}")));
        }
        Ok(())
    }
}

/// wasmi's form of the limits. Its memory limit is for each memory, and there is one at most: the front check refuses
/// more, linking refuses imported ones.
pub(crate) fn store_limits(limits: &Limits) -> StoreLimits {
    StoreLimitsBuilder::new()
        .memory_size(usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX))
        .table_elements(usize::try_from(limits.table_elements).unwrap_or(usize::MAX))
        .instances(1)
        .build()
}
