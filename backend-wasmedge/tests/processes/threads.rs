//! A process that may have no more threads, or one more.

use std::thread::Builder;

use chassis_backend_wasmedge::{WasmedgeEngine, WasmedgeLinked};
use chassis_engine_api::{Budget, Engine, Export, Failed, Instance, Limits};

use super::linked;

/// Users who have nothing else on the machine, each for one test: the system counts the threads of a user.
const USERS: [libc::uid_t; 2] = [64_901, 64_902];
/// More than this process or any other of that user needs.
const MANY: libc::rlim_t = 10_000;

/// Nothing ends the process, and when threads can be started again there are instances again.
pub(super) fn none_can_be_started() {
    let (engine, linked) = ready(USERS[0]);
    allow_threads(0);
    assert!(Builder::new().spawn(|| {}).is_err());
    for _ in 0..3 {
        let Err(Failed { stop, .. }) = engine.instantiate(&linked, (), &Limits::default(), Budget::UNLIMITED) else {
            panic!("there is an instance");
        };
        assert_eq!(stop.to_string(), "the instance could not be made: no thread can be started");
    }
    allow_threads(MANY);
    works(&engine, &linked);
}

/// However often, one is enough, though the one before may still be ending.
pub(super) fn one_can_be_started() {
    let (engine, linked) = ready(USERS[1]);
    let least = (1..MANY).find(|count| {
        allow_threads(*count);
        Builder::new().spawn(|| {}).is_ok_and(|thread| thread.join().is_ok())
    });
    assert!(least.is_some());
    for _ in 0..200 {
        works(&engine, &linked);
    }
}

/// Whether this process can have a user of its own; any other user has other processes too, which start threads and end
/// them.
pub(super) fn can_be_alone() -> bool {
    // SAFETY: only asks.
    unsafe { libc::geteuid() == 0 }
}

/// Everything is there but an instance, the clock's thread included; and the system counts this process's threads, as it
/// does for everybody but root.
fn ready(user: libc::uid_t) -> (WasmedgeEngine, WasmedgeLinked<()>) {
    let (engine, linked) = linked();
    works(&engine, &linked);
    // SAFETY: it changes the user of all threads of the process.
    let is_counted = !can_be_alone() || unsafe { libc::setuid(user) } == 0;
    assert!(is_counted, "root may have any number of threads, and this root cannot be somebody else");
    (engine, linked)
}

fn works(engine: &WasmedgeEngine, linked: &WasmedgeLinked<()>) {
    let instance = engine.instantiate(linked, (), &Limits::default(), Budget::UNLIMITED);
    let mut instance = instance.unwrap_or_else(|failed| panic!("{}", failed.stop));
    instance.call(Export(0), &mut [0], Budget::UNLIMITED).unwrap();
}

fn allow_threads(count: libc::rlim_t) {
    // SAFETY: the limits are valid for the calls.
    unsafe {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        assert_eq!(libc::getrlimit(libc::RLIMIT_NPROC, &raw mut limit), 0);
        limit.rlim_cur = count.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit), 0);
    }
}
