//! The form of case files, for editors.

use crate::case::CaseFile;

/// The JSON schema of a case file, indented, with a newline at its end.
pub fn schema() -> String {
    let schema = schemars::schema_for!(CaseFile);
    // A schema is JSON already.
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
