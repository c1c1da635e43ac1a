//! Which route a request takes.
//!
//! An exact path beats a longer prefix, which beats a shorter one; a path with parameters counts as the prefix before the
//! first one, and beats the plain prefix. Among routes of the same path, higher priority comes first, then those that name
//! the host exactly, by its domain, not at all; then the order of the configuration. Routes whose methods, hosts, clients
//! or conditions do not fit are passed over.
//!
//! Paths are normalised before (see [`path`](crate::path)), and forwarded as they were compared.

use std::borrow::Cow;

use http::Method;
use ipnet::IpNet;

use crate::conditions::Asked;
use crate::config::{Condition, HostPattern, RouteConfig, Segment, UriPattern};
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
    remote_addresses: Vec<IpNet>,
    vars: Option<Condition>,
}

/// A route at one of its paths.
#[derive(Debug)]
struct Target {
    route: usize,
    /// What follows the path of the entry, if that has parameters.
    rest: Option<Rest>,
}

/// What follows the fixed part of a path.
#[derive(Debug, Clone)]
struct Rest {
    segments: Vec<Segment>,
    /// Whether anything may follow after a slash.
    open: bool,
}

/// The routes of one path.
#[derive(Debug)]
struct Entry {
    path: Box<[u8]>,
    /// The longest other entry that this one begins with.
    parent: Option<usize>,
    /// In the order in which they are tried.
    targets: Vec<Target>,
}

impl Router {
    /// A router over the routes of a configuration.
    pub(crate) fn new(routes: &[RouteConfig]) -> Self {
        let mut exact = Vec::new();
        let mut prefixes = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            for uri in &route.uris {
                let target = |rest| Target { route: index, rest };
                match uri {
                    UriPattern::Exact(path) => exact.push((path.as_bytes(), target(None))),
                    UriPattern::Prefix(path) => prefixes.push((path.as_bytes(), target(None))),
                    UriPattern::Parameters { prefix, segments, open } => {
                        let rest = Rest { segments: segments.clone(), open: *open };
                        prefixes.push((prefix.as_bytes(), target(Some(rest))));
                    }
                }
            }
        }
        let mut prefixes = entries(prefixes, routes);
        link_parents(&mut prefixes);
        let candidate = |route: &RouteConfig| Candidate {
            methods: route.methods.clone(),
            hosts: route.hosts.clone(),
            remote_addresses: route.remote_addresses.clone(),
            vars: route.vars.clone(),
        };
        Router { routes: routes.iter().map(candidate).collect(), exact: entries(exact, routes), prefixes }
    }

    /// The route of a request, as the index of its configuration.
    ///
    pub(crate) fn find(&self, asked: &Asked<'_>) -> Option<usize> {
        let path = compared(asked.uri.path());
        let host = asked.authority.map(|authority| lower(host_of(authority)));
        let host = host.as_deref();
        if let Ok(entry) = self.exact.binary_search_by(|entry| (*entry.path).cmp(&path))
            && let Some(route) = self.fitting(&self.exact[entry], asked, &path, host)
        {
            return Some(route);
        }
        let mut next = self.prefixes.partition_point(|entry| *entry.path <= *path).checked_sub(1);
        while let Some(index) = next {
            let entry = &self.prefixes[index];
            if path.starts_with(&entry.path)
                && let Some(route) = self.fitting(entry, asked, &path, host)
            {
                return Some(route);
            }
            next = entry.parent;
        }
        None
    }

    fn fitting(&self, entry: &Entry, asked: &Asked<'_>, path: &[u8], host: Option<&str>) -> Option<usize> {
        let fits = |target: &&Target| {
            target.rest.as_ref().is_none_or(|rest| rest.fits(&path[entry.path.len()..]))
                && self.routes[target.route].fits(asked, path, host)
        };
        entry.targets.iter().find(fits).map(|target| target.route)
    }
}

impl Candidate {
    fn fits(&self, asked: &Asked<'_>, path: &[u8], host: Option<&str>) -> bool {
        (self.methods.is_empty() || self.methods.contains(asked.method))
            && (self.hosts.is_empty()
                || host.is_some_and(|host| self.hosts.iter().any(|pattern| has_host(pattern, host))))
            && (self.remote_addresses.is_empty() || self.comes_from_one(asked))
            && self.vars.as_ref().is_none_or(|vars| vars.is_true(asked, path, host))
    }

    fn comes_from_one(&self, asked: &Asked<'_>) -> bool {
        let address = asked.client.ip().to_canonical();
        self.remote_addresses.iter().any(|network| network.contains(&address))
    }
}

