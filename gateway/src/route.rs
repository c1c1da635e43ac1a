//! Which route a request takes.
//!
//! An exact path beats a longer prefix, which beats a shorter one. Among routes of the same path, higher priority comes
//! first, then those that name the host exactly, by its domain, not at all; then the order of the configuration. Routes
//! whose methods or hosts do not fit are passed over.
//!
//! Paths are normalised before (see [`path`](crate::path)), and forwarded as they were compared.

use http::Method;

use crate::config::{HostPattern, RouteConfig, UriPattern};
use crate::path::compared;

/// The routes of a configuration, ready to be matched.
#[derive(Debug, Default)]
pub(crate) struct Router {
    routes: Vec<Candidate>,
    exact: Vec<Entry>,
    prefixes: Vec<Entry>,
}

#[derive(Debug)]
struct Candidate {
    methods: Vec<Method>,
    hosts: Vec<HostPattern>,
}

/// The routes of one path.
#[derive(Debug)]
struct Entry {
    path: Box<[u8]>,
    /// The longest other entry that this one begins with.
    parent: Option<usize>,
    /// In the order in which they are tried.
    routes: Vec<usize>,
}

impl Router {
    /// A router over the routes of a configuration.
    pub(crate) fn new(routes: &[RouteConfig]) -> Self {
        let mut exact = Vec::new();
        let mut prefixes = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            match &route.uri {
                UriPattern::Exact(path) => exact.push((path.as_bytes(), index)),
                UriPattern::Prefix(path) => prefixes.push((path.as_bytes(), index)),
            }
        }
        let mut prefixes = entries(prefixes, routes);
        link_parents(&mut prefixes);
        let candidate = |route: &RouteConfig| Candidate { methods: route.methods.clone(), hosts: route.hosts.clone() };
        Router { routes: routes.iter().map(candidate).collect(), exact: entries(exact, routes), prefixes }
    }

    /// The route of a request, as the index of its configuration.
    ///
    /// `path` is normalised and without the query; `authority` is the host, with or without a port.
    pub(crate) fn find(&self, method: &Method, authority: Option<&str>, path: &str) -> Option<usize> {
        let path = compared(path);
        let host = authority.map(host_of);
        if let Ok(entry) = self.exact.binary_search_by(|entry| (*entry.path).cmp(&path))
            && let Some(route) = self.fitting(&self.exact[entry], method, host)
        {
            return Some(route);
        }
        let mut next = self.prefixes.partition_point(|entry| *entry.path <= *path).checked_sub(1);
        while let Some(index) = next {
            let entry = &self.prefixes[index];
            if path.starts_with(&entry.path)
                && let Some(route) = self.fitting(entry, method, host)
            {
                return Some(route);
            }
            next = entry.parent;
        }
        None
    }

    fn fitting(&self, entry: &Entry, method: &Method, host: Option<&str>) -> Option<usize> {
        entry.routes.iter().copied().find(|route| self.routes[*route].fits(method, host))
    }
}

impl Candidate {
    fn fits(&self, method: &Method, host: Option<&str>) -> bool {
        (self.methods.is_empty() || self.methods.contains(method))
            && (self.hosts.is_empty()
                || host.is_some_and(|host| self.hosts.iter().any(|pattern| has_host(pattern, host))))
    }
}

fn has_host(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Exact(name) => host.eq_ignore_ascii_case(name),
        HostPattern::Suffix(domain) => {
            let host = host.as_bytes();
            host.len() > domain.len() && host[host.len() - domain.len()..].eq_ignore_ascii_case(domain.as_bytes())
        }
    }
}

/// One entry per path, sorted by path.
fn entries(mut paths: Vec<(&[u8], usize)>, routes: &[RouteConfig]) -> Vec<Entry> {
    paths.sort_by_key(|(path, route)| {
        let config = &routes[*route];
        (*path, -i64::from(config.priority), vagueness(&config.hosts), *route)
    });
    let mut entries: Vec<Entry> = Vec::new();
    for (path, route) in paths {
        match entries.last_mut() {
            Some(last) if *last.path == *path => last.routes.push(route),
            _ => entries.push(Entry { path: path.into(), parent: None, routes: vec![route] }),
        }
    }
    entries
}

fn vagueness(hosts: &[HostPattern]) -> u8 {
    match hosts {
        [] => 2,
        hosts if hosts.iter().any(|host| matches!(host, HostPattern::Suffix(_))) => 1,
        _ => 0,
    }
}

/// In sorted order, what an entry begins with is the entry before it or a parent of that one.
fn link_parents(entries: &mut [Entry]) {
    for index in 1..entries.len() {
        let mut parent = Some(index - 1);
        while let Some(candidate) = parent
            && !entries[index].path.starts_with(&entries[candidate].path)
        {
            parent = entries[candidate].parent;
        }
        entries[index].parent = parent;
    }
}

