//! `chassis completions`: what a shell needs to complete commands and options.

use std::io::{self, Write};

use chassis_engines::ENGINES;
use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;

use crate::exit::{Ended, Exit};

const AFTER: &str = "\
Examples:
  chassis completions bash > ~/.local/share/bash-completion/completions/chassis
  chassis completions zsh > ~/.zfunc/_chassis
  chassis completions fish > ~/.config/fish/completions/chassis.fish";

/// Print a script with which a shell completes commands and options.
#[derive(clap::Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct Args {
    /// The shell.
    shell: Shell,
}

pub(crate) fn execute(args: &Args) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut shown(), "chassis", &mut script);
    let mut stdout = io::stdout().lock();
    stdout.write_all(&script)?;
    stdout.flush()?;
    Ok(Exit::Success)
}

/// The command line as people see it: without what is hidden, and with the names of engines.
fn shown() -> Command {
    let cli = crate::Cli::command();
    let commands = cli.get_subcommands().filter(|command| !command.is_hide_set()).cloned().map(with_engines);
    Command::new("chassis").version(env!("CARGO_PKG_VERSION")).args(cli.get_arguments()).subcommands(commands)
}

/// Engines are looked up when a command is executed, where one that was not compiled in is told from an unknown one;
/// for a shell they are words like others.
fn with_engines(command: Command) -> Command {
    if command.get_arguments().all(|arg| arg.get_id() != "engine") {
        return command;
    }
    let names = |arg: Arg| {
        let all = arg.get_value_delimiter().map(|_| "all");
        arg.value_parser(PossibleValuesParser::new(ENGINES.map(|engine| engine.name).into_iter().chain(all)))
    };
    command.mut_arg("engine", names)
}
