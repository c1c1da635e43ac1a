//! The control API: what a gateway does now, for operators and for the systems that watch it. It changes nothing.

mod shown;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json as value};
use tokio::sync::watch;

use crate::config::Config;
use crate::endpoints::{Asked, Handler, json, text};
use crate::metrics::Metrics;
use crate::server::Settings;
use crate::upstream::HealthChecks;
use crate::worker::Phase;

/// What is known of a gateway while it runs.
#[derive(Debug)]
pub(crate) struct State {
    config: Mutex<Arc<Config>>,
    metrics: Metrics,
    health: HealthChecks,
    started: AtomicBool,
    phase: watch::Receiver<Phase>,
}

impl State {
    pub(crate) fn new(settings: &Settings, phase: watch::Receiver<Phase>) -> Arc<Self> {
        Arc::new(State {
            config: Mutex::new(Arc::clone(&settings.config)),
            metrics: settings.metrics.clone(),
            health: settings.health.clone(),
            started: AtomicBool::new(false),
            phase,
        })
    }

    /// The configuration that is served.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that another configuration is served.
    pub(crate) fn set_config(&self, config: &Arc<Config>) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(config);
    }

    /// Notes that all workers serve.
    pub(crate) fn has_started(&self) {
        self.started.store(true, Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.started.load(Relaxed) && *self.phase.borrow() == Phase::Serve
    }
}

/// Answers the control API.
pub(crate) struct Control(Arc<State>);

impl Control {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Control(state)
    }

    /// What is at a path; `None` if nothing is.
    fn at(&self, path: &[&str]) -> Option<Value> {
        let config = self.0.config();
        match path {
            ["routes"] => Some(config.routes.iter().map(|route| shown::route(&config, route)).collect()),
            ["route", id] => route(&config, id).map(|route| shown::route(&config, route)),
            ["route", id, "chain"] => route(&config, id).map(|route| shown::chain(&config, route)),
            ["upstreams"] => Some(config.upstreams.iter().map(shown::upstream).collect()),
            ["upstream", id] => config.upstreams.iter().find(|upstream| upstream.id == *id).map(shown::upstream),
            ["healthcheck"] => Some(self.0.health.snapshot().iter().map(|health| value!(health)).collect()),
            ["healthcheck", of, id] => {
                let name = format!("{of}/{id}");
                self.0.health.snapshot().iter().find(|health| health.name == name).map(|health| value!(health))
            }
            ["plugins"] => Some(shown::plugins(&config, &self.0.metrics.plugins())),
            _ => None,
        }
    }
}

fn route<'a>(config: &'a Config, id: &str) -> Option<&'a crate::config::RouteConfig> {
    config.routes.iter().find(|route| route.id == id)
}

impl Handler for Control {
    fn answer(&self, request: &Asked) -> Response<Bytes> {
        if request.head.method != Method::GET {
            return json(StatusCode::METHOD_NOT_ALLOWED, &value!({ "error_msg": "405 Method Not Allowed" }));
        }
        let plain = |status, words: &str| text(status, "text/plain; charset=utf-8", format!("{words}\n"));
        match request.head.uri.path() {
            "/healthz" => plain(StatusCode::OK, "ok"),
            "/readyz" if self.0.is_ready() => plain(StatusCode::OK, "ready"),
            "/readyz" => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
            path => {
                let path: Vec<&str> = path.strip_prefix("/v1/").unwrap_or_default().split('/').collect();
                match self.at(&path) {
                    Some(found) => json(StatusCode::OK, &found),
                    None => json(StatusCode::NOT_FOUND, &value!({ "error_msg": "404 Not Found" })),
                }
            }
        }
    }
}
