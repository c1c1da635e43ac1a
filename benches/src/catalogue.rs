//! The measurements.

use bytes::Bytes;
use chassis_abi::{HeaderList, Row, TABLE};

use crate::compute::Kernel;
use crate::guests::DATA;
use crate::host_calls::{HostCall, MANY, SOME, refusal};
use crate::subject::Subject;
use crate::vm::VALUE;
use crate::work::Work;

/// What a measurement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// Getting a module ready to run.
    Module,
    /// The way into the guest and out of it.
    Call,
    /// Header maps.
    Header,
    /// Bodies.
    Body,
    /// The guest's own code.
    Compute,
    /// Whole requests.
    Request,
    /// Every host function.
    Host,
}

impl Group {
    /// All of them, in the order of a report.
    pub const ALL: [Group; 7] =
        [Group::Module, Group::Call, Group::Header, Group::Body, Group::Compute, Group::Request, Group::Host];

    /// Its name in the ids of measurements.
    pub fn as_str(self) -> &'static str {
        match self {
            Group::Module => "module",
            Group::Call => "call",
            Group::Header => "header",
            Group::Body => "body",
            Group::Compute => "compute",
            Group::Request => "request",
            Group::Host => "host",
        }
    }

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Group::Module => "Getting a module ready",
            Group::Call => "Into the guest and out of it",
            Group::Header => "Headers",
            Group::Body => "Bodies",
            Group::Compute => "The guest's own code",
            Group::Request => "Whole requests",
            Group::Host => "Every host function",
        }
    }

    /// What it tells, in a sentence or two.
    pub fn what(self) -> &'static str {
        match self {
            Group::Module => {
                "Once per module (compile, load) or per VM (instantiate). The plugin is prime-auth, built with the Rust SDK."
            }
            Group::Call => "What each callback and each host call costs before it does anything.",
            Group::Header => {
                "Calls from a loop in the guest, on a request with so many headers of 32 bytes; a name is looked for that is the last one."
            }
            Group::Body => "Bytes copied between the host's body and the guest's memory, in one call.",
            Group::Compute => "64 KiB of data, computed over in one callback. By hand there is no limit on time.",
            Group::Request => {
                "Stream contexts are created, see request and response headers, and end with done, log and delete; the worker around them included."
            }
            Group::Host => {
                "Every function of the ABI's table, called in a loop from the guest: Proxy-Wasm 0.1.0 to 0.2.1 and WASI preview 1."
            }
        }
    }
}

/// One thing that is measured on every engine.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// Its unique name: the group, a slash, and the rest of it in lower case.
    pub id: String,
    /// What it is about.
    pub group: Group,
    /// What a reader sees.
    pub name: String,
    /// What is done, in a sentence.
    pub what: String,
    pub(crate) work: Work,
}

impl Measurement {
    /// Whether it means anything on a subject. An engine may be unable to do it all the same.
    pub fn is_meaningful(&self, subject: Subject) -> bool {
        self.work.is_meaningful(subject.via)
    }
}

/// Every measurement whose id contains `filter`, in any case; all of them without one.
pub fn measurements(filter: Option<&str>) -> Vec<Measurement> {
    let mut all = Vec::new();
    modules(&mut all);
    calls(&mut all);
    headers(&mut all);
    bodies(&mut all);
    rest(&mut all);
    host_functions(&mut all);
    let wanted = filter.unwrap_or_default().to_ascii_lowercase();
    all.retain(|measurement| measurement.id.to_ascii_lowercase().contains(&wanted));
    all
}

fn add(all: &mut Vec<Measurement>, group: Group, id: &str, name: &str, what: &str, work: Work) {
    let id = format!("{}/{id}", group.as_str());
    all.push(Measurement { id, group, name: name.to_owned(), what: what.to_owned(), work });
}

fn modules(all: &mut Vec<Measurement>) {
    let mut module = |id, name, what, work| add(all, Group::Module, id, name, what, work);
    module(
        "compile",
        "compile, 105 KB",
        "Compiles the plugin from nothing; through Chassis with its checks and its linking, by hand without.",
        Work::Compile,
    );
    module(
        "load",
        "load saved code",
        "Loads the plugin's compiled code from memory; through Chassis with its linking, by hand without.",
        Work::Load,
    );
    module(
        "instantiate",
        "instantiate, smallest",
        "Makes an instance of a module with one page of memory and no imports, and drops it.",
        Work::Instantiate { sdk: false },
    );
    module(
        "instantiate-sdk",
        "instantiate, SDK plugin",
        "Makes an instance of the plugin, with 1.1 MB of memory and its imports, and drops it.",
        Work::Instantiate { sdk: true },
    );
}

