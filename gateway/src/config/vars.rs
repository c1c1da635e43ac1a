//! `vars` of a route: conditions on what a request has, in APISIX's words.
//!
//! A list of conditions is true if all are: `[["arg_name", "==", "json"], ["http_x_age", "!", ">", 18]]`. A list that
//! begins with `AND`, `OR`, `!AND` or `!OR` joins those that follow.

use ipnet::IpNet;
use regex::bytes::{Regex, RegexBuilder};
use serde_json::Value;

use super::near::nearest;
use super::yaml::shown;

/// A condition on a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// True if all are.
    All(Vec<Condition>),
    /// True if one is.
    Any(Vec<Condition>),
    /// True if it is not.
    Not(Box<Condition>),
    /// What is true of the value of a variable.
    Is(Variable, Test),
}

/// What a request has: a variable of nginx.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Variable {
    /// `arg_NAME`: the first value of this name in the query, as it came.
    Argument(String),
    /// `http_NAME`: a header field, in lower case and with dashes.
    Header(String),
    /// `cookie_NAME`.
    Cookie(String),
    /// `uri`: the path that routes are compared with.
    Uri,
    /// `request_uri`: path and query.
    RequestUri,
    /// `args` and `query_string`.
    Query,
    /// `host`, in lower case and without port.
    Host,
    /// `request_method`.
    Method,
    /// `remote_addr`.
    RemoteAddress,
    /// `remote_port`.
    RemotePort,
}

/// What is asked of a value. Of one that is not there, only that it is not equal is true.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Test {
    /// `==`
    Equal(Literal),
    /// `~=`
    NotEqual(Literal),
    /// `>`
    Greater(Literal),
    /// `>=`
    GreaterOrEqual(Literal),
    /// `<`
    Less(Literal),
    /// `<=`
    LessOrEqual(Literal),
    /// `~~`, and `~*` without regard to case.
    Matches(Pattern),
    /// `in`
    In(Vec<Literal>),
    /// `has`: one of the values of a header that came more than once.
    Has(Literal),
    /// `ipmatch`
    Within(Vec<IpNet>),
}

/// What a value is compared with: with a number as a number, else as text.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// A string.
    Text(String),
    /// A number; never NaN.
    Number(f64),
    /// Nothing.
    Absent,
}

impl Eq for Literal {}

/// A regular expression over bytes.
#[derive(Debug, Clone)]
pub struct Pattern(pub(crate) Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// How deep conditions may be in each other.
const DEPTH: usize = 16;
/// How much memory a regular expression may take.
const PATTERN_BYTES: usize = 256 << 10;

/// Reads the value of `vars`, which may have so many regular expressions.
pub(super) fn condition(vars: &Value, patterns: &mut usize) -> Result<Condition, String> {
    let list = vars.as_array().ok_or("must be a list of conditions, as [[\"arg_name\", \"==\", \"json\"]]")?;
    joined(list, DEPTH, patterns)
}

/// A list of conditions, with or without the word that joins them.
fn joined(list: &[Value], depth: usize, patterns: &mut usize) -> Result<Condition, String> {
    let Some(depth) = depth.checked_sub(1) else { return Err(format!("is nested more than {DEPTH} times")) };
    let (word, rest) = match list {
        [Value::String(word), rest @ ..] => (word.as_str(), rest),
        rest => ("AND", rest),
    };
    let join: fn(Vec<Condition>) -> Condition = match word.to_ascii_uppercase().as_str() {
        "AND" => Condition::All,
        "OR" => Condition::Any,
        "!AND" => |all| Condition::Not(Box::new(Condition::All(all))),
        "!OR" => |all| Condition::Not(Box::new(Condition::Any(all))),
        // One condition in the place of a list of them.
        _ => return test(list, patterns),
    };
    rest.iter().map(|item| single(item, depth, patterns)).collect::<Result<_, _>>().map(join)
}

fn single(item: &Value, depth: usize, patterns: &mut usize) -> Result<Condition, String> {
    let list =
        item.as_array().ok_or_else(|| format!("has `{}` where a condition must be", shown(&item.to_string())))?;
    joined(list, depth, patterns)
}

fn test(list: &[Value], patterns: &mut usize) -> Result<Condition, String> {
    let wrong = || {
        let text = shown(&Value::from(list).to_string());
        format!("`{text}` must be [variable, operator, value] or [variable, \"!\", operator, value]")
    };
    let (name, operator, value, not) = match list {
        [Value::String(name), Value::String(operator), value] => (name, operator, value, false),
        [Value::String(name), Value::String(not), Value::String(operator), value] if not == "!" => {
            (name, operator, value, true)
        }
        _ => return Err(wrong()),
    };
    let condition = Condition::Is(variable(name)?, operation(operator, value, patterns)?);
    Ok(if not { Condition::Not(Box::new(condition)) } else { condition })
}

fn variable(name: &str) -> Result<Variable, String> {
    const KNOWN: [&str; 9] = [
        "uri",
        "request_uri",
        "args",
        "query_string",
        "host",
        "request_method",
        "remote_addr",
        "remote_port",
        "http_host",
    ];
    if let Some(argument) = name.strip_prefix("arg_").filter(|argument| !argument.is_empty()) {
        return Ok(Variable::Argument(argument.to_owned()));
    }
    if let Some(header) = name.strip_prefix("http_").filter(|header| !header.is_empty()) {
        return Ok(Variable::Header(header.to_ascii_lowercase().replace('_', "-")));
    }
    if let Some(cookie) = name.strip_prefix("cookie_").filter(|cookie| !cookie.is_empty()) {
        return Ok(Variable::Cookie(cookie.to_owned()));
    }
    Ok(match name {
        "uri" => Variable::Uri,
        "request_uri" => Variable::RequestUri,
        "args" | "query_string" => Variable::Query,
        "host" => Variable::Host,
        "request_method" => Variable::Method,
        "remote_addr" => Variable::RemoteAddress,
        "remote_port" => Variable::RemotePort,
        _ => {
            let known = "arg_NAME, http_NAME, cookie_NAME";
            return Err(match nearest(name, KNOWN) {
                Some(near) => format!("unknown variable `{}`; did you mean `{near}`?", shown(name)),
                None => format!("unknown variable `{}`; known are {known}, {}", shown(name), KNOWN[..8].join(", ")),
            });
        }
    })
}

fn operation(operator: &str, value: &Value, patterns: &mut usize) -> Result<Test, String> {
    Ok(match operator {
        "==" => Test::Equal(literal(value)?),
        "~=" => Test::NotEqual(literal(value)?),
        ">" => Test::Greater(literal(value)?),
        ">=" => Test::GreaterOrEqual(literal(value)?),
        "<" => Test::Less(literal(value)?),
        "<=" => Test::LessOrEqual(literal(value)?),
        "~~" => Test::Matches(pattern(value, false, patterns)?),
        "~*" => Test::Matches(pattern(value, true, patterns)?),
        "has" => Test::Has(literal(value)?),
        "in" => Test::In(list_of(value)?.iter().map(literal).collect::<Result<_, _>>()?),
        "ipmatch" => Test::Within(list_of(value)?.iter().map(network_of).collect::<Result<_, _>>()?),
        other => {
            let known = "==, ~=, >, >=, <, <=, ~~, ~*, in, has, ipmatch";
            return Err(format!("unknown operator `{}`; known are {known}", shown(other)));
        }
    })
}

fn list_of(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| "in and ipmatch must have a list".to_owned())
}

