//! What callbacks and host calls there were, in order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use chassis_abi::{Callback, ContextId, HostCall, LogLevel, LogRecord, Observer, Row};
use chassis_engine_api::Stop;

/// Records what a worker's guests do. A handle: the worker's observer and its services share what is recorded.
#[derive(Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    began: Option<Instant>,
    /// Bytes that were recorded.
    size: usize,
}

/// One callback.
#[derive(Debug, Clone)]
pub struct Entry {
    /// `None` for the module's start section.
    pub callback: Option<Callback>,
    /// In which context; 0 for start functions.
    pub context: ContextId,
    /// Its arguments after the context.
    pub args: Vec<u32>,
    /// `None` if it was stopped or has no result.
    pub result: Option<u32>,
    /// Why it was stopped.
    pub stopped: Option<Stopped>,
    /// What the guest did in it, in order.
    pub steps: Vec<Step>,
    /// How many steps were not recorded, as there were too many.
    pub omitted: u64,
    /// How long it took, in nanoseconds.
    pub nanos: u64,
}

/// Why a callback was stopped.
#[derive(Debug, Clone)]
pub struct Stopped {
    /// As [`Stop::kind`].
    pub kind: &'static str,
    /// What happened.
    pub message: String,
}

/// What a guest did in a callback.
#[derive(Debug, Clone)]
pub enum Step {
    /// It called the host.
    Call(Call),
    /// It logged a line that was not dropped.
    Line(Line),
}

/// A host call.
#[derive(Debug, Clone)]
pub struct Call {
    /// The function.
    pub row: &'static Row,
    /// What the guest gave, readable; return pointers are left out.
    pub args: Vec<String>,
    /// The number that it answered; `None` if it has no result or stopped the guest.
    pub result: Option<u32>,
    /// The name of a status or an errno; empty for other numbers.
    pub result_name: &'static str,
    /// What the guest got through its return pointers.
    pub returned: Option<String>,
}

/// A log line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its level.
    pub level: LogLevel,
    /// Its text, without control characters.
    pub message: String,
    /// The context in which it was logged.
    pub context: ContextId,
    /// The export's name; empty in the module's start section.
    pub callback: &'static str,
}

/// How many bytes are recorded of one request; a guest that makes host calls in a loop makes many.
const MOST: usize = 64 << 20;

/// What a step costs besides its texts.
const STEP: usize = 128;

/// What the start section is called, where a callback has its export's name.
pub(crate) const START_SECTION: &str = "the start section";

impl Recorder {
    /// Takes what was recorded since the last time.
    pub(super) fn take(&self) -> Vec<Entry> {
        let mut state = self.lock();
        state.size = 0;
        std::mem::take(&mut state.entries)
    }

    /// How many callbacks were recorded.
    pub(super) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Records a log line.
    pub(super) fn line(&self, record: &LogRecord<'_>) {
        let message = chassis_host::escape(record.message).into_owned();
        let size = message.len();
        let callback = record.callback.map_or("", Callback::name);
        self.step(size, Step::Line(Line { level: record.level, message, context: record.context, callback }));
    }

    fn step(&self, size: usize, step: Step) {
        let mut state = self.lock();
        let full = state.size > MOST;
        if !full {
            state.size += size + STEP;
        }
        // A host call outside of callbacks is one of the module's start section.
        if state.began.is_none() && state.entries.is_empty() {
            state.entries.push(Entry::new(None, 0, &[]));
        }
        let Some(entry) = state.entries.last_mut() else { return };
        if full { entry.omitted += 1 } else { entry.steps.push(step) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Recorder {
    fn callback_begins(&mut self, callback: Callback, context: ContextId, args: &[u32]) {
        let mut state = self.lock();
        state.size += STEP;
        state.entries.push(Entry::new(Some(callback), context, args));
        state.began = Some(Instant::now());
    }

    fn callback_ends(&mut self, callback: Callback, result: Result<u32, &Stop>) {
        let mut state = self.lock();
        let nanos = state.began.map_or(0, |began| u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let Some(entry) = state.entries.last_mut() else { return };
        entry.nanos = nanos;
        match result {
            Ok(result) if callback.sigs().iter().any(|sig| sig.result.is_some()) => entry.result = Some(result),
            Ok(_) => {}
            Err(stop) => entry.stopped = Some(Stopped { kind: stop.kind(), message: stop.to_string() }),
        }
    }

    fn host_call(&mut self, call: HostCall<'_>) {
        let HostCall { row, args, result, result_name, returned } = call;
        let size: usize = args.iter().map(|arg| arg.len() + size_of::<String>()).sum();
        let size = size + returned.map_or(0, str::len);
        let returned = returned.map(str::to_owned);
        self.step(size, Step::Call(Call { row, args: args.to_vec(), result, result_name, returned }));
    }
}

impl Entry {
    fn new(callback: Option<Callback>, context: ContextId, args: &[u32]) -> Self {
        Entry {
            callback,
            context,
            args: args.to_vec(),
            result: None,
            stopped: None,
            steps: Vec::new(),
            omitted: 0,
            nanos: 0,
        }
    }

    /// The export's name.
    pub fn name(&self) -> &'static str {
        self.callback.map_or(START_SECTION, Callback::name)
    }

    /// Whether it belongs to the start of a VM.
    pub fn is_start(&self) -> bool {
        match self.callback {
            None => true,
            Some(Callback::ContextCreate) => self.args.first() == Some(&0),
            Some(callback) => matches!(
                callback,
                Callback::Initialize
                    | Callback::Main
                    | Callback::MainVoid
                    | Callback::Start
                    | Callback::VmStart
                    | Callback::ValidateConfiguration
                    | Callback::Configure
            ),
        }
    }

    /// Its host calls.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.steps.iter().filter_map(|step| match step {
            Step::Call(call) => Some(call),
            Step::Line(_) => None,
        })
    }

    /// Its log lines.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.steps.iter().filter_map(|step| match step {
            Step::Line(line) => Some(line),
            Step::Call(_) => None,
        })
    }
}
