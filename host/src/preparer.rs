//! The thread on which VMs are started, so that no worker waits for it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Waker;

use bytes::Bytes;
use chassis_abi::Board;

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
    pub(crate) configurations: Arc<[Bytes]>,
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
        // The thread lives as long as a handle does.
        let _ = self.jobs.send(job);
    }
}

impl std::fmt::Debug for Preparer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Preparer")
    }
}

fn run(queue: &Receiver<Job>, services: &ServicesFactory) {
    let mut board = None;
    for job in queue {
        // A host function that panicked took the board with it; each job may have a new one.
        let board = board.insert(Board::new(services()));
        let mut lent = Some(std::mem::replace(board, Board::new(services())));
        let vm = vm::start(&job.plugin, &job.configurations, &mut lent);
        // A worker that is gone needs no VM any more.
        let _ = job.reply.send(Prepared { slot: job.slot, vm });
        if let Some(waker) = job.waker {
            waker.wake();
        }
    }
}
