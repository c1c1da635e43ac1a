//! The thread on which VMs are started, so that no worker waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Waker;

use chassis_abi::{Board, Configuration};
use chassis_engine_api::{HostError, Stop};

use crate::plugin::Plugin;
use crate::services::ServicesFactory;
use crate::vm::{self, StartError, Vm};

/// Starts VMs on a thread of its own; a handle that all workers share. The thread ends with its last handle.
#[derive(Clone)]
pub struct Preparer {
    jobs: Sender<Job>,
}

/// A VM to be started.
pub(crate) struct Job {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) configurations: Arc<[Configuration]>,
    /// What the worker knows the plugin by.
    pub(crate) slot: usize,
    pub(crate) reply: Sender<Prepared>,
    pub(crate) waker: Option<Waker>,
}

/// A VM that was started, or why not.
pub(crate) struct Prepared {
    pub(crate) slot: usize,
    pub(crate) vm: Result<Vm, StartError>,
}

impl Preparer {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn new(services: ServicesFactory) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        std::thread::Builder::new().name("chassis-preparer".into()).spawn(move || run(&queue, &services))?;
        Ok(Preparer { jobs })
    }

    pub(crate) fn prepare(&self, job: Job) {
        // The thread lives as long as a handle does, and nothing that it runs can end it.
        let _ = self.jobs.send(job);
    }
}

impl std::fmt::Debug for Preparer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Preparer")
    }
}

fn run(queue: &Receiver<Job>, services: &ServicesFactory) {
    for job in queue {
        // The board is the job's own, so that nothing of it is left when it panics.
        let start = || vm::start(&job.plugin, &job.configurations, &mut Some(Board::new(services())));
        let vm = catch_unwind(AssertUnwindSafe(start)).unwrap_or_else(|_| Err(panicked()));
        // A worker that is gone needs no VM any more.
        let _ = job.reply.send(Prepared { slot: job.slot, vm });
        if let Some(waker) = job.waker {
            waker.wake();
        }
    }
}

/// A panic is the host's own fault; workers are not to wait for ever because of it.
pub(crate) fn panicked() -> StartError {
    StartError::Stopped {
        callback: "",
        stop: Stop::Host(HostError::new("the host failed while it started the plugin")),
    }
}