/// The host of an authority: without user, port and final dot.
pub(crate) fn host_of(authority: &str) -> &str {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use http::Uri;

    use super::*;
    use crate::config::{Config, EscapedSlashes};
    use crate::path::normalised_uri;

    /// A router over lines of `uri [methods] [hosts] [priority]`, and what a request finds: the number of the line.
    struct Table(Router);

    impl Table {
        fn new(lines: &[&str]) -> Self {
            let mut yaml = String::from("listen: [127.0.0.1:1]\nroutes:\n");
            for line in lines {
                yaml += &format!("  - {{ {line}, upstream: {{ nodes: {{ \"a:1\": 1 }} }} }}\n");
            }
            Table(Router::new(&Config::parse(&yaml, Path::new("")).unwrap().routes))
        }

        fn find(&self, request: &str) -> Option<usize> {
            let (method, rest) = request.split_once(' ').unwrap();
            let (path, host) = rest.split_once(' ').map_or((rest, None), |(path, host)| (path, Some(host)));
            let uri: Uri = path.parse().unwrap();
            let uri = normalised_uri(&uri, EscapedSlashes::Keep).unwrap().unwrap_or(uri);
            self.0.find(&method.parse().unwrap(), host, uri.path())
        }
    }

    #[test]
    fn exact_beats_longer_prefix_beats_shorter() {
        let table = Table::new(&["uri: /*", "uri: /a/*", "uri: /a/b", "uri: /a/b/*", "uri: /a/b*", "uri: /ab"]);
        for (path, route) in [
            ("/", 0),
            ("/a", 0),
            ("/a/", 1),
            ("/a/c", 1),
            ("/a/b", 2),
            ("/a/bc", 4),
            ("/a/b/", 3),
            ("/a/b/c/d", 3),
            ("/ab", 5),
            ("/abc", 0),
            ("/z", 0),
        ] {
            assert_eq!(table.find(&format!("GET {path}")), Some(route), "{path}");
        }
        assert_eq!(Table::new(&["uri: /a/*", "uri: /c"]).find("GET /b"), None);
        assert_eq!(Table::new(&[]).find("GET /"), None);
        assert_eq!(table.find("OPTIONS *"), None);
    }

    #[test]
    fn methods_hosts_and_priority_pick_among_equal_paths() {
        let table = Table::new(&[
            "uri: /x",
            "uri: /x, hosts: ['*.example.com']",
            "uri: /x, host: www.example.com",
            "uri: /x, methods: [POST], priority: 5",
            "uri: /x, priority: -1, methods: [DELETE]",
            "uri: /*, methods: [PUT]",
            "uri: /only, methods: [GET]",
        ]);
        for (request, route) in [
            ("GET /x", Some(0)),
            ("GET /x other", Some(0)),
            ("GET /x WWW.example.com:8080", Some(2)),
            ("GET /x api.example.com.", Some(1)),
            ("GET /x example.com", Some(0)),
            ("GET /x evilexample.com", Some(0)),
            ("POST /x www.example.com", Some(3)),
            ("PUT /only", Some(5)),
            ("POST /only", None),
        ] {
            assert_eq!(table.find(request), route, "{request}");
        }
    }

    #[test]
    fn a_request_without_a_fitting_host_falls_through_to_shorter_prefixes() {
        let table = Table::new(&["uri: /a/b/*, host: one", "uri: /a/*, host: two", "uri: /*"]);
        assert_eq!(table.find("GET /a/b/c one"), Some(0));
        assert_eq!(table.find("GET /a/b/c two"), Some(1));
        assert_eq!(table.find("GET /a/b/c three"), Some(2));
        assert_eq!(table.find("GET /a/b/c [::1]:80"), Some(2));
    }

    #[test]
    fn no_spelling_gets_around_a_route() {
        let table = Table::new(&["uri: /public/*", "uri: /admin/*", "uri: /*"]);
        for path in [
            "/public/../admin/x",
            "/public/%2e%2e/admin/x",
            "/public/%2E./admin/x",
            "/%61dmin/x",
            "//admin/x",
            "/./admin/x",
            "/admin//x",
            "/admin/./x",
            "/a/b/../../admin/",
            "/public/x/../../admin/.",
            "/public/../admin/x/..",
            "/admin/a%2fx",
            "/admin/..%2fx",
        ] {
            assert_eq!(table.find(&format!("GET {path}")), Some(1), "{path}");
        }
        for path in ["/admin", "/adminx/", "/.admin/", "/%2561dmin/x", "/admin%2fx", "/admin/../x", "/admin//../../x"] {
            assert_eq!(table.find(&format!("GET {path}")), Some(2), "{path}");
        }
        // What is reserved stays encoded on its way, and is the same to a route.
        let table = Table::new(&["uri: /a+b, methods: [GET]", "uri: /a:b/*", "uri: /*"]);
        for (path, route) in [("/a%2Bb", 0), ("/a%2bb", 0), ("/a%3Ab//c", 1), ("/a%20b", 2)] {
            assert_eq!(table.find(&format!("GET {path}")), Some(route), "{path}");
        }
    }
}
