//! `cargo xtask instructions`: how many instructions the host spends, counted by callgrind, compared with what is recorded
//! in `benches/instructions.json`.
//!
//! A count is the difference of two runs, so that starting up is no part of it. It hardly depends on what else the machine
//! does, so that even a busy one notices a change of a few percent; it does depend a little on the processor, whose own
//! instructions copying and comparing choose from.
//!
//! Counted are the native engine and wasmi, which are soon built; Wasmtime too if it is asked for.
//! Wasmer and WasmEdge are not: neither has been tried under valgrind, and WasmEdge may bring a loader and a libc of its
//! own, which this program is not built with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::wasmedge;

/// The engines that are counted unless others are named, and those that can be.
const USUAL: [&str; 2] = ["native", "wasmi"];
const ENGINES: [&str; 3] = ["native", "wasmi", "wasmtime"];
/// The measurements, each with how often it is done in the longer run; the shorter one does a tenth.
const COUNTED: [(&str, u64); 12] = [
    ("call/callback", 2000),
    ("call/host-call", 10_000),
    ("call/get-header", 5000),
    ("header/get-10", 5000),
    ("header/replace-10", 5000),
    ("header/add-10", 5000),
    ("header/get-map-10", 2000),
    ("header/set-map-10", 2000),
    ("body/get-64-kib", 200),
    ("module/instantiate", 200),
    ("request/one", 500),
    ("request/chain-10", 100),
];

const SCHEMA: &str = "chassis/instructions/v1";

/// What is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Baseline {
    schema: String,
    /// By how much a count may grow: 0.05 is 5 %.
    tolerance: f64,
    /// Instructions for one operation, by `MEASUREMENT on ENGINE`.
    counts: BTreeMap<String, f64>,
}

/// Counts, and compares with the recorded baseline, or records.
///
/// # Errors
/// If a count has grown beyond the tolerance, or nothing could be counted.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in no folder")?;
    let mut options = Options { engines: USUAL.to_vec(), record: false, file: root.join("benches/instructions.json") };
    options.read(arguments)?;
    let Options { engines, record, file } = options;
    if let Err(error) = Command::new("valgrind").arg("--version").output() {
        ensure!(!wasmedge::is_required(), "valgrind is needed to count instructions: {error}");
        println!("instructions not counted: valgrind is not on this machine ({error})");
        return Ok(());
    }
    let mut counts = count(&build(root, &engines)?, &engines)?;
    if record {
        // What was recorded of other engines stays.
        let kept = read(&file).map(|baseline| baseline.counts).unwrap_or_default();
        counts.extend(kept.into_iter().filter(|(name, _)| !is_of(name, &engines)));
        let baseline = Baseline { schema: SCHEMA.to_owned(), tolerance: 0.05, counts };
        let text = serde_json::to_string_pretty(&baseline)? + "\n";
        return fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()));
    }
    let mut baseline = read(&file)?;
    baseline.counts.retain(|name, _| is_of(name, &engines));
    let wrong = compare(&baseline, &counts);
    ensure!(wrong.is_empty(), "{}\n`cargo xtask instructions --record` records what is meant", wrong.join("\n"));
    println!("{} counts are within {:.0} % of what is recorded", counts.len(), baseline.tolerance * 100.0);
    Ok(())
}

struct Options {
    engines: Vec<&'static str>,
    record: bool,
    file: PathBuf,
}

impl Options {
    fn read(&mut self, arguments: &[&str]) -> Result<()> {
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match (*argument, if *argument == "--record" { None } else { arguments.next() }) {
                ("--record", _) => self.record = true,
                ("--baseline", Some(file)) => self.file = PathBuf::from(file),
                ("--engine", Some(names)) => {
                    let known = |name: &str| ENGINES.into_iter().find(|engine| *engine == name);
                    self.engines = names.split(',').map(known).collect::<Option<_>>().with_context(|| {
                        format!("instructions can be counted of {}, not of all of `{names}`", ENGINES.join(", "))
                    })?;
                }
                _ => bail!("usage: cargo xtask instructions [--engine NAME,...] [--record] [--baseline FILE]"),
            }
        }
        Ok(())
    }
}

fn read(file: &Path) -> Result<Baseline> {
    let text = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let baseline: Baseline = serde_json::from_str(&text).with_context(|| format!("{} is not valid", file.display()))?;
    ensure!(baseline.schema == SCHEMA, "{} has schema {}, not {SCHEMA}", file.display(), baseline.schema);
    Ok(baseline)
}

/// Whether a count is one of these engines'.
fn is_of(name: &str, engines: &[&str]) -> bool {
    name.rsplit_once(" on ").is_some_and(|(_, engine)| engines.contains(&engine))
}

