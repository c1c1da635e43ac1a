//! A report for people.

use std::fmt::{self, Display, Write};

use super::facts::Facts;
use super::{Report, Tried};
use crate::style::{ERROR, FAINT, GOOD, NAME, ODD, STRONG};

pub(crate) fn report(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out, report);
    out
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(out, "{STRONG}{}{STRONG:#}", report.file)?;
    if let Some(facts) = &report.module {
        summary(out, facts)?;
        callbacks(out, facts)?;
        imports(out, facts)?;
        sections(out, facts)?;
    }
    engines(out, &report.engines)
}

fn line(out: &mut String, name: &str, value: impl Display) -> fmt::Result {
    writeln!(out, "  {NAME}{name:<11}{NAME:#} {value}")
}

fn summary(out: &mut String, facts: &Facts) -> fmt::Result {
    match facts.abi {
        Some(version) => line(out, "ABI", format!("{version} ({})", facts.markers.join(", ")))?,
        None => line(out, "ABI", format!("{ODD}not a Proxy-Wasm module{ODD:#}"))?,
    }
    if let Some(made_with) = &facts.made_with {
        line(out, "made with", plain(made_with))?;
    }
    let functions = if facts.functions == 1 { "function" } else { "functions" };
    line(out, "size", format!("{} bytes, {} {functions}", facts.bytes, facts.functions))?;
    line(out, "sha256", &facts.sha256)?;
    match &facts.memory {
        Some(memory) => {
            let kib = |bytes: u64| format!("{} KiB", bytes >> 10);
            let maximum =
                memory.maximum_bytes.map_or("no maximum".to_owned(), |bytes| format!("at most {}", kib(bytes)));
            let exported = if memory.exported { "" } else { ", not exported" };
            line(out, "memory", format!("{} at the start, {maximum}{exported}", kib(memory.minimum_bytes)))?;
        }
        None => line(out, "memory", "none")?,
    }
    line(out, "allocator", facts.allocator.unwrap_or("none"))?;
    line(out, "start", or_none(&facts.start))
}

fn callbacks(out: &mut String, facts: &Facts) -> fmt::Result {
    heading(out, "callbacks", facts.callbacks.len())?;
    if facts.callbacks.is_empty() {
        return Ok(());
    }
    writeln!(out, "  {}", list(2, facts.callbacks.iter().copied()))
}

/// Names with commas between them, from a column on, in lines that fit into most terminals.
fn list<'a>(indent: usize, names: impl IntoIterator<Item = &'a str>) -> String {
    const WIDTH: usize = 100;
    let mut text = String::new();
    let mut column = indent;
    for name in names {
        if text.is_empty() {
            column += name.len();
        } else if column + ", ,".len() + name.len() > WIDTH {
            text.push_str(&format!(",\n{:indent$}", ""));
            column = indent + name.len();
        } else {
            text.push_str(", ");
            column += ", ".len() + name.len();
        }
        text.push_str(name);
    }
    text
}

fn imports(out: &mut String, facts: &Facts) -> fmt::Result {
    let count = facts.imports.values().map(Vec::len).sum();
    heading(out, "imports", count)?;
    for (group, names) in &facts.imports {
        // Nearly everything comes from one module, whose name would only repeat itself.
        let names = names.iter().map(|name| name.strip_prefix("env.").unwrap_or(name));
        line(out, group, list(14, names))?;
    }
    if facts.unknown_imports.is_empty() && facts.wrong_exports.is_empty() {
        return Ok(());
    }
    heading(out, "not for this host", facts.unknown_imports.len() + facts.wrong_exports.len())?;
    for unknown in &facts.unknown_imports {
        write!(out, "  {ODD}import {}.{}{ODD:#}", plain(&unknown.module), plain(&unknown.name))?;
        if let Some(reason) = &unknown.reason {
            write!(out, " ({reason})")?;
        }
        writeln!(out, "{}", unknown.hint.map_or_else(String::new, |hint| format!(": {hint}")))?;
    }
    facts.wrong_exports.iter().try_for_each(|export| writeln!(out, "  {ODD}{}{ODD:#}", plain(export)))
}

fn sections(out: &mut String, facts: &Facts) -> fmt::Result {
    heading(out, "sections", facts.sections.len())?;
    for section in &facts.sections {
        line(out, &plain(&section.name), format!("{} bytes", section.bytes))?;
    }
    facts.producers.iter().try_for_each(|producer| {
        let text = format!("{} {}", producer.name, producer.version);
        line(out, &plain(&producer.field), plain(&text))
    })
}

fn engines(out: &mut String, engines: &[Tried]) -> fmt::Result {
    if engines.is_empty() {
        return Ok(());
    }
    heading(out, "engines", engines.len())?;
    for tried in engines {
        let name = format!("{} {}", tried.name, tried.version);
        match tried.loads {
            true => {
                let time = tried.load_ns as f64 / 1e6;
                writeln!(out, "  {name:<18} {GOOD}runs it{GOOD:#} {FAINT}(loaded in {time:.1} ms){FAINT:#}")?;
            }
            false => writeln!(out, "  {name:<18} {ERROR}cannot run it{ERROR:#}")?,
        }
    }
    Ok(())
}

fn heading(out: &mut String, what: &str, count: usize) -> fmt::Result {
    writeln!(out, "{STRONG}{what}{STRONG:#} {FAINT}{count}{FAINT:#}")
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The module's own words, safe for a terminal.
fn plain(text: &str) -> String {
    chassis_host::escape(text.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_on_in_the_next_line_under_each_other() {
        assert_eq!(list(2, ["a", "b"]), "a, b");
        assert_eq!(list(2, []), "");
        let names = vec!["x".repeat(30); 4];
        let text = format!("  {}", list(2, names.iter().map(String::as_str)));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines.iter().all(|line| line.starts_with("  x") && line.len() <= 100), "{text}");
    }
}
