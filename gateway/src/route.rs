//! Which route a request takes.
//!
//! An exact path beats a longer prefix, which beats a shorter one. Among routes of the same path, higher priority comes
//! first, then those that name the host exactly, by its domain, not at all; then the order of the configuration. Routes
//! whose methods or hosts do not fit are passed over.
//!
//! Paths are compared decoded and normalised, so that `/public/../admin` and `/%61dmin` take the route of `/admin`
//! whatever the upstream makes of them. What is forwarded is the path as it came.

use std::borrow::Cow;

use http::Method;
use thiserror::Error;

use crate::config::{HostPattern, RouteConfig, UriPattern};

/// The routes of a configuration, ready to be matched.
#[derive(Debug, Default)]
pub struct Router {
    routes: Vec<Candidate>,
    exact: Vec<Entry>,
    prefixes: Vec<Entry>,
}

/// A path that no route can be found for; the client's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadPath {
    /// A `%` without two hexadecimal digits.
    #[error("a % in the path is not followed by two hexadecimal digits")]
    Encoding,
    /// A decoded NUL.
    #[error("the path has a NUL in it")]
    Nul,
    /// More `..` than segments before them.
    #[error("the path leads above the root")]
    AboveRoot,
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
    pub fn new(routes: &[RouteConfig]) -> Self {
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
    /// `path` is what came, without the query; `authority` is the host, with or without a port.
    ///
    /// # Errors
    /// [`BadPath`]: to be answered with 400.
    pub fn find(&self, method: &Method, authority: Option<&str>, path: &str) -> Result<Option<usize>, BadPath> {
        let path = normalised(path.as_bytes())?;
        let host = authority.map(host_of);
        if let Ok(entry) = self.exact.binary_search_by(|entry| (*entry.path).cmp(&path))
            && let Some(route) = self.fitting(&self.exact[entry], method, host)
        {
            return Ok(Some(route));
        }
        let mut next = self.prefixes.partition_point(|entry| *entry.path <= *path).checked_sub(1);
        while let Some(index) = next {
            let entry = &self.prefixes[index];
            if path.starts_with(&entry.path)
                && let Some(route) = self.fitting(entry, method, host)
            {
                return Ok(Some(route));
            }
            next = entry.parent;
        }
        Ok(None)
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
fn host_of(authority: &str) -> &str {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    host.strip_suffix('.').unwrap_or(host)
}

/// Decodes `%XX`, merges slashes and resolves `.` and `..`. A path that has none of them is borrowed.
fn normalised(path: &[u8]) -> Result<Cow<'_, [u8]>, BadPath> {
    let dubious = path.windows(2).any(|pair| pair[0] == b'/' && matches!(pair[1], b'/' | b'.')) || path.contains(&b'%');
    if !dubious {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path)?;
    let mut out = Vec::with_capacity(decoded.len());
    let mut segments = decoded.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = out.iter().rposition(|byte| *byte == b'/').ok_or(BadPath::AboveRoot)?;
                out.truncate(parent);
            }
            name => {
                out.push(b'/');
                out.extend_from_slice(name);
                continue;
            }
        }
        if last {
            out.push(b'/');
        }
    }
    Ok(Cow::Owned(out))
}

fn decode(path: &[u8]) -> Result<Vec<u8>, BadPath> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(*digit).to_digit(16)).ok_or(BadPath::Encoding);
        let value = digit()? * 16 + digit()?;
        if value == 0 {
            return Err(BadPath::Nul);
        }
        out.push(value as u8);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

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
            self.try_find(request).unwrap()
        }

        fn try_find(&self, request: &str) -> Result<Option<usize>, BadPath> {
            let (method, rest) = request.split_once(' ').unwrap();
            let (path, host) = rest.split_once(' ').map_or((rest, None), |(path, host)| (path, Some(host)));
            self.0.find(&method.parse().unwrap(), host, path)
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
            "/public/..%2fadmin/x",
            "/%61dmin/x",
            "//admin/x",
            "/./admin/x",
            "/admin//x",
            "/admin/./x",
            "/a/b/../../admin/",
            "/public/x/../../admin/.",
            "/public/../admin/x/..",
            "/admin%2fx",
        ] {
            assert_eq!(table.find(&format!("GET {path}")), Some(1), "{path}");
        }
        for path in ["/admin", "/adminx/", "/public/../../admin%2", "/.admin/", "/%2561dmin/x"] {
            assert_ne!(table.try_find(&format!("GET {path}")), Ok(Some(1)), "{path}");
        }
        for (path, error) in [
            ("/..", BadPath::AboveRoot),
            ("/a/../../admin/", BadPath::AboveRoot),
            ("/%2e%2e/", BadPath::AboveRoot),
            ("/%00", BadPath::Nul),
            ("/%", BadPath::Encoding),
            ("/%4", BadPath::Encoding),
            ("/%zz", BadPath::Encoding),
            ("/%+1", BadPath::Encoding),
        ] {
            assert_eq!(table.try_find(&format!("GET {path}")), Err(error), "{path}");
        }
    }

    #[test]
    fn ordinary_paths_are_not_copied() {
        assert!(matches!(normalised(b"/a/b.c/d-e_f~/"), Ok(Cow::Borrowed(_))));
        assert_eq!(&*normalised(b"/a/..").unwrap(), b"/");
        assert_eq!(&*normalised(b"/a/.b/...").unwrap(), b"/a/.b/...");
        assert_eq!(&*normalised(b"/%E2%82%AC").unwrap(), "/€".as_bytes());
        assert_eq!(&*normalised(b"/%ff").unwrap(), b"/\xff");
    }
}