/// Builds the program that is counted, optimised and without the engines that are not.
fn build(root: &Path, engines: &[&str]) -> Result<PathBuf> {
    let engines = engines.iter().copied().filter(|engine| *engine != "native");
    let features: Vec<&str> = engines.chain(["callgrind"]).collect();
    let status = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["build", "--release", "--package", "chassis-benches", "--bin", "instructions"])
        .args(["--no-default-features", "--features", &features.join(",")])
        .status()
        .context("cargo could not be started")?;
    ensure!(status.success(), "the program that is counted does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release/instructions"))
}

fn count(program: &Path, engines: &[&str]) -> Result<BTreeMap<String, f64>> {
    let mut counts = BTreeMap::new();
    for engine in engines {
        for (id, times) in COUNTED {
            let [few, many] = [times / 10, times];
            let spent = collected(program, id, engine, many)?.saturating_sub(collected(program, id, engine, few)?);
            let each = (spent as f64 / (many - few) as f64 * 10.0).round() / 10.0;
            println!("{id:<20} {engine:<7} {each:>12.1}");
            counts.insert(format!("{id} on {engine}"), each);
        }
    }
    Ok(counts)
}

/// The instructions of one run.
fn collected(program: &Path, id: &str, engine: &str, times: u64) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([id, engine, &times.to_string()])
        .output()
        .context("valgrind could not be started")?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{id} on {engine}: {stdout}\n{stderr}");
    total(&stderr).with_context(|| format!("{id} on {engine}: valgrind counted nothing\n{stderr}"))
}

/// The number in `==12== Collected : 34`.
fn total(stderr: &str) -> Option<u64> {
    stderr.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

/// What does not fit the baseline: what has grown, and what is in one of them only.
fn compare(baseline: &Baseline, counts: &BTreeMap<String, f64>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, count) in counts {
        match baseline.counts.get(name) {
            None => wrong.push(format!("{name}: {count} instructions; there is no record of it")),
            Some(recorded) if *count > recorded * (1.0 + baseline.tolerance) => {
                let growth = (count / recorded - 1.0) * 100.0;
                wrong.push(format!(
                    "{name}: {count} instructions, {growth:.1} % more than the {recorded} that are recorded"
                ));
            }
            Some(_) => {}
        }
    }
    let gone = baseline.counts.keys().filter(|name| !counts.contains_key(*name));
    wrong.extend(gone.map(|name| format!("{name}: recorded, but not counted")));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline() -> Baseline {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/instructions.json");
        serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
    }

    #[test]
    fn everything_that_is_counted_is_recorded() {
        let baseline = baseline();
        for engine in USUAL {
            let counted = baseline.counts.keys().filter(|name| is_of(name, &[engine])).count();
            assert_eq!(counted, COUNTED.len(), "{engine}");
        }
        assert_eq!(compare(&baseline, &baseline.counts), [] as [String; 0]);
    }

    #[test]
    fn a_count_that_has_grown_fails() {
        let counts = baseline().counts;
        for name in counts.keys() {
            let mut doctored = baseline();
            *doctored.counts.get_mut(name).unwrap() /= 1.06;
            let wrong = compare(&doctored, &counts);
            assert!(
                wrong.len() == 1 && wrong[0].starts_with(name.as_str()) && wrong[0].contains("6.0 % more"),
                "{wrong:?}"
            );
            *doctored.counts.get_mut(name).unwrap() *= 1.02;
            assert!(compare(&doctored, &counts).is_empty());
        }
    }

    #[test]
    fn what_is_recorded_or_counted_alone_fails() {
        let mut doctored = baseline();
        let counts = doctored.counts.clone();
        doctored.counts.remove("call/callback on native");
        doctored.counts.insert("call/other on native".to_owned(), 1.0);
        let wrong = compare(&doctored, &counts).join("\n");
        assert!(wrong.contains("call/callback on native") && wrong.contains("no record"), "{wrong}");
        assert!(wrong.contains("call/other on native: recorded, but not counted"), "{wrong}");
    }

    #[test]
    fn only_engines_that_can_be_counted_are_taken() {
        let read = |arguments: &[&str]| {
            let mut options = Options { engines: USUAL.to_vec(), record: false, file: PathBuf::new() };
            options.read(arguments).map(|()| (options.engines, options.record))
        };
        assert_eq!(read(&["--record"]).unwrap(), (vec!["native", "wasmi"], true));
        assert_eq!(read(&["--engine", "wasmtime,native", "--record"]).unwrap(), (vec!["wasmtime", "native"], true));
        assert!(read(&["--engine", "wasmedge"]).unwrap_err().to_string().contains("not of all of `wasmedge`"));
        assert!(read(&["--engine"]).is_err() && read(&["--what"]).is_err());
    }

    #[test]
    fn the_total_is_what_callgrind_collected() {
        assert_eq!(total("==1== \n==1== Events    : Ir\n==1== Collected : 4711\n"), Some(4711));
        assert_eq!(total("==1== nothing"), None);
    }
}
