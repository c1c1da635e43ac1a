//! A guest written in Rust, in place of Wasm.
