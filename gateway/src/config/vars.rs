//! `vars` of a route: conditions on what a request has, in APISIX's words.
//!
//! A list of conditions is true if all are: `[["arg_name", "==", "json"], ["http_x_age", "!", ">", 18]]`. A list that
//! begins with `AND`, `OR`, `!AND` or `!OR` joins those that follow. What is true when is what lua-resty-expr, by which
//! APISIX judges them, says; what APISIX does not load, or loads as something that nobody means, is refused.

use std::cmp::Ordering;

use http::HeaderName;
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
    /// `arg_NAME`: the first value of this name in the query, both decoded.
    Argument(String),
    /// `http_NAME`: a header field, with dashes for underscores.
    Header(HeaderName),
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
    Greater(Number),
    /// `>=`
    GreaterOrEqual(Number),
    /// `<`
    Less(Number),
    /// `<=`
    LessOrEqual(Number),
    /// `~~`, and `~*` without regard to case.
    Matches(Pattern),
    /// `in`: one of these texts; nothing else in the list is equal to a value.
    In(Vec<Literal>),
    /// `has`: the text is one of the lines of a header; false of all else.
    Has(Literal),
    /// `ipmatch`
    Within(Vec<IpNet>),
}

/// What a value is compared with: with a number as a number, with text byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// A string.
    Text(String),
    /// A number.
    Number(Number),
    /// Nothing.
    Absent,
}

/// A number that has a place among all others: never NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number(f64);

impl Number {
    /// Reads what `tonumber` of Lua reads: decimal, or hexadecimal without a fraction, white space around it or not.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?.trim_ascii();
        let number = hexadecimal(text).or_else(|| text.parse().ok())?;
        (!number.is_nan()).then_some(Number(number))
    }
}

fn hexadecimal(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")).filter(|digits| !digits.is_empty())?;
    let size = digits.chars().try_fold(0.0, |size, digit| Some(size * 16.0 + f64::from(digit.to_digit(16)?)))?;
    Some(if text.starts_with('-') { -size } else { size })
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        // There is no NaN.
        self.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal)
    }
}

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
/// How long the text of a regular expression may be: reading it takes memory before there is a program to be limited.
const PATTERN_TEXT_BYTES: usize = 4 << 10;
/// How much memory a regular expression may take.
const PATTERN_BYTES: usize = 256 << 10;

/// Reads the value of `vars`, which may have so many regular expressions.
pub(super) fn condition(vars: &Value, patterns: &mut usize) -> Result<Condition, String> {
    let list = vars.as_array().ok_or("must be a list of conditions, as [[\"arg_name\", \"==\", \"json\"]]")?;
    if list.is_empty() {
        return Ok(Condition::All(Vec::new()));
    }
    joined(list, DEPTH, patterns)
}

/// A list of conditions, with or without the word that joins them.
fn joined(list: &[Value], depth: usize, patterns: &mut usize) -> Result<Condition, String> {
    let Some(depth) = depth.checked_sub(1) else { return Err(format!("is nested more than {DEPTH} times")) };
    let (word, rest) = match list {
        [] => return Err("has an empty list where a condition must be".to_owned()),
        [Value::String(word), rest @ ..] => (Some(word.to_ascii_uppercase()), rest),
        rest => (None, rest),
    };
    let join: fn(Vec<Condition>) -> Condition = match word.as_deref().unwrap_or("AND") {
        "AND" => Condition::All,
        "OR" => Condition::Any,
        "!AND" => |all| Condition::Not(Box::new(Condition::All(all))),
        "!OR" => |all| Condition::Not(Box::new(Condition::Any(all))),
        // One condition in the place of a list of them.
        _ => return test(list, patterns),
    };
    match word {
        Some(word) if rest.len() < 2 => Err(format!("{word} must join two conditions or more")),
        _ => rest.iter().map(|item| single(item, depth, patterns)).collect::<Result<_, _>>().map(join),
    }
}

fn single(item: &Value, depth: usize, patterns: &mut usize) -> Result<Condition, String> {
    let list =
        item.as_array().ok_or_else(|| format!("has `{}` where a condition must be", shown(&item.to_string())))?;
    joined(list, depth, patterns)
}

