//! Noticing that nothing comes any more.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A limit on the time between two events. Costs nothing as long as they do not have to be waited for, and one clock
/// reading when they have.
#[derive(Debug)]
pub(crate) struct Stall {
    limit: Duration,
    /// Since when there is nothing.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    pub(crate) fn new(limit: Duration) -> Self {
        Stall { limit, since: None, timer: None }
    }

    /// Something came.
    pub(crate) fn came(&mut self) {
        self.since = None;
    }

    /// Nothing is there now. Ready when it has lasted too long.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = *self.since.get_or_insert_with(Instant::now) + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_silence_of_the_whole_limit_counts() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let limit = Duration::from_millis(800);
            let mut stall = Stall::new(limit);
            let started = Instant::now();
            for _ in 0..3 {
                let wait = std::future::poll_fn(|cx| stall.poll(cx));
                assert!(tokio::time::timeout(Duration::from_millis(300), wait).await.is_err());
                stall.came();
            }
            let silent = Instant::now();
            std::future::poll_fn(|cx| stall.poll(cx)).await;
            assert!(silent.elapsed() >= limit && started.elapsed() >= limit + Duration::from_millis(900));
        });
    }
}
