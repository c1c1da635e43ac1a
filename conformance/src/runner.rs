//! Running cases on engines.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis_engine_api::compile::CompilePolicy;
use chassis_engines::ProxyWasmEngine;

use crate::case::Case;
use crate::deviations::Deviation;
use crate::drive::{self, Disagreement, Run, Trip, difference};
use crate::judge::{Difference, judge};
use crate::suite::Suite;

/// What a case came to on an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything was as expected.
    Passed,
    /// It was as it is known to be on this engine, for this reason, which is not as the case says.
    Deviates(String),
    /// Something was not as expected, or a known deviation is none.
    Failed(Box<Difference>),
    /// The engine does not run it, for this reason.
    Ignored(String),
}

/// A case that was run on an engine.
#[derive(Debug)]
pub struct Ran {
    /// What it came to.
    pub verdict: Verdict,
    /// What was seen, for comparing engines; empty if it was ignored.
    pub runs: Vec<Run>,
    /// All that the guest did.
    pub trips: Vec<Trip>,
    /// How long it took.
    pub time: Duration,
}

impl Ran {
    /// Whether it is compared with what other engines did: it was run, and is not known to deviate.
    pub fn is_compared(&self) -> bool {
        matches!(self.verdict, Verdict::Passed | Verdict::Failed(_))
    }
}

/// Runs a case on an engine; `policy` says where modules are compiled that are not part of this library.
///
/// What only this machine can do wrong, such as having no thread left, is a difference too.
pub fn run(suite: &Suite, case: &Case, engine: &ProxyWasmEngine, policy: &CompilePolicy) -> Ran {
    let capabilities = engine.capabilities();
    if let Some(reason) = suite.ignored(case, capabilities) {
        let verdict = Verdict::Ignored(reason);
        return Ran { verdict, runs: Vec::new(), trips: Vec::new(), time: Duration::ZERO };
    }
    let began = Instant::now();
    let plan = case.plan(suite.plugins(), policy);
    let (trips, found) = match drive::run(engine, &plan, &case.asks, &mut case.upstream.clone()) {
        Ok(trips) => {
            let found = judge(case, &trips);
            (trips, found)
        }
        Err(error) => (Vec::new(), Some(single("this machine", "a thread", &error.to_string()))),
    };
    let verdict = verdict(found, suite.deviations().of(capabilities.name, case), capabilities.name);
    let runs = trips.iter().map(|trip| Run::new(capabilities.name, &case.plugin(), trip)).collect();
    Ran { verdict, runs, trips, time: began.elapsed() }
}

fn verdict(found: Option<Difference>, known: Option<&Deviation>, engine: &str) -> Verdict {
    match (found, known) {
        (None, None) => Verdict::Passed,
        (Some(found), None) => Verdict::Failed(Box::new(found)),
        (Some(found), Some(known)) if found.at == known.at => Verdict::Deviates(known.reason.clone()),
        // Whatever is known has changed, for the better or not: the file has to say so.
        (found, Some(known)) => {
            let seen = found.map_or_else(|| "none: the case passes".to_owned(), |found| format!("one at {}", found.at));
            let place = format!("expected/{engine}.yaml");
            Verdict::Failed(Box::new(single(&place, &format!("a difference at {}", known.at), &seen)))
        }
    }
}

fn single(at: &str, expected: &str, seen: &str) -> Difference {
    let (expected, seen) = (vec![expected.to_owned()], vec![seen.to_owned()]);
    Difference { at: at.to_owned(), line: 0, first: 0, expected, seen }
}

/// An engine that does something else than the first one that ran the case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differs {
    /// The engine that ran it first.
    pub reference: &'static str,
    /// The engine that differs.
    pub engine: &'static str,
    /// Where they differ first.
    pub disagreement: Disagreement,
}

