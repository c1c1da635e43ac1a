//! The list of tests differs per engine in its suffix only: no engine is spared a case, however it is built.

use std::collections::BTreeSet;

use chassis_engine_api::Profile;
use libtest_mimic::{Failed, Trial};

use crate::subject::Subject;

/// The trials of one engine, their names ending with the profile in place of the engine.
pub(crate) struct List {
    engine: &'static str,
    profiles: &'static [Profile],
    names: BTreeSet<String>,
}

impl List {
    /// Lists the trials of an engine.
    pub(crate) fn new<E: Subject>(trials: &[Trial]) -> Self {
        let engine = E::open(E::PROFILES[0]).capabilities().name;
        let end = format!("::{engine}");
        let names = trials.iter().map(|trial| trial.name().replace(&end, "::")).collect();
        List { engine, profiles: E::PROFILES, names }
    }

    /// The names in profiles that another engine has as well.
    fn shared(&self, other: &List) -> BTreeSet<&str> {
        let is_shared = |name: &&str| {
            let end = name.rsplit("::").next().unwrap_or_default();
            let profile = Profile::from_name(end.trim_start_matches('-')).unwrap_or_default();
            other.profiles.contains(&profile)
        };
        self.names.iter().map(String::as_str).filter(is_shared).collect()
    }
}

/// Trials that compare the lists of all engines with the first one's, and the comparison with what it should find.
pub(crate) fn trials(lists: Vec<List>) -> [Trial; 2] {
    [
        Trial::test("list/same_for_all_engines", move || {
            let Some((first, others)) = lists.split_first() else { return Err("there is no engine".into()) };
            others.iter().try_for_each(|other| same(first, other))
        }),
        Trial::test("list/a_case_that_only_one_engine_has_is_named", || {
            let list = |engine, profiles, names: &[&str]| {
                let names = names.iter().map(|name| (*name).to_owned()).collect();
                List { engine, profiles, names }
            };
            let one = list("one", &Profile::ALL, &["a/b::", "a/b::-fuel", "a/b::-stream"]);
            same(&one, &list("few", &[Profile::Deadline, Profile::Fuel], &["a/b::", "a/b::-fuel"]))?;
            let less = list("less", &Profile::ALL, &["a/b::", "a/b::-stream"]);
            let says = |one, other| same(one, other).err().and_then(|error| error.message().map(str::to_owned));
            assert_eq!(says(&one, &less).as_deref(), Some("of one and less, only one has a/b::-fuel"));
            assert_eq!(says(&less, &one).as_deref(), Some("of less and one, only one has a/b::-fuel"));
            Ok(())
        }),
    ]
}

fn same(one: &List, other: &List) -> Result<(), Failed> {
    let (ones, others) = (one.shared(other), other.shared(one));
    if ones.is_empty() {
        return Err(format!("{} and {} share no test", one.engine, other.engine).into());
    }
    match ones.symmetric_difference(&others).next() {
        None => Ok(()),
        Some(name) => {
            let has = if ones.contains(name) { one } else { other };
            Err(format!("of {} and {}, only {} has {name}", one.engine, other.engine, has.engine).into())
        }
    }
}
