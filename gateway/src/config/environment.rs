//! `${{NAME}}` and `${{NAME:=default}}`: values from the environment, put into the text before it is read as YAML.

use std::borrow::Cow;
use std::cell::Cell;

use super::MAX_FILE_BYTES;
use super::error::{Place, Problem};
use super::shape::Shape;
use super::yaml::{self, shown};

/// Answers the value of a variable.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// After how many problems no further ones are looked for.
const PROBLEMS: usize = 100;

/// What stands around a placeholder in its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

/// The text with all placeholders replaced, on the lines that they were on. A value becomes a part of the scalar that it
/// stands in, whatever its characters: where there are no quotes for those that YAML would read, that is a problem.
pub(super) fn substituted<'a>(text: &'a str, environment: Environment<'_>) -> Result<Cow<'a, str>, Vec<Problem>> {
    if !text.contains("${{") {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut problems = Vec::new();
    let mut last = 1;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if problems.len() >= PROBLEMS || out.len() as u64 > MAX_FILE_BYTES {
            break;
        }
        last = number as u64 + 1;
        if line.contains("${{") {
            replace_in(line, number as u64 + 1, environment, &mut out, &mut problems);
        } else {
            out.push_str(line);
        }
    }
    if out.len() as u64 > MAX_FILE_BYTES {
        let cause = format!("the file has more than {MAX_FILE_BYTES} bytes with its values");
        problems.push(Problem::new(Place { line: last, column: 1 }, "${{", cause));
    }
    if problems.is_empty() { Ok(Cow::Owned(out)) } else { Err(problems) }
}

/// Whether a text has the shape that it has whatever its placeholders stand for; `replaced` is what became of it. Quotes
/// are looked for line by line, and this is what holds where YAML sees others, as in text over several lines.
pub(super) fn keeps_shape(text: &str, replaced: &str) -> bool {
    let count = Cell::new(0_u32);
    let harmless = |_: &str| {
        count.set(count.get() + 1);
        // Each another one, as keys of a mapping have to be.
        Some(format!("x{}", count.get()))
    };
    let Ok(expected) = substituted(text, &harmless) else { return false };
    let shape = |text: &str| yaml::read::<Shape>(text).ok();
    shape(&expected).is_some_and(|expected| shape(replaced) == Some(expected))
}

/// Where the first placeholder is.
pub(super) fn first_place(text: &str) -> Place {
    let before = text.split("${{").next().unwrap_or_default();
    let column = before.lines().next_back().filter(|_| !before.ends_with('\n')).unwrap_or_default().chars().count();
    Place { line: before.matches('\n').count() as u64 + 1, column: column as u64 + 1 }
}

fn replace_in(line: &str, number: u64, environment: Environment<'_>, out: &mut String, problems: &mut Vec<Problem>) {
    let mut quote = Quote::None;
    let mut before = ' ';
    // Whether a scalar may begin here: a quote within one is a character like others, as in `it's`.
    let mut begins = true;
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        if problems.len() >= PROBLEMS || out.len() as u64 > MAX_FILE_BYTES {
            return;
        }
        if let Some(after) = rest.strip_prefix("${{") {
            let replaced = after.split_once("}}").ok_or_else(|| "has no }} in its line".to_owned());
            let replaced = replaced.and_then(|(inner, after)| Ok((value(inner, quote, environment)?, after)));
            match replaced {
                Ok((value, after)) => {
                    out.push_str(&value);
                    rest = after;
                }
                Err(cause) => {
                    let column = line[..line.len() - rest.len()].chars().count() as u64 + 1;
                    problems.push(Problem::new(Place { line: number, column }, "${{", cause));
                    rest = after;
                }
            }
            (before, begins) = ('}', false);
            continue;
        }
        match (quote, next) {
            (Quote::None, '#') if before.is_whitespace() => break,
            (Quote::None, '"') if begins => quote = Quote::Double,
            (Quote::None, '\'') if begins => quote = Quote::Single,
            (Quote::Double, '"') if before != '\\' => quote = Quote::None,
            (Quote::Single, '\'') => quote = Quote::None,
            _ => {}
        }
        // After a single quote another one may follow, as `''` is one within them.
        begins = begins && next.is_whitespace() || quote == Quote::None && "[]{},:-?'".contains(next);
        // Two backslashes are one that escapes nothing.
        before = if before == '\\' && next == '\\' { ' ' } else { next };
        out.push(next);
        rest = &rest[next.len_utf8()..];
    }
    out.push_str(rest);
}