fn literal(value: &Value) -> Result<Literal, String> {
    match value {
        Value::String(text) => Ok(Literal::Text(text.clone())),
        Value::Number(number) => Ok(Literal::Number(number.as_f64().unwrap_or_default())),
        Value::Null => Ok(Literal::Absent),
        other => Err(format!("compares with `{}`; must be a string or a number", shown(&other.to_string()))),
    }
}

fn pattern(value: &Value, any_case: bool, patterns: &mut usize) -> Result<Pattern, String> {
    let text = value.as_str().ok_or("~~ and ~* must have a regular expression")?;
    *patterns = patterns.checked_sub(1).ok_or("has more regular expressions than a file may have, which is 1000")?;
    let mut builder = RegexBuilder::new(text);
    builder.unicode(false).case_insensitive(any_case).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES);
    let regex = builder.build();
    let cause = |error: regex::Error| {
        let text = error.to_string();
        shown(text.lines().last().unwrap_or_default().trim_start_matches("error: "))
    };
    regex.map(Pattern).map_err(|error| format!("`{}` is no regular expression: {}", shown(text), cause(error)))
}

fn network_of(value: &Value) -> Result<IpNet, String> {
    network(value.as_str().unwrap_or_default())
}

/// An address, or a network as `10.0.0.0/8`.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse().ok().map(|address: std::net::IpAddr| IpNet::from(address));
    let network = text.parse().ok().or_else(address);
    network.ok_or_else(|| format!("`{}` must be an address or a network, as 10.0.0.1 or 10.0.0.0/8", shown(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Condition, String> {
        condition(&serde_json::from_str(json).unwrap(), &mut 2)
    }

    #[test]
    fn conditions_are_joined_and_turned() {
        let is = |text: &str| Condition::Is(Variable::Uri, Test::Equal(Literal::Text(text.into())));
        assert_eq!(read("[]"), Ok(Condition::All(vec![])));
        assert_eq!(read(r#"[["uri","==","a"]]"#), Ok(Condition::All(vec![is("a")])));
        assert_eq!(
            read(r#"["OR",["uri","==","a"],["!AND",["uri","==","b"],["uri","!","==","c"]]]"#),
            Ok(Condition::Any(vec![
                is("a"),
                Condition::Not(Box::new(Condition::All(vec![is("b"), Condition::Not(Box::new(is("c")))])))
            ]))
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (json, expected) in [
            (r#"{}"#, "must be a list of conditions"),
            (r#"["uri"]"#, "must be [variable, operator, value]"),
            (r#"[1]"#, "has `1` where a condition must be"),
            (r#"[["uri","=","a"]]"#, "unknown operator `=`"),
            (r#"[["ur","==","a"]]"#, "unknown variable `ur`; did you mean `uri`?"),
            (r#"[["graphql_name","==","a"]]"#, "unknown variable `graphql_name`; known are arg_NAME"),
            (r#"[["uri","~~","("]]"#, "`(` is no regular expression: unclosed group"),
            (r#"[["uri","~~","((a{9}){99}){999}"]]"#, "is no regular expression"),
            (
                r#"[["uri","~~","a"],["uri","~*","a"],["uri","~~","a"]]"#,
                "has more regular expressions than a file may have",
            ),
            (r#"[["uri","in","a"]]"#, "in and ipmatch must have a list"),
            (r#"[["uri","==",{}]]"#, "must be a string or a number"),
            (r#"[["remote_addr","ipmatch",["10.0.0.0/33"]]]"#, "must be an address or a network"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        assert!(read(&deep).unwrap_err().contains("nested"));
    }
}
