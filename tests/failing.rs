//! A library that stands between a program and the system's calls, and lets one of them fail: built by plain `rustc`,
//! and loaded before all others (`LD_PRELOAD`). The programs know nothing of it.
//!
//! | variable | what it says |
//! |---|---|
//! | `FAIL_CALL` | the kind of call, as in the macro's uses below |
//! | `FAIL_AT` | which of them, counted from 1; 0: none, but all kinds are counted |
//! | `FAIL_WITH` | how: the number of an error (`errno`) |
//! | `FAIL_IN` | the folder whose files matter; relative paths matter, too |
//! | `FAIL_LOG` | where the call that failed is written down; with 0, a line with the kind of each |
//!
//! # What is missing
//! Calls that do not go through the C library. What `rustix` does is seen where it is built for that
//! (`--cfg rustix_use_libc`); and never `std::io::copy` from file to file, which has calls of its own.

#![allow(unused_unsafe, reason = "a macro is used within unsafe code and without")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn readlink(path: *const c_char, into: *mut c_char, size: usize) -> isize;
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, size: *mut c_uint) -> c_int;
    fn __errno_location() -> *mut c_int;
}

/// The next library that has a function of this name: the system's.
const NEXT: *mut c_void = -1_isize as *mut c_void;

/// `O_WRONLY | O_CREAT | O_APPEND` of Linux.
const TO_LOG: c_int = 0o1 | 0o100 | 0o2000;

struct Plan {
    kind: String,
    at: i64,
    error: c_int,
    folder: String,
    log: CString,
}

static SEEN: AtomicI64 = AtomicI64::new(0);

fn plan() -> Option<&'static Plan> {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    let read = || {
        // Only the programs themselves, and not what starts them.
        let program = std::env::args_os().next()?.into_string().ok()?;
        (program.ends_with("/manager") || program.ends_with("/peer")).then_some(())?;
        Some(Plan {
            kind: std::env::var("FAIL_CALL").ok()?,
            at: std::env::var("FAIL_AT").ok()?.parse().ok()?,
            error: std::env::var("FAIL_WITH").ok()?.parse().ok()?,
            folder: std::env::var("FAIL_IN").ok()?,
            log: CString::new(std::env::var("FAIL_LOG").ok()?).ok()?,
        })
    };
    PLAN.get_or_init(read).as_ref()
}

/// Whether this call is the one that is to fail, and with which error.
fn fails(kind: &str, matters: impl FnOnce(&Plan) -> bool) -> Option<c_int> {
    let plan = plan()?;
    if (plan.at > 0 && plan.kind != kind) || !matters(plan) {
        return None;
    }
    let turn = plan.at > 0 && SEEN.fetch_add(1, Ordering::Relaxed) + 1 == plan.at;
    if turn || plan.at == 0 {
        note(plan, kind);
    }
    turn.then_some(plan.error)
}

fn note(plan: &Plan, kind: &str) {
    let line = format!("{kind}\n");
    unsafe {
        let log = real_open(plan.log.as_ptr(), TO_LOG, 0o600);
        real_write(log, line.as_ptr().cast(), line.len());
        real_close(log);
    }
}

/// Whether an open file is one of the folder.
fn is_file(fd: c_int, plan: &Plan) -> bool {
    let (link, mut path) = (format!("/proc/self/fd/{fd}\0"), [0_u8; 512]);
    let size = unsafe { readlink(link.as_ptr().cast(), path.as_mut_ptr().cast(), path.len()) };
    usize::try_from(size).is_ok_and(|size| path[..size].starts_with(plan.folder.as_bytes()))
}

fn is_path(path: *const c_char, plan: &Plan) -> bool {
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    !path.starts_with(b"/") || path.starts_with(plan.folder.as_bytes())
}

/// Whether it is a socket of IPv4 or IPv6; others, by which a program wakes itself, do not break.
fn is_socket(fd: c_int, _: &Plan) -> bool {
    // `SOL_SOCKET`, `SO_DOMAIN`, `AF_INET` and `AF_INET6` of Linux.
    const DOMAIN: [c_int; 2] = [1, 39];
    const INTERNET: [c_int; 2] = [2, 10];
    let (mut domain, mut size) = (0 as c_int, size_of::<c_int>() as c_uint);
    let asked = unsafe { getsockopt(fd, DOMAIN[0], DOMAIN[1], (&raw mut domain).cast(), &raw mut size) };
    asked == 0 && INTERNET.contains(&domain)
}

