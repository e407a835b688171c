//! Starting a thread: each has a name, each is joined or let go on purpose, and one that cannot be started is an error
//! and no panic.
//!
//! # The problem
//! A thread without a name is a number in a debugger. One that nobody joins goes on after its owner is gone, and one
//! that panics does so in silence. And a machine that has run out of threads must refuse one connection, not end the
//! program.
//!
//! # The rule
//! Every thread of the project is started here, by the name of the function that it runs. A [`Thread`] is joined when
//! it is dropped, unless it was `detach`ed; a scoped one by its scope. Work that comes in parts is done by
//! `on_threads`. `lib.rs` has a table of all names, and a test holds it against the calls.

use std::fs;
use std::panic::resume_unwind;
use std::sync::LazyLock;
use std::thread::{self, Builder, JoinHandle, Scope, ScopedJoinHandle};

use log::warn;
use parking_lot::Mutex;

use crate::error::{Code, Error, Result};

/// A running thread, which is joined when this is dropped.
pub struct Thread(Option<JoinHandle<()>>);

/// Starts a thread.
///
/// # Errors
/// `busy` when the system has no thread left.
pub fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<Thread> {
    let started = Builder::new().name(name.into()).spawn(run);
    started.map(|handle| Thread(Some(handle))).map_err(|e| no_thread(name, e))
}

/// Starts a thread that ends before its scope does.
///
/// # Errors
/// As [`start`].
pub fn start_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().name(name.into()).spawn_scoped(scope, run).map_err(|e| no_thread(name, e))
}

fn no_thread(name: &str, why: std::io::Error) -> Error {
    Error::new(Code::Busy, format!("cannot start the thread {name}"))
        .because(why)
        .advise("end other programs, or raise the limit of processes (`ulimit -u`)")
}

impl Thread {
    /// Lets it run to its own end, which nobody waits for.
    pub fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // One that throws away the handle to itself is at its end.
        let Some(handle) = self.0.take().filter(|handle| handle.thread().id() != thread::current().id())
        else {
            return;
        };
        let name = handle.thread().name().unwrap_or("?").to_owned();
        if handle.join().is_err() {
            warn!("the thread {name} panicked");
        }
    }
}

/// Does the parts of some work on as many threads of that name, this one among them, and returns what they
/// come to. Each thread takes a part whenever it is free, so where no other thread can be had, this one
/// does them all.
pub(crate) fn on_threads<T: Send, X: Send>(
    name: &str,
    parts: Vec<T>,
    work: impl Fn(T) -> X + Sync,
) -> Vec<X> {
    if parts.len() < 2 {
        return parts.into_iter().map(work).collect();
    }
    let others = parts.len() - 1;
    let waiting = Mutex::new(parts.into_iter().enumerate());
    let take = || waiting.lock().next();
    let run = || std::iter::from_fn(take).map(|(n, part)| (n, work(part))).collect::<Vec<_>>();
    thread::scope(|scope| {
        let helpers: Vec<_> = (0..others).map_while(|_| start_scoped(scope, name, run).ok()).collect();
        let mut done = run();
        for helper in helpers {
            done.extend(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done.sort_unstable_by_key(|(n, _)| *n);
        done.into_iter().map(|(_, result)| result).collect()
    })
}

/// How many cores this program may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The bytes of this machine's caches: a core's first for data, its second, and the third. Those of a usual machine
/// where it does not say.
pub fn caches() -> [usize; 3] {
    static CACHES: LazyLock<[usize; 3]> = LazyLock::new(|| {
        let mut caches = [32 << 10, 1 << 20, 32 << 20];
        for index in 0..8 {
            let read = |what| {
                let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{what}");
                fs::read_to_string(path).unwrap_or_default().trim().to_owned()
            };
            let size = read("size").strip_suffix('K').and_then(|size| size.parse::<usize>().ok());
            let level = read("level").parse::<usize>().ok();
            let level = level.and_then(|level| caches.get_mut(level.checked_sub(1)?));
            if let (Some(size @ 1..), Some(level)) = (size, level)
                && read("type") != "Instruction"
            {
                *level = size << 10;
            }
        }
        caches
    });
    *CACHES
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crossbeam_channel::bounded;

    use super::*;

    #[test]
    fn a_thread_has_its_name_and_is_joined_when_it_is_dropped() {
        let name = Arc::new(Mutex::new(String::new()));
        let told = Arc::clone(&name);
        let thread = start("a_name", move || *told.lock() = thread::current().name().unwrap().to_owned());
        drop(thread.unwrap());
        assert_eq!(*name.lock(), "a_name");
    }

    #[test]
    fn a_thread_may_hold_its_own_handle() {
        let (give, take) = bounded::<Thread>(1);
        let (end, ended) = bounded::<()>(0);
        let thread = start("itself", move || {
            drop(take.recv());
            drop(end);
        });
        give.send(thread.unwrap()).unwrap();
        assert!(ended.recv().is_err(), "it came to its end");
    }

    #[test]
    fn parts_are_done_at_once_in_order_and_a_panic_of_one_is_not_lost() {
        // Each waits for the others, so no thread can do two of them.
        let together = std::sync::Barrier::new(3);
        let part = |n: i32| {
            together.wait();
            (2 * n, thread::current().id())
        };
        let done = on_threads("parts", vec![1, 2, 3], part);
        assert_eq!(done.iter().map(|(double, _)| *double).collect::<Vec<_>>(), [2, 4, 6]);
        assert!(done.iter().any(|(_, thread)| *thread == thread::current().id()));
        assert!(std::panic::catch_unwind(|| on_threads("parts", vec![1, 2], |n| assert_eq!(n, 1))).is_err());
        assert!(on_threads("parts", Vec::<i32>::new(), |n| n).is_empty());
    }
}
