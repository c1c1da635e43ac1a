//! `cargo xtask features`: whichever engines are chosen by cargo features, everything builds, holds these engines and no
//! other, and is described the same everywhere.

mod tables;
mod trees;

use std::time::Instant;

use anyhow::Result;

use crate::ci::{Wasmedge, step};

/// The engines, by the names of their features, in the order in which the default is chosen.
const ENGINES: [&str; 4] = ["wasmtime", "wasmer", "wasmedge", "wasmi"];
/// The library for embedders, which must build with any choice of engines.
const FACADE: &str = "chassis";
const REGISTRY: &str = "chassis-engines";
const COMMAND_LINE: &str = "chassis-cli";

/// Checks all choices.
pub(crate) fn run() -> Result<()> {
    check(&Wasmedge::provide()?)
}

/// Checks all choices that can be built here, and names the others.
pub(crate) fn check(wasmedge: &Wasmedge) -> Result<()> {
    step("tables of features", tables::check)?;
    step("dependencies of all choices of engines", trees::check)?;
    let start = Instant::now();
    let (can, cannot): (Vec<_>, Vec<_>) =
        choices().into_iter().partition(|engines| wasmedge.is_there() || !engines.contains(&"wasmedge"));
    for engines in &can {
        build(wasmedge, FACADE, engines)?;
    }
    for engines in can.iter().filter(|engines| engines.len() <= 1) {
        build(wasmedge, REGISTRY, engines)?;
        build(wasmedge, COMMAND_LINE, engines)?;
    }
    build(wasmedge, FACADE, &["wasmi-portable-dispatch"])?;
    println!("{} choices of engines build: {} s", can.len(), start.elapsed().as_secs());
    for engines in cannot {
        println!("not checked, as libwasmedge is not here: {}", described(&engines));
    }
    Ok(())
}

/// Runs the tests of the command line in builds with one engine and with none.
pub(crate) fn test() -> Result<()> {
    let wasmedge = Wasmedge::provide()?;
    for engines in choices().iter().filter(|engines| engines.len() <= 1) {
        if !wasmedge.is_there() && engines.contains(&"wasmedge") {
            println!("not tested, as libwasmedge is not here: {}", described(engines));
            continue;
        }
        let list = engines.join(",");
        let arguments =
            ["test", "--package", COMMAND_LINE, "--test", "it", "--no-default-features", "--features", &list];
        wasmedge.cargo(&format!("tests of {COMMAND_LINE} with {}", described(engines)), &arguments)?;
    }
    Ok(())
}

fn build(wasmedge: &Wasmedge, package: &str, engines: &[&str]) -> Result<()> {
    let list = engines.join(",");
    let name = format!("{package} with {}", described(engines));
    wasmedge.cargo(&name, &["check", "--package", package, "--no-default-features", "--features", &list])
}

/// Every subset of the engines, the smallest first.
fn choices() -> Vec<Vec<&'static str>> {
    let chosen = |bits: usize| ENGINES.into_iter().enumerate().filter(move |(i, _)| bits >> i & 1 == 1);
    let mut choices: Vec<Vec<_>> =
        (0..1 << ENGINES.len()).map(|bits| chosen(bits).map(|(_, engine)| engine).collect()).collect();
    choices.sort_by_key(Vec::len);
    choices
}

fn described(engines: &[&str]) -> String {
    if engines.is_empty() { "no engine".to_owned() } else { engines.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_there_once() {
        let choices = choices();
        assert_eq!((choices.len(), choices[0].len()), (16, 0));
        assert_eq!(choices[1..5], [["wasmtime"], ["wasmer"], ["wasmedge"], ["wasmi"]].map(Vec::from));
        assert_eq!(choices[15], ENGINES);
        let mut distinct = choices.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 16);
    }
}
