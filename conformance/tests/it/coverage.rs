//! The pages of the documentation that name cases.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use chassis_conformance::{Suite, coverage};
use chassis_engine_api::Profile;

use crate::plugins;

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

#[test]
#[cfg(feature = "wasmi")]
fn the_page_on_the_abi_is_what_the_cases_prove() {
    let suite = Suite::embedded(plugins()).unwrap();
    let made = coverage(&suite, &chassis_engines::open("wasmi", Profile::Deadline).unwrap());
    let file = page("abi-coverage.md");
    if std::env::var_os("CHASSIS_BLESS").is_some() {
        fs::write(&file, &made.page).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(made.missing, [""; 0], "what no case proves");
    assert!(committed == made.page, "docs/abi-coverage.md is not up to date: cargo xtask coverage");
}

/// Each difference from other hosts that is told of names a case that proves what this one does.
#[test]
fn the_differences_from_other_hosts_name_cases_that_there_are() {
    let suite = Suite::embedded(plugins()).unwrap();
    let known: BTreeSet<String> = suite.cases().iter().map(|case| case.path()).collect();
    let text = fs::read_to_string(page("HOST_DIFFERENCES.md")).unwrap();
    let mut rows = 0;
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what |")) {
        let last = line.trim_end_matches('|').rsplit('|').next().unwrap();
        let named: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "a difference without a case: {line}");
        for case in named {
            assert!(known.contains(case), "there is no case {case}: {line}");
        }
        rows += 1;
    }
    assert!(rows > 20, "there are {rows} differences");
}
