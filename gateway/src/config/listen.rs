//! Section `listen`: the addresses; and `workers`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use super::parser::Parser;
use super::values::Scalar;
use super::yaml::{At, place, shown};

impl Parser<'_> {
    pub(super) fn listen(&mut self, raw: &At<Vec<At<Scalar>>>) -> Vec<SocketAddr> {
        if raw.value.is_empty() {
            self.problem(place(raw), "listen", "is empty; name at least one address, as 127.0.0.1:9080");
        }
        let mut seen = HashSet::new();
        let mut addresses = Vec::new();
        for (index, entry) in raw.value.iter().enumerate() {
            let key = format!("listen[{index}]");
            let address = listen_address(entry.value.text()).and_then(|address| match seen.insert(address) {
                true => Ok(address),
                false => Err("is given twice".to_owned()),
            });
            addresses.extend(self.check(place(entry), &key, address));
        }
        addresses
    }

    pub(super) fn workers(&mut self, raw: &At<Scalar>) -> Option<NonZeroUsize> {
        let workers = workers(raw).ok_or_else(|| "must be a number from 1 to 1024".to_owned());
        self.check(place(raw), "workers", workers)
    }

    /// `nginx_config.worker_processes`: APISIX's name for the same; `auto` is one per core.
    pub(super) fn worker_processes(&mut self, raw: &At<Scalar>) -> Option<NonZeroUsize> {
        if raw.value.text() == "auto" {
            return None;
        }
        let workers = workers(raw).ok_or_else(|| "must be auto, or a number from 1 to 1024".to_owned());
        self.check(place(raw), "nginx_config.worker_processes", workers)
    }
}

fn workers(raw: &At<Scalar>) -> Option<NonZeroUsize> {
    raw.value.text().parse().ok().filter(|workers: &NonZeroUsize| workers.get() <= 1024)
}

pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        return Err(format!("must be an address with a port; did you mean `127.0.0.1:{port}`?"));
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return Err(format!("must be an IP address; did you mean `127.0.0.1:{}`?", shown(port)));
    }
    Err("must be an IP address with a port, as 127.0.0.1:9080 or [::1]:9080".to_owned())
}
