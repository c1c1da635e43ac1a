//! What a measurement does, made ready for a subject.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use chassis_engine_api::compile::CompilePolicy;
use chassis_engine_api::{AnyLinked, Profile};
use chassis_engines::{ProxyWasmEngine, open};

use crate::by_hand;
use crate::catalogue::Measurement;
use crate::compute::Kernel;
use crate::guests;
use crate::host_calls::{Ends, HostCall};
use crate::life;
use crate::native::{self, Native};
use crate::subject::{Subject, Via};
use crate::vm::{self, Stream, Vm};

/// Does the work so many times, and answers how long that took without what belongs around it.
pub(crate) type Run = Box<dyn FnMut(u64) -> Result<Duration, String>>;

/// Work of a measurement.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Compiles the plugin with the SDK, and links it.
    Compile,
    /// Loads its saved code, and links it.
    Load,
    /// Makes an instance of the smallest guest, or of the plugin with the SDK, and drops it.
    Instantiate { sdk: bool },
    /// Enters a callback that does nothing.
    Empty,
    /// A loop of calls of one host function, on a stream with so many headers and so large a body. `by_hand` is whether a
    /// host function by hand can do the same.
    Calls { call: HostCall, headers: usize, body: usize, by_hand: bool },
    /// A computation.
    Compute(Kernel),
    /// Requests through a chain of this many VMs.
    Requests { chain: usize, sdk: bool },
}

/// A measurement that is ready to be run on a subject.
pub struct Prepared {
    run: Run,
}

/// Why a measurement cannot be run on a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unable {
    /// It would mean nothing there.
    NotMeaningful,
    /// The engine cannot do it, or failed.
    Because(String),
}

impl From<String> for Unable {
    fn from(reason: String) -> Self {
        Unable::Because(reason)
    }
}

impl Prepared {
    /// Does the work so many times; how long that took.
    ///
    /// # Errors
    /// Whatever went wrong, in words; a panic too.
    pub fn run(&mut self, times: u64) -> Result<Duration, String> {
        catch_unwind(AssertUnwindSafe(|| (self.run)(times))).unwrap_or_else(|panic| Err(panic_text(&*panic)))
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prepared")
    }
}

impl Work {
    /// Whether it means anything on a subject.
    pub(crate) fn is_meaningful(&self, via: Via) -> bool {
        match via {
            Via::Chassis => true,
            Via::Native => native_guest(self).is_some(),
            Via::ByHand => match self {
                Work::Instantiate { sdk } => !sdk,
                Work::Calls { by_hand, .. } => *by_hand,
                Work::Requests { .. } => false,
                Work::Compile | Work::Load | Work::Empty | Work::Compute(_) => true,
            },
        }
    }
}

/// Makes a measurement ready to be run on a subject.
///
/// # Errors
/// [`Unable`]; a panic of the engine is a reason too.
pub fn prepare(measurement: &Measurement, subject: Subject) -> Result<Prepared, Unable> {
    let made = || match subject.via {
        Via::ByHand => hand_made(&measurement.work, subject.engine),
        Via::Chassis => {
            let engine = open(subject.engine, Profile::Deadline).map_err(|error| error.to_string())?;
            through_chassis(&measurement.work, &engine)
        }
        Via::Native => match native_guest(&measurement.work) {
            Some(guest) => through_chassis(&measurement.work, &native::engine(guest)),
            None => Err(Unable::NotMeaningful),
        },
    };
    let run = catch_unwind(AssertUnwindSafe(made)).unwrap_or_else(|panic| Err(panic_text(&*panic).into()))?;
    Ok(Prepared { run })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("without words"))
}

fn native_guest(work: &Work) -> Option<Native> {
    match work {
        Work::Compile | Work::Load | Work::Instantiate { sdk: true } | Work::Requests { sdk: true, .. } => None,
        Work::Instantiate { sdk: false } | Work::Empty => Some(Native::Nothing),
        Work::Calls { call, .. } => Some(Native::Calls(call.import.clone())),
        Work::Compute(kernel) => Some(Native::Computes(*kernel)),
        Work::Requests { sdk: false, .. } => Some(Native::Life),
    }
}

