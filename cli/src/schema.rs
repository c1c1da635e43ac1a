//! `chassis schema`: what a configuration may say, for editors and other tools.

use chassis_gateway::config;

use crate::exit::{Ended, Exit};
use crate::style;

const AFTER: &str = "\
Examples:
  chassis schema > chassis.schema.json

Exit codes:
  0  always
  2  the command line is wrong";

/// Print the JSON schema of the configuration file.
#[derive(clap::Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct Args {}

pub(crate) fn execute(_: &Args) -> Ended {
    style::print_json(&config::schema())?;
    Ok(Exit::Success)
}
