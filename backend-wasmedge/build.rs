//! Tests of this package are linked with libwasmedge.

include!("link.rs");

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link.rs");
    link_with_wasmedge();
}
