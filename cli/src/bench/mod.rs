//! `chassis bench`: what things cost on this machine.

mod engines;

use clap::Subcommand;

use crate::exit::Ended;

const AFTER: &str = "\
Examples:
  chassis bench engines
  chassis bench engines --list
  chassis bench engines --output report.json --html report.html

Exit codes are those of the subcommand: see `chassis bench engines --help`.";

/// Measure, on this machine.
#[derive(clap::Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Engines(engines::Args),
}

pub(crate) fn execute(args: &Args) -> Ended {
    match &args.what {
        What::Engines(args) => engines::execute(args),
    }
}
