//! The tests that were ignored: each reason once, and below it the tests by the engines on which they were.

use std::collections::BTreeMap;

/// How wide lines are.
const WIDTH: usize = 110;

/// Lines that name every test. `ignored` has the reasons, and the tests that were ignored for them.
pub(super) fn lines(ignored: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut lines = Vec::new();
    for (reason, names) in ignored {
        let s = if names.len() == 1 { "" } else { "s" };
        lines.push(format!("  {reason}: {} test{s}", names.len()));
        for (engines, cases) in by_engines(names) {
            if !engines.is_empty() {
                lines.push(format!("    on {}:", engines.join(", ")));
            }
            wrap(&mut lines, &cases);
        }
    }
    lines
}

/// The cases that were ignored on the same engines, in their order. What is no case of an engine has none.
fn by_engines(names: &[String]) -> Vec<(Vec<&str>, Vec<&str>)> {
    let mut cases: Vec<(&str, Vec<&str>)> = Vec::new();
    for name in names {
        // `area/case::engine`, as trials are named; a path of modules has no slash.
        let parts = name.rsplit_once("::").filter(|(case, _)| case.contains('/'));
        let (case, engine) = parts.map_or((name.as_str(), None), |(case, engine)| (case, Some(engine)));
        match cases.iter_mut().find(|(known, _)| *known == case) {
            Some((_, engines)) => engines.extend(engine),
            None => cases.push((case, engine.into_iter().collect())),
        }
    }
    let mut groups: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for (case, engines) in cases {
        match groups.iter_mut().find(|(known, _)| *known == engines) {
            Some((_, cases)) => cases.push(case),
            None => groups.push((engines, vec![case])),
        }
    }
    groups
}

fn wrap(lines: &mut Vec<String>, names: &[&str]) {
    let mut line = String::new();
    for (i, name) in names.iter().enumerate() {
        let comma = if i + 1 < names.len() { "," } else { "" };
        if !line.is_empty() && line.len() + 1 + name.len() + comma.len() > WIDTH {
            lines.push(std::mem::take(&mut line));
        }
        line.push_str(if line.is_empty() { "      " } else { " " });
        line.push_str(name);
        line.push_str(comma);
    }
    lines.push(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_stand_below_the_reason_and_the_engines() {
        let names = ["aot/a::wasmi", "aot/b::wasmi", "aot/a::wasmi-fuel", "aot/b::wasmi-fuel", "aot/c::wasmi"];
        let mut ignored = BTreeMap::from([("nothing to save".to_owned(), names.map(str::to_owned).to_vec())]);
        ignored.insert("there is no shell".to_owned(), vec!["commands::shells".to_owned()]);
        let expected = "  nothing to save: 5 tests\n    on wasmi, wasmi-fuel:\n      aot/a, aot/b\n    on wasmi:\n      \
                        aot/c\n  there is no shell: 1 test\n      commands::shells";
        assert_eq!(lines(&ignored).join("\n"), expected);
    }

    #[test]
    fn every_name_is_told_in_lines_that_fit() {
        let names: Vec<String> = (0..100).map(|number| format!("area/case_{number}::native")).collect();
        let told = lines(&BTreeMap::from([("x".to_owned(), names)]));
        assert!(told.iter().all(|line| line.len() <= WIDTH), "{told:?}");
        assert!(told.len() < 20, "{told:?}");
        let told = told.join("\n");
        assert!((0..100).all(|number| told.contains(&format!(" area/case_{number}"))), "{told}");
    }
}