impl Rest {
    /// Whether this is the rest of a path.
    fn fits(&self, path: &[u8]) -> bool {
        let mut given = path.split(|byte| *byte == b'/');
        for segment in &self.segments {
            let Some(given) = given.next() else { return false };
            let fits = match segment {
                Segment::Fixed(fixed) => fixed.as_bytes() == given,
                Segment::Parameter(_) => !given.is_empty(),
            };
            if !fits {
                return false;
            }
        }
        // After the last one a slash, or nothing.
        given.next().is_some() == self.open
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
fn entries(mut paths: Vec<(&[u8], Target)>, routes: &[RouteConfig]) -> Vec<Entry> {
    paths.sort_by_key(|(path, target)| {
        let config = &routes[target.route];
        (*path, target.rest.is_none(), -i64::from(config.priority), vagueness(&config.hosts), target.route)
    });
    let mut entries: Vec<Entry> = Vec::new();
    for (path, target) in paths {
        match entries.last_mut() {
            Some(last) if *last.path == *path => last.targets.push(target),
            _ => entries.push(Entry { path: path.into(), parent: None, targets: vec![target] }),
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

fn lower(host: &str) -> Cow<'_, str> {
    match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
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

    use http::{HeaderMap, HeaderName, Uri};

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
            self.find_with(request, &[], "192.0.2.1")
        }

        fn find_with(&self, request: &str, headers: &[(&str, &str)], client: &str) -> Option<usize> {
            let (method, rest) = request.split_once(' ').unwrap();
            let (path, host) = rest.split_once(' ').map_or((rest, None), |(path, host)| (path, Some(host)));
            let uri: Uri = path.parse().unwrap();
            let uri = normalised_uri(&uri, EscapedSlashes::Keep).unwrap().unwrap_or(uri);
            let headers: HeaderMap = headers
                .iter()
                .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
                .collect();
            let client = std::net::SocketAddr::new(client.parse().unwrap(), 5000);
            let method = method.parse().unwrap();
            self.0.find(&Asked { method: &method, authority: host, uri: &uri, headers: &headers, client })
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
    fn parameters_are_segments_and_beat_the_prefix_before_them() {
        let table = Table::new(&[
            "uri: /users/*, priority: 9",
            "uri: /users/:id",
            "uri: /users/:id/orders/:order",
            "uri: /users/:id/files/*",
            "uris: [/users/me, /me]",
        ]);
        for (path, route) in [
            ("/users/", 0),
            ("/users/5", 1),
            ("/users/5/", 0),
            ("/users/5%20x", 1),
            ("/users/5/orders/7", 2),
            ("/users/5/orders/", 0),
            ("/users/5/orders/7/x", 0),
            ("/users/5/files/", 3),
            ("/users/5/files/a/b", 3),
            ("/users/5/files", 0),
            ("/users/me", 4),
            ("/me", 4),
        ] {
            assert_eq!(table.find(&format!("GET {path}")), Some(route), "{path}");
        }
        assert_eq!(table.find("GET /users"), None);
    }

    #[test]
    fn clients_and_conditions_pick_among_equal_paths() {
        let table = Table::new(&[
            "uri: /x, remote_addrs: [10.0.0.0/8, '2001:db8::/32'], vars: [[arg_v, '==', '2']]",
            "uri: /x, remote_addr: 10.1.2.3",
            "uri: /x, vars: [[http_x_age, '>=', 18], [cookie_id, '~~', '^[0-9]+$']]",
            "uri: /x, vars: [OR, [arg_v, in, ['7', '8']], ['!AND', [request_method, '~=', PUT], [host, '!', '~*', '^ADMIN']]]",
            "uri: /x, vars: [[http_x_tag, has, b]]",
            "uri: /x, vars: [[arg_none, '==', null], [uri, '~=', '/y'], [remote_addr, ipmatch, [192.0.2.0/24]], [request_uri, '==', '/x?last']]",
        ]);
        let none: [(&str, &str); 0] = [];
        for (request, headers, client, route) in [
            ("GET /x?v=2", &none[..], "10.9.9.9", Some(0)),
            ("GET /x?a&v=2&v=3", &none, "2001:db8::1", Some(0)),
            ("GET /x?v=3", &none, "10.9.9.9", None),
            ("GET /x?v=2", &none, "::ffff:10.0.0.1", Some(0)),
            ("GET /x", &none, "10.1.2.3", Some(1)),
            ("GET /x", &[("x-age", "18"), ("cookie", "a=b; id=42")], "192.0.2.1", Some(2)),
            ("GET /x", &[("x-age", "17"), ("cookie", "id=42")], "192.0.2.1", None),
            ("GET /x", &[("x-age", "old"), ("cookie", "id=42")], "192.0.2.1", None),
            ("GET /x", &[("x-age", "20"), ("cookie", "id=x")], "192.0.2.1", None),
            ("GET /x?v=8", &none, "192.0.2.1", Some(3)),
            ("PUT /x", &none, "192.0.2.1", Some(3)),
            ("GET /x admin.example", &none, "192.0.2.1", Some(3)),
            ("GET /x", &[("x-tag", "a"), ("x-tag", "b")], "192.0.2.1", Some(4)),
            ("GET /x?last", &none, "192.0.2.1", Some(5)),
            ("GET /x?last", &none, "192.0.3.1", None),
        ] {
            assert_eq!(table.find_with(request, headers, client), route, "{request} {headers:?} {client}");
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
