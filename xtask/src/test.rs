//! `cargo xtask test`: runs every test that can run here, says what was run on which engine, and fails where engines
//! have different tests.

mod ignored;
mod lists;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Error, Result, bail};

use self::lists::Lists;
use crate::plugins;
use crate::wasmedge::{self, Library};

/// The engines of the project, in the order of the table.
const ENGINES: [&str; 5] = ["wasmtime", "wasmer", WASMEDGE, "wasmi", NATIVE];
/// The one that runs Rust code, for which some tests have no guest.
const NATIVE: &str = "native";
const WASMEDGE: &str = "wasmedge";

/// All packages with tests of the product.
const PRODUCT: [&str; 5] = ["--workspace", "--exclude", "xtask", "--exclude", "chassis-benches"];
/// Left out as well where there is no libwasmedge.
const WITHOUT_WASMEDGE: [&str; 2] = ["--exclude", "chassis-backend-wasmedge"];
/// The packages that have engine features.
const WITH_FEATURES: [&str; 4] = ["chassis-engines", "chassis", "chassis-conformance", "chassis-cli"];

/// Runs the tests; more arguments go to `cargo test`. Arguments that choose packages choose what is tested; else all is,
/// with all engines but WasmEdge where its library cannot be had.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let mut report = Report::default();
    let chosen = arguments.iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package"));
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--no-fail-fast"]);
    if !chosen {
        command.args(PRODUCT);
        match Library::provide() {
            Ok(library) => {
                command.args(["--features", &features(&["wasmer", WASMEDGE])]).envs(library.environment()?);
            }
            Err(error) if wasmedge::is_required() => return Err(error),
            Err(error) => {
                command.args(WITHOUT_WASMEDGE).args(["--features", &features(&["wasmer"])]);
                report.lacks_wasmedge = Some(format!("{error:#}"));
            }
        }
    }
    let ok = cargo_test(command.args(arguments), &mut report)?;
    eprintln!();
    let guests = plugins::check_committed()?;
    println!("{guests} guests: sources, modules and manifest belong together");
    report.print();
    if !ok || report.failed() > 0 {
        bail!("tests failed");
    }
    // Arguments may choose tests of some engines; all tests are tests of all engines.
    if !arguments.is_empty() {
        return Ok(());
    }
    let untested = report.untested();
    if !untested.is_empty() {
        bail!("no test ran on {}", untested.join(", "));
    }
    let compared = report.compared();
    let tests = report.lists.same(&compared).map_err(Error::msg)?;
    println!("the same {tests} tests on each of {}", compared.join(", "));
    Ok(())
}

/// The engines that are not default ones, as features of each package that has them.
pub(crate) fn features(engines: &[&str]) -> String {
    let of = |package: &&str| engines.iter().map(|engine| format!("{package}/{engine}")).collect::<Vec<_>>();
    WITH_FEATURES.iter().flat_map(of).collect::<Vec<_>>().join(",")
}

#[derive(Debug, Default)]
struct Report {
    engines: BTreeMap<String, Tally>,
    other: Tally,
    lists: Lists,
    /// Reasons, and the tests that were ignored for them.
    ignored: BTreeMap<String, Vec<String>>,
    /// Why WasmEdge is not tested, if its library cannot be had.
    lacks_wasmedge: Option<String>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    passed: u32,
    failed: u32,
    ignored: u32,
}

fn cargo_test(command: &mut Command, report: &mut Report) -> Result<bool> {
    // From any folder of the repository: all of its tests, not those of the package that lies there.
    let mut child = command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo could not be started")?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut progress = Progress::new();
    let mut in_failures = false;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if let Some((name, outcome)) = result_line(&line) {
            report.add(name, outcome);
            progress.show(report, name);
            continue;
        }
        in_failures |= line == "failures:";
        if in_failures {
            progress.clear();
            println!("{line}");
        }
        in_failures &= !line.starts_with("test result:");
    }
    Ok(child.wait()?.success())
}

/// Reads `test NAME ... OUTCOME` as test runners print it.
fn result_line(line: &str) -> Option<(&str, &str)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let known = outcome == "ok" || outcome.starts_with("FAILED") || outcome.starts_with("ignored");
    known.then_some((name.trim(), outcome))
}

/// Takes the kind off a name, `[KIND] NAME`, which is where the reason stands for which a case is ignored. Runners align
/// names behind kinds of different lengths.
fn kind_and_name(name: &str) -> (&str, &str) {
    let (kind, name) = name.strip_prefix('[').and_then(|rest| rest.split_once("] ")).unwrap_or(("", name));
    (kind, name.trim_start())
}

/// The engine that a test's name ends or begins with: `area/case::wasmi`, `module::case::wasmtime`.
fn engine_of(name: &str) -> Option<&'static str> {
    let mut parts = name.split(|c: char| !c.is_ascii_alphanumeric());
    ENGINES.into_iter().find(|engine| parts.clone().any(|part| part == *engine)).filter(|_| parts.next().is_some())
}

impl Report {
    fn add(&mut self, name: &str, outcome: &str) {
        let (kind, name) = kind_and_name(name);
        self.lists.add(name, &ENGINES);
        let tally = match engine_of(name) {
            Some(engine) => self.engines.entry(engine.to_owned()).or_default(),
            None => &mut self.other,
        };
        if outcome == "ok" {
            tally.passed += 1;
        } else if let Some(reason) = outcome.strip_prefix("ignored") {
            tally.ignored += 1;
            let said = reason.trim_start_matches([',', ' ', '(']).trim_end_matches(')');
            let reason = [said, kind, "no reason given"].into_iter().find(|reason| !reason.is_empty());
            self.ignored.entry(reason.unwrap_or_default().to_owned()).or_default().push(name.to_owned());
        } else {
            tally.failed += 1;
        }
    }