fn calls(all: &mut Vec<Measurement>) {
    let mut call = |id, name, what, work| add(all, Group::Call, id, name, what, work);
    call("callback", "empty callback", "Enters a callback of three parameters that returns at once.", Work::Empty);
    if let Some(row) = row("env", "pthread_equal") {
        let work = Work::Calls { call: HostCall::of(row), headers: 10, body: 0, by_hand: true };
        call("host-call", "trivial host call", "Calls a host function that compares two numbers.", work);
    }
    if let Some(row) = row("env", "proxy_get_header_map_value") {
        let work = Work::Calls { call: get_header(row, 1), headers: 1, body: 0, by_hand: true };
        let what = "Reads the only header, of 32 bytes: the host calls the guest's allocator, and copies.";
        call("get-header", "get header, 32 bytes", what, work);
    }
}

/// The header that is the last of so many.
fn last(headers: usize) -> Vec<u8> {
    format!("x-header-{}", headers - 1).into_bytes()
}

fn get_header(row: &'static Row, headers: usize) -> HostCall {
    let name = last(headers);
    HostCall::with(row, vec![0, u64::from(DATA), name.len() as u64, 0, 8], vec![(DATA, name)], MANY)
}

/// How many headers a request has.
const COUNTS: [usize; 3] = [1, 10, 50];

fn headers(all: &mut Vec<Measurement>) {
    let mut header = |id: &str, headers: usize, what: &str, call: HostCall| {
        let name = format!("{} of {headers}", id.replace('-', " "));
        let work = Work::Calls { call, headers, body: 0, by_hand: false };
        add(all, Group::Header, &format!("{id}-{headers}"), &name, what, work);
    };
    const VALUE_AT: u32 = DATA + 0x100;
    let edit = |row, name: Vec<u8>, per_entry| {
        let args = vec![0, u64::from(DATA), name.len() as u64, u64::from(VALUE_AT), VALUE.len() as u64];
        HostCall::with(row, args, vec![(DATA, name), (VALUE_AT, VALUE.to_vec())], per_entry)
    };
    for count in COUNTS {
        if let Some(row) = row("env", "proxy_get_header_map_value") {
            header("get", count, "Reads the last header.", get_header(row, count));
        }
    }
    for count in COUNTS {
        if let Some(row) = row("env", "proxy_replace_header_map_value") {
            header("replace", count, "Replaces the last header's value.", edit(row, last(count), MANY));
        }
    }
    for count in COUNTS {
        if let Some(row) = row("env", "proxy_add_header_map_value") {
            let call = edit(row, b"x-added".to_vec(), SOME);
            header("add", count, "Adds a header; 50 are added before the request is made anew.", call);
        }
    }
    for count in COUNTS {
        if let Some(row) = row("env", "proxy_get_header_map_pairs") {
            let call = HostCall::with(row, vec![0, 0, 8], Vec::new(), MANY);
            header("get-map", count, "Reads the whole map.", call);
        }
    }
    for count in COUNTS {
        if let Some(row) = row("env", "proxy_set_header_map_pairs") {
            let pairs = (0..count).map(|i| (Bytes::from(format!("x-header-{i}")), Bytes::from_static(VALUE)));
            let pairs = pairs.collect::<HeaderList>().encode();
            let call = HostCall::with(row, vec![0, u64::from(DATA), pairs.len() as u64], vec![(DATA, pairs)], MANY);
            header("set-map", count, "Replaces the whole map.", call);
        }
    }
}

fn bodies(all: &mut Vec<Measurement>) {
    for (size, text) in [(1 << 10, "1 KiB"), (64 << 10, "64 KiB"), (1 << 20, "1 MiB")] {
        let id = text.to_ascii_lowercase().replace(' ', "-");
        let per_entry = (MANY as usize).min((64 << 20) / size) as u32;
        if let Some(row) = row("env", "proxy_get_buffer_bytes") {
            let call = HostCall::with(row, vec![0, 0, size as u64, 0, 8], Vec::new(), per_entry);
            let work = Work::Calls { call, headers: 10, body: size, by_hand: true };
            let what = "Copies the request's body into memory that the guest allocates.";
            add(all, Group::Body, &format!("get-{id}"), &format!("get {text}"), what, work);
        }
        if let Some(row) = row("env", "proxy_set_buffer_bytes") {
            // The value is whatever lies in the guest's heap.
            let args = vec![0, 0, size as u64, u64::from(crate::guests::HEAP), size as u64];
            let call = HostCall::with(row, args, Vec::new(), per_entry);
            let work = Work::Calls { call, headers: 10, body: size, by_hand: false };
            let what = "Replaces the request's body by as many bytes of the guest's memory.";
            add(all, Group::Body, &format!("set-{id}"), &format!("set {text}"), what, work);
        }
    }
}