fn test(list: &[Value], patterns: &mut usize) -> Result<Condition, String> {
    let written = || shown(&Value::from(list).to_string());
    let (name, operator, value, not) = match list {
        [Value::String(name), value @ Value::String(text)] if !is_operator(text) => {
            // APISIX compares with the text in lower case.
            if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return Err(format!("`{}` must have a == between variable and value", written()));
            }
            (name, "==", value, false)
        }
        [Value::String(name), Value::String(operator), value] => (name, operator.as_str(), value, false),
        [Value::String(name), Value::String(not), Value::String(operator), value] if not == "!" => {
            (name, operator.as_str(), value, true)
        }
        _ => {
            let text = written();
            return Err(format!("`{text}` must be [variable, operator, value] or [variable, \"!\", operator, value]"));
        }
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
        let header = HeaderName::from_bytes(header.replace('_', "-").as_bytes());
        return header.map(Variable::Header).map_err(|_| format!("`{}` is no header field", shown(name)));
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

const OPERATORS: [&str; 11] = ["==", "~=", ">", ">=", "<", "<=", "~~", "~*", "in", "has", "ipmatch"];

/// Whether this is what stands between a variable and a value, or before it.
fn is_operator(text: &str) -> bool {
    text == "!" || OPERATORS.iter().any(|operator| text.eq_ignore_ascii_case(operator))
}

fn operation(operator: &str, value: &Value, patterns: &mut usize) -> Result<Test, String> {
    Ok(match operator.to_ascii_lowercase().as_str() {
        "==" => Test::Equal(literal(value)?),
        "~=" => Test::NotEqual(literal(value)?),
        ">" => Test::Greater(number(value)?),
        ">=" => Test::GreaterOrEqual(number(value)?),
        "<" => Test::Less(number(value)?),
        "<=" => Test::LessOrEqual(number(value)?),
        "~~" => Test::Matches(pattern(value, false, patterns)?),
        "~*" => Test::Matches(pattern(value, true, patterns)?),
        "has" => Test::Has(literal(value)?),
        "in" => {
            let list = value.as_array().ok_or("in must have a list")?;
            Test::In(list.iter().map(literal).collect::<Result<_, _>>()?)
        }
        "ipmatch" => Test::Within(networks(value)?),
        _ => return Err(format!("unknown operator `{}`; known are {}", shown(operator), OPERATORS.join(", "))),
    })
}

fn literal(value: &Value) -> Result<Literal, String> {
    match value {
        Value::String(text) => Ok(Literal::Text(text.clone())),
        Value::Number(_) => number(value).map(Literal::Number),
        Value::Null => Ok(Literal::Absent),
        other => Err(format!("compares with `{}`; must be a string or a number", shown(&other.to_string()))),
    }
}

/// A number, or text that is one.
fn number(value: &Value) -> Result<Number, String> {
    let number = match value {
        Value::String(text) => Number::read(text.as_bytes()),
        other => other.as_f64().filter(|number| !number.is_nan()).map(Number),
    };
    number.ok_or_else(|| format!("compares with `{}`; must be a number", shown(&value.to_string())))
}

fn pattern(value: &Value, any_case: bool, patterns: &mut usize) -> Result<Pattern, String> {
    let text = value.as_str().ok_or("~~ and ~* must have a regular expression")?;
    *patterns = patterns.checked_sub(1).ok_or("has more regular expressions than a file may have, which is 1000")?;
    if text.len() > PATTERN_TEXT_BYTES {
        return Err(format!("has a regular expression of more than {PATTERN_TEXT_BYTES} bytes"));
    }
    let mut builder = RegexBuilder::new(text);
    builder.unicode(false).case_insensitive(any_case).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES);
    let regex = builder.build();
    let cause = |error: regex::Error| {
        let text = error.to_string();
        shown(text.lines().last().unwrap_or_default().trim_start_matches("error: "))
    };
    regex.map(Pattern).map_err(|error| format!("`{}` is no regular expression: {}", shown(text), cause(error)))
}

/// One, or a list of some.
fn networks(value: &Value) -> Result<Vec<IpNet>, String> {
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    if list.is_empty() {
        return Err("ipmatch must have an address or a network".to_owned());
    }
    list.iter().map(|item| network(item.as_str().unwrap_or_default())).collect()
}

