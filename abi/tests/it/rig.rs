//! A VM whose guest runs closures, with a plugin context, two streams and services that remember what they were told.

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chassis_abi::{
    Answer, Board, CALLBACKS, Callback, Context, ContextId, EXPORTS, EntryError, Exchange, HeaderList, Identity, Key,
    Lane, LogLevel, LogRecord, NoRandomness, Property, ProxyWasm, Row, Services, SharedServices, TABLE, VmState, begin,
    enter,
};
use chassis_engine_api::compile::CompilePolicy;
use chassis_engine_api::native::{Guest, Host, NativeEngine};
use chassis_engine_api::{AnyLinked, Budget, CheckedModule, FrontLimits, Instance, Limits, Stop, Ty, clock, erase};

use crate::shelf::Shelf;

/// Where a guest keeps the data that it passes; the first kilobyte is for return slots.
pub(crate) const DATA: u32 = 0x1000;
/// Where the allocator begins.
pub(crate) const HEAP: u32 = 0x8000;
/// The size of the memory: two pages.
pub(crate) const END: u32 = 0x2_0000;

/// What the allocator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allocator {
    Good,
    /// Answers this, whatever it was asked.
    Answers(u32),
    /// Grows the memory by a page first and answers the beginning of it.
    Grows,
    Traps,
    Exits,
    /// Calls this function with parameters that are all 0, then answers as a good one.
    Calls(&'static str, &'static str),
}

/// A log line: level, text, context and callback.
pub(crate) type Line = (LogLevel, Vec<u8>, ContextId, Option<Callback>);

type Job = Box<dyn FnOnce(&mut Wasm<'_>) -> Result<(), Stop> + Send>;

/// What test and guest share.
#[derive(Default)]
pub(crate) struct Shared {
    job: Mutex<Option<Job>>,
    allocator: Mutex<Option<Allocator>>,
    /// The sizes that the allocator was asked for.
    pub(crate) asked: Mutex<Vec<u32>>,
    pub(crate) logs: Mutex<Vec<Line>>,
    /// What the services answer for properties.
    pub(crate) known: Mutex<Vec<(String, Property)>>,
    /// Whether the clock panics.
    pub(crate) panics: Mutex<bool>,
    /// Whether there are no random bytes.
    pub(crate) no_randomness: Mutex<bool>,
    /// What plugins share.
    pub(crate) shelf: Shelf,
}

struct Script(Arc<Shared>);

impl Guest for Script {
    fn call(&self, export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
        if export == "proxy_on_memory_allocate" || export == "malloc" {
            return self.allocate(slots, host);
        }
        let job = self.0.job.lock().unwrap().take();
        match job {
            Some(job) => job(&mut Wasm { host, args: slots }),
            None => Ok(()),
        }
    }
}

impl Script {
    fn allocate(&self, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
        self.0.asked.lock().unwrap().push(slots[0] as u32);
        let behaviour = self.0.allocator.lock().unwrap().unwrap_or(Allocator::Good);
        slots[0] = u64::from(HEAP);
        match behaviour {
            Allocator::Good => {}
            Allocator::Answers(pointer) => slots[0] = u64::from(pointer),
            Allocator::Grows => slots[0] = u64::from(host.grow(1).map_or(0, |pages| pages << 16)),
            Allocator::Traps => return Err(Stop::trap(chassis_engine_api::TrapKind::Unreachable)),
            Allocator::Exits => return Err(Stop::Exit(7)),
            Allocator::Calls(module, name) => host.import(module, name, &mut [0; 16])?,
        }
        Ok(())
    }
}

/// What a job sees: the guest's side of the ABI.
pub(crate) struct Wasm<'a> {
    pub(crate) host: &'a mut dyn Host,
    /// The callback's parameters, and where its result goes.
    pub(crate) args: &'a mut [u64],
}

