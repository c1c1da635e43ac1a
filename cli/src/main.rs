//! The command-line tool of Chassis: runs, inspects and serves Proxy-Wasm plugins.
//!
//! Results go to the standard output, everything else to the standard error. What a command can do is in the libraries;
//! here are its options, its output and its exit code.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bench;
mod choice;
mod compile;
mod completions;
mod conformance;
mod engines;
mod exit;
mod inspect;
mod run;
mod schema;
mod serve;
mod style;
mod validate;
mod values;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exit::{Ended, Exit};
use crate::style::Color;

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  the check ran and the answer is no (run: the engines do not agree; conformance: a case failed)
  2  the command line is wrong
  3  the plugin failed: trap, deadline, exit, refused start, endless pause
  4  a module, a configuration or an address cannot be used
  5  the engine was not compiled in";

const EXAMPLES: &str = "\
Examples:
  chassis serve examples/prime-auth.yaml
  chassis validate examples/prime-auth.yaml
  chassis run plugin.wasm --request 'GET /hello' -H 'token: 32323'
  chassis run plugin.wat --engine all --body @request.json --config @plugin.json
  chassis inspect plugin.wasm
  chassis engines
  chassis conformance --engine all
  chassis bench engines --html report.html
  chassis completions bash > chassis.bash";

/// Serve, run and inspect Proxy-Wasm plugins, on any engine.
#[derive(Parser)]
#[command(name = "chassis", version, max_term_width = 100)]
#[command(after_help = EXIT_CODES, after_long_help = long_help())]
struct Cli {
    /// Colours in the output.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    color: Color,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    Validate(validate::Args),
    Schema(schema::Args),
    Run(Box<run::Args>),
    Inspect(inspect::Args),
    Engines(engines::Args),
    Bench(bench::Args),
    Conformance(conformance::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Compile(compile::Args),
}

fn long_help() -> String {
    format!("{EXAMPLES}\n\n{EXIT_CODES}")
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.color.apply();
    let ended = match cli.command {
        Command::Serve(args) => serve::execute(&args),
        Command::Validate(args) => validate::execute(&args),
        Command::Schema(args) => schema::execute(&args),
        Command::Run(args) => run::execute(&args),
        Command::Inspect(args) => inspect::execute(&args),
        Command::Engines(args) => engines::execute(&args),
        Command::Bench(args) => bench::execute(&args),
        Command::Conformance(args) => conformance::execute(&args),
        Command::Completions(args) => completions::execute(&args),
        Command::Compile(args) => return ExitCode::from(compile::execute(&args)),
    };
    code(ended).into()
}

fn code(ended: Ended) -> Exit {
    let failure = match ended {
        Ok(exit) => return exit,
        // Whoever reads the output has seen enough.
        Err(failure) if failure.is_broken_pipe() => return Exit::Success,
        Err(failure) => failure,
    };
    // There is nothing left to be done about a standard error that is closed.
    for error in failure.errors() {
        let _ = style::print_error(&words(error));
    }
    failure.exit
}

/// An error with its causes, each once: many errors have their cause in their own words.
fn words(error: &anyhow::Error) -> String {
    let mut words = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !words.contains(&cause) {
            words.push_str(": ");
            words.push_str(&cause);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = || std::io::Error::other("gone");
        assert_eq!(super::words(&anyhow::Error::new(error())), "gone");
        assert_eq!(super::words(&anyhow::Error::new(error()).context("a: gone")), "a: gone");
        assert_eq!(super::words(&anyhow::Error::new(error()).context("a")), "a: gone");
    }
}