/// The system's own function.
macro_rules! real {
    ($name:ident($($type:ty),*) -> $answer:ty) => {{
        static REAL: AtomicUsize = AtomicUsize::new(0);
        if REAL.load(Ordering::Relaxed) == 0 {
            let name = concat!(stringify!($name), "\0");
            REAL.store(unsafe { dlsym(NEXT, name.as_ptr().cast()) } as usize, Ordering::Relaxed);
        }
        unsafe { std::mem::transmute::<usize, unsafe extern "C" fn($($type),*) -> $answer>(REAL.load(Ordering::Relaxed)) }
    }};
}

unsafe fn real_open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    unsafe { real!(open64(*const c_char, c_int, c_uint) -> c_int)(path, flags, mode) }
}

unsafe fn real_write(fd: c_int, bytes: *const c_void, size: usize) -> isize {
    unsafe { real!(write(c_int, *const c_void, usize) -> isize)(fd, bytes, size) }
}

unsafe fn real_close(fd: c_int) -> c_int {
    unsafe { real!(close(c_int) -> c_int)(fd) }
}

macro_rules! failing {
    ($kind:literal, $name:ident($($arg:ident: $type:ty),*) -> $answer:ty, $matters:expr) => {
        failing!($kind, $name($($arg: $type),*) -> $answer, $matters, |error: c_int| {
            unsafe { *__errno_location() = error };
            -1
        });
    };
    ($kind:literal, $name:ident($($arg:ident: $type:ty),*) -> $answer:ty, $matters:expr, $fail:expr) => {
        /// The system's function, which fails when it is its turn.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> $answer {
            match fails($kind, $matters) {
                Some(error) => ($fail)(error) as $answer,
                None => unsafe { real!($name($($type),*) -> $answer)($($arg),*) },
            }
        }
    };
}

failing!("open", open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int, |plan| is_path(path, plan));
failing!("read", read(fd: c_int, into: *mut c_void, size: usize) -> isize, |plan| is_file(fd, plan));
failing!("read", pread64(fd: c_int, into: *mut c_void, size: usize, at: i64) -> isize, |plan| is_file(fd, plan));
failing!("write", write(fd: c_int, from: *const c_void, size: usize) -> isize, |plan| is_file(fd, plan));
failing!("write", writev(fd: c_int, from: *const c_void, count: c_int) -> isize, |plan| is_file(fd, plan));
failing!("write", pwrite64(fd: c_int, from: *const c_void, size: usize, at: i64) -> isize, |plan| is_file(fd, plan));
failing!("write", ftruncate64(fd: c_int, size: i64) -> c_int, |plan| is_file(fd, plan));
failing!("fsync", fsync(fd: c_int) -> c_int, |plan| is_file(fd, plan));
failing!("fsync", fdatasync(fd: c_int) -> c_int, |plan| is_file(fd, plan));
failing!("rename", rename(from: *const c_char, to: *const c_char) -> c_int, |plan| is_path(to, plan));
failing!("rename", renameat(a: c_int, from: *const c_char, b: c_int, to: *const c_char) -> c_int, |plan| is_path(to, plan));
failing!("rename", renameat2(a: c_int, from: *const c_char, b: c_int, to: *const c_char, how: c_uint) -> c_int, |plan| is_path(to, plan));
failing!("bind", bind(fd: c_int, addr: *const c_void, size: c_uint) -> c_int, |_: &Plan| true);
failing!("accept", accept4(fd: c_int, addr: *mut c_void, size: *mut c_uint, flags: c_int) -> c_int, |_: &Plan| true);
failing!("connect", connect(fd: c_int, addr: *const c_void, size: c_uint) -> c_int, |_: &Plan| true);
failing!("socket", socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int, |_: &Plan| true);
failing!("recv", recv(fd: c_int, into: *mut c_void, size: usize, flags: c_int) -> isize, |plan| is_socket(fd, plan));
failing!("send", send(fd: c_int, from: *const c_void, size: usize, flags: c_int) -> isize, |plan| is_socket(fd, plan));
failing!("send", sendmsg(fd: c_int, message: *const c_void, flags: c_int) -> isize, |plan| is_socket(fd, plan));
failing!("send", sendfile(to: c_int, from: c_int, at: *mut i64, size: usize) -> isize, |plan| is_socket(to, plan));
failing!("send", sendfile64(to: c_int, from: c_int, at: *mut i64, size: usize) -> isize, |plan| is_socket(to, plan));
failing!(
    "spawn",
    pthread_create(thread: *mut c_void, how: *const c_void, run: *const c_void, with: *mut c_void) -> c_int,
    |_: &Plan| true,
    |error| error
);
