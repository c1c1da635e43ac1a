//! The host through its public interface, on real engines: each case is one test per engine that was compiled in.
//! Guests are Wasm text with a common prelude (`guest`).
#![allow(clippy::unwrap_used)]

/// Declares the cases of a module: those that run on each engine that was compiled in, named `<area>/<case>::<engine>`,
/// and those that have to do with none, named `<area>/<case>`.
macro_rules! cases {
    ($(each_engine: [$($each:ident),* $(,)?])? $(once: [$($once:ident),* $(,)?])?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            let mut trials = Vec::new();
            $($(
                for engine in chassis_engines::compiled_in() {
                    trials.push($crate::trial(module_path!(), stringify!($each), Some(engine), move || $each(engine)));
                }
            )*)?
            $($(trials.push($crate::trial(module_path!(), stringify!($once), None, $once));)*)?
            trials
        }
    };
}

mod guest;
mod rig;

mod answers;
mod asked;
mod callouts;
mod chain;
mod crash;
mod grpc;
mod lifecycle;
mod limits;
mod load;
mod log;
mod matrix;
mod metadata;
mod pause;
mod sharing;
mod shutdown;
mod spare;
mod stats;
mod tcp;
mod timers;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let trials = [
        answers::trials(),
        asked::trials(),
        callouts::trials(),
        chain::trials(),
        crash::trials(),
        grpc::trials(),
        lifecycle::trials(),
        limits::trials(),
        load::trials(),
        log::trials(),
        matrix::trials(),
        metadata::trials(),
        pause::trials(),
        sharing::trials(),
        shutdown::trials(),
        spare::trials(),
        stats::trials(),
        tcp::trials(),
        timers::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}

fn trial(module: &str, case: &str, engine: Option<&str>, run: impl FnOnce() + Send + 'static) -> Trial {
    let area = module.rsplit("::").next().unwrap_or_default();
    let suffix = engine.map(|engine| format!("::{engine}")).unwrap_or_default();
    Trial::test(format!("{area}/{case}{suffix}"), move || {
        run();
        Ok(())
    })
}
