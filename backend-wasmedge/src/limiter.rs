//! The memory and table limits of one instance.

use chassis_engine_api::{HostError, Limits, ModuleInfo};

/// Bytes of a page.
const PAGE: u64 = 1 << 16;
/// All that a memory can address.
const ALL_PAGES: u64 = 1 << 16;

/// What an instance of a module has from the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    memory_bytes: u64,
    table_elements: u64,
}

impl Needs {
    pub(crate) fn of(info: &ModuleInfo) -> Self {
        let pages: u64 = info.memories.iter().map(|memory| memory.minimum_pages).sum();
        Needs { memory_bytes: pages * PAGE, table_elements: info.table_elements }
    }

    /// Says so in words where a module starts beyond a limit.
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

/// The whole pages within the limit. It is for each memory, and there is one at most: the front check refuses more,
/// linking refuses imported ones.
pub(crate) fn memory_pages(limits: &Limits) -> u64 {
    (limits.memory_bytes / PAGE).min(ALL_PAGES)
}
