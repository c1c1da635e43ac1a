//! Files of any content.

use proptest::prelude::*;

use super::*;

/// A route as it is written, and what it means.
fn route() -> impl Strategy<Value = (String, UriPattern, Vec<Method>, i32, u16)> {
    let methods = proptest::sample::subsequence(vec!["GET", "POST", "DELETE"], 0..=3);
    ("(/[a-z]{1,5}){1,3}", any::<bool>(), methods, any::<i32>(), 1_u16..).prop_map(
        |(path, prefix, methods, priority, weight)| {
            let list = methods.join(", ");
            let methods_key = if methods.is_empty() { String::new() } else { format!("methods: [{list}], ") };
            let star = if prefix { "/*" } else { "" };
            let text = format!(
                "{{ uri: {path}{star}, {methods_key}priority: {priority}, upstream: {{ nodes: {{ \"h:1\": {weight} }} }} }}"
            );
            let pattern = if prefix { UriPattern::Prefix(format!("{path}/")) } else { UriPattern::Exact(path) };
            let methods = methods.iter().map(|method| method.parse().unwrap()).collect();
            (text, pattern, methods, priority, weight)
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(routes in proptest::collection::vec(route(), 0..8)) {
        let lines: String = routes.iter().map(|(text, ..)| format!("  - {text}\n")).collect();
        let text = if routes.is_empty() { String::new() } else { format!("routes:\n{lines}") };
        let config = Config::parse(&format!("listen: [127.0.0.1:1]\n{text}"), Path::new("")).unwrap();
        let read: Vec<_> = config
            .routes
            .into_iter()
            .map(|route| (route.uris[0].clone(), route.methods, route.priority, route.upstream.nodes[0].weight))
            .collect();
        let written: Vec<_> =
            routes.into_iter().map(|(_, uri, methods, priority, weight)| (uri, methods, priority, weight)).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn a_file_that_was_damaged_is_read_or_refused(at in 0_usize..1200, length in 0_usize..40, put in "[ -~\n\u{e4}]{0,12}") {
        let mut text: Vec<char> = GOOD.chars().collect();
        let start = at.min(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, put.chars());
        let text: String = text.into_iter().collect();
        if let Err(error) = Config::parse(&text, Path::new("c.yaml")) {
            prop_assert!(error.to_string().starts_with("c.yaml:"), "{}", error);
        }
    }

    #[test]
    fn any_text_is_refused_with_its_name(text in "\\PC{0,200}") {
        let error = Config::parse(&text, Path::new("c.yaml")).map(|_| ()).unwrap_err().to_string();
        prop_assert!(error.starts_with("c.yaml:"), "{}", error);
    }
}
