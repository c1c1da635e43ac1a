//! Where a case's module comes from.

use std::path::{Component, Path};

use bytes::Bytes;

use super::file::Guest;
use super::script;
use super::yaml::{At, Mistake};

/// A case's module.
#[derive(Debug, Clone)]
pub(crate) enum Module {
    /// It is here.
    Binary(Bytes),
    /// It is one of those in `plugins/`, by its path there without an ending.
    Plugin(String),
}

/// What may lie beside a case: the text of a file by its name.
pub(crate) type Beside<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The module of a guest; `source` is the case's own text.
pub(crate) fn module(guest: &At<Guest>, source: &str, beside: Beside<'_>) -> Result<Module, Mistake> {
    let Guest { script, abi, wat, file, plugin } = &guest.value;
    let given = [script.is_some(), wat.is_some(), file.is_some(), plugin.is_some()];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(Mistake::at(guest, "a guest is exactly one of script, wat, file and plugin"));
    }
    if abi.is_some() && script.is_none() {
        return Err(Mistake::at(guest, "only a script is marked with `abi`; other guests mark themselves"));
    }
    if let Some(script) = script {
        let text = script::module(script, abi.unwrap_or_default())?;
        return binary(&text).map_err(|(line, _, message)| {
            let line = text.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default().trim();
            Mistake::at(guest, format!("`{line}`: {message}"))
        });
    }
    if let Some(wat) = wat {
        return binary(&wat.value).map_err(|(line, column, message)| placed(wat, source, line, column, message));
    }
    if let Some(file) = file {
        let text = beside(&file.value).filter(|_| file.value.ends_with(".wat"));
        let text = text.ok_or_else(|| Mistake::at(file, format!("there is no `{}` beside the case", file.value)))?;
        return binary(&text).map_err(|(line, column, message)| {
            Mistake::at(file, format!("{}:{line}:{column}: {message}", file.value))
        });
    }
    let Some(plugin) = plugin else { return Err(Mistake::at(guest, "there is no guest")) };
    let plain = Path::new(&plugin.value).components().all(|part| matches!(part, Component::Normal(_)));
    if plugin.value.is_empty() || !plain || plugin.value.contains(['\\', '.']) {
        return Err(Mistake::at(plugin, "must be a module below `plugins/` without its ending, as rust/prime-auth"));
    }
    Ok(Module::Plugin(plugin.value.clone()))
}

/// Line, column and words of a mistake in a text.
type TextMistake = (u64, u64, String);

fn binary(text: &str) -> Result<Module, TextMistake> {
    wat::parse_str(text).map(|bytes| Module::Binary(bytes.into())).map_err(|error| read(&error.to_string()))
}

/// Takes a message of the text format's parser apart: words, then `--> name:line:column`.
fn read(message: &str) -> TextMistake {
    let place = message.lines().find_map(|line| {
        let (before, column) = line.trim_start().strip_prefix("--> ")?.rsplit_once(':')?;
        Some((before.rsplit_once(':')?.1.parse().ok()?, column.parse().ok()?))
    });
    let (line, column) = place.unwrap_or((1, 1));
    let words = message.lines().take_while(|line| !line.trim_start().starts_with("--> ")).collect::<Vec<_>>();
    (line, column, words.join(" ").chars().take(300).collect())
}

/// A mistake in a block of a case, by its place in the file.
fn placed(block: &At<String>, source: &str, line: u64, column: u64, message: String) -> Mistake {
    // The block's place is that of its first line, whose indentation is that of all.
    let first = block.referenced.line().saturating_sub(1);
    let text = source.lines().nth(first as usize).unwrap_or_default();
    let indent = text.len() - text.trim_start_matches(' ').len();
    Mistake { line: first + line, column: column + indent as u64, message }
}
