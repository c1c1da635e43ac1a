//! Results for people: a matrix of areas and engines, then each failure with its first difference.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::Path;

use chassis_conformance::{CaseResult, Difference, Summary, Verdict, trial_name};
use comfy_table::Table;
use comfy_table::presets::NOTHING;

use crate::style::{ERROR, FAINT, GOOD, ODD, STRONG};

/// How many lines are shown before the one that differs, and after it.
const BEFORE: usize = 3;
const AFTER: usize = 2;
/// How wide each side is.
const WIDTH: usize = 58;
/// What of a line fits into it, with three dots behind.
const FITS: usize = WIDTH - 3;

/// All of it.
pub(super) fn results(
    engines: &[(&'static str, &'static str)],
    results: &[CaseResult],
    summary: &Summary,
    folder: Option<&Path>,
) -> String {
    let mut out = format!("{}\n", matrix(engines, results));
    // Writing to a string cannot fail.
    let _ = details(&mut out, results, folder);
    let _ = total(&mut out, engines, results, summary);
    out
}

/// A row for each area and a column for each engine: how many cases passed, and how many did not.
fn matrix(engines: &[(&'static str, &'static str)], results: &[CaseResult]) -> String {
    let mut areas: BTreeMap<&str, Vec<Tally>> = BTreeMap::new();
    for result in results {
        let row = areas.entry(&result.case.area).or_insert_with(|| vec![Tally::default(); engines.len()]);
        for (engine, ran) in &result.ran {
            if let Some(column) = engines.iter().position(|(name, _)| name == engine) {
                row[column].add(&ran.verdict);
            }
        }
    }
    let mut total = vec![Tally::default(); engines.len()];
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(row("area", engines.iter().map(|(name, version)| format!("{name} {version}"))));
    for (area, tallies) in &areas {
        tallies.iter().zip(&mut total).for_each(|(tally, total)| total.join(tally));
        table.add_row(row(area, tallies.iter().map(Tally::to_string)));
    }
    table.add_row(row("all", total.iter().map(Tally::to_string)));
    if let Some(areas) = table.column_mut(0) {
        areas.set_padding((0, 1));
    }
    table.trim_fmt()
}

fn row(first: &str, others: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(others).collect()
}

#[derive(Debug, Clone, Default)]
struct Tally {
    passed: usize,
    deviating: usize,
    failed: usize,
    ignored: usize,
}

impl Tally {
    fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Deviates(_) => self.deviating += 1,
            Verdict::Failed(_) => self.failed += 1,
            Verdict::Ignored(_) => self.ignored += 1,
        }
    }

    fn join(&mut self, other: &Tally) {
        self.passed += other.passed;
        self.deviating += other.deviating;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.passed)?;
        let others = [(self.failed, "FAILED"), (self.deviating, "deviating"), (self.ignored, "ignored")];
        others.iter().filter(|(count, _)| *count > 0).try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}

fn details(out: &mut String, results: &[CaseResult], folder: Option<&Path>) -> fmt::Result {
    for result in results {
        for (engine, ran) in &result.ran {
            if let Verdict::Failed(difference) = &ran.verdict {
                failure(out, result, engine, difference, folder)?;
            }
        }
        for differs in &result.differs {
            let (reference, engine) = (differs.reference, differs.engine);
            writeln!(out, "\n{ERROR}{}{ERROR:#} {reference} and {engine} do not agree", result.case.path())?;
            writeln!(out, "  at {}", differs.disagreement.at)?;
            writeln!(out, "  {reference}: {}", differs.disagreement.one)?;
            writeln!(out, "  {engine}: {}", differs.disagreement.other)?;
        }
    }
    Ok(())
}