/// What takes the place of `${{inner}}`.
fn value(inner: &str, quote: Quote, environment: Environment<'_>) -> Result<String, String> {
    let (name, default) = match inner.split_once(":=") {
        Some((name, default)) => (name.trim(), Some(default.trim())),
        None => (inner.trim(), None),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err(format!("`{}` is not the name of a variable", shown(name)));
    }
    let value = environment(name).or_else(|| default.map(str::to_owned));
    let value = value.ok_or_else(|| {
        format!("the environment has no {}; a default is written as ${{{{{0}:=value}}}}", shown(name))
    })?;
    if value.chars().any(char::is_control) {
        return Err(format!("the value of {} has control characters", shown(name)));
    }
    match quote {
        Quote::Double => Ok(value.replace('\\', "\\\\").replace('"', "\\\"")),
        Quote::Single => Ok(value.replace('\'', "''")),
        Quote::None if is_plain(&value) => Ok(value),
        Quote::None => Err(format!("the value of {} has characters that need quotes around it here", shown(name))),
    }
}

/// Whether a value is the same without quotes, wherever it stands.
fn is_plain(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:@%+=~".contains(&byte))
        && !value.starts_with(['-', ':', '@', '%', '=', '~'])
        && !value.ends_with(':')
        || value.parse::<i64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        Some(match name {
            "PORT" => "9080".to_owned(),
            "QUOTED" => "a \"b\" 'c' \\d: #e".to_owned(),
            "LINES" => "a\nb".to_owned(),
            "EMPTY" => String::new(),
            _ => return None,
        })
    }

    #[test]
    fn values_stay_within_their_scalars() {
        let read = |text: &str| substituted(text, &environment).map(Cow::into_owned);
        for (text, expected) in [
            ("port: ${{PORT}}", "port: 9080"),
            ("port: ${{ PORT }}\nnext: ${{NONE:=1}}\n", "port: 9080\nnext: 1\n"),
            ("a: \"x${{PORT}}y${{PORT}}\"", "a: \"x9080y9080\""),
            ("a: \"${{QUOTED}}\"", "a: \"a \\\"b\\\" 'c' \\\\d: #e\""),
            ("a: '${{QUOTED}}'", "a: 'a \"b\" ''c'' \\d: #e'"),
            ("a: it's ${{PORT}}, b: \"it's ${{QUOTED}}\"", "a: it's 9080, b: \"it's a \\\"b\\\" 'c' \\\\d: #e\""),
            ("a: 'it''s ${{QUOTED}}'", "a: 'it''s a \"b\" ''c'' \\d: #e'"),
            ("a: \"\\\\\" # ${{NONE}}", "a: \"\\\\\" # ${{NONE}}"),
            ("# ${{NONE}}", "# ${{NONE}}"),
            ("a: ${{EMPTY}}", "a: "),
            ("a: ${{NONE:=http://h:80/}}", "a: http://h:80/"),
            ("a: $${PORT} {{PORT}}", "a: $${PORT} {{PORT}}"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, cause) in [
            ("a: ${{NONE}}", "the environment has no NONE; a default is written as ${{NONE:=value}}"),
            ("a: ${{QUOTED}}", "the value of QUOTED has characters that need quotes around it here"),
            ("a: \"${{LINES}}\"", "the value of LINES has control characters"),
            ("a: ${{PORT", "has no }} in its line"),
            ("a: ${{P-T}}", "`P-T` is not the name of a variable"),
            ("a: ${{}}", "`` is not the name of a variable"),
        ] {
            let problems = read(text).unwrap_err();
            let place = Place { line: 1, column: text.find("${{").unwrap() as u64 + 1 };
            assert_eq!((&*problems[0].cause, problems[0].place), (cause, place), "{text}");
        }
        assert_eq!(read("a: ${{A}}\nb: ${{B}}").unwrap_err().len(), 2, "all are told");
        assert_eq!(read(&"${{A}} ".repeat(1000)).unwrap_err().len(), PROBLEMS);
        assert_eq!(read(&"${{A}}\n".repeat(1000)).unwrap_err().len(), PROBLEMS);
        // A quote within a scalar begins nothing.
        assert!(read("{ desc: it's ${{QUOTED}}, uri: / }").is_err());
        let place = |text: &str| (first_place(text).line, first_place(text).column);
        assert_eq!((place("${{A}}"), place("a\nb: é${{A}}"), place("a\n${{A}}")), ((1, 1), (2, 5), (2, 1)));
        // Not quadratic: for each of so many placeholders the line before it would be gone through.
        let many = "${{A:=}}".repeat(1 << 18);
        assert_eq!(read(&many).as_deref(), Ok(""));
        // One short line, or many, with a long value.
        let long = |_: &str| Some("a".repeat(1 << 20));
        for text in ["${{A}} ".repeat(100), "${{A}}\n".repeat(100)] {
            let problems = substituted(&text, &long).unwrap_err();
            assert!(problems[0].cause.starts_with("the file has more than"), "{problems:?}");
        }
    }
}
