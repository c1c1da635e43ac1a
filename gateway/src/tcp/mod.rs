//! TCP streams: which route a connection takes, and its life between client, plugins and upstream.

mod pump;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use http::Request;
use ipnet::IpNet;
use tokio::net::TcpStream;

use self::pump::{Pump, Through};
use crate::chain::Chain;
use crate::config::StreamRouteConfig;
use crate::head::Client;
use crate::upstream::{Node, Pool, Subject, Turn, Upstream, UpstreamError};

/// The stream routes of a configuration, as one worker serves them.
#[derive(Debug, Default)]
pub(crate) struct StreamRoutes(Vec<Rc<StreamRoute>>);

#[derive(Debug)]
struct StreamRoute {
    id: String,
    server_addr: Option<IpAddr>,
    server_port: Option<u16>,
    remote_addr: Option<IpNet>,
    upstream: Upstream,
    /// `None` without plugins.
    chain: Option<Chain>,
}

impl StreamRoutes {
    /// `chains` has one entry per route.
    pub(crate) fn new(routes: &[StreamRouteConfig], pool: &Pool, chains: Vec<Option<Chain>>) -> Self {
        let route = |(config, chain): (&StreamRouteConfig, _)| {
            Rc::new(StreamRoute {
                id: config.id.clone(),
                server_addr: config.server_addr,
                server_port: config.server_port,
                remote_addr: config.remote_addr,
                upstream: Upstream::new(&config.upstream, pool),
                chain,
            })
        };
        StreamRoutes(routes.iter().zip(chains).map(route).collect())
    }

    /// The first route, in the order of the configuration, that is for a connection of `client` to `server`.
    fn find(&self, client: SocketAddr, server: SocketAddr) -> Option<Rc<StreamRoute>> {
        let fits = |route: &&Rc<StreamRoute>| {
            route.server_addr.is_none_or(|address| address == server.ip().to_canonical())
                && route.server_port.is_none_or(|port| port == server.port())
                && route.remote_addr.is_none_or(|network| network.contains(&client.ip().to_canonical()))
        };
        self.0.iter().find(fits).cloned()
    }

    /// Serves a connection until both its sides have ended. One that no route is for is closed.
    pub(crate) async fn serve(&self, stream: TcpStream, client: &Client) {
        let address = client.address();
        let local = stream.local_addr().unwrap_or(address);
        let Some(route) = self.find(address, local) else {
            tracing::info!(client = %address, server = %local, "no stream route is for this connection: closed");
            return;
        };
        let through = route.chain.as_ref().map(|chain| Through::begin(chain, client));
        let upstream = Rc::clone(&route);
        let connecting = async move {
            let (head, ()) = Request::new(()).into_parts();
            let mut turn = upstream.upstream.begin(&Subject { client: Some(address), head: &head });
            let connected = upstream.upstream.connect(&mut turn).await;
            (connected, turn)
        };
        let idle = route.upstream.idle_timeout();
        let ended = Pump::new(stream, through, Box::pin(connecting), idle, &route.upstream).run().await;
        match ended {
            Ok(()) => tracing::debug!(client = %address, route = route.id, "stream ended"),
            Err(why) => tracing::info!(client = %address, route = route.id, "stream broken off: {why}"),
        }
    }
}

/// What comes of connecting to an upstream: the connection, and its turn, which it has for as long as it is open.
type Connected = (Result<TcpStream, UpstreamError>, Turn);

/// The name of where a turn is, with its port.
fn told(node: &Node) -> (&str, Option<u64>) {
    let name = node.name();
    (name, name.rsplit_once(':').and_then(|(_, port)| port.parse().ok()))
}