    fn total(&self) -> Tally {
        self.engines.values().chain([&self.other]).fold(Tally::default(), |sum, tally| Tally {
            passed: sum.passed + tally.passed,
            failed: sum.failed + tally.failed,
            ignored: sum.ignored + tally.ignored,
        })
    }

    fn failed(&self) -> u32 {
        self.total().failed
    }

    /// The engines that could be tested and have not passed a test.
    fn untested(&self) -> Vec<&'static str> {
        let passed = |engine: &str| self.engines.get(engine).is_some_and(|tally| tally.passed > 0);
        ENGINES.into_iter().filter(|engine| !passed(engine) && !self.is_excused(engine)).collect()
    }

    /// The engines that have the same tests: all that run Wasm and could be tested.
    fn compared(&self) -> Vec<&'static str> {
        ENGINES.into_iter().filter(|engine| *engine != NATIVE && !self.is_excused(engine)).collect()
    }

    fn is_excused(&self, engine: &str) -> bool {
        engine == WASMEDGE && self.lacks_wasmedge.is_some()
    }

    fn print(&self) {
        if !self.ignored.is_empty() {
            println!("\nignored:");
        }
        for line in ignored::lines(&self.ignored) {
            println!("{line}");
        }
        println!("\n{:<12} {:>7} {:>7} {:>8}  not run", "engine", "passed", "failed", "ignored");
        for engine in ENGINES {
            let tally = self.engines.get(engine).copied().unwrap_or_default();
            let Tally { passed, failed, ignored } = tally;
            let none = if passed + failed + ignored == 0 { "no test names it" } else { "" };
            let lacks = self.lacks_wasmedge.as_deref().filter(|_| engine == WASMEDGE);
            println!("{engine:<12} {passed:>7} {failed:>7} {ignored:>8}  {}", lacks.unwrap_or(none));
        }
        let Tally { passed, failed, ignored } = self.other;
        println!("{:<12} {passed:>7} {failed:>7} {ignored:>8}", "no engine");
        let Tally { passed, failed, ignored } = self.total();
        println!("\ntotal: {passed} passed, {failed} failed, {ignored} skipped");
    }
}

/// One line on a terminal; nothing elsewhere.
struct Progress {
    shown: bool,
    terminal: bool,
}

impl Progress {
    fn new() -> Self {
        Progress { shown: false, terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, report: &Report, name: &str) {
        if !self.terminal {
            return;
        }
        let Tally { passed, failed, .. } = report.total();
        let name: String = name.chars().take(60).collect();
        eprint!("\r\x1b[K{passed} passed, {failed} failed: {name}");
        // A progress line that cannot be written is no reason to stop.
        let _ = std::io::stderr().flush();
        self.shown = true;
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_told_from_other_lines() {
        assert_eq!(result_line("test calls/shapes::wasmi ... ok"), Some(("calls/shapes::wasmi", "ok")));
        assert_eq!(result_line("test a ... ignored, no AOT"), Some(("a", "ignored, no AOT")));
        assert_eq!(result_line("test result: ok. 3 passed"), None);
        assert_eq!(result_line("running 3 tests"), None);
    }

    #[test]
    fn engines_are_found_in_names() {
        assert_eq!(engine_of("calls/shapes::wasmi"), Some("wasmi"));
        assert_eq!(engine_of("tests::trap::wasmtime"), Some("wasmtime"));
        assert_eq!(engine_of("native::tests::case"), Some("native"));
        assert_eq!(engine_of("plan::tests::wasmtimes"), None);
    }

    #[test]
    fn an_engine_without_tests_is_named() {
        let mut report = Report::default();
        for name in ["a::wasmtime", "a::wasmi", "a::native"] {
            report.add(name, "ok");
        }
        report.add("a::wasmer", "ignored");
        assert_eq!(report.untested(), ["wasmer", "wasmedge"]);
        report.add("b::wasmer", "ok");
        report.lacks_wasmedge = Some("it is not here".to_owned());
        assert!(report.untested().is_empty());
    }

    #[test]
    fn engines_with_different_tests_are_told_apart_whatever_came_of_them() {
        let mut report = Report::default();
        report.add("a::wasmtime", "ok");
        report.add("a::wasmer", "FAILED");
        report.add("[it has none]   a::wasmi", "ignored");
        assert!(report.lists.same(&report.compared()).is_err_and(|said| said.ends_with("a: not on wasmedge")));
        report.lacks_wasmedge = Some("it is not here".to_owned());
        assert_eq!(report.lists.same(&report.compared()), Ok(1));
        report.add("b::wasmtime", "ok");
        assert!(report.lists.same(&report.compared()).is_err_and(|said| said.ends_with("b: not on wasmer, wasmi")));
    }

    #[test]
    fn every_outcome_is_counted_once() {
        let mut report = Report::default();
        report.add("a::wasmi", "ok");
        report.add("b", "FAILED");
        report.add("c::wasmi", "ignored, wasmi: no AOT");
        let total = report.total();
        assert_eq!((total.passed, total.failed, total.ignored), (1, 1, 1));
        report.add("[no code to save, as wasmtime has]     aot/d::wasmi", "ignored");
        assert_eq!(report.engines["wasmi"].ignored, 2);
        assert!(!report.engines.contains_key("wasmtime"));
        assert_eq!(report.ignored["wasmi: no AOT"], ["c::wasmi"]);
        assert_eq!(report.ignored["no code to save, as wasmtime has"], ["aot/d::wasmi"]);
    }
}
