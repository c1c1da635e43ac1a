//! What a row of the host-function table says. The rows themselves are in `functions`.

use chassis_engine_api::{Sig, Ty};

use crate::status::Status;
use crate::version::AbiVersion;

pub use crate::functions::TABLE;

/// One host function: everything that linking, inspection, documentation, coverage and fuzzing know of it.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The Wasm module names under which it is offered.
    pub modules: &'static [&'static str],
    /// Its name.
    pub name: &'static str,
    /// Its parameters.
    pub params: &'static [Param],
    /// Its Wasm type.
    pub sig: Sig,
    /// What kind of number it answers.
    pub answer: Answer,
    /// The ABI versions that have it.
    pub versions: Versions,
    /// What it can touch.
    pub group: Group,
    /// When it may be called.
    pub allowed: Allowed,
    /// The statuses that it may answer besides a failed memory access; empty for functions without a status.
    pub statuses: &'static [Status],
    /// What it does, in one line.
    pub doc: &'static str,
}

/// A parameter as the specification counts them; some are two Wasm values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// A 32-bit number.
    Int(&'static str),
    /// A 64-bit number.
    Long(&'static str),
    /// A pointer and a length of bytes that the guest gives.
    Bytes(&'static str),
    /// A pointer and a length of a serialised map that the guest gives.
    Pairs(&'static str),
    /// A pointer to where the answer goes.
    Out(&'static str),
}

/// What kind of number a host function answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A [`Status`].
    Status,
    /// A WASI [`Errno`](crate::Errno).
    Errno,
    /// A plain number.
    Number,
    /// Nothing.
    None,
}

/// Which versions of the ABI have a function. Every module is offered all of them, whatever it is marked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// Those from the first to the second.
    Abi(AbiVersion, AbiVersion),
    /// WASI preview 1.
    Wasi,
    /// None: an extension that toolchains or other hosts brought.
    Extension,
}

/// What a function can touch: the unit in which a plugin's abilities are described and restricted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// Log lines.
    Log,
    /// Clocks and timers.
    Time,
    /// Contexts, configuration and the plugin's own life.
    Context,
    /// Header maps.
    Headers,
    /// Bodies and other buffers.
    Body,
    /// Properties.
    Properties,
    /// Resuming, closing and answering streams.
    Stream,
    /// HTTP callouts.
    HttpCall,
    /// gRPC callouts.
    Grpc,
    /// Data shared between VMs.
    SharedData,
    /// Queues between VMs.
    Queue,
    /// Metrics.
    Metrics,
    /// Foreign functions.
    Foreign,
    /// Random numbers.
    Random,
    /// The environment and arguments.
    Environment,
    /// Files and sockets, of which this host has none.
    Files,
    /// The process: exit and scheduling.
    Process,
    /// What toolchains want and no plugin needs.
    Toolchain,
}

impl Group {
    /// The group's name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Group::Log => "log",
            Group::Time => "time",
            Group::Context => "context",
            Group::Headers => "headers",
            Group::Body => "body",
            Group::Properties => "properties",
            Group::Stream => "stream",
            Group::HttpCall => "http_call",
            Group::Grpc => "grpc",
            Group::SharedData => "shared_data",
            Group::Queue => "queue",
            Group::Metrics => "metrics",
            Group::Foreign => "foreign",
            Group::Random => "random",
            Group::Environment => "environment",
            Group::Files => "files",
            Group::Process => "process",
            Group::Toolchain => "toolchain",
        }
    }
}

/// When a function may be called, besides in callbacks. Called at another time, it ends the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// In callbacks only.
    Callbacks,
    /// In start functions too.
    Start,
    /// In start functions and in the allocator too.
    Everywhere,
}

impl Row {
    /// The row of a function, by one of its module names and its name; of several types the first.
    pub fn find(module: &str, name: &str) -> Option<&'static Row> {
        TABLE.iter().copied().find(|row| row.name == name && row.modules.contains(&module))
    }

    /// Whether its row tells of pointers; some WASI functions take theirs as plain numbers.
    pub(crate) fn has_pointers(&self) -> bool {
        self.params.iter().any(|param| matches!(param, Param::Bytes(_) | Param::Pairs(_) | Param::Out(_)))
    }
}

/// The Wasm types of parameters, and how many there are.
pub(crate) const fn flatten(params: &[Param]) -> ([Ty; 16], usize) {
    let mut types = [Ty::I32; 16];
    let mut len = 0;
    let mut i = 0;
    while i < params.len() {
        match params[i] {
            Param::Int(_) | Param::Out(_) => len += 1,
            Param::Long(_) => {
                types[len] = Ty::I64;
                len += 1;
            }
            Param::Bytes(_) | Param::Pairs(_) => len += 2,
        }
        i += 1;
    }
    (types, len)
}

/// The Wasm type of an answer.
pub(crate) const fn result(answer: Answer) -> Option<Ty> {
    match answer {
        Answer::None => None,
        Answer::Status | Answer::Errno | Answer::Number => Some(Ty::I32),
    }
}

/// All three versions.
pub(crate) const ALL: Versions = Versions::Abi(AbiVersion::V0_1_0, AbiVersion::V0_2_1);
/// 0.1.0 only.
pub(crate) const V010: Versions = Versions::Abi(AbiVersion::V0_1_0, AbiVersion::V0_1_0);
/// 0.2.0 and later.
pub(crate) const V02: Versions = Versions::Abi(AbiVersion::V0_2_0, AbiVersion::V0_2_1);
/// 0.2.1 only.
pub(crate) const V021: Versions = Versions::Abi(AbiVersion::V0_2_1, AbiVersion::V0_2_1);
