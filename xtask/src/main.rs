//! Development tasks of Chassis: `cargo xtask TASK`.

mod plugins;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask plugins [--check]";

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["plugins"] => plugins::run(false),
        ["plugins", "--check"] => plugins::run(true),
        _ => bail!(USAGE),
    }
}