impl Wasm<'_> {
    /// Calls a function of `env`; its status.
    pub(crate) fn env(&mut self, name: &str, args: &[u32]) -> Result<u32, Stop> {
        self.import("env", name, &args.iter().map(|arg| u64::from(*arg)).collect::<Vec<_>>())
    }

    /// Calls a function of WASI; its errno.
    pub(crate) fn wasi(&mut self, name: &str, args: &[u64]) -> Result<u32, Stop> {
        self.import("wasi_snapshot_preview1", name, args)
    }

    pub(crate) fn import(&mut self, module: &str, name: &str, args: &[u64]) -> Result<u32, Stop> {
        let mut slots = [0; 16];
        slots[..args.len()].copy_from_slice(args);
        self.host.import(module, name, &mut slots)?;
        Ok(slots[0] as u32)
    }

    /// Writes bytes into the memory and gives their pointer and length.
    pub(crate) fn put(&mut self, at: u32, bytes: &[u8]) -> [u32; 2] {
        self.host.memory()[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        [at, bytes.len() as u32]
    }

    pub(crate) fn u32_at(&mut self, at: u32) -> u32 {
        u32::from_le_bytes(self.host.memory()[at as usize..at as usize + 4].try_into().unwrap())
    }

    pub(crate) fn u64_at(&mut self, at: u32) -> u64 {
        u64::from_le_bytes(self.host.memory()[at as usize..at as usize + 8].try_into().unwrap())
    }

    /// The bytes that a call gave through the slots at 0 and 4.
    pub(crate) fn given(&mut self) -> Vec<u8> {
        let (at, len) = (self.u32_at(0) as usize, self.u32_at(4) as usize);
        self.host.memory()[at..at + len].to_vec()
    }

    /// Gets a header; `Err` is the status.
    pub(crate) fn header(&mut self, map: u32, name: &str) -> Result<Vec<u8>, u32> {
        let [at, len] = self.put(DATA, name.as_bytes());
        match self.env("proxy_get_header_map_value", &[map, at, len, 0, 4]).unwrap() {
            0 => Ok(self.given()),
            status => Err(status),
        }
    }

    /// Gets part of a buffer; `Err` is the status.
    pub(crate) fn buffer(&mut self, buffer: u32, start: u32, max: u32) -> Result<Vec<u8>, u32> {
        match self.env("proxy_get_buffer_bytes", &[buffer, start, max, 0, 4]).unwrap() {
            0 => Ok(self.given()),
            status => Err(status),
        }
    }

    /// Gets a property by its path with dots; `Err` is the status.
    pub(crate) fn property(&mut self, path: &str) -> Result<Vec<u8>, u32> {
        let [at, len] = self.put(DATA, path.replace('.', "\0").as_bytes());
        match self.env("proxy_get_property", &[at, len, 0, 4]).unwrap() {
            0 => Ok(self.given()),
            status => Err(status),
        }
    }

    /// Sets a property by its path with dots; the status.
    pub(crate) fn set_property(&mut self, path: &str, value: &[u8]) -> u32 {
        let [path, path_len] = self.put(DATA, path.replace('.', "\0").as_bytes());
        let [value, len] = self.put(DATA + 0x2000, value);
        self.env("proxy_set_property", &[path, path_len, value, len]).unwrap()
    }

    /// A map call with a name and a value; the status.
    pub(crate) fn edit(&mut self, call: &str, map: u32, name: &[u8], value: &[u8]) -> u32 {
        let [name, name_len] = self.put(DATA, name);
        let [value, len] = self.put(DATA + 0x2000, value);
        self.env(call, &[map, name, name_len, value, len]).unwrap()
    }
}

struct Outside(Arc<Shared>, Shelf);

impl Services for Outside {
    fn realtime_nanos(&mut self) -> u64 {
        assert!(!*self.0.panics.lock().unwrap(), "the clock is broken");
        0x0102_0304_0506_0708
    }

    fn monotonic_nanos(&mut self) -> u64 {
        42
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), NoRandomness> {
        out.fill(0xaa);
        if *self.0.no_randomness.lock().unwrap() { Err(NoRandomness) } else { Ok(()) }
    }

    fn log(&mut self, record: LogRecord<'_>) {
        let line = (record.level, record.message.to_vec(), record.context, record.callback);
        self.0.logs.lock().unwrap().push(line);
    }

    fn log_level(&mut self, plugin: &Identity) -> LogLevel {
        assert_eq!(plugin.name, "rig");
        LogLevel::Warn
    }

