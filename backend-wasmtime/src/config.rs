//! Wasmtime's settings for each profile.

use std::num::NonZeroUsize;

use chassis_engine_api::Profile;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// How many instances the pool of [`Profile::Stream`] can hold at once. Each takes 4 GiB and 32 MiB of address space,
/// none of it memory until it is used; where the system does not grant the first size (a limit on address space), the
/// next one is tried. The size changes nothing in compiled code.
pub const POOL_SIZES: [u32; 4] = [1000, 250, 60, 15];

/// What a table of the pool can hold.
const POOLED_TABLE_ELEMENTS: usize = 100_000;
/// Tables per instance of the pool, on average.
const POOLED_TABLES: u32 = 4;
/// What one module may have; the front check's own limit is the same by default.
const TABLES_PER_MODULE: u32 = 16;
/// An instance's own data: room for 100,000 functions.
const INSTANCE_BYTES: usize = 16 << 20;
/// How much of an unused instance's memory stays resident; the part that guests write most, their stack, comes first.
const KEPT_RESIDENT: usize = 256 << 10;
/// How many unused instances keep something resident.
const KEPT_INSTANCES: u32 = 100;

/// The guest's part of the stack.
const STACK_BYTES: usize = 512 << 10;
/// Frames in a trap's backtrace.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::new(20).unwrap();

pub(crate) fn engine(profile: Profile) -> wasmtime::Result<Engine> {
    if profile != Profile::Stream {
        return Engine::new(&common(profile));
    }
    let mut refused = None;
    for instances in POOL_SIZES {
        let mut config = common(profile);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances)));
        match Engine::new(&config) {
            Ok(engine) => return Ok(engine),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| wasmtime::Error::msg("no size for the pool")))
}

fn common(profile: Profile) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .parallel_compilation(true)
        .epoch_interruption(true)
        .consume_fuel(profile == Profile::Fuel)
        .max_wasm_stack(STACK_BYTES)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES))
        .memory_init_cow(true);
    features(&mut config);
    config
}

/// The front check has the last word on what a module may use; this keeps the engine's own defaults, which move with
/// its version, from offering more.
fn features(config: &mut Config) {
    config
        .wasm_simd(true)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_extended_const(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .wasm_stack_switching(false)
        .wasm_shared_everything_threads(false)
        .gc_support(false)
        .shared_memory(false);
}

/// Memories of the pool may grow to 4 GiB, as Wasmtime has it by itself, so that any limit on memory holds exactly.
fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(instances)
        .total_memories(instances)
        .total_tables(instances * POOLED_TABLES)
        .max_tables_per_module(TABLES_PER_MODULE)
        .max_memories_per_module(1)
        .max_core_instance_size(INSTANCE_BYTES)
        .table_elements(POOLED_TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEPT_RESIDENT)
        .max_unused_warm_slots(KEPT_INSTANCES);
    pool
}
