//! The features of the packages, and the tables that describe them.
//!
//! The manifest of the facade is where a feature is described; the tables for readers say the same in the same words,
//! and the other packages have the same features.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::ENGINES;

const FACADE: &str = "chassis/Cargo.toml";
/// What describes the features to readers.
const TABLES: [&str; 2] = ["README.md", "chassis/src/lib.rs"];
/// The packages that pass the features on, comments included.
const SAME: [&str; 2] = ["engines/Cargo.toml", "cli/Cargo.toml"];
/// The packages for which a choice of engines is enough.
const SAME_ENGINES: [&str; 2] = ["conformance/Cargo.toml", "benches/Cargo.toml"];

/// Compares the tables and the manifests of the repository.
///
/// # Errors
/// The first line that differs, with its file.
pub(super) fn check() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |name: &'static str| {
        let text = fs::read_to_string(root.join(name)).with_context(|| name.to_owned())?;
        anyhow::Ok((name, text))
    };
    let described = features(&read(FACADE)?.1).context(FACADE)?;
    for (name, text) in TABLES.into_iter().map(read).collect::<Result<Vec<_>>>()? {
        compare(&table_of(&described), &table_in(&text)).context(name)?;
    }
    for (name, text) in SAME.into_iter().map(read).collect::<Result<Vec<_>>>()? {
        compare(&table_of(&described), &table_of(&features(&text).context(name)?)).context(name)?;
    }
    for (name, text) in SAME_ENGINES.into_iter().map(read).collect::<Result<Vec<_>>>()? {
        has_engines(&text).context(name)?;
    }
    Ok(())
}

/// A feature as a manifest has it.
#[derive(Debug, PartialEq, Eq)]
struct Feature {
    name: String,
    /// The comment above it.
    says: String,
    default: bool,
}

/// The features of a manifest, in its order.
///
/// # Errors
/// If one has no comment.
fn features(manifest: &str) -> Result<Vec<Feature>> {
    let defaults = defaults(manifest);
    let mut features = Vec::new();
    let mut comment = Vec::new();
    for line in section(manifest) {
        if let Some(words) = line.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        let says = std::mem::take(&mut comment).join(" ");
        let Some(name) = feature_name(line).filter(|name| *name != "default") else { continue };
        let Some(says) = says.strip_suffix('.') else { bail!("no sentence above the feature `{name}`") };
        let default = defaults.contains(&name);
        features.push(Feature { name: name.to_owned(), says: says.to_owned(), default });
    }
    Ok(features)
}

/// The lines of the features in a manifest.
fn section(manifest: &str) -> impl Iterator<Item = &str> {
    let lines = manifest.lines().map(str::trim);
    lines.skip_while(|line| *line != "[features]").skip(1).take_while(|line| !line.starts_with('['))
}

fn feature_name(line: &str) -> Option<&str> {
    line.split_once('=').map(|(name, _)| name.trim())
}

fn defaults(manifest: &str) -> Vec<&str> {
    let line = section(manifest).find(|line| feature_name(line) == Some("default"));
    line.map_or_else(Vec::new, |line| line.split('"').skip(1).step_by(2).collect())
}

/// Features with their descriptions as the rows of a table, by name.
type Rows = BTreeMap<String, String>;

/// The rows that a table of these features has.
fn table_of(features: &[Feature]) -> Rows {
    let row = |feature: &Feature| {
        let default = if feature.default { " (default)" } else { "" };
        (feature.name.clone(), format!("| `{}`{default} | {} |", feature.name, feature.says))
    };
    features.iter().map(row).collect()
}

/// The rows of the table of features in a text: Markdown, or a comment with Markdown in it.
fn table_in(text: &str) -> Rows {
    let lines = text.lines().map(|line| line.trim_start_matches("//!").trim());
    let table = lines.skip_while(|line| !line.starts_with("| feature |")).take_while(|line| line.starts_with('|'));
    let rows =
        table.filter_map(|line| Some((line.strip_prefix("| `")?.split('`').next()?.to_owned(), line.to_owned())));
    rows.collect()
}

