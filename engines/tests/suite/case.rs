//! Cases, what they need of an engine, and how they become trials.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use chassis_engine_api::{Capabilities, Profile, Support};
use libtest_mimic::{Failed, Trial};

use crate::subject::Subject;

/// The cases of one area, for one engine.
pub(crate) struct Area<E> {
    pub(crate) name: &'static str,
    pub(crate) cases: Vec<Case<E>>,
}

/// One case, for one engine.
pub(crate) struct Case<E> {
    pub(crate) name: &'static str,
    /// Empty for all profiles.
    pub(crate) profiles: &'static [Profile],
    pub(crate) needs: &'static [Need],
    pub(crate) run: fn(&E),
}

/// What a case needs besides an engine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// An engine that runs Wasm code, as the guest of the case exists in that form only.
    Wasm,
    Aot,
    Deadline,
    Fuel,
    Depth,
    Memory,
    Table,
    /// No other case beside it, as it measures time.
    Quiet,
}

impl Need {
    fn unmet(self, capabilities: &Capabilities) -> Option<&'static str> {
        let none = |support: Support| support.reason().filter(|_| !support.is_some());
        match self {
            Need::Wasm => (capabilities.name == "native").then_some("its guests are Rust code, this one is Wasm only"),
            Need::Aot => none(capabilities.aot),
            Need::Deadline => none(capabilities.deadline),
            Need::Fuel => none(capabilities.fuel),
            Need::Depth => none(capabilities.depth_limit),
            Need::Memory => none(capabilities.memory_limit),
            Need::Table => none(capabilities.table_limit),
            Need::Quiet => None,
        }
    }
}

/// Declares the cases of a module and a function `area` that lists them for an engine.
///
/// `in [..]` names the profiles in which a case runs (all if left out), `needs [..]` what it needs ([`Need`]).
macro_rules! engine_test {
    ($area:literal; $(
        $(#[$attribute:meta])*
        fn $case:ident($engine:ident) $(in [$($profile:ident),+])? $(needs [$($need:ident),+])? $body:block
    )+) => {
        $(
            $(#[$attribute])*
            fn $case<E: $crate::subject::Subject>($engine: &E) $body
        )+

        pub(crate) fn area<E: $crate::subject::Subject>() -> $crate::case::Area<E> {
            let cases = vec![$($crate::case::Case {
                name: stringify!($case),
                profiles: &[$($(::chassis_engine_api::Profile::$profile),+)?],
                needs: &[$($($crate::case::Need::$need),+)?],
                run: $case::<E>,
            }),+];
            $crate::case::Area { name: $area, cases }
        }
    };
}
pub(crate) use engine_test;

/// One trial for each case in each of its profiles.
pub(crate) fn trials<E: Subject>(areas: &[Area<E>]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for profile in E::PROFILES {
        let engine = E::open(*profile);
        for area in areas {
            for case in area.cases.iter().filter(|case| case.profiles.is_empty() || case.profiles.contains(profile)) {
                trials.push(trial(area.name, case, &engine));
            }
        }
    }
    trials
}

fn trial<E: Subject>(area: &str, case: &Case<E>, engine: &E) -> Trial {
    let capabilities = engine.capabilities();
    let profile = match engine.profile() {
        Profile::Deadline => String::new(),
        other => format!("-{}", other.as_str()),
    };
    let name = format!("{area}/{}::{}{profile}", case.name, capabilities.name);
    if let Some(reason) = case.needs.iter().find_map(|need| need.unmet(capabilities)) {
        let cannot = move || Err(Failed::from(format!("the engine cannot run this: {reason}")));
        return Trial::test(name, cannot).with_kind(reason).with_ignored_flag(true);
    }
    let (run, engine, quiet) = (case.run, engine.clone(), case.needs.contains(&Need::Quiet));
    Trial::test(name.clone(), move || {
        in_turn(quiet, || watched(&name, || run(&engine)));
        Ok(())
    })
}

/// How long a case may take, by far.
const HANGS: Duration = Duration::from_secs(120);

/// Runs a case. If it hangs, its guest cannot be stopped, so the process ends with the name of the case.
#[allow(clippy::print_stderr)]
fn watched(name: &str, case: impl FnOnce()) {
    let (done, watch) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if watch.recv_timeout(HANGS) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{name} has run for {HANGS:?} and would not end: FAILED");
                std::process::exit(1);
            }
        });
        // Dropped when the case is over, by a panic too, which ends the watch.
        let _done = done;
        case();
    });
}

/// Runs `case` beside others, or alone.
fn in_turn(alone: bool, case: impl FnOnce()) {
    static TURN: RwLock<()> = RwLock::new(());
    if alone {
        let _turn = TURN.write().unwrap_or_else(PoisonError::into_inner);
        case();
    } else {
        let _turn = TURN.read().unwrap_or_else(PoisonError::into_inner);
        case();
    }
}
