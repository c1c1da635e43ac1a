//! Results for machines: JSON and JUnit's XML.

use std::fmt::{self, Write};

use serde::Serialize;

use crate::judge::Difference;
use crate::runner::{CaseResult, Ran, Verdict};

/// The name and version of the form of a [`Report`].
pub const SCHEMA: &str = "chassis/conformance/v1";

/// What `chassis conformance --format json` prints.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    schema: &'static str,
    summary: Summary,
    engines: Vec<EngineReport>,
    /// One element per case and engine.
    cases: Vec<CaseReport<'a>>,
    disagreements: Vec<DisagreementReport<'a>>,
}

/// How many there are of each kind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// As expected.
    pub passed: usize,
    /// As is known of the engine.
    pub deviating: usize,
    /// Not as expected.
    pub failed: usize,
    /// Not run, for a reason.
    pub ignored: usize,
    /// Engines that differ from the first one in a case.
    pub disagreements: usize,
}

#[derive(Debug, Serialize)]
struct EngineReport {
    name: &'static str,
    version: &'static str,
}

#[derive(Debug, Serialize)]
struct CaseReport<'a> {
    area: &'a str,
    name: &'a str,
    engine: &'static str,
    status: &'static str,
    /// Why it was ignored, or deviates.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<&'a Difference>,
    duration_ns: u64,
}

#[derive(Debug, Serialize)]
struct DisagreementReport<'a> {
    case: String,
    reference: &'static str,
    engine: &'static str,
    at: &'a str,
    one: &'a str,
    other: &'a str,
}

impl Report<'_> {
    /// How many there are of each kind.
    pub fn summary(&self) -> Summary {
        self.summary
    }
}

/// The report of results; `engines` are names and versions.
pub fn report<'a>(engines: &[(&'static str, &'static str)], results: &'a [CaseResult]) -> Report<'a> {
    let mut summary = Summary::default();
    let mut cases = Vec::new();
    let mut disagreements = Vec::new();
    for result in results {
        for (engine, ran) in &result.ran {
            *summary.of(&ran.verdict) += 1;
            cases.push(case_report(result, engine, ran));
        }
        for differs in &result.differs {
            summary.disagreements += 1;
            disagreements.push(DisagreementReport {
                case: result.case.path(),
                reference: differs.reference,
                engine: differs.engine,
                at: &differs.disagreement.at,
                one: &differs.disagreement.one,
                other: &differs.disagreement.other,
            });
        }
    }
    let engines = engines.iter().map(|(name, version)| EngineReport { name, version }).collect();
    Report { schema: SCHEMA, summary, engines, cases, disagreements }
}

fn case_report<'a>(result: &'a CaseResult, engine: &'static str, ran: &'a Ran) -> CaseReport<'a> {
    let (status, reason, difference) = match &ran.verdict {
        Verdict::Passed => ("passed", None, None),
        Verdict::Deviates(reason) => ("deviates", Some(reason.as_str()), None),
        Verdict::Failed(difference) => ("failed", None, Some(&**difference)),
        Verdict::Ignored(reason) => ("ignored", Some(reason.as_str()), None),
    };
    let duration_ns = u64::try_from(ran.time.as_nanos()).unwrap_or(u64::MAX);
    let (area, name) = (result.case.area.as_str(), result.case.name.as_str());
    CaseReport { area, name, engine, status, reason, difference, duration_ns }
}

impl Summary {
    fn of(&mut self, verdict: &Verdict) -> &mut usize {
        match verdict {
            Verdict::Passed => &mut self.passed,
            Verdict::Deviates(_) => &mut self.deviating,
            Verdict::Failed(_) => &mut self.failed,
            Verdict::Ignored(_) => &mut self.ignored,
        }
    }
}

/// The results as JUnit's XML: a suite for each engine, with the areas as classes, and one for engines that disagree.
pub fn junit(engines: &[(&'static str, &'static str)], results: &[CaseResult]) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_junit(&mut out, engines, results);
    out
}

fn write_junit(out: &mut String, engines: &[(&'static str, &'static str)], results: &[CaseResult]) -> fmt::Result {
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"chassis conformance\">")?;
    for (engine, version) in engines {
        let of_engine = || {
            let of = |result| ran_on(result, engine).map(|ran| (result, ran));
            results.iter().filter_map(of)
        };
        let count = |counted: fn(&Verdict) -> bool| of_engine().filter(|(_, ran)| counted(&ran.verdict)).count();
        let time: f64 = of_engine().map(|(_, ran)| ran.time.as_secs_f64()).sum();
        writeln!(
            out,
            "  <testsuite name=\"{engine} {}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{time:.3}\">",
            xml(version),
            count(|_| true),
            count(|verdict| matches!(verdict, Verdict::Failed(_))),
            count(|verdict| matches!(verdict, Verdict::Ignored(_))),
        )?;
        for (result, ran) in of_engine() {
            test_case(out, result, engine, ran)?;
        }
        writeln!(out, "  </testsuite>")?;
    }
    agreement(out, results)?;
    writeln!(out, "</testsuites>")
}

fn ran_on<'a>(result: &'a CaseResult, engine: &str) -> Option<&'a Ran> {
    result.ran.iter().find(|(name, _)| *name == engine).map(|(_, ran)| ran)
}

fn test_case(out: &mut String, result: &CaseResult, engine: &str, ran: &Ran) -> fmt::Result {
    let (area, name, time) = (xml(&result.case.area), xml(&result.case.name), ran.time.as_secs_f64());
    write!(out, "    <testcase classname=\"{area}\" name=\"{name}::{engine}\" time=\"{time:.3}\"")?;
    match &ran.verdict {
        Verdict::Passed | Verdict::Deviates(_) => writeln!(out, "/>"),
        Verdict::Ignored(reason) => writeln!(out, "><skipped message=\"{}\"/></testcase>", xml(reason)),
        Verdict::Failed(difference) => {
            let (expected, seen) = (difference.expected.join("\n"), difference.seen.join("\n"));
            let text = format!("expected:\n{expected}\nseen:\n{seen}");
            writeln!(out, "><failure message=\"{}\">{}</failure></testcase>", xml(&difference.at), xml(&text))
        }
    }
}

/// One test case for each case that several engines ran and are not known to deviate in.
fn agreement(out: &mut String, results: &[CaseResult]) -> fmt::Result {
    let several = || results.iter().filter(|result| result.is_compared());
    let failures = several().filter(|result| !result.differs.is_empty()).count();
    let tests = several().count();
    writeln!(out, "  <testsuite name=\"engines agree\" tests=\"{tests}\" failures=\"{failures}\">")?;
    for result in several() {
        let (area, name) = (xml(&result.case.area), xml(&result.case.name));
        write!(out, "    <testcase classname=\"{area}\" name=\"{name}\"")?;
        let Some(differs) = result.differs.first() else {
            writeln!(out, "/>")?;
            continue;
        };
        let place = format!("{} against {} at {}", differs.reference, differs.engine, differs.disagreement.at);
        let text = differs.disagreement.to_string();
        writeln!(out, "><failure message=\"{}\">{}</failure></testcase>", xml(&place), xml(&text))?;
    }
    writeln!(out, "  </testsuite>")
}

/// Text of an attribute or an element: what XML keeps for itself is escaped, what it does not allow is left out.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_keeps_to_what_it_may_say() {
        assert_eq!(xml("a<b>&\"\n\u{1b}\u{ffff}ü"), "a&lt;b&gt;&amp;&quot;&#10;\u{fffd}\u{fffd}ü");
    }
}
