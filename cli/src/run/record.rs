//! What callbacks and host calls there were, in order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use chassis_abi::{Callback, ContextId, HostCall, LogLevel, LogRecord, Observer, Row};
use chassis_engine_api::Stop;

/// Records what a worker's guests do. A handle: the worker's observer and its services share what is recorded.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    began: Option<Instant>,
    /// Bytes that were recorded.
    size: usize,
}

/// One callback.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// `None` for the module's start section.
    pub(crate) callback: Option<Callback>,
    pub(crate) context: ContextId,
    /// Its arguments after the context.
    pub(crate) args: Vec<u32>,
    /// `None` if it was stopped or has no result.
    pub(crate) result: Option<u32>,
    /// Why it was stopped.
    pub(crate) stopped: Option<Stopped>,
    pub(crate) steps: Vec<Step>,
    /// How many steps were not recorded, as there were too many.
    pub(crate) omitted: u64,
    pub(crate) nanos: u64,
}

/// Why a callback was stopped.
#[derive(Debug, Clone)]
pub(crate) struct Stopped {
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

/// What a guest did in a callback.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Call(Call),
    Line(Line),
}

/// A host call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) row: &'static Row,
    pub(crate) args: Vec<String>,
    pub(crate) result: Option<u32>,
    pub(crate) result_name: &'static str,
    /// What the guest got through its return pointers.
    pub(crate) returned: Option<String>,
}

/// A log line.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) level: LogLevel,
    pub(crate) message: String,
    pub(crate) context: ContextId,
    /// The export's name; empty in the module's start section.
    pub(crate) callback: &'static str,
}

/// How many bytes are recorded of one request; a guest that makes host calls in a loop makes many.
const MOST: usize = 64 << 20;

/// What a step costs besides its texts.
const STEP: usize = 128;

/// What the start section is called, where a callback has its export's name.
pub(crate) const START_SECTION: &str = "the start section";

impl Recorder {
    /// Takes what was recorded since the last time.
    pub(crate) fn take(&self) -> Vec<Entry> {
        let mut state = self.lock();
        state.size = 0;
        std::mem::take(&mut state.entries)
    }

    /// How many callbacks were recorded.
    pub(crate) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Records a log line.
    pub(crate) fn line(&self, record: &LogRecord<'_>) {
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
    pub(crate) fn name(&self) -> &'static str {
        self.callback.map_or(START_SECTION, Callback::name)
    }

    /// Its host calls.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.steps.iter().filter_map(|step| match step {
            Step::Call(call) => Some(call),
            Step::Line(_) => None,
        })
    }

    /// Its log lines.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.steps.iter().filter_map(|step| match step {
            Step::Line(line) => Some(line),
            Step::Call(_) => None,
        })
    }
}
