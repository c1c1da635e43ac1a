//! The VMs of one worker, and the task that does for them what belongs to no request.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use chassis_host::{StreamKey, Worker};
use tokio::sync::Notify;

use crate::callouts::Callouts;

/// The VMs of one worker.
pub(crate) struct Guests {
    worker: RefCell<Worker>,
    bell: Arc<Bell>,
    /// Streams that have ended. A future that is dropped may not enter a guest, so it leaves the stream here.
    ended: RefCell<VecDeque<StreamKey>>,
    callouts: Callouts,
    /// When the task will look at the timers.
    armed: Cell<Option<Instant>>,
}

/// How many streams are closed before requests have their turn: each is three callbacks of each of its plugins.
const CLOSED_PER_TURN: usize = 16;

/// How often it is looked whether plugins have ended that defer their end.
const LOOK: Duration = Duration::from_millis(10);

/// Wakes the task.
#[derive(Debug, Default)]
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl Guests {
    /// The guests of a worker, which call others by `callouts`.
    pub(crate) fn new(mut worker: Worker, callouts: Callouts) -> Rc<Self> {
        let bell = Arc::new(Bell::default());
        worker.set_waker(Some(Waker::from(Arc::clone(&bell))));
        Rc::new(Guests {
            worker: RefCell::new(worker),
            bell,
            ended: RefCell::default(),
            callouts,
            armed: Cell::new(None),
        })
    }

    /// Gives the worker to `work`, which may not call this again.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Worker) -> R) -> R {
        let mut worker = self.worker.borrow_mut();
        let result = work(&mut worker);
        if worker.next_timer() != self.armed.get() {
            self.bell.0.notify_one();
        }
        result
    }

    /// Leaves a stream to be closed.
    pub(crate) fn end(&self, key: StreamKey) {
        self.ended.borrow_mut().push_back(key);
        self.bell.0.notify_one();
    }

    /// Closes streams that have ended, at most `most` of them. `false` if there may be more.
    pub(crate) fn close_ended(&self, most: usize) -> bool {
        for _ in 0..most {
            // Closing may end further streams, so nothing stays borrowed.
            let Some(key) = self.ended.borrow_mut().pop_front() else { return true };
            self.worker.borrow_mut().close(key);
        }
        false
    }

    /// Ends all plugins, and waits for those that defer their end, at most for `limit`. Their timers go off by
    /// [`keep`](Guests::keep).
    pub(crate) async fn shut_down(&self, limit: Duration) {
        self.with(|worker| worker.shutdown(limit));
        while !self.worker.borrow().is_shut_down() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Closes streams that have ended, runs timers, takes over VMs that were prepared, and begins callouts.
    pub(crate) async fn keep(self: Rc<Self>) {
        loop {
            let all_closed = self.close_ended(CLOSED_PER_TURN);
            let (next, has_work) = {
                let mut worker = self.worker.borrow_mut();
                worker.receive_prepared();
                let now = Instant::now();
                if worker.next_timer().is_some_and(|next| next <= now) {
                    worker.run_timers(now);
                }
                (worker.next_timer(), worker.has_work())
            };
            self.armed.set(next);
            self.begin_callouts();
            if has_work {
                // What was left for the next turn; I/O comes first.
                tokio::task::yield_now().await;
                continue;
            }
            match next {
                _ if !all_closed => tokio::task::yield_now().await,
                None => self.bell.0.notified().await,
                Some(next) => {
                    tokio::select! {
                        () = self.bell.0.notified() => {}
                        () = tokio::time::sleep_until(next.into()) => {}
                    }
                }
            }
        }
    }
}

impl Guests {
    fn begin_callouts(self: &Rc<Self>) {
        loop {
            let work = self.worker.borrow_mut().take_callout();
            let Some(work) = work else { return };
            self.callouts.begin(self, work);
        }
    }

    /// What carries callouts out.
    pub(crate) fn callouts(&self) -> &Callouts {
        &self.callouts
    }
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guests")
    }
}
