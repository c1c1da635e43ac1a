//! With the feature `wasmedge`, programs of this package are linked with libwasmedge. Tests are told how many engines
//! there are.

include!("../backend-wasmedge/link.rs");

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../backend-wasmedge/link.rs");
    if std::env::var_os("CARGO_FEATURE_WASMEDGE").is_some() {
        link_with_wasmedge();
    }
    println!("cargo::rustc-check-cfg=cfg(engines, values(\"none\", \"one\", \"several\"))");
    println!("cargo::rustc-cfg=engines=\"{}\"", how_many_engines());
}

fn how_many_engines() -> &'static str {
    let names = ["WASMTIME", "WASMER", "WASMEDGE", "WASMI"];
    match names.iter().filter(|name| std::env::var_os(format!("CARGO_FEATURE_{name}")).is_some()).count() {
        0 => "none",
        1 => "one",
        _ => "several",
    }
}