fn rest(all: &mut Vec<Measurement>) {
    let what = "Hashes 64 KiB.";
    add(all, Group::Compute, "sha256-64-kib", "SHA-256 of 64 KiB", what, Work::Compute(Kernel::Sha256));
    let what = "Walks a state machine over 64 KiB that looks for a word.";
    add(all, Group::Compute, "scan-64-kib", "scan of 64 KiB", what, Work::Compute(Kernel::Scan));
    let mut request = |id, name, what, chain, sdk| {
        add(all, Group::Request, id, name, what, Work::Requests { chain, sdk });
    };
    request("one", "one small plugin", "The plugin reads two headers and adds one.", 1, false);
    request("chain-10", "a chain of 10", "Ten VMs of that plugin, one after the other.", 10, false);
    request("sdk", "prime-auth (Rust SDK)", "The plugin reads the header `token`, a small prime number.", 1, true);
}

fn host_functions(all: &mut Vec<Measurement>) {
    for row in TABLE {
        // A name that is there with two types is told apart by the silent one.
        let silent =
            row.sig.result.is_none() && TABLE.iter().any(|other| other.name == row.name && other.sig != row.sig);
        let id = if silent { format!("{}-silent", row.name) } else { row.name.to_owned() };
        let name = if silent { format!("{} (no result)", row.name) } else { row.name.to_owned() };
        let mut what = row.doc.to_owned();
        if let Some(answer) = refusal(row) {
            what.push_str(&format!(" Here it answers {answer}."));
        }
        let call = HostCall::of(row);
        if call.per_entry == 1 {
            what.push_str(" Once in each callback, which is part of the time.");
        }
        add(all, Group::Host, &id, &name, &what, Work::Calls { call, headers: 10, body: 1024, by_hand: false });
    }
}

fn row(module: &str, name: &str) -> Option<&'static Row> {
    Row::find(module, name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::subject::Via;
    use crate::work::{Unable, prepare};

    #[test]
    fn ids_are_unique_and_belong_to_their_group() {
        let mut seen = HashSet::new();
        for measurement in measurements(None) {
            assert!(measurement.id.starts_with(&format!("{}/", measurement.group.as_str())), "{}", measurement.id);
            assert!(measurement.what.ends_with('.'), "{}", measurement.id);
            assert!(seen.insert(measurement.id.clone()), "{}", measurement.id);
        }
    }

    #[test]
    fn no_function_of_the_table_is_forgotten() {
        let measured: Vec<_> = measurements(Some("host/"))
            .into_iter()
            .map(|measurement| match measurement.work {
                Work::Calls { call, .. } => (call.import.name, call.import.sig),
                other => panic!("{other:?}"),
            })
            .collect();
        let table: Vec<_> = TABLE.iter().map(|row| (row.name, row.sig)).collect();
        assert_eq!(measured, table);
    }

    #[test]
    fn a_filter_takes_what_contains_it() {
        let ids = |filter| measurements(Some(filter)).into_iter().map(|m| m.id).collect::<Vec<_>>();
        assert_eq!(ids("SHA256"), ["compute/sha256-64-kib"]);
        assert!(ids("no such").is_empty());
    }

    /// On the native engine everything runs that has a guest in Rust, and succeeds.
    #[test]
    fn every_measurement_runs_on_the_native_engine() {
        all_run_on(Subject { engine: "native", via: Via::Native });
    }

    #[cfg(feature = "wasmi")]
    #[test]
    fn every_measurement_runs_on_the_interpreter() {
        all_run_on(Subject { engine: "wasmi", via: Via::Chassis });
        all_run_on(Subject { engine: "wasmi", via: Via::ByHand });
    }

    fn all_run_on(subject: Subject) {
        let mut ran = 0;
        for measurement in measurements(None) {
            match prepare(&measurement, subject) {
                Ok(mut prepared) => {
                    prepared.run(3).unwrap_or_else(|error| panic!("{}: {error}", measurement.id));
                    ran += 1;
                }
                Err(Unable::NotMeaningful) => assert_ne!(subject.via, Via::Chassis, "{}", measurement.id),
                Err(Unable::Because(reason)) => {
                    assert!(
                        measurement.id == "module/load" && reason.contains("wasmi"),
                        "{}: {reason}",
                        measurement.id
                    );
                }
            }
        }
        assert!(ran >= if subject.via == Via::ByHand { 9 } else { 100 }, "{ran}");
    }
}
