//! What engines are known not to do as the cases say.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis_engines::ENGINES;
use serde::Deserialize;

use crate::case::{Case, Mistake, read};
use crate::suite::SuiteError;

/// Known deviations, by engine and the case's path.
#[derive(Debug, Default)]
pub(crate) struct Deviations(BTreeMap<String, BTreeMap<String, Deviation>>);

/// A known deviation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deviation {
    /// The key of the first difference, as `expect.trace`.
    pub(crate) at: String,
    /// Why it is so.
    pub(crate) reason: String,
}

impl Deviations {
    /// Reads the files `ENGINE.yaml`, each a map from cases to deviations.
    pub(crate) fn parse(files: &[(&str, &str)], cases: &[Arc<Case>]) -> Result<Self, SuiteError> {
        let mut deviations = BTreeMap::new();
        let mut mistakes = Vec::new();
        for (file, text) in files {
            let wrong = |message: String| ((*file).into(), Mistake { line: 0, column: 0, message });
            let engine = file.strip_suffix(".yaml").unwrap_or(file);
            if ENGINES.iter().all(|known| known.name != engine) {
                mistakes.push(wrong(format!("there is no engine `{engine}`")));
            }
            match read::<BTreeMap<String, Deviation>>(text) {
                Err(mistake) => mistakes.push(((*file).into(), mistake)),
                Ok(of_engine) => {
                    let unknown = of_engine.keys().filter(|path| cases.iter().all(|case| case.path() != **path));
                    mistakes.extend(unknown.map(|path| wrong(format!("there is no case `{path}`"))));
                    deviations.insert(engine.to_owned(), of_engine);
                }
            }
        }
        if mistakes.is_empty() { Ok(Deviations(deviations)) } else { Err(SuiteError::Mistakes { mistakes }) }
    }

    /// What is known of a case on an engine.
    pub(crate) fn of(&self, engine: &str, case: &Case) -> Option<&Deviation> {
        self.0.get(engine)?.get(&case.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_of_known_engines_and_cases() {
        let text = "about: a\nguest: { script: {} }\nexpect: {}\n";
        let case = Case::parse("area", "case", text, &|_| None).unwrap();
        let cases = [Arc::new(case)];
        let of = |engine: &str, text: &str| Deviations::parse(&[(engine, text)], &cases);
        let one = "area/case: { at: expect.trace, reason: because }";
        let known = of("wasmi.yaml", one).unwrap();
        assert_eq!(known.of("wasmi", &cases[0]).unwrap().reason, "because");
        assert!(known.of("wasmtime", &cases[0]).is_none());
        assert!(of("wasmi.yaml", "{}").is_ok());
        for (engine, text) in [
            ("v8.yaml", one),
            ("wasmi.yaml", "area/other: { at: expect.trace, reason: because }"),
            ("wasmi.yaml", "area/case: { at: expect.trace }"),
            ("wasmi.yaml", "area/case: { at: expect.trace, reason: because, until: never }"),
        ] {
            assert!(of(engine, text).is_err(), "{engine} {text}");
        }
    }
}
