//! The gateway on real sockets of the loopback: clients and upstreams are raw, so that they can misbehave.
#![allow(clippy::unwrap_used)]

mod client;
mod faults;
mod heads;
mod lifecycle;
mod proxying;
mod upstream;

use std::net::SocketAddr;
use std::path::Path;

use chassis_gateway::config::Config;
use chassis_gateway::{Server, Settings};

/// A gateway that is shut down when it is dropped.
struct Gateway {
    server: Option<Server>,
    address: SocketAddr,
}

impl Gateway {
    /// One worker, one route for everything, to this node.
    fn to(node: impl std::fmt::Display) -> Self {
        Self::routes(&format!("[{{ uri: /*, upstream: {{ nodes: {{ \"{node}\": 1 }} }} }}]"))
    }

    fn routes(routes: &str) -> Self {
        Self::with(routes, |_| {})
    }

    fn with(routes: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let text = format!("listen: [127.0.0.1:0]\nworkers: 1\nroutes: {routes}\n");
        let mut settings = Settings::new(Config::parse(&text, Path::new("test.yaml")).unwrap(), None);
        change(&mut settings);
        let server = Server::start(settings).unwrap();
        let address = server.addresses()[0];
        Gateway { server: Some(server), address }
    }
}
