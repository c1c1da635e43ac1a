//! An engine that runs Rust code in place of Wasm, for tests of what lies above an engine and as a baseline of cost.
//! It never runs the code of a module.
//!
//! A module for it is a real Wasm module, usually tiny: its imports, exports and memory are checked and linked as on
//! any engine. Its custom section `chassis.native` names a [`Guest`] that was given to
//! [`NativeEngine::with_guest`]; that guest answers the calls, and the bodies of the module's functions, its data and
//! its tables' contents are ignored. Memory starts zeroed. Modules with a start section are refused.
//!
//! Rust code cannot be interrupted: deadlines and fuel are looked at where the guest comes past, which is at each
//! entry, host call and [`Host::checkpoint`].
//!
//! ```
//! use chassis_engine_api::Stop;
//! use chassis_engine_api::native::{Guest, Host, NativeEngine};
//!
//! struct Doubler;
//!
//! impl Guest for Doubler {
//!     fn call(&self, export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
//!         host.import("env", "log", &mut [slots[0]])?;
//!         slots[0] *= 2;
//!         Ok(())
//!     }
//! }
//!
//! let engine = NativeEngine::new().with_guest("doubler", || Doubler);
//! ```

mod engine;
mod guest;
mod instance;
mod linked;
#[cfg(test)]
mod tests;

pub use engine::{NativeEngine, NativeModule};
pub use guest::{Guest, Host};
pub use instance::{MAX_DEPTH, NativeInstance};
pub use linked::NativeLinked;