fn through_chassis(work: &Work, engine: &ProxyWasmEngine) -> Result<Run, Unable> {
    let policy = CompilePolicy::InProcess;
    let load = |bytes: &[u8]| -> Result<std::sync::Arc<dyn AnyLinked<_>>, String> {
        engine.load(&guests::checked(bytes)?, &policy).map_err(|error| error.to_string())
    };
    Ok(match work {
        Work::Compile => {
            let (engine, module) = (engine.clone(), guests::checked(guests::SDK_PLUGIN)?);
            each(move || engine.load(&module, &CompilePolicy::InProcess).map_err(|error| error.to_string()))
        }
        Work::Load => {
            let (engine, module) = (engine.clone(), guests::checked(guests::SDK_PLUGIN)?);
            if let Some(reason) = engine.capabilities().aot.reason().filter(|_| !engine.capabilities().aot.is_some()) {
                return Err(Unable::Because(reason.to_owned()));
            }
            let artefact = engine.compile_to_artefact(&module).map_err(|error| error.to_string())?;
            let Some(artefact) = artefact else {
                return Err(Unable::Because("it saved no code although it says that it can".to_owned()));
            };
            each(move || engine.load_artefact(&module, &artefact).map_err(|error| error.to_string()))
        }
        Work::Instantiate { sdk } => {
            let bytes = if *sdk { guests::SDK_PLUGIN.to_vec() } else { guests::binary(guests::EMPTY)? };
            let linked = load(&bytes)?;
            let mut board = Some(vm::board());
            repeated(move || vm::instance(&*linked, &mut board).map(drop))
        }
        Work::Empty => {
            let linked = load(&guests::binary(guests::EMPTY)?)?;
            let mut vm = Vm::new(&*linked, Stream::new(10, 0))?;
            repeated(move || vm.call(chassis_abi::Callback::RequestHeaders, 0, Ends::Anyhow).map(drop))
        }
        Work::Calls { call, headers, body, .. } => {
            let linked = load(&guests::calling(&call.import)?)?;
            let mut vm = Vm::new(&*linked, Stream::new(*headers, *body))?;
            let (callback, ends) = (call.callback, call.ends);
            let answer = vm.call(callback, 1, ends)?;
            if ends == Ends::WithSuccess && answer != 0 {
                return Err(Unable::Because(format!("{} answered {answer}", call.import.name)));
            }
            in_entries(call.per_entry, vm, Vm::renew, move |vm, times| vm.call(callback, times, ends))
        }
        Work::Compute(kernel) => {
            let linked = load(&guests::computing(*kernel)?)?;
            let mut vm = Vm::new(&*linked, Stream::new(10, 0))?;
            expect(vm.call(chassis_abi::Callback::RequestHeaders, 1, Ends::Anyhow)?, kernel.run())?;
            repeated(move || vm.call(chassis_abi::Callback::RequestHeaders, 1, Ends::Anyhow).map(drop))
        }
        Work::Requests { chain, sdk } => {
            let bytes = if *sdk { guests::SDK_PLUGIN.to_vec() } else { guests::binary(guests::LIFE)? };
            life::requests(engine, &bytes, *chain)?
        }
    })
}

fn hand_made(work: &Work, engine: &str) -> Result<Run, Unable> {
    match work {
        Work::Compile => by_hand::compile(engine, guests::SDK_PLUGIN),
        Work::Load => by_hand::load(engine, guests::SDK_PLUGIN),
        Work::Instantiate { sdk: false } => by_hand::instantiate(engine, &guests::binary(guests::EMPTY)?),
        Work::Empty => {
            let mut guest = by_hand::guest(engine, &guests::binary(guests::EMPTY)?, &[])?;
            Ok(repeated(move || guest.call(0).map(drop)))
        }
        Work::Calls { call, body, by_hand: true, .. } => {
            let value = if *body > 0 { vec![b'b'; *body] } else { vm::VALUE.to_vec() };
            let guest = by_hand::guest(engine, &guests::calling(&call.import)?, &value)?;
            Ok(in_entries(call.per_entry, guest, |_| {}, |guest, times| guest.call(times)))
        }
        Work::Compute(kernel) => {
            let mut guest = by_hand::guest(engine, &guests::computing(*kernel)?, &[])?;
            expect(guest.call(1)?, kernel.run())?;
            Ok(repeated(move || guest.call(1).map(drop)))
        }
        Work::Instantiate { sdk: true } | Work::Calls { .. } | Work::Requests { .. } => Err(Unable::NotMeaningful),
    }
}

fn expect(found: u32, expected: u32) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("it computed {found:#x}, not {expected:#x}")) }
}

/// Work whose times are taken together.
pub(crate) fn repeated(mut work: impl FnMut() -> Result<(), String> + 'static) -> Run {
    Box::new(move |times| {
        let begin = Instant::now();
        for _ in 0..times {
            work()?;
        }
        Ok(begin.elapsed())
    })
}

/// Work that makes something, whose end is not part of it.
pub(crate) fn each<T>(mut work: impl FnMut() -> Result<T, String> + 'static) -> Run {
    Box::new(move |times| {
        let mut spent = Duration::ZERO;
        for _ in 0..times {
            let begin = Instant::now();
            let made = work()?;
            spent += begin.elapsed();
            drop(std::hint::black_box(made));
        }
        Ok(spent)
    })
}

/// Work in loops of a guest: at most so many in one call, before each of which things are put in order.
fn in_entries<G: 'static>(
    per_entry: u32,
    mut guest: G,
    renew: fn(&mut G),
    mut enter: impl FnMut(&mut G, u32) -> Result<u32, String> + 'static,
) -> Run {
    Box::new(move |times| {
        let mut spent = Duration::ZERO;
        let mut left = times;
        while left > 0 {
            let now = u32::try_from(left).unwrap_or(u32::MAX).min(per_entry);
            renew(&mut guest);
            let begin = Instant::now();
            enter(&mut guest, now)?;
            spent += begin.elapsed();
            left -= u64::from(now);
        }
        Ok(spent)
    })
}