    fn property(&mut self, _exchange: Option<&Exchange>, path: &[&[u8]]) -> Property {
        let path = String::from_utf8_lossy(&path.join(&b'.')).into_owned();
        let known = self.0.known.lock().unwrap();
        known.iter().find(|(name, _)| *name == path).map_or(Property::NotFound, |(_, value)| value.clone())
    }

    fn shared(&mut self) -> Option<&mut dyn SharedServices> {
        Some(&mut self.1)
    }
}

/// The marker of a module.
pub(crate) const V021: &str = "proxy_abi_version_0_2_1";
pub(crate) const V010: &str = "proxy_abi_version_0_1_0";

fn type_of(ty: Ty) -> &'static str {
    if ty == Ty::I64 { " i64" } else { " i32" }
}

/// A module that imports every function of the table and exports every callback. A name with two types is imported with
/// the one that has a result, or without one if `silent`.
pub(crate) fn module(marker: &str, silent: bool) -> String {
    let mut wat = String::from("(module");
    for row in TABLE {
        let twin = TABLE.iter().any(|other| other.name == row.name && other.answer != row.answer);
        if twin && (row.answer == Answer::None) != silent {
            continue;
        }
        let params: String = row.sig.params.iter().map(|ty| type_of(*ty)).collect();
        let result = row.sig.result.map_or(String::new(), |ty| format!("(result{})", type_of(ty)));
        for module in row.modules {
            write!(wat, "\n(import \"{module}\" \"{}\" (func (param{params}) {result}))", row.name).unwrap();
        }
    }
    write!(wat, "\n(memory (export \"memory\") 2 8)\n(func (export \"{marker}\"))").unwrap();
    for callback in CALLBACKS {
        let sig = callback.sigs()[0];
        let params: String = sig.params.iter().map(|ty| type_of(*ty)).collect();
        let result = sig.result.map_or(String::new(), |ty| format!("(result{})", type_of(ty)));
        let name = callback.name();
        write!(wat, "\n(func (export \"{name}\") (param{params}) {result} unreachable)").unwrap();
    }
    wat.push_str("\n(@custom \"chassis.native\" \"rig\"))");
    wat
}

pub(crate) fn linked(wat: &str, shared: &Arc<Shared>) -> Arc<dyn AnyLinked<VmState>> {
    let shared = shared.clone();
    let engine = NativeEngine::new().with_guest("rig", move || Script(shared.clone()));
    let module = CheckedModule::new(wat::parse_str(wat).unwrap(), &FrontLimits::default()).unwrap();
    erase::<_, ProxyWasm, VmState>(engine, EXPORTS).load(&module, &CompilePolicy::InProcess).unwrap()
}

/// A VM between callbacks.
pub(crate) struct Rig {
    pub(crate) instance: Box<dyn Instance<VmState>>,
    pub(crate) board: Option<Box<Board>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) root: ContextId,
    pub(crate) other_root: ContextId,
    pub(crate) stream: ContextId,
    pub(crate) other: ContextId,
    pub(crate) exchange: Key,
    pub(crate) other_exchange: Key,
}

pub(crate) fn identity() -> Identity {
    Identity {
        name: "rig".into(),
        root_id: "root".into(),
        vm_id: "vm".into(),
        vm_configuration: Bytes::from_static(b"vm configuration"),
        environment: vec![("A".into(), "1".into()), ("LONG".into(), "value".into())],
        ..Identity::default()
    }
}

impl Rig {
    pub(crate) fn new() -> Self {
        Rig::of(&module(V021, false))
    }

    pub(crate) fn of(wat: &str) -> Self {
        let shared = Arc::new(Shared::default());
        let linked = linked(wat, &shared);
        let mut board = Some(Board::new(Box::new(Outside(shared.clone(), shared.shelf.clone()))));
        let mut instance = begin(&*linked, identity(), &mut board, &Limits::default(), Budget::UNLIMITED).unwrap();
        let exchanges = &mut board.as_mut().unwrap().exchanges;
        let (exchange, other_exchange) = (exchanges.insert(request()), exchanges.insert(request()));
        let state = instance.state();
        state.configurations = ["configuration", "second"].map(|data| Bytes::from(data).into()).into();
        let root = state.contexts.create(Context::Plugin { configuration: 0, pending_done: false });
        let other_root = state.contexts.create(Context::Plugin { configuration: 1, pending_done: false });
        let stream = state.contexts.create(Context::Stream { parent: root, exchange, lane: 0 });
        let other = state.contexts.create(Context::Stream { parent: other_root, exchange: other_exchange, lane: 0 });
        Rig { instance, board, shared, root, other_root, stream, other, exchange, other_exchange }
    }

