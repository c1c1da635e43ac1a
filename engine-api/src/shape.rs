//! The shapes of host functions that backends wrap with typed trampolines.

/// Calls `$callback!` with the list of shapes, one `(params) -> (result);` each, with lower-case Wasm types.
///
/// The list is what the Proxy-Wasm and WASI functions use most; a backend passes any other shape through its untyped
/// interface.
#[macro_export]
macro_rules! for_each_host_shape {
    ($callback:ident) => {
        $callback! {
            () -> ();
            (i32) -> ();
            (i32 i32) -> ();
            (i32 i32 i32) -> ();
            () -> (i32);
            (i32) -> (i32);
            (i32 i32) -> (i32);
            (i32 i32 i32) -> (i32);
            (i32 i32 i32 i32) -> (i32);
            (i32 i32 i32 i32 i32) -> (i32);
            (i32 i32 i32 i32 i32 i32) -> (i32);
            (i32 i32 i32 i32 i32 i32 i32) -> (i32);
            (i32 i32 i32 i32 i32 i32 i32 i32) -> (i32);
            (i32 i32 i32 i32 i32 i32 i32 i32 i32) -> (i32);
            (i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) -> (i32);
            (i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) -> (i32);
            (i32 i64) -> (i32);
            (i32 i64 i32) -> (i32);
        }
    };
}

/// Calls `$callback!` with the shapes of exports that are called with typed handles; any other goes untyped.
#[macro_export]
macro_rules! for_each_export_shape {
    ($callback:ident) => {
        $callback! {
            P0 () -> ();
            P1 (i32) -> ();
            P2 (i32 i32) -> ();
            P3 (i32 i32 i32) -> ();
            P5 (i32 i32 i32 i32 i32) -> ();
            R0 () -> (i32);
            R1 (i32) -> (i32);
            R2 (i32 i32) -> (i32);
            R3 (i32 i32 i32) -> (i32);
        }
    };
}
