//! `cargo xtask fuzz`: the fuzz targets under libFuzzer, and the inputs that are kept of them.
//!
//! libFuzzer wants code that counts which of its edges are taken. The compiler's options for that are stable, so neither
//! another toolchain nor another tool of cargo is needed. What a run finds out stays below `target`; `--keep` takes the
//! smallest part of it that reaches as much into `fuzz/corpus`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// What the compiler is to add for libFuzzer.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";
/// The target that counts how often each host function answered OK.
const CALLS: &str = "calls";
/// How often each has to in a run of [`FULL_RUN`] seconds or more.
const LEAST_OK: u64 = 1000;
const FULL_RUN: u64 = 600;
/// How much of each target's inputs is kept.
const KEPT_FILES: usize = 160;
const KEPT_BYTES: u64 = 48 << 10;
const KEPT_FILE: u64 = 2 << 10;

struct Options {
    targets: Vec<String>,
    seconds: u64,
    keep: bool,
}

/// Runs fuzz targets one after the other; or, by `--replay`, gives all of them what is kept, without libFuzzer.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    if arguments == ["--replay"] {
        return replay();
    }
    let options = options(arguments)?;
    let programs = build(&options.targets)?;
    let mut findings = Vec::new();
    for (target, program) in options.targets.iter().zip(&programs) {
        let places = Places::of(target)?;
        if options.seconds > 0 {
            findings.extend(fuzz(target, program, &places, options.seconds)?);
        }
        if options.keep {
            keep(target, program, &places)?;
        }
    }
    ensure!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    Ok(())
}

/// Gives the targets what is kept: an ordinary test.
pub(crate) fn replay() -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--quiet", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target/fuzz"]);
    let status = command.status().context("cargo test")?;
    ensure!(status.success(), "the kept inputs of the fuzz targets: {status}");
    Ok(())
}

fn options(arguments: &[&str]) -> Result<Options> {
    let known = targets()?;
    let mut options = Options { targets: Vec::new(), seconds: 60, keep: false };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match *argument {
            "--seconds" => {
                let seconds = arguments.next().context("--seconds needs a number")?;
                options.seconds = seconds.parse().with_context(|| format!("--seconds {seconds}"))?;
            }
            "--keep" => options.keep = true,
            target if known.iter().any(|name| name == target) => options.targets.push(target.to_owned()),
            other => bail!("there is no fuzz target `{other}`; there are {}", known.join(", ")),
        }
    }
    if options.targets.is_empty() {
        options.targets = known;
    }
    Ok(options)
}

