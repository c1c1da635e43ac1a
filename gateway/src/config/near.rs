//! Which known name an unknown one was probably meant to be.

/// The candidate nearest to `name`, if one is near enough to be a slip of the hand.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().take(64).count() / 2).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= limit || starts_alike(name, candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `timeouts` for `timeout`, `method` for `methods`, `add_header_2` for `add_header`.
fn starts_alike(name: &str, candidate: &str) -> bool {
    candidate.len() >= 3 && name.len() >= 3 && (name.starts_with(candidate) || candidate.starts_with(name))
}

/// Levenshtein distance; letters of different case and `-` against `_` count as equal. Long names are cut, so that a
/// hostile file costs no time.
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| -> Vec<char> {
        text.chars().take(64).map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
    };
    let (a, b) = (letters(a), letters(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let known = ["uri", "methods", "hosts", "host", "priority", "plugins", "upstream"];
        for (given, meant) in [
            ("urii", Some("uri")),
            ("method", Some("methods")),
            ("prioritty", Some("priority")),
            ("Upstream", Some("upstream")),
            ("plugin", Some("plugins")),
            ("retries", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, known), meant, "{given}");
        }
        assert_eq!(nearest("prime-auth", ["prime_auth"]), Some("prime_auth"));
        assert_eq!(nearest(&"x".repeat(1 << 20), known), None);
    }
}