/// The first difference, with some lines around it.
fn failure(
    out: &mut String,
    result: &CaseResult,
    engine: &str,
    difference: &Difference,
    folder: Option<&Path>,
) -> fmt::Result {
    let name = trial_name(&result.case, engine);
    let folder = folder.map_or_else(|| "conformance/cases".to_owned(), |folder| folder.display().to_string());
    let about = chassis_host::escape(result.case.about.as_bytes());
    writeln!(out, "\n{ERROR}{name}{ERROR:#} {about}")?;
    let line = if difference.line > 0 { format!(":{}", difference.line) } else { String::new() };
    writeln!(out, "  {} {FAINT}{folder}/{}{line}{FAINT:#}", difference.at, result.case.file())?;
    writeln!(out, "  {STRONG}  {:WIDTH$}   seen{STRONG:#}", "expected")?;
    let first = difference.first;
    let lines = difference.expected.len().max(difference.seen.len());
    let begin = first.saturating_sub(BEFORE);
    if begin > 0 {
        writeln!(out, "  {FAINT}  ... {begin} equal lines{FAINT:#}")?;
    }
    for index in begin..lines.min(first + 1 + AFTER) {
        let side = |lines: &[String]| lines.get(index).map_or_else(String::new, |line| short(line));
        let (expected, seen) = (side(&difference.expected), side(&difference.seen));
        let (mark, style) = if index == first { (">", ODD) } else { (" ", FAINT) };
        writeln!(out, "  {style}{mark} {expected:WIDTH$} | {seen}{style:#}")?;
    }
    let more = lines.saturating_sub(first + 1 + AFTER);
    if more > 0 {
        writeln!(out, "  {FAINT}  ... {more} more{FAINT:#}")?;
    }
    // What did not fit into the columns, both sides of it.
    let sides = [("expected", difference.expected_line()), ("seen", difference.seen_line())];
    if sides
        .iter()
        .any(|(_, line)| line.is_some_and(|line| chassis_host::escape(line.as_bytes()).chars().count() > FITS))
    {
        for (what, line) in sides {
            writeln!(out, "  {what}: {}", cut(line.unwrap_or_default(), 400))?;
        }
    }
    Ok(())
}

fn short(line: &str) -> String {
    cut(line, FITS)
}

fn cut(line: &str, most: usize) -> String {
    let line = chassis_host::escape(line.as_bytes());
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.into_owned(),
    }
}

/// Why cases were ignored or deviate, and the sum.
fn total(
    out: &mut String,
    engines: &[(&'static str, &'static str)],
    results: &[CaseResult],
    summary: &Summary,
) -> fmt::Result {
    writeln!(out)?;
    for (why, cases) in reasons(results) {
        writeln!(out, "{} {why}", cases.len())?;
        names(out, &cases)?;
    }
    let Summary { passed, deviating, failed, ignored, disagreements } = summary;
    let style = if failed + disagreements == 0 { GOOD } else { ERROR };
    write!(out, "{style}{passed} passed, {failed} failed{style:#}, {ignored} ignored")?;
    if *deviating > 0 {
        write!(out, ", {deviating} deviating")?;
    }
    let compared = results.iter().any(CaseResult::is_compared);
    match (engines.len(), disagreements) {
        (0 | 1, _) => writeln!(out),
        (_, 0) if !compared => writeln!(out, "; no case was run by two engines to be compared"),
        (_, 0) => writeln!(out, "; the engines agree in everything but time"),
        (_, 1) => writeln!(out, "; {ERROR}the engines disagree once{ERROR:#}"),
        (_, times) => writeln!(out, "; {ERROR}the engines disagree {times} times{ERROR:#}"),
    }
}

/// Why cases were ignored or deviate, and which; what is the same on several engines is told once.
fn reasons(results: &[CaseResult]) -> Vec<(String, Vec<String>)> {
    let mut engines: BTreeMap<(&str, &str, &str), Vec<String>> = BTreeMap::new();
    for result in results {
        for (engine, ran) in &result.ran {
            let (what, reason) = match &ran.verdict {
                Verdict::Ignored(reason) => ("ignored on", reason),
                Verdict::Deviates(reason) => ("known of", reason),
                Verdict::Passed | Verdict::Failed(_) => continue,
            };
            engines.entry((what, reason, engine)).or_default().push(result.case.path());
        }
    }
    let mut merged: BTreeMap<(&str, &str, Vec<String>), Vec<&str>> = BTreeMap::new();
    for ((what, reason, engine), cases) in engines {
        merged.entry((what, reason, cases)).or_default().push(engine);
    }
    let told = merged.into_iter();
    told.map(|((what, reason, cases), on)| (format!("{what} {}: {reason}", on.join(", ")), cases)).collect()
}

