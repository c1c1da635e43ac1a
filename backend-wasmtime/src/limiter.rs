//! Holds an instance to its limits.

use chassis_engine_api::Limits;
use wasmtime::ResourceLimiter;

pub(crate) struct Limiter(pub(crate) Limits);

impl ResourceLimiter for Limiter {
    // Modules have one memory at most (multi-memory is off), so its size is the sum of all.
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired as u64 <= self.0.memory_bytes)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired as u64 <= u64::from(self.0.table_elements))
    }
}

/// What a module needs before it runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    memory_bytes: u64,
    table_elements: u64,
}

impl Needs {
    pub(crate) fn of(module: &wasmtime::Module) -> Self {
        let needs = module.resources_required();
        Needs {
            memory_bytes: needs.max_initial_memory_size.unwrap_or(0).saturating_mul(64 << 10),
            table_elements: needs.max_initial_table_size.unwrap_or(0),
        }
    }

    /// What of it is beyond `limits`, in words.
    pub(crate) fn beyond(&self, limits: &Limits) -> Option<String> {
        if self.memory_bytes > limits.memory_bytes {
            let (needed, limit) = (self.memory_bytes, limits.memory_bytes);
            return Some(format!("the module needs {needed} bytes of memory at the start, the limit is {limit}"));
        }
        if self.table_elements > u64::from(limits.table_elements) {
            let (needed, limit) = (self.table_elements, limits.table_elements);
            return Some(format!("the module needs a table of {needed} elements at the start, the limit is {limit}"));
        }
        None
    }
}
