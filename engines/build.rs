//! With the feature `wasmedge`, programs of this package are linked with libwasmedge.

include!("../backend-wasmedge/link.rs");

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../backend-wasmedge/link.rs");
    if std::env::var_os("CARGO_FEATURE_WASMEDGE").is_some() {
        link_with_wasmedge();
    }
}