    pub(crate) fn allocator(&self, behaviour: Allocator) {
        *self.shared.allocator.lock().unwrap() = Some(behaviour);
    }

    pub(crate) fn enter(
        &mut self,
        callback: Callback,
        context: ContextId,
        args: &[u32],
    ) -> Result<Option<u32>, EntryError> {
        let (instance, running) = (&mut *self.instance, clock::enter());
        enter(instance, &running, &mut self.board, callback, context, args, &Budget::UNLIMITED).map_err(|error| *error)
    }

    /// Runs a job in a callback; what it answers, or why it was stopped.
    pub(crate) fn run<T: Send + 'static>(
        &mut self,
        callback: Callback,
        context: ContextId,
        job: impl FnOnce(&mut Wasm<'_>) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, Stop> {
        let answer = Arc::new(Mutex::new(None));
        let place = answer.clone();
        *self.shared.job.lock().unwrap() = Some(Box::new(move |wasm| {
            *place.lock().unwrap() = Some(job(wasm)?);
            Ok(())
        }));
        match self.enter(callback, context, &[0; 5]) {
            Ok(_) => Ok(answer.lock().unwrap().take().unwrap()),
            Err(EntryError::Stopped { stop, .. }) => Err(stop),
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs a job in the stream's request headers callback, where most calls are allowed.
    pub(crate) fn request<T: Send + 'static>(&mut self, job: impl FnOnce(&mut Wasm<'_>) -> T + Send + 'static) -> T {
        self.run(Callback::RequestHeaders, self.stream, |wasm| Ok(job(wasm))).unwrap()
    }

    pub(crate) fn board(&mut self) -> &mut Board {
        self.board.as_mut().unwrap()
    }

    pub(crate) fn exchange(&mut self) -> &mut Exchange {
        let key = self.exchange;
        self.board().exchanges.get_mut(key).unwrap()
    }

    pub(crate) fn take_logs(&self) -> Vec<Line> {
        std::mem::take(&mut self.shared.logs.lock().unwrap())
    }

    /// Everything that a refused call must leave as it was.
    pub(crate) fn snapshot(&mut self) -> String {
        let board = self.board.as_ref().unwrap();
        let state = self.instance.state();
        let (contexts, callouts) = (&state.contexts, state.callouts.ids());
        let mut text = format!("{:?} {:?} {contexts:?} {callouts:?}", board.exchanges, board.effects);
        write!(text, " {} {:?}", self.shared.logs.lock().unwrap().len(), self.shared.shelf).unwrap();
        text
    }
}

/// A request whose body and trailers, and whose whole response, have come and not left yet.
pub(crate) fn request() -> Exchange {
    let headers =
        [(":method", "GET"), (":path", "/"), (":authority", "a"), (":scheme", "http"), ("x-a", "1"), ("x-a", "2")];
    let mut exchange = Exchange::new(headers.into_iter().collect());
    exchange.request.trailers = [("t-a", "1")].into_iter().collect();
    exchange.request.has_trailers = true;
    exchange.response.headers = [(":status", "200"), ("r-a", "1")].into_iter().collect::<HeaderList>();
    exchange.response.has_headers = true;
    exchange.response.trailers = [("rt-a", "1")].into_iter().collect();
    exchange.response.has_trailers = true;
    let mut lane = Lane::default();
    lane.request.body.push(Bytes::from_static(b"hello "));
    lane.request.body.push(Bytes::from_static(b"world"));
    lane.request.body_open = true;
    lane.response.body.push(Bytes::from_static(b"answer"));
    lane.response.body_open = true;
    exchange.lanes.push(lane);
    exchange
}

/// The row of a function under any of its module names.
pub(crate) fn row(name: &str) -> &'static Row {
    TABLE.iter().copied().find(|row| row.name == name).unwrap()
}
