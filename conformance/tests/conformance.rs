//! Every embedded case on every engine that was compiled in: a trial `<area>/<case>::<engine>` each, and one
//! `<area>/<case>::agree` where several engines run it, which says whether they did the same.
//!
//! What an engine cannot do by its own Capabilities is reported as ignored, with the reason in front of the name.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, OnceLock};

use chassis_conformance::{Case, Difference, Ran, Suite, Verdict, compare, run, trial_name};
use chassis_engine_api::Profile;
use chassis_engine_api::compile::CompilePolicy;
use chassis_engines::{ProxyWasmEngine, compiled_in, open};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let plugins = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins"));
    let suite = match Suite::embedded(plugins) {
        Ok(suite) => Arc::new(suite),
        Err(error) => panic!("{error}"),
    };
    let engines: Vec<ProxyWasmEngine> =
        compiled_in().into_iter().map(|name| open(name, Profile::Deadline).unwrap()).collect();
    let mut trials = Vec::new();
    for case in suite.cases() {
        let once = Arc::new(Once { suite: suite.clone(), case: case.clone(), ran: Vec::new() }.on(&engines));
        trials.extend((0..engines.len()).map(|index| trial(&once, index)));
        let able = |engine: &&ProxyWasmEngine| suite.ignored(case, engine.capabilities()).is_none();
        if engines.iter().filter(able).count() > 1 {
            trials.push(Trial::test(format!("{}::agree", case.path()), move || agree(&once)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// A case that is run at most once on each engine, whichever trials want to know what came of it.
struct Once {
    suite: Arc<Suite>,
    case: Arc<Case>,
    ran: Vec<(ProxyWasmEngine, OnceLock<Ran>)>,
}

impl Once {
    fn on(mut self, engines: &[ProxyWasmEngine]) -> Self {
        self.ran = engines.iter().map(|engine| (engine.clone(), OnceLock::new())).collect();
        self
    }

    fn ran(&self, index: usize) -> (&'static str, &Ran) {
        let (engine, ran) = &self.ran[index];
        let ran = ran.get_or_init(|| run(&self.suite, &self.case, engine, &CompilePolicy::InProcess));
        (engine.capabilities().name, ran)
    }
}

fn trial(once: &Arc<Once>, index: usize) -> Trial {
    let capabilities = once.ran[index].0.capabilities();
    let name = trial_name(&once.case, capabilities.name);
    if let Some(reason) = once.suite.ignored(&once.case, capabilities) {
        let cannot = {
            let reason = reason.clone();
            move || Err(Failed::from(reason))
        };
        return Trial::test(name, cannot).with_kind(reason).with_ignored_flag(true);
    }
    let once = once.clone();
    Trial::test(name, move || match &once.ran(index).1.verdict {
        Verdict::Passed | Verdict::Deviates(_) => Ok(()),
        Verdict::Failed(difference) => Err(words(&once.case, difference).into()),
        Verdict::Ignored(reason) => Err(reason.into()),
    })
}

fn words(case: &Case, difference: &Difference) -> String {
    let Difference { at, line, expected, seen, .. } = difference;
    format!(
        "cases/{}:{line}: {at}\n  expected {:?}\n  seen     {:?}\nexpected:\n{}\nseen:\n{}",
        case.file(),
        difference.expected_line().unwrap_or("nothing"),
        difference.seen_line().unwrap_or("nothing"),
        expected.join("\n"),
        seen.join("\n"),
    )
}

fn agree(once: &Once) -> Result<(), Failed> {
    let ran: Vec<_> = (0..once.ran.len()).map(|index| once.ran(index)).collect();
    match compare(&ran).first() {
        None => Ok(()),
        Some(differs) => {
            let (reference, engine) = (differs.reference, differs.engine);
            Err(format!("{reference} against {engine}: {}", differs.disagreement).into())
        }
    }
}
