//! `cargo xtask features`: whichever engines are chosen by cargo features, everything builds, holds these engines and no
//! other, and is described the same everywhere.

mod tables;
mod trees;

use anyhow::Result;

use crate::ci::{Wasmedge, step};

/// The engines, by the names of their features, in the order in which the default is chosen.
const ENGINES: [&str; 4] = ["wasmtime", "wasmer", WASMEDGE, "wasmi"];
const WASMEDGE: &str = "wasmedge";
/// One engine alone, and none.
pub(crate) const ONE_OR_NONE: [&[&str]; 5] = [&[], &["wasmtime"], &["wasmer"], &[WASMEDGE], &["wasmi"]];
/// Those of them that are built soon.
pub(crate) const SOON_BUILT: [&[&str]; 2] = [&[], &["wasmi"]];
/// Features of backends that nothing passes on: they are for those who depend on the backend itself.
const ONLY_OF_A_BACKEND: [&str; 1] = ["chassis-backend-wasmer/singlepass"];
/// The library for embedders, which must build with any choice of engines.
const FACADE: &str = "chassis";
const REGISTRY: &str = "chassis-engines";
const COMMAND_LINE: &str = "chassis-cli";

/// Checks all choices that can be built here, and names the others.
///
/// Engines and what else a build holds change the features of libraries that engines share, and so cargo would check each
/// engine anew for most of the choices: they are checked beside the backends of all engines, whatever was chosen, and
/// thus with the same libraries. Crates that build with the fewest features build with more; the facade is checked alone
/// as well with what is soon built, and `all_alone` has each choice checked alone, at that price.
pub(crate) fn check(wasmedge: &Wasmedge, all_alone: bool) -> Result<()> {
    step("tables of features", tables::check)?;
    step("dependencies of all choices of engines", trees::check)?;
    let (can, cannot): (Vec<_>, Vec<_>) =
        choices().into_iter().partition(|engines| wasmedge.is_there() || !engines.contains(&WASMEDGE));
    for engines in can.iter().filter(|engines| all_alone || SOON_BUILT.contains(&engines.as_slice())) {
        alone(wasmedge, engines)?;
    }
    alone(wasmedge, &["wasmi-portable-dispatch"])?;
    for engines in &can {
        let features = [FACADE, REGISTRY, COMMAND_LINE].iter().flat_map(|package| of_package(package, engines));
        beside_backends(wasmedge, &described(engines), &features.collect::<Vec<_>>())?;
    }
    for feature in ONLY_OF_A_BACKEND {
        beside_backends(wasmedge, feature, &[feature.to_owned()])?;
    }
    for engines in cannot {
        println!("not checked, as libwasmedge is not here: {}", described(&engines));
    }
    Ok(())
}

/// Checks the facade as an embedder builds it.
fn alone(wasmedge: &Wasmedge, engines: &[&str]) -> Result<()> {
    let name = format!("{FACADE} alone with {}", described(engines));
    wasmedge.cargo(&name, &["check", "--package", FACADE, "--no-default-features", "--features", &engines.join(",")])
}

fn of_package(package: &str, engines: &[&str]) -> Vec<String> {
    engines.iter().map(|engine| format!("{package}/{engine}")).collect()
}

/// Checks all packages that have engines to choose from, with all backends built whatever is chosen.
fn beside_backends(wasmedge: &Wasmedge, chosen: &str, features: &[String]) -> Result<()> {
    let backends = ENGINES.iter().filter(|engine| wasmedge.is_there() || **engine != WASMEDGE);
    let mut arguments: Vec<String> =
        ["check", "--no-default-features", "--features", &features.join(",")].map(str::to_owned).to_vec();
    arguments.extend([FACADE, REGISTRY, COMMAND_LINE].map(|package| format!("--package={package}")));
    arguments.extend(backends.map(|engine| format!("--package=chassis-backend-{engine}")));
    wasmedge.cargo(&format!("all with {chosen}"), &arguments)
}

/// Runs the tests of the command line in a build with each of `choices`.
pub(crate) fn test(wasmedge: &Wasmedge, choices: &[&[&str]]) -> Result<()> {
    for engines in choices {
        if !wasmedge.is_there() && engines.contains(&WASMEDGE) {
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