/// How many names are shown, and how wide their lines are.
const MOST_NAMES: usize = 24;
const LINE: usize = 100;

/// Names with commas between them, in lines below what they belong to.
fn names(out: &mut String, names: &[String]) -> fmt::Result {
    let more = names.len().saturating_sub(MOST_NAMES);
    let more = (more > 0).then(|| format!("and {more} more: --list names them all"));
    let mut line = String::new();
    let shown: Vec<&str> = names.iter().take(MOST_NAMES).map(String::as_str).chain(more.as_deref()).collect();
    for (i, name) in shown.iter().enumerate() {
        let comma = if i + 1 < shown.len() { "," } else { "" };
        if !line.is_empty() && line.len() + 1 + name.len() + comma.len() > LINE - 2 {
            writeln!(out, "  {FAINT}{line}{FAINT:#}")?;
            line.clear();
        }
        let space = if line.is_empty() { "" } else { " " };
        write!(line, "{space}{name}{comma}")?;
    }
    writeln!(out, "  {FAINT}{line}{FAINT:#}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use chassis_conformance::{Case, Ran};

    use super::*;

    #[test]
    fn what_a_case_says_is_safe_for_a_terminal() {
        let text = "about: \"a\\e[2Jb\\nc\"\nguest: { script: {} }\nexpect: {}\n";
        let case = Arc::new(Case::parse("area", "case", text, &|_| None).unwrap());
        let line = |text: &str| vec![text.to_owned()];
        let (expected, seen) = (line("\u{1b}[1mx"), line("y\u{7}"));
        let difference = Difference { at: "expect.logs".to_owned(), line: 1, first: 0, expected, seen };
        let verdict = Verdict::Failed(Box::new(difference));
        let ran = Ran { verdict, runs: Vec::new(), trips: Vec::new(), time: Duration::ZERO };
        let result = CaseResult { case, ran: vec![("wasmi", ran)], differs: Vec::new() };
        let mut out = String::new();
        details(&mut out, &[result], None).unwrap();
        let shown = anstream::adapter::strip_str(&out).to_string();
        assert!(shown.contains("area/case::wasmi a\\u{1b}[2Jb\\nc\n"), "{shown}");
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    }
    #[test]
    fn a_reason_is_told_once_for_all_engines_and_cases_that_have_it() {
        let results: Vec<CaseResult> = (0..30)
            .map(|number| {
                let text = "about: x\nguest: { script: {} }\nexpect: {}\n";
                let case = Arc::new(Case::parse("area", &format!("case-{number:02}"), text, &|_| None).unwrap());
                let ran = |verdict| Ran { verdict, runs: Vec::new(), trips: Vec::new(), time: Duration::ZERO };
                let ignored = |reason: &str| ran(Verdict::Ignored(reason.to_owned()));
                let third = if number == 7 { ran(Verdict::Deviates("slow".to_owned())) } else { ran(Verdict::Passed) };
                CaseResult {
                    case,
                    ran: vec![("wasmi", ignored("x")), ("wasmer", ignored("x")), ("wasmtime", third)],
                    differs: Vec::new(),
                }
            })
            .collect();
        let reasons = reasons(&results);
        let told: Vec<(&str, usize)> = reasons.iter().map(|(why, cases)| (why.as_str(), cases.len())).collect();
        assert_eq!(told, [("ignored on wasmer, wasmi: x", 30), ("known of wasmtime: slow", 1)]);
        let mut out = String::new();
        names(&mut out, &reasons[0].1).unwrap();
        let shown = anstream::adapter::strip_str(&out).to_string();
        assert!(shown.starts_with("  area/case-00, area/case-01, "), "{shown}");
        assert!(shown.ends_with(" area/case-23, and 6 more: --list names them all\n"), "{shown}");
        assert!(shown.lines().all(|line| line.len() <= LINE), "{shown}");
        assert_eq!(shown.lines().count(), 4, "{shown}");
        let mut out = String::new();
        names(&mut out, &reasons[1].1).unwrap();
        assert_eq!(anstream::adapter::strip_str(&out).to_string(), "  area/case-07\n");
    }
}
