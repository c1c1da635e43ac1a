//! The configuration, lines `old=>new`, and what it does to a body.

use memchr::memmem::{self, Finder};
use std::fmt;

/// All rules of a configuration, in its order.
#[derive(Debug, Default)]
pub(crate) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    old: Finder<'static>,
    new: Vec<u8>,
}

/// The line that is no rule, counted from 1, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    line: usize,
    reason: &'static str,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

const ARROW: &[u8] = b"=>";

impl Rules {
    /// A rule per line: what stands before the first `=>` is replaced by what stands behind it, blanks included.
    /// Empty lines count for nothing.
    pub(crate) fn parse(configuration: &[u8]) -> Result<Self, Invalid> {
        configuration
            .split(|&byte| byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .enumerate()
            .filter(|(_, line)| !line.is_empty())
            .map(|(index, line)| Rule::parse(line).map_err(|reason| Invalid { line: index + 1, reason }))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies each rule to what the rule before it left. `None` if none of them found anything.
    pub(crate) fn apply(&self, body: &[u8]) -> Option<Vec<u8>> {
        self.0.iter().fold(None, |rewritten: Option<Vec<u8>>, rule| {
            rule.apply(rewritten.as_deref().unwrap_or(body)).or(rewritten)
        })
    }
}

impl Rule {
    fn parse(line: &[u8]) -> Result<Self, &'static str> {
        let arrow = memmem::find(line, ARROW).ok_or("no => between old and new")?;
        let (old, new) = (&line[..arrow], &line[arrow + ARROW.len()..]);
        if old.is_empty() {
            return Err("nothing before =>");
        }
        Ok(Self { old: Finder::new(old).into_owned(), new: new.to_vec() })
    }

    fn apply(&self, body: &[u8]) -> Option<Vec<u8>> {
        let mut matches = self.old.find_iter(body).peekable();
        matches.peek()?;
        let mut rewritten = Vec::with_capacity(body.len());
        let mut rest = 0;
        for at in matches {
            rewritten.extend_from_slice(&body[rest..at]);
            rewritten.extend_from_slice(&self.new);
            rest = at + self.old.needle().len();
        }
        rewritten.extend_from_slice(&body[rest..]);
        Some(rewritten)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rewritten(configuration: &[u8], body: &[u8]) -> Option<Vec<u8>> {
        Rules::parse(configuration).unwrap().apply(body)
    }

    #[test]
    fn replaces_every_occurrence() {
        assert_eq!(rewritten(b"cat=>dog", b"cat, cats, concat").unwrap(), b"dog, dogs, condog");
        assert_eq!(rewritten(b"aa=>b", b"aaaaa").unwrap(), b"bba");
        assert_eq!(rewritten(b"a=>", b"banana").unwrap(), b"bnn");
    }

    #[test]
    fn finds_nothing() {
        assert_eq!(rewritten(b"cat=>dog", b"ca"), None);
        assert_eq!(rewritten(b"cat=>dog", b""), None);
        assert_eq!(rewritten(b"", b"cat"), None);
        assert_eq!(rewritten(b"x=>y\ny=>z", b"abc"), None);
    }

    #[test]
    fn rules_apply_in_order() {
        assert_eq!(rewritten(b"a=>b\nb=>c\r\n\nq=>r", b"ab").unwrap(), b"cc");
        assert_eq!(rewritten(b"q=>r\na=>b", b"aq").unwrap(), b"br");
    }

    #[test]
    fn works_on_bytes() {
        assert_eq!(rewritten(b"\xff\xfe=>\x80", b"\0\xff\xfe\xff").unwrap(), b"\0\x80\xff");
        assert_eq!(rewritten(b" a =>\t", b"x a y").unwrap(), b"x\ty");
        assert_eq!(rewritten(b"a=>b=>c", b"a").unwrap(), b"b=>c");
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        assert_eq!(Rules::parse(b"a=>b\nab").unwrap_err().line, 2);
        assert_eq!(Rules::parse(b"=>b").unwrap_err().to_string(), "line 1: nothing before =>");
        assert!(Rules::parse(b"\n\r\n").unwrap().is_empty());
    }
}
