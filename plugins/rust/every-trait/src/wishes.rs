//! What the configuration asks for.
#![cfg_attr(test, allow(dead_code))]

/// The words of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Wishes(Vec<(String, String)>);

impl Wishes {
    pub(crate) fn parse(text: &str) -> Self {
        let word = |word: &str| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            (name.to_owned(), value.to_owned())
        };
        Wishes(text.split_whitespace().map(word).collect())
    }

    /// What stands behind a word, if it is there.
    pub(crate) fn value(&self, word: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == word).map(|(_, value)| value.as_str())
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.value(word).is_some()
    }

    /// A number behind a word.
    pub(crate) fn number(&self, word: &str) -> Option<u32> {
        self.value(word)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_with_and_without_a_value() {
        let wishes = Wishes::parse(" tcp\ntick=10 http_call=a=b reply=x ");
        assert!(wishes.has("tcp") && wishes.has("tick") && !wishes.has("queue"));
        assert_eq!((wishes.number("tick"), wishes.number("reply"), wishes.number("tcp")), (Some(10), None, None));
        assert_eq!(wishes.value("http_call"), Some("a=b"));
    }
}
