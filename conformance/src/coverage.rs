//! The page on what of the ABI the cases prove: each host function and each callback with its versions, its type, and for
//! each answer a case in which a guest got it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use chassis_abi::{Answer, CALLBACKS, Callback, Group, Param, Row, TABLE, Versions};
use chassis_engine_api::compile::CompilePolicy;
use chassis_engine_api::{Sig, Ty};
use chassis_engines::ProxyWasmEngine;

use crate::case::{Case, Module};
use crate::runner::{Verdict, run};
use crate::suite::Suite;

/// The page, and what is not on it.
#[derive(Debug)]
pub struct Coverage {
    /// The page, as Markdown.
    pub page: String,
    /// Callbacks, host functions, and answers of them as `function: answer`, that no case proves.
    pub missing: Vec<String>,
}

/// What the cases prove, by what their guests do on an engine. Cases of built plugins do not count: those prove SDKs.
pub fn coverage(suite: &Suite, engine: &ProxyWasmEngine) -> Coverage {
    let mut seen = Seen::default();
    for case in suite.cases().iter().filter(|case| !matches!(case.module, Module::Plugin(_))) {
        seen.add(suite, case, engine);
    }
    let mut missing = Vec::new();
    let mut page = HEAD.to_owned();
    let groups: BTreeSet<Group> = TABLE.iter().map(|row| row.group).collect();
    for group in groups {
        page.push_str(&format!(
            "\n### {}\n\n| function | versions | type | answers | cases |\n|---|---|---|---|---|\n",
            group.as_str()
        ));
        for row in TABLE.iter().filter(|row| row.group == group) {
            page.push_str(&seen.function(row, &mut missing));
        }
    }
    page.push_str("\n## Callbacks\n\n| callback | types | when | cases |\n|---|---|---|---|\n");
    for callback in CALLBACKS {
        page.push_str(&seen.callback(*callback, &mut missing));
    }
    Coverage { page, missing }
}

const HEAD: &str = "# What of the ABI is proven

Made by `cargo xtask coverage` from the table of host functions, the list of callbacks, and what guests did when the
[conformance cases](../conformance/cases) ran; do not edit it. A case is named by its folder and file. For each answer of a
function stands the case that does least besides; the last column says in how many cases a guest called it. What differs
from other hosts is in [HOST_DIFFERENCES.md](HOST_DIFFERENCES.md).

## Host functions
";

/// A host function: its name, and whether it is the form without a result.
type Function = (&'static str, bool);

/// In which cases functions were called and answered, and callbacks came, as numbers into `names`.
#[derive(Default)]
struct Seen {
    names: Vec<String>,
    /// How many different things guests did in each.
    work: Vec<usize>,
    calls: BTreeMap<Function, BTreeSet<usize>>,
    answers: BTreeMap<(Function, &'static str), BTreeSet<usize>>,
    callbacks: BTreeMap<Callback, BTreeSet<usize>>,
}

impl Seen {
    fn add(&mut self, suite: &Suite, case: &Case, engine: &ProxyWasmEngine) {
        let ran = run(suite, case, engine, &CompilePolicy::InProcess);
        if ran.verdict != Verdict::Passed {
            return;
        }
        let number = self.names.len();
        let mut did = BTreeSet::new();
        for entry in ran.trips.iter().flat_map(|trip| trip.entries.iter().chain(&trip.ended)) {
            if let Some(callback) = entry.callback {
                self.callbacks.entry(callback).or_default().insert(number);
            }
            for call in entry.calls() {
                let function = key(call.row);
                did.insert((function, call.result_name));
                self.calls.entry(function).or_default().insert(number);
                self.answers.entry((function, call.result_name)).or_default().insert(number);
            }
        }
        self.names.push(case.path());
        self.work.push(did.len());
    }

    /// The case that does least.
    fn example(&self, cases: &BTreeSet<usize>) -> Option<&str> {
        let least = cases.iter().min_by_key(|case| (self.work[**case], &self.names[**case]))?;
        Some(&self.names[*least])
    }

    fn function(&self, row: &Row, missing: &mut Vec<String>) -> String {
        let function = key(row);
        let name = if function.1 { format!("{} (no result)", row.name) } else { row.name.to_owned() };
        let cases = self.calls.get(&function).map_or(0, BTreeSet::len);
        if cases == 0 {
            missing.push(name.clone());
        }
        let mut answers = Vec::new();
        for answer in self.answers_of(row) {
            match self.answers.get(&(function, answer)).and_then(|cases| self.example(cases)) {
                Some(case) if answer.is_empty() => answers.push(format!("`{case}`")),
                Some(case) => answers.push(format!("{answer} `{case}`")),
                None if cases == 0 => {}
                None => missing.push(format!("{name}: {answer}")),
            }
        }
        let shown = if row.name == name { format!("`{name}`") } else { format!("`{}` (no result)", row.name) };
        format!(
            "| {shown} {} | {} | {} | {} | {cases} |\n",
            row.doc,
            versions(row),
            typed(&row.sig),
            answers.join("<br>")
        )
    }

    /// What a function may answer, as its row says; of one without statuses what was seen.
    fn answers_of(&self, row: &Row) -> Vec<&'static str> {
        if row.answer != Answer::Status {
            let of = self.answers.keys().filter(|(function, _)| *function == key(row));
            return of.map(|(_, answer)| *answer).collect();
        }
        let takes_pointers = row.params.iter().any(|param| !matches!(param, Param::Int(_) | Param::Long(_)));
        let memory = takes_pointers.then_some("invalid_memory_access");
        row.statuses.iter().map(|status| status.as_str()).chain(memory).collect()
    }

    fn callback(&self, callback: Callback, missing: &mut Vec<String>) -> String {
        let cases = self.callbacks.get(&callback);
        // What allocates is called on behalf of a host call, which an observer sees only the end of.
        let is_seen = !matches!(callback, Callback::MemoryAllocate | Callback::Malloc);
        let proof = match cases.and_then(|cases| self.example(cases).map(|case| (case, cases.len()))) {
            Some((case, 1)) => format!("`{case}`"),
            Some((case, more)) => format!("{more}, as `{case}`"),
            None if is_seen => {
                missing.push(callback.name().to_owned());
                String::new()
            }
            None => "all that are given bytes".to_owned(),
        };
        let types: Vec<String> = callback.sigs().iter().map(typed).collect();
        format!("| `{}` | {} | {} | {proof} |\n", callback.name(), types.join("<br>"), callback.doc())
    }
}

fn key(row: &Row) -> Function {
    (row.name, row.answer == Answer::None)
}

fn versions(row: &Row) -> String {
    match row.versions {
        Versions::Abi(first, last) if first == last => first.as_str().to_owned(),
        Versions::Abi(first, last) => format!("{} to {}", first.as_str(), last.as_str()),
        Versions::Wasi => "WASI preview 1".to_owned(),
        Versions::Extension => "toolchains".to_owned(),
    }
}

/// A type as `(i32, i64) -> i32`; many parameters that are the same as `i32 x 8`.
fn typed(sig: &Sig) -> String {
    let mut text = String::from("(");
    for (index, run) in sig.params.chunk_by(|a, b| a == b).enumerate() {
        let gap = if index == 0 { "" } else { ", " };
        let name = if run[0] == Ty::I64 { "i64" } else { "i32" };
        let times = if run.len() > 1 { format!(" x {}", run.len()) } else { String::new() };
        // Writing to a string cannot fail.
        let _ = write!(text, "{gap}{name}{times}");
    }
    text.push(')');
    if sig.result.is_some() {
        text.push_str(" -> i32");
    }
    text
}