/// An address, or a network as `10.0.0.0/8`.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse().ok().map(|address: std::net::IpAddr| IpNet::from(address));
    let network = text.parse().ok().or_else(address);
    network.ok_or_else(|| format!("`{}` must be an address or a network, as 10.0.0.1 or 10.0.0.0/8", shown(text)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

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
            (r#"[["uri","in"]]"#, "must be [variable, operator, value]"),
            (r#"[["uri","IPMATCH"]]"#, "must be [variable, operator, value]"),
            (r#"[["uri","!"]]"#, "must be [variable, operator, value]"),
            (r#"[["uri",1]]"#, "must be [variable, operator, value]"),
            (r#"[["uri","/A"]]"#, "must have a == between variable and value"),
            (r#"[[]]"#, "has an empty list where a condition must be"),
            (r#"["OR"]"#, "OR must join two conditions or more"),
            (r#"["!and"]"#, "!AND must join two conditions or more"),
            (r#"[["OR",["uri","a"]]]"#, "OR must join two conditions or more"),
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
            (r#"[["uri","in","a"]]"#, "in must have a list"),
            (r#"[["http_x",">","old"]]"#, "compares with `\"old\"`; must be a number"),
            (r#"[["http_x","<","nan"]]"#, "must be a number"),
            (r#"[["http_x",">=",null]]"#, "must be a number"),
            (r#"[["http_x","<=",""]]"#, "must be a number"),
            (r#"[["http_x y","==","a"]]"#, "`http_x y` is no header field"),
            (r#"[["remote_addr","ipmatch",[]]]"#, "ipmatch must have an address or a network"),
            (r#"[["remote_addr","ipmatch",""]]"#, "must be an address or a network"),
            (r#"[["uri","==",{}]]"#, "must be a string or a number"),
            (r#"[["remote_addr","ipmatch",["10.0.0.0/33"]]]"#, "must be an address or a network"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    #[test]
    fn words_are_read_as_apisix_reads_them() {
        for (one, same) in [
            (r#"[["uri","/a"]]"#, r#"[["uri","==","/a"]]"#),
            (r#"[["uri","IN",["a"]]]"#, r#"[["uri","in",["a"]]]"#),
            (r#"[["uri","!","Has","a"]]"#, r#"[["uri","!","has","a"]]"#),
            (r#"[["remote_addr","IpMatch","10.0.0.1"]]"#, r#"[["remote_addr","ipmatch",["10.0.0.1"]]]"#),
            (r#"["or",["uri","a"],["uri","b"]]"#, r#"["OR",["uri","a"],["uri","b"]]"#),
            (r#"[["http_X_Age",">"," 0x12 "]]"#, r#"[["http_x-age",">",18]]"#),
            (r#"[["http_x",">","-1.8e1"]]"#, r#"[["http_x",">",-18]]"#),
        ] {
            assert_eq!(read(one), read(same), "{one}");
            assert!(read(one).is_ok(), "{one}: {:?}", read(one));
        }
    }

    #[test]
    fn sizes_have_an_end() {
        let nested = |depth: usize| {
            let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
            read(&format!(r#"{open}["uri","==","a"]{close}"#))
        };
        assert!(nested(DEPTH).is_ok());
        assert!(nested(DEPTH + 1).unwrap_err().contains("is nested more than 16 times"));

        let long = |length: usize| read(&format!(r#"[["uri","~~","{}"]]"#, "a".repeat(length)));
        assert!(long(4096).is_ok());
        assert!(long(4097).unwrap_err().contains("has a regular expression of more than 4096 bytes"));

        let many = |count: usize| {
            let vars = vec!["[uri, '~~', a]"; count].join(", ");
            let text = format!(
                "listen: [127.0.0.1:1]\nroutes: [{{ uri: /, vars: [{vars}], upstream: {{ nodes: {{ 'a:1': 1 }} }} }}]"
            );
            Config::parse(&text, Path::new("c.yaml"))
                .map(|config| config.routes.len())
                .map_err(|error| error.to_string())
        };
        assert_eq!(many(1000), Ok(1));
        assert!(many(1001).unwrap_err().contains("has more regular expressions than a file may have, which is 1000"));
    }
}
