//! Cedar behind the C interface of `include/rust/policy.h`.

mod entities;
mod evaluate;
mod set;
mod source;

use crate::ffi::{Failure, RustCode};
use crate::sandbox::{self, Outcome};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

// As in `include/rust/policy.h`.
const TEXT_BYTES_MAX: usize = 1 << 20;
const STATEMENT_BYTES_MAX: usize = 16 << 10;
const DEPTH_MAX: usize = 64;
const COUNT_MAX: usize = 10_000;
const ENTITIES_BYTES_MAX: usize = 64 << 20;

const MEMORY_BYTES: u64 = 2 << 30;
const TIMEOUT: Duration = Duration::from_secs(60);
/// Each text that was stopped leaves its memory behind.
const STOPPED_MAX: usize = 4;

/// Reads a text of strangers: on a thread with a stack for any nesting that the bounds allow, within
/// bounds of memory and time.
fn read<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    static STOPPED: AtomicUsize = AtomicUsize::new(0);
    if STOPPED.load(Ordering::Relaxed) >= STOPPED_MAX {
        return Err(Failure::exhausted(
            "too many policy sets took more memory or time than they may: restart before the next",
        ));
    }
    // What the crate makes once for all texts is made here, never on a thread that may be stopped.
    set::warm_up();
    match sandbox::run(MEMORY_BYTES, TIMEOUT, work) {
        Outcome::Done(result) => result,
        Outcome::Stopped(failure) => {
            debug_assert_eq!(failure.code, RustCode::Exhausted);
            STOPPED.fetch_add(1, Ordering::Relaxed);
            Err(Failure::exhausted("reading the policies takes more memory or time than it may"))
        }
    }
}

/// # Safety
/// `output` is valid for writes.
unsafe fn store<T>(output: *mut T, value: T) {
    unsafe { output.write(value) };
}
