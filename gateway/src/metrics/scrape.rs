//! The endpoint of Prometheus.

use bytes::Bytes;
use http::{Method, Response, StatusCode};

use super::Metrics;
use crate::endpoints::{Asked, Handler, json, text};

/// Answers scrapes.
pub(crate) struct Scrape(Metrics);

impl Scrape {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Scrape(metrics)
    }
}

impl Handler for Scrape {
    fn answer(&self, request: &Asked) -> Response<Bytes> {
        match (&request.head.method, request.head.uri.path()) {
            (&Method::GET, "/apisix/prometheus/metrics" | "/metrics") => {
                text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.0.prometheus())
            }
            _ => json(StatusCode::NOT_FOUND, &serde_json::json!({ "error_msg": "404 Not Found" })),
        }
    }
}
