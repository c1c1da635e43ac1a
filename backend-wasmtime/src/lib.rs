//! backend-wasmtime
