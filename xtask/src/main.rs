//! Development tasks of Chassis: `cargo xtask TASK`.
// A task's output is its product.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod ci;
mod fuzz;
mod instructions;
mod plugins;
mod subsets;
mod test;
mod wasmedge;

use anyhow::{Result, bail};

use crate::ci::Wasmedge;

const USAGE: &str = "usage: cargo xtask TASK

  coverage [--check]  write docs/abi-coverage.md, or tell whether it is up to date
  test [ARGUMENTS]    run every test that can run here; arguments go to `cargo test`
  ci                  format, tests, lints, documentation, instruction counts, features
  features            every choice of engines by cargo features builds, brings these engines only, and is described
                      the same everywhere
  features --alone    the same, with a check of the library alone for every choice; takes many times as long
  features --test     run the tests of the command line in builds with one engine and with none
  fuzz [TARGET...] [--seconds N] [--keep]
                      run fuzz targets under libFuzzer, 60 seconds each unless given; with --keep the smallest part of
                      what is found that reaches as much goes into fuzz/corpus
  fuzz --replay       give the targets what is in fuzz/corpus, without libFuzzer
  instructions [--engine NAME,...] [--record] [--baseline FILE]
                      count the host's instructions under callgrind and compare with benches/instructions.json
  plugins [LANGUAGE]  rebuild the guests whose toolchain of plugins/README.md is there, and the manifest
  plugins --check     compare the guests with their manifest, rebuilding where the toolchain is there
  plugins --waf       build plugins/go/waf, which is too large to be committed, below `target`
  higress             fetch plugins of the gateway Higress from PyPI, give each a request and print what comes of it
  higress --fetch     fetch them only, below `target`
  wasmedge            provide libwasmedge: the system's own, or Debian's packages unpacked below `target`
  with-wasmedge -- COMMAND [ARGUMENTS]
                      run a command, cargo for one, with what a build with the engine WasmEdge needs";

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["test", ref rest @ ..] => test::run(rest),
        ["ci"] => ci::run(),
        ["coverage"] => ci::coverage(true),
        ["coverage", "--check"] => ci::coverage(false),
        ["features"] => subsets::check(&Wasmedge::provide()?, false),
        ["features", "--alone"] => subsets::check(&Wasmedge::provide()?, true),
        ["features", "--test"] => subsets::test(&Wasmedge::provide()?, &subsets::ONE_OR_NONE),
        ["fuzz", ref rest @ ..] => fuzz::run(rest),
        ["instructions", ref rest @ ..] => instructions::run(rest),
        ["plugins", "--waf"] => plugins::build_waf(),
        ["plugins", "--check", ref languages @ ..] => plugins::check(languages),
        ["higress"] => plugins::higress(false),
        ["higress", "--fetch"] => plugins::higress(true),
        ["plugins", ref languages @ ..] => plugins::rebuild(languages),
        ["wasmedge"] => wasmedge::run(),
        ["with-wasmedge", "--", ref command @ ..] => wasmedge::with(command),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!(USAGE),
    }
}
