//! Health checks: what the file may say of them, with APISIX's names and defaults.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use super::raw;
use crate::config::parser::Parser;
use crate::config::values::Scalar;
use crate::config::yaml::{At, place};

/// How it is found out which nodes of an upstream serve.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checks {
    /// By asking them.
    pub active: ActiveCheck,
    /// By what becomes of requests.
    pub passive: Option<PassiveCheck>,
}

/// Asking nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActiveCheck {
    /// What they are asked.
    pub kind: CheckKind,
    /// How long one may take to answer: 1 ms to 1 h, 1 s by default.
    pub timeout: Duration,
    /// How many are asked at once: 1 to 1,000, 10 by default.
    pub concurrency: u32,
    /// The host that they are told; their own if there is none.
    pub host: Option<HeaderValue>,
    /// The port that is asked; their own if there is none.
    pub port: Option<u16>,
    /// The path that is asked for; `/` by default.
    pub http_path: String,
    /// Further header fields of the request.
    pub req_headers: Vec<(HeaderName, HeaderValue)>,
    /// How often those are asked that serve: 100 ms to 1 h, 1 s by default.
    pub healthy_interval: Duration,
    /// How often those are asked that do not: 100 ms to 1 h, 1 s by default.
    pub unhealthy_interval: Duration,
    /// What their answers count.
    pub thresholds: Thresholds,
}

/// What a node is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckKind {
    /// For a response to a GET.
    Http,
    /// To accept a connection.
    Tcp,
}

/// Judging nodes by what becomes of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassiveCheck {
    /// What it counts.
    pub thresholds: Thresholds,
}

/// What counts for a node and against it, and how often in a row: 0 to 254, where 0 is never.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Thresholds {
    /// Statuses that count for it, sorted.
    pub healthy_statuses: Vec<u16>,
    /// Statuses that count against it, sorted.
    pub unhealthy_statuses: Vec<u16>,
    /// After how many successes it serves.
    pub successes: u32,
    /// After how many of the statuses that count against it it does not.
    pub http_failures: u32,
    /// After how many connections that failed it does not.
    pub tcp_failures: u32,
    /// After how many timeouts it does not.
    pub timeouts: u32,
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

fn active_thresholds() -> Thresholds {
    Thresholds {
        healthy_statuses: vec![200, 302],
        unhealthy_statuses: vec![404, 429, 500, 501, 502, 503, 504, 505],
        successes: 2,
        http_failures: 5,
        tcp_failures: 2,
        timeouts: 3,
    }
}

fn passive_thresholds() -> Thresholds {
    Thresholds {
        healthy_statuses: (200..=208).chain([226]).chain(300..=308).collect(),
        unhealthy_statuses: vec![429, 500, 503],
        successes: 5,
        http_failures: 5,
        tcp_failures: 2,
        timeouts: 7,
    }
}

