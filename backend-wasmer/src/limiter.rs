//! The memory and table limits of one instance.

use std::ptr::NonNull;

use chassis_engine_api::{HostError, Limits, ModuleInfo};
use wasmer::sys::vm::{
    MemoryError, MemoryStyle, TableStyle, VMConfig, VMMemory, VMMemoryDefinition, VMTable, VMTableDefinition,
};
use wasmer::sys::{BaseTunables, Target, Tunables};
use wasmer::{MemoryType, Pages, TableType};

const PAGE: u64 = 1 << 16;
/// The guest's stack, without that of host functions.
const STACK_BYTES: usize = 512 << 10;

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

/// Gives memories and tables a maximum that is within the limits. Modules have one memory at most (the front check
/// refuses more, linking refuses imported ones), so its limit is that of all.
pub(crate) struct Limiter {
    base: BaseTunables,
    limits: Limits,
    config: VMConfig,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        let config = VMConfig { wasm_stack_size: Some(STACK_BYTES) };
        Limiter { base: BaseTunables::for_target(&Target::default()), limits: *limits, config }
    }

    fn memory(&self, ty: &MemoryType) -> MemoryType {
        let limit = u32::try_from(self.limits.memory_bytes / PAGE).unwrap_or(u32::MAX);
        let limit = Pages(limit.min(Pages::max_value().0));
        let maximum = ty.maximum.map_or(limit, |maximum| maximum.min(limit));
        MemoryType { maximum: Some(maximum), ..*ty }
    }

    /// The table that is added for metering is beyond the limit where that is zero, so what a table starts with is
    /// always granted; [`Needs`] has seen to the module's own.
    fn table(&self, ty: &TableType) -> TableType {
        let limit = self.limits.table_elements;
        let maximum = ty.maximum.map_or(limit, |maximum| maximum.min(limit));
        TableType { maximum: Some(maximum.max(ty.minimum)), ..*ty }
    }
}

impl Tunables for Limiter {
    fn memory_style(&self, memory: &MemoryType) -> MemoryStyle {
        self.base.memory_style(memory)
    }

    fn table_style(&self, table: &TableType) -> TableStyle {
        self.base.table_style(table)
    }

    fn create_host_memory(&self, ty: &MemoryType, style: &MemoryStyle) -> Result<VMMemory, MemoryError> {
        self.base.create_host_memory(&self.memory(ty), style)
    }

    unsafe fn create_vm_memory(
        &self,
        ty: &MemoryType,
        style: &MemoryStyle,
        location: NonNull<VMMemoryDefinition>,
    ) -> Result<VMMemory, MemoryError> {
        // SAFETY: the caller's promise about `location` is handed on; a lower maximum asks nothing of it.
        unsafe { self.base.create_vm_memory(&self.memory(ty), style, location) }
    }

    fn create_host_table(&self, ty: &TableType, style: &TableStyle) -> Result<VMTable, String> {
        self.base.create_host_table(&self.table(ty), style)
    }

    unsafe fn create_vm_table(
        &self,
        ty: &TableType,
        style: &TableStyle,
        location: NonNull<VMTableDefinition>,
    ) -> Result<VMTable, String> {
        // SAFETY: as above.
        unsafe { self.base.create_vm_table(&self.table(ty), style, location) }
    }

    fn vmconfig(&self) -> &VMConfig {
        &self.config
    }
}

#[cfg(test)]
mod tests {
    use wasmer::Type;

    use super::*;

    fn limiter(memory_bytes: u64, table_elements: u32) -> Limiter {
        Limiter::new(&Limits { memory_bytes, table_elements })
    }

    #[test]
    fn a_memory_gets_the_lower_maximum_in_whole_pages() {
        let maximum = |limit, own: Option<u32>| {
            let ty = MemoryType::new(1, own, false);
            limiter(limit, 0).memory(&ty).maximum.unwrap().0
        };
        assert_eq!(maximum(3 * PAGE + 1, None), 3);
        assert_eq!(maximum(3 * PAGE, Some(2)), 2);
        assert_eq!(maximum(PAGE, Some(2)), 1);
        assert_eq!(maximum(u64::MAX, None), 65_536);
    }

    #[test]
    fn a_table_gets_the_lower_maximum_but_what_it_starts_with() {
        let maximum = |limit, minimum, own: Option<u32>| {
            limiter(0, limit).table(&TableType::new(Type::FuncRef, minimum, own)).maximum
        };
        assert_eq!(maximum(10, 1, None), Some(10));
        assert_eq!(maximum(10, 1, Some(5)), Some(5));
        assert_eq!(maximum(0, 1, Some(1)), Some(1));
    }
}
