//! Whether each engine has the same tests: their lists differ in nothing but the engine's name.
//!
//! Compared are the tests whose names end with an engine, `area/case::wasmi` or `area/case::wasmi-fuel`, as those do
//! that are made for each engine. What tests one backend alone has no such end and is in no list.

use std::collections::{BTreeMap, BTreeSet};

/// How many differences are named.
const SHOWN: usize = 20;

/// The tests of each engine, whether they passed, failed or were ignored.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// By engine and by name without it: how often, as several packages may have a test of one name.
    tests: BTreeMap<String, BTreeMap<String, u32>>,
}

impl Lists {
    /// Adds a test to the list of the engine with which its name ends, if that is one of these.
    pub(super) fn add(&mut self, name: &str, engines: &[&str]) {
        let Some((case, end)) = name.rsplit_once("::") else { return };
        let (engine, profile) = end.split_once('-').unwrap_or((end, ""));
        if engines.contains(&engine) {
            let case = if profile.is_empty() { case.to_owned() } else { format!("{case} ({profile})") };
            *self.tests.entry(engine.to_owned()).or_default().entry(case).or_default() += 1;
        }
    }

    /// How many tests each of these engines has.
    ///
    /// # Errors
    /// The tests that some of them have and others have not, if there are such, or that there is none at all.
    pub(super) fn same(&self, engines: &[&str]) -> Result<u32, String> {
        let none = BTreeMap::new();
        let lists: Vec<_> = engines.iter().map(|&engine| (engine, self.tests.get(engine).unwrap_or(&none))).collect();
        let cases: BTreeSet<&String> = lists.iter().flat_map(|(_, list)| list.keys()).collect();
        if cases.is_empty() {
            return Err(format!("no test names {}", engines.join(", ")));
        }
        let mut differences = Vec::new();
        for case in cases {
            let count = |list: &BTreeMap<String, u32>| list.get(case).copied().unwrap_or(0);
            let most = lists.iter().map(|(_, list)| count(list)).max().unwrap_or(0);
            let lacking: Vec<_> = lists.iter().filter(|(_, list)| count(list) < most).map(|(name, _)| *name).collect();
            if !lacking.is_empty() {
                differences.push(format!("  {case}: not on {}", lacking.join(", ")));
            }
        }
        if differences.is_empty() {
            return Ok(lists.first().map_or(0, |(_, list)| list.values().sum()));
        }
        let more = differences.len().saturating_sub(SHOWN);
        differences.truncate(SHOWN);
        if more > 0 {
            differences.push(format!("  and {more} more"));
        }
        Err(format!("engines have different tests:\n{}", differences.join("\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINES: [&str; 3] = ["wasmtime", "wasmer", "wasmi"];

    fn lists(names: &[&str]) -> Lists {
        let mut lists = Lists::default();
        names.iter().for_each(|name| lists.add(name, &ENGINES));
        lists
    }

    #[test]
    fn lists_that_differ_in_the_engine_only_are_the_same() {
        let cases = ["calls/shapes::E", "calls/shapes::E-fuel", "body::tests::append::E", "calls/shapes::E"];
        let names: Vec<_> = ENGINES.iter().flat_map(|engine| cases.map(|case| case.replace('E', engine))).collect();
        let mut names: Vec<_> = names.iter().map(String::as_str).collect();
        // One backend's own tests, tests of several engines at once, and tests of no engine.
        names.extend([
            "tests::aot::no_code_of_wasmer",
            "calls/shapes::agree",
            "two::wasmi+wasmtime",
            "wasmi::tests::a",
        ]);
        names.extend(["body::text", "native::case::native", "a"]);
        assert_eq!(lists(&names).same(&ENGINES), Ok(4));
    }

    #[test]
    fn a_test_that_an_engine_lacks_is_named_with_it() {
        let names = ["a/b::wasmtime", "a/b::wasmer", "a/b::wasmi", "a/c::wasmer-fuel"];
        let said = lists(&names).same(&ENGINES).unwrap_err();
        assert_eq!(said, "engines have different tests:\n  a/c (fuel): not on wasmtime, wasmi");
        assert_eq!(lists(&names[..3]).same(&ENGINES), Ok(1));
        let said = lists(&names[..2]).same(&ENGINES).unwrap_err();
        assert_eq!(said, "engines have different tests:\n  a/b: not on wasmi");
        // An engine that cannot be had is not asked for.
        assert_eq!(lists(&names[..2]).same(&ENGINES[..2]), Ok(1));
    }

    #[test]
    fn a_name_that_two_packages_have_counts_twice() {
        let names = ["a::wasmtime", "a::wasmtime", "a::wasmer", "a::wasmer", "a::wasmi"];
        assert_eq!(lists(&names).same(&ENGINES).unwrap_err(), "engines have different tests:\n  a: not on wasmi");
    }

    #[test]
    fn no_tests_at_all_are_not_the_same_tests() {
        assert_eq!(lists(&["a", "b::native"]).same(&ENGINES).unwrap_err(), "no test names wasmtime, wasmer, wasmi");
    }

    #[test]
    fn many_differences_are_counted() {
        let names: Vec<_> = (0..SHOWN + 5).map(|i| format!("{i}::wasmi")).collect();
        let said = lists(&names.iter().map(String::as_str).collect::<Vec<_>>()).same(&ENGINES).unwrap_err();
        assert!(said.ends_with("\n  and 5 more"), "{said}");
        assert_eq!(said.lines().count(), SHOWN + 2);
    }
}