/// Which engines did something else than the first that ran the case and is not known to deviate.
pub fn compare(ran: &[(&'static str, &Ran)]) -> Vec<Differs> {
    let mut ran = ran.iter().filter(|(_, ran)| ran.is_compared());
    let Some((reference, first)) = ran.next() else { return Vec::new() };
    ran.filter_map(|(engine, other)| {
        let disagreement = difference(&first.runs, &other.runs)?;
        Some(Differs { reference, engine, disagreement })
    })
    .collect()
}

/// Runs the cases whose names, `area/case::engine`, contain `filter`, each on all engines before the next one. `tell` is
/// told of each when it begins: how many are through, of how many, and its name.
pub fn run_all(
    suite: &Suite,
    engines: &[ProxyWasmEngine],
    filter: &str,
    policy: &CompilePolicy,
    mut tell: impl FnMut(usize, usize, &str),
) -> Vec<CaseResult> {
    let chosen = choose(suite, engines, filter);
    let total = chosen.iter().map(|(_, engines)| engines.len()).sum();
    let mut through = 0;
    let mut results = Vec::new();
    for (case, engines) in chosen {
        let mut ran = Vec::new();
        for engine in engines {
            let name = engine.capabilities().name;
            tell(through, total, &trial_name(&case, name));
            ran.push((name, run(suite, &case, engine, policy)));
            through += 1;
        }
        let differs = compare(&ran.iter().map(|(name, ran)| (*name, ran)).collect::<Vec<_>>());
        results.push(CaseResult { case, ran, differs });
    }
    results
}

/// A case with what it came to on each engine.
#[derive(Debug)]
pub struct CaseResult {
    /// The case.
    pub case: Arc<Case>,
    /// What it came to, by the engine's name.
    pub ran: Vec<(&'static str, Ran)>,
    /// Engines that differ among each other.
    pub differs: Vec<Differs>,
}

impl CaseResult {
    /// Whether there are two engines at least that can agree on it, or not.
    pub fn is_compared(&self) -> bool {
        self.ran.iter().filter(|(_, ran)| ran.is_compared()).count() > 1
    }
}

/// The cases whose names on one of these engines contain `filter`, with the engines on which they do.
pub fn choose<'a>(
    suite: &Suite,
    engines: &'a [ProxyWasmEngine],
    filter: &str,
) -> Vec<(Arc<Case>, Vec<&'a ProxyWasmEngine>)> {
    let mut chosen = Vec::new();
    for case in suite.cases() {
        let of = |engine: &&ProxyWasmEngine| trial_name(case, engine.capabilities().name).contains(filter);
        let engines: Vec<&ProxyWasmEngine> = engines.iter().filter(of).collect();
        if !engines.is_empty() {
            chosen.push((case.clone(), engines));
        }
    }
    chosen
}

/// What a case on an engine is called: `area/case::engine`.
pub fn trial_name(case: &Case, engine: &str) -> String {
    format!("{}::{engine}", case.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_engine_alone_agrees_with_nobody() {
        let case = Arc::new(Case::parse("a", "b", "about: x\nguest: { script: {} }\nexpect: {}\n", &|_| None).unwrap());
        let result = |verdicts: Vec<Verdict>| {
            let ran = |verdict| Ran { verdict, runs: Vec::new(), trips: Vec::new(), time: Duration::ZERO };
            let ran = verdicts.into_iter().map(|verdict| ("wasmi", ran(verdict))).collect();
            CaseResult { case: case.clone(), ran, differs: Vec::new() }
        };
        let (ignored, deviates) = (Verdict::Ignored("x".to_owned()), Verdict::Deviates("x".to_owned()));
        let alone = result(vec![Verdict::Passed, ignored, deviates]);
        assert!(!alone.is_compared());
        let both = result(vec![Verdict::Passed, Verdict::Failed(Box::new(single("a", "b", "c")))]);
        assert!(both.is_compared());
        let xml = crate::junit(&[], &[alone, both]);
        assert!(xml.contains("<testsuite name=\"engines agree\" tests=\"1\" failures=\"0\">"), "{xml}");
        assert_eq!(xml.matches("<testcase").count(), 1, "{xml}");
    }

    #[test]
    fn a_known_deviation_is_one_at_its_place_only() {
        let known = Deviation { at: "expect.trace".to_owned(), reason: "so it is".to_owned() };
        let at = |place: &str| Some(single(place, "a", "b"));
        assert_eq!(verdict(None, None, "wasmi"), Verdict::Passed);
        assert_eq!(verdict(at("expect.trace"), Some(&known), "wasmi"), Verdict::Deviates("so it is".to_owned()));
        let failed = |found, seen: &str| {
            let Verdict::Failed(difference) = verdict(found, Some(&known), "wasmi") else { panic!("{seen}") };
            assert_eq!((difference.at.as_str(), difference.seen_line()), ("expected/wasmi.yaml", Some(seen)));
        };
        failed(None, "none: the case passes");
        failed(at("expect.logs"), "one at expect.logs");
    }
}
