//! Tests of this package are linked with libwasmedge where another package's feature has brought that engine in.

include!("../backend-wasmedge/link.rs");

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../backend-wasmedge/link.rs");
    link_with_wasmedge();
}
