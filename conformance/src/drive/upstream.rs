//! Upstreams that are not there.

use super::driver::{Message, Upstream, UpstreamFailure};

/// An upstream that gives the same answer to everything.
#[derive(Debug, Clone)]
pub struct Scripted(pub Message);

impl Upstream for Scripted {
    fn answer(&mut self, _request: &Message) -> Result<Message, UpstreamFailure> {
        Ok(self.0.clone())
    }
}
