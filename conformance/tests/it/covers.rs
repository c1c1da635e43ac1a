//! Whether the embedded cases call everything that the host has, by what the guests really did.

use std::collections::BTreeSet;

use chassis_abi::{Answer, CALLBACKS, Callback, Param, Row, TABLE};
use chassis_conformance::drive::{Call, Entry};
use chassis_conformance::{CaseResult, Suite};

use crate::{plugins, results};

fn all() -> Vec<CaseResult> {
    results(&Suite::embedded(plugins()).unwrap())
}

fn entries<'a>(results: &'a [CaseResult], engine: &'a str) -> impl Iterator<Item = &'a Entry> {
    let ran = results.iter().flat_map(|result| &result.ran).filter(move |(name, _)| *name == engine);
    ran.flat_map(|(_, ran)| &ran.trips).flat_map(|trip| trip.entries.iter().chain(&trip.ended))
}

/// A host function; some have two types under one name.
fn function(row: &Row) -> String {
    let form = if row.answer == Answer::None { " without a result" } else { "" };
    format!("{}{form}", row.name)
}

/// On every engine a guest calls each host function, gets each status that its row lists, and is called back by each
/// callback that the host has.
#[test]
fn the_cases_call_everything_that_there_is() {
    let results = all();
    for engine in chassis_engines::compiled_in() {
        let calls: Vec<&Call> = entries(&results, engine).flat_map(Entry::calls).collect();
        let called: BTreeSet<String> = calls.iter().map(|call| function(call.row)).collect();
        let missing: Vec<String> =
            TABLE.iter().map(|row| function(row)).filter(|name| !called.contains(name)).collect();
        assert!(missing.is_empty(), "no case on {engine} calls {missing:?}");

        let answered: BTreeSet<(&str, &str)> = calls.iter().map(|call| (call.row.name, call.result_name)).collect();
        let known = TABLE.iter().filter(|row| row.answer == Answer::Status).flat_map(|row| {
            let pointers = row.params.iter().any(|param| !matches!(param, Param::Int(_) | Param::Long(_)));
            let memory = pointers.then_some("invalid_memory_access");
            row.statuses.iter().map(|status| status.as_str()).chain(memory).map(|status| (row.name, status))
        });
        let missing: Vec<_> = known.filter(|known| !answered.contains(known)).collect();
        assert!(missing.is_empty(), "no case on {engine} gets {missing:?}");

        let entered: BTreeSet<Callback> = entries(&results, engine).filter_map(|entry| entry.callback).collect();
        let missing: Vec<_> =
            CALLBACKS.iter().filter(|callback| is_offered(**callback) && !entered.contains(callback)).collect();
        assert!(missing.is_empty(), "no case on {engine} is called back by {missing:?}");
    }
}

/// Callbacks that this host calls, and that an observer sees.
fn is_offered(callback: Callback) -> bool {
    !matches!(
        callback,
        // Called on behalf of a host call, and not observed.
        Callback::MemoryAllocate | Callback::Malloc
    )
}