/// The names of all targets: each is a file.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir("fuzz/targets").context("fuzz/targets")? {
        let file = entry?.path();
        names.extend(file.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Builds the programs of targets.
fn build(targets: &[String]) -> Result<Vec<PathBuf>> {
    let host = host()?;
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--features", "libfuzzer"]);
    // With a target named, what runs while it is built is built without the instrumentation.
    command.args(["--target-dir", "target/fuzz", "--target", &host]).env("RUSTFLAGS", INSTRUMENTATION);
    for target in targets {
        command.args(["--bin", target]);
    }
    let status = command.status().context("cargo build")?;
    ensure!(status.success(), "the fuzz targets could not be built: {status}");
    let folder = Path::new("target/fuzz").join(host).join("release");
    Ok(targets.iter().map(|target| folder.join(target)).collect())
}

/// The machine that cargo runs on, as the compiler calls it.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc -vV")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

/// The folders and files of one target.
struct Places {
    /// What is kept in the repository.
    kept: PathBuf,
    /// What runs on this machine have found to reach something.
    found: PathBuf,
    /// Inputs with which something is wrong.
    findings: PathBuf,
    log: PathBuf,
    counts: PathBuf,
}

impl Places {
    fn of(target: &str) -> Result<Self> {
        let below = |folder: &str| Path::new("target/fuzz").join(folder).join(target);
        let places = Places {
            kept: Path::new("fuzz/corpus").join(target),
            found: below("found"),
            findings: below("findings"),
            log: below("log"),
            counts: below("counts"),
        };
        for folder in [&places.kept, &places.found, &places.findings] {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        for file in [&places.log, &places.counts] {
            let folder = file.parent().context("a file in a folder")?;
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        Ok(places)
    }
}

/// Runs one target for so many seconds and tells what came of it; answers what it found.
fn fuzz(target: &str, program: &Path, places: &Places, seconds: u64) -> Result<Vec<String>> {
    println!("== {target}: {seconds} s");
    let log = fs::File::create(&places.log).with_context(|| places.log.display().to_string())?;
    let mut command = Command::new(program);
    command.args([&places.found, &places.kept]);
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={}/", places.findings.display()));
    command.args(["-max_len=4096", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    command.env("CHASSIS_FUZZ_COUNTS", &places.counts).stderr(log);
    let status = command.status().with_context(|| program.display().to_string())?;

    let text = fs::read_to_string(&places.log).with_context(|| places.log.display().to_string())?;
    let run = Run::read(&text);
    println!(
        "== {target}: {} inputs, {} edges of {}, {} inputs that reach them",
        run.inputs, run.edges, run.all_edges, run.corpus
    );
    let mut findings = Vec::new();
    if !status.success() {
        let file = run.finding.map_or_else(|| places.log.display().to_string(), str::to_owned);
        findings.push(format!("{target}: {file} ({status}; more in {})", places.log.display()));
    }
    if target == CALLS && status.success() {
        findings.extend(counts(&places.counts, seconds)?);
    }
    Ok(findings)
}

/// Prints how often each host function answered OK; answers what is too rare to prove much.
fn counts(file: &Path, seconds: u64) -> Result<Vec<String>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let (function, count) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
        let count: u64 = count.parse().with_context(|| line.to_owned())?;
        // Of the functions with two types one is called, by its name.
        *all.entry(function).or_insert(0) += count;
    }
    for (function, count) in &all {
        println!("{count:>12} {function}");
    }
    // What ends the guest does not return.
    let rare = all.iter().filter(|(function, count)| **count < LEAST_OK && !function.ends_with(" proc_exit"));
    let rare: Vec<_> = rare.map(|(function, count)| format!("{CALLS}: {function} answered OK {count} times")).collect();
    println!("== {CALLS}: {} of {} host functions answered OK less than {LEAST_OK} times", rare.len(), all.len());
    Ok(if seconds >= FULL_RUN { rare } else { Vec::new() })
}

/// What libFuzzer says of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Run<'a> {
    inputs: u64,
    edges: u64,
    all_edges: u64,
    corpus: u64,
    finding: Option<&'a str>,
}

impl<'a> Run<'a> {
    fn read(log: &'a str) -> Self {
        let number = |text: &str| -> u64 {
            let digits: String = text.trim_start().chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap_or(0)
        };
        let mut run = Run::default();
        for line in log.lines() {
            if let Some((_, rest)) = line.split_once(" cov: ") {
                run.edges = number(rest);
                run.corpus = line.split_once(" corp: ").map_or(run.corpus, |(_, rest)| number(rest));
            } else if let Some(rest) = line.strip_prefix("stat::number_of_executed_units:") {
                run.inputs = number(rest);
            } else if let Some(at) = line.strip_prefix("INFO: Loaded 1 PC tables (") {
                run.all_edges = number(at);
            } else if let Some((_, file)) = line.split_once("Test unit written to ") {
                run.finding = Some(file);
            }
        }
        run
    }
}

/// Replaces what is kept by the smallest set of small inputs that reaches as much as all that is known.
fn keep(target: &str, program: &Path, places: &Places) -> Result<()> {
    let chosen = Path::new("target/fuzz/chosen").join(target);
    if chosen.exists() {
        fs::remove_dir_all(&chosen)?;
    }
    fs::create_dir_all(&chosen)?;
    let small = |file: &PathBuf| fs::metadata(file).is_ok_and(|data| data.len() <= KEPT_FILE);
    let output = Command::new(program)
        .arg("-set_cover_merge=1")
        .args([&chosen, &places.kept, &places.found])
        .output()
        .with_context(|| program.display().to_string())?;
    ensure!(output.status.success(), "{target}: what is known could not be merged: {}", output.status);
    let mut files: Vec<_> = files(&chosen)?.into_iter().filter(small).collect();
    files.sort_by_key(|file| fs::metadata(file).map_or(0, |data| data.len()));
    let (mut bytes, mut kept) = (0, 0);
    for file in self::files(&places.kept)? {
        fs::remove_file(file)?;
    }
    for file in files.into_iter().take(KEPT_FILES) {
        bytes += fs::metadata(&file)?.len();
        if bytes > KEPT_BYTES {
            break;
        }
        let name = file.file_name().context("a file has a name")?;
        fs::copy(&file, places.kept.join(name))?;
        kept += 1;
    }
    println!("== {target}: {kept} inputs are kept");
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_read() {
        let log = "INFO: Loaded 1 PC tables (5021 PCs): 5021 [0x1,0x2), \n\
            #2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 30Mb\n\
            #9\tNEW    cov: 345 ft: 600 corp: 7/30b lim: 4 exec/s: 9 rss: 30Mb L: 4/4\n\
            artifact_prefix='a/'; Test unit written to a/crash-1\n\
            stat::number_of_executed_units: 1234\n";
        let expected = Run { inputs: 1234, edges: 345, all_edges: 5021, corpus: 7, finding: Some("a/crash-1") };
        assert_eq!(Run::read(log), expected);
    }
}