impl Parser<'_> {
    pub(super) fn checks(&mut self, raw: &At<raw::Checks>, key: &str) -> Option<Checks> {
        let Some(active) = &raw.value.active else {
            let cause = "needs `active`: who gets no requests any more would never be found to serve again";
            self.problem(place(raw), key, cause);
            return None;
        };
        let active = self.active(&active.value, &format!("{key}.active"));
        let passive = raw.value.passive.as_ref().map(|raw| self.passive(&raw.value, &format!("{key}.passive")));
        Some(Checks { active, passive })
    }

    fn active(&mut self, raw: &raw::Active, key: &str) -> ActiveCheck {
        let interval = SHORTEST_INTERVAL..=HOUR;
        let mut thresholds = active_thresholds();
        let (mut healthy_interval, mut unhealthy_interval) = (SECOND, SECOND);
        if let Some(raw) = &raw.healthy {
            let key = format!("{key}.healthy");
            let given = self.duration(&raw.interval, Some(SECOND), interval.clone(), &format!("{key}.interval"));
            healthy_interval = given.unwrap_or(SECOND);
            self.statuses(&raw.http_statuses, &mut thresholds.healthy_statuses, &key);
            self.number(&raw.successes, 1, &mut thresholds.successes, &format!("{key}.successes"));
        }
        if let Some(raw) = &raw.unhealthy {
            let key = format!("{key}.unhealthy");
            let given = self.duration(&raw.interval, Some(SECOND), interval, &format!("{key}.interval"));
            unhealthy_interval = given.unwrap_or(SECOND);
            self.statuses(&raw.http_statuses, &mut thresholds.unhealthy_statuses, &key);
            self.number(&raw.http_failures, 0, &mut thresholds.http_failures, &format!("{key}.http_failures"));
            self.number(&raw.tcp_failures, 0, &mut thresholds.tcp_failures, &format!("{key}.tcp_failures"));
            self.number(&raw.timeouts, 0, &mut thresholds.timeouts, &format!("{key}.timeouts"));
        }
        let timeout =
            self.duration(&raw.timeout, Some(SECOND), Duration::from_millis(1)..=HOUR, &format!("{key}.timeout"));
        let concurrency = raw.concurrency.as_ref().and_then(|raw| {
            let count = raw.value.text().parse().ok().filter(|count| (1..=1000).contains(count));
            let count = count.ok_or_else(|| "must be a number from 1 to 1000".to_owned());
            self.check(place(raw), &format!("{key}.concurrency"), count)
        });
        let host = raw.host.as_ref().and_then(|raw| {
            let host =
                Some(&raw.value).filter(|host| !host.is_empty()).and_then(|host| HeaderValue::from_str(host).ok());
            self.check(place(raw), &format!("{key}.host"), host.ok_or_else(|| "is no host".to_owned()))
        });
        let port = raw.port.as_ref().and_then(|raw| {
            let port = raw.value.text().parse().ok().filter(|port| *port > 0);
            let port = port.ok_or_else(|| "must be a number from 1 to 65535".to_owned());
            self.check(place(raw), &format!("{key}.port"), port)
        });
        let http_path = raw.http_path.as_ref().and_then(|raw| {
            let path = raw.value.parse::<http::uri::PathAndQuery>().ok().filter(|_| raw.value.starts_with('/'));
            let path = path.map(|path| path.to_string()).ok_or_else(|| "must be a path, as /status".to_owned());
            self.check(place(raw), &format!("{key}.http_path"), path)
        });
        let mut req_headers = Vec::new();
        for (index, raw) in raw.req_headers.iter().flatten().enumerate() {
            let field = header_line(&raw.value).ok_or_else(|| "must be a header line, as `Name: value`".to_owned());
            req_headers.extend(self.check(place(raw), &format!("{key}.req_headers[{index}]"), field));
        }
        ActiveCheck {
            kind: self.kind(&raw.kind, key),
            timeout: timeout.unwrap_or(SECOND),
            concurrency: concurrency.unwrap_or(10),
            host,
            port,
            http_path: http_path.unwrap_or_else(|| "/".to_owned()),
            req_headers,
            healthy_interval,
            unhealthy_interval,
            thresholds,
        }
    }

    fn passive(&mut self, raw: &raw::Passive, key: &str) -> PassiveCheck {
        let mut thresholds = passive_thresholds();
        if let Some(raw) = &raw.healthy {
            let key = format!("{key}.healthy");
            self.statuses(&raw.http_statuses, &mut thresholds.healthy_statuses, &key);
            self.number(&raw.successes, 0, &mut thresholds.successes, &format!("{key}.successes"));
        }
        if let Some(raw) = &raw.unhealthy {
            let key = format!("{key}.unhealthy");
            self.statuses(&raw.http_statuses, &mut thresholds.unhealthy_statuses, &key);
            self.number(&raw.http_failures, 0, &mut thresholds.http_failures, &format!("{key}.http_failures"));
            self.number(&raw.tcp_failures, 0, &mut thresholds.tcp_failures, &format!("{key}.tcp_failures"));
            self.number(&raw.timeouts, 0, &mut thresholds.timeouts, &format!("{key}.timeouts"));
        }
        // With TCP, statuses say nothing.
        if let CheckKind::Tcp = self.kind(&raw.kind, key) {
            thresholds.http_failures = 0;
        }
        PassiveCheck { thresholds }
    }

    fn kind(&mut self, raw: &Option<At<raw::CheckKind>>, key: &str) -> CheckKind {
        match raw.as_ref().map(|raw| (raw.value, place(raw))) {
            Some((raw::CheckKind::Tcp, _)) => CheckKind::Tcp,
            Some((raw::CheckKind::Https, place)) => {
                self.problem(place, &format!("{key}.type"), "https is not there; tcp asks for a connection only");
                CheckKind::Tcp
            }
            Some((raw::CheckKind::Http, _)) | None => CheckKind::Http,
        }
    }

    fn statuses(&mut self, raw: &Option<Vec<At<Scalar>>>, statuses: &mut Vec<u16>, key: &str) {
        let Some(raw) = raw else { return };
        statuses.clear();
        for (index, raw) in raw.iter().enumerate() {
            let status = raw.value.text().parse().ok().filter(|status: &u16| (200..=599).contains(status));
            let status = status.ok_or_else(|| "must be a status from 200 to 599".to_owned());
            statuses.extend(self.check(place(raw), &format!("{key}.http_statuses[{index}]"), status));
        }
        statuses.sort_unstable();
    }

    fn number(&mut self, raw: &Option<At<Scalar>>, least: u32, number: &mut u32, key: &str) {
        let Some(raw) = raw else { return };
        let given = raw.value.text().parse().ok().filter(|given| (least..=254).contains(given));
        let given = given.ok_or_else(|| format!("must be a number from {least} to 254"));
        *number = self.check(place(raw), key, given).unwrap_or(*number);
    }
}

fn header_line(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, HeaderValue::from_str(value.trim()).ok()?))
}