/// Says where two tables differ.
fn compare(expected: &Rows, found: &Rows) -> Result<()> {
    for (name, row) in expected {
        match found.get(name) {
            None => bail!("lacks what {FACADE} has:\n- {row}"),
            Some(other) if other != row => bail!("differs from {FACADE}:\n- {row}\n+ {other}"),
            Some(_) => {}
        }
    }
    match found.iter().find(|(name, _)| !expected.contains_key(*name)) {
        Some((_, row)) => bail!("has what {FACADE} lacks:\n+ {row}"),
        None => Ok(()),
    }
}

fn has_engines(manifest: &str) -> Result<()> {
    let names: Vec<&str> = section(manifest).filter_map(feature_name).collect();
    match ENGINES.iter().find(|engine| !names.contains(engine)) {
        Some(engine) => bail!("has no feature `{engine}`"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"x\"\n\n[features]\ndefault = [\"a\", \"b\"]\n# A: one\n# engine.\n\
                            a = [\"x/a\"]\n# Another one.\nc = [\"x/c\"]\n\n[lints]\n# Nothing.\nd = []\n";
    const TABLE: &str = "# Words\n\n| feature | what it adds |\n|---|---|\n| `a` (default) | A: one engine |\n\
                         | `c` | Another one |\n\n| feature | other |\n|---|---|\n| `z` | no |\n";

    fn difference(manifest: &str, table: &str) -> String {
        compare(&table_of(&features(manifest).unwrap()), &table_in(table)).unwrap_err().to_string()
    }

    #[test]
    fn a_table_that_says_the_same_is_right() {
        let described = features(MANIFEST).unwrap();
        assert_eq!(described.iter().map(|feature| feature.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        compare(&table_of(&described), &table_in(TABLE)).unwrap();
        let comment: String = TABLE.lines().map(|line| format!("//! {line}\n")).collect();
        compare(&table_of(&described), &table_in(&comment)).unwrap();
    }

    #[test]
    fn the_line_that_differs_is_shown() {
        let other = TABLE.replace("Another one", "Another");
        assert!(difference(MANIFEST, &other).ends_with("\n- | `c` | Another one |\n+ | `c` | Another |"));
        let default = TABLE.replace(" (default)", "");
        assert!(difference(MANIFEST, &default).ends_with("\n+ | `a` | A: one engine |"));
        let changed = MANIFEST.replace("[\"a\", \"b\"]", "[\"c\"]");
        assert!(difference(&changed, TABLE).contains("\n- | `a` | A: one engine |\n"));
    }

    #[test]
    fn a_row_too_many_or_too_few_is_shown() {
        let fewer = TABLE.replace("| `c` | Another one |\n", "");
        assert!(difference(MANIFEST, &fewer).starts_with("lacks"));
        let more = TABLE.replace("| `c`", "| `e` | More |\n| `c`");
        assert!(difference(MANIFEST, &more).ends_with("lacks:\n+ | `e` | More |"));
        assert!(difference(MANIFEST, "no table").starts_with("lacks"));
    }

    #[test]
    fn a_feature_without_a_comment_is_named() {
        let error = features(&MANIFEST.replace("# Another one.\n", "")).unwrap_err();
        assert_eq!(error.to_string(), "no sentence above the feature `c`");
    }

    #[test]
    fn a_package_without_a_choice_of_engines_is_found() {
        let manifest = "[features]\nwasmtime = []\nwasmer = []\nwasmedge = []\nwasmi = []\n";
        has_engines(manifest).unwrap();
        let error = has_engines(&manifest.replace("wasmer = []\n", "")).unwrap_err();
        assert_eq!(error.to_string(), "has no feature `wasmer`");
    }
}
