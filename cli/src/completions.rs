//! `chassis completions`: what a shell needs to complete commands and options.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::exit::{Ended, Exit};

/// Print a script with which a shell completes commands and options.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell.
    shell: Shell,
}

pub(crate) fn execute(args: &Args) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "chassis", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(Exit::Success)
}
