// What programs need that link with libwasmedge; part of the build scripts of all packages that make such programs.

/// Passes on the linker's arguments that `cargo xtask with-wasmedge` sets: where the library is at run time, and the
/// loader of the libc that it needs. Without that command there are none, and the system's own library is found by
/// the system.
fn link_with_wasmedge() {
    println!("cargo::rerun-if-env-changed=CHASSIS_WASMEDGE_LINK_ARGS");
    let Ok(arguments) = std::env::var("CHASSIS_WASMEDGE_LINK_ARGS") else { return };
    for argument in arguments.split('\x1f').filter(|argument| !argument.is_empty()) {
        println!("cargo::rustc-link-arg={argument}");
    }
}
