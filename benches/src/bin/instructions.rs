//! Does one measurement's work so many times on one engine and ends: what `cargo xtask instructions` runs under callgrind.
//!
//! `instructions --list` prints the measurements that it can do; `instructions ID ENGINE TIMES` does one, ENGINE being
//! `native` or an engine that was compiled in.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use chassis_benches::{Subject, Unable, Via, measurements, prepare, subjects};
use chassis_engines::compiled_in;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["--list"] => {
            measurements(None).iter().for_each(|measurement| println!("{}", measurement.id));
            Ok(())
        }
        [id, engine, times] => work(id, engine, times),
        _ => Err("usage: instructions --list | instructions ID ENGINE TIMES".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn work(id: &str, engine: &str, times: &str) -> Result<(), String> {
    let times: u64 = times.parse().map_err(|_| format!("`{times}` is no number"))?;
    let found = measurements(Some(id)).into_iter().find(|measurement| measurement.id == id);
    let measurement = found.ok_or_else(|| format!("there is no measurement `{id}`"))?;
    let subject = subject(engine).ok_or_else(|| format!("engine `{engine}` was not compiled in"))?;
    let mut prepared = prepare(&measurement, subject).map_err(|unable| match unable {
        Unable::Because(reason) => reason,
        Unable::NotMeaningful => format!("`{id}` means nothing on {engine}"),
    })?;
    // What happens on the first time only is not counted: the difference of two counts is.
    prepared.run(1)?;
    prepared.run(times)?;
    Ok(())
}

fn subject(engine: &str) -> Option<Subject> {
    subjects(&compiled_in()).into_iter().find(|subject| subject.via != Via::ByHand && subject.engine == engine)
}
