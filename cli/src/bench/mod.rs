//! `chassis bench`: what things cost on this machine.

mod engines;

use clap::Subcommand;

use crate::exit::Ended;

/// Measure, on this machine.
#[derive(clap::Args)]
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
