//! Runs work that may be hostile on a thread of its own, within bounds of memory, stack and time.
//!
//! The crates have no bound on memory, and Rust cannot recover from an allocation that fails: so
//! the allocator counts what a bounded thread holds, and one that asks for too much, or is late,
//! reports that and never runs again. Its memory, at most the bound, is not given back, which is
//! why callers count `Stopped` and refuse what causes it too often.

use crate::ffi::{catch, Failure};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Address space, touched only as far as recursion goes: the machine's own bounds on steps and
/// depth keep recursion far below it.
const STACK_BYTES: usize = 256 << 20;

struct Account {
    held: Cell<u64>,
    limit: Cell<u64>,
    deadline: Cell<Option<Instant>>,
    report: Cell<*const Report>,
}

thread_local! {
    static ACCOUNT: Account = const {
        Account {
            held: Cell::new(0),
            limit: Cell::new(u64::MAX),
            deadline: Cell::new(None),
            report: Cell::new(ptr::null()),
        }
    };
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Running,
    Finished,
    OutOfMemory,
    Late,
}

struct Report {
    state: Mutex<State>,
    changed: Condvar,
}

impl Report {
    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(|e| e.into_inner()) = state;
        self.changed.notify_one();
    }
}

struct CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn account(grow: usize, shrink: usize) {
    ACCOUNT.with(|account| {
        if account.report.get().is_null() {
            return;
        }
        let held = account.held.get().saturating_add(grow as u64).saturating_sub(shrink as u64);
        account.held.set(held);
        if grow == 0 {
            return;
        }
        if held > account.limit.get() {
            stop(account, State::OutOfMemory);
        } else if account.deadline.get().is_some_and(|deadline| Instant::now() > deadline) {
            stop(account, State::Late);
        }
    });
}

/// Never returns: the thread sleeps until the process ends. It holds no lock but what its own work
/// made, and nothing here allocates.
fn stop(account: &Account, state: State) {
    let report = account.report.replace(ptr::null());
    // SAFETY: the thread's closure keeps the report alive, and that is never dropped now.
    unsafe { (*report).set(state) };
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        account(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        account(layout.size(), 0);
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        account(0, layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        account(size, layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }
}

pub enum Outcome<T> {
    Done(Result<T, Failure>),
    /// Out of memory or late; its thread is left behind.
    Stopped(Failure),
}

pub fn run<T: Send + 'static>(
    memory_bytes: u64,
    timeout: Duration,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Outcome<T> {
    let report = Arc::new(Report { state: Mutex::new(State::Running), changed: Condvar::new() });
    let threads_report = report.clone();
    let deadline = Instant::now() + timeout;
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        ACCOUNT.with(|account| {
            account.limit.set(memory_bytes);
            account.deadline.set(Some(deadline));
            account.report.set(Arc::as_ptr(&threads_report));
        });
        let result = catch(work);
        ACCOUNT.with(|account| account.report.set(ptr::null()));
        threads_report.set(State::Finished);
        result
    });
    let Ok(thread) = thread else {
        return Outcome::Done(Err(Failure::internal("no thread could be started")));
    };
    // A thread between two allocations does not see the deadline: wait a little longer than it.
    let end = deadline + Duration::from_millis(200);
    let mut state = report.state.lock().unwrap_or_else(|e| e.into_inner());
    while *state == State::Running {
        let now = Instant::now();
        if now >= end {
            *state = State::Late;
            break;
        }
        state = match report.changed.wait_timeout(state, end - now) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        };
    }
    match *state {
        State::Finished => {
            drop(state);
            let result = thread.join();
            Outcome::Done(result.unwrap_or_else(|_| Err(Failure::internal("a thread was lost"))))
        }
        State::OutOfMemory => {
            Outcome::Stopped(Failure::exhausted("rendering needs more memory than it may have"))
        }
        _ => Outcome::Stopped(Failure::exhausted("rendering takes longer than it may")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_within_its_bounds_is_done() {
        let outcome = run(1 << 20, Duration::from_secs(10), || Ok(vec![1u8; 1 << 19].len()));
        assert!(matches!(outcome, Outcome::Done(Ok(n)) if n == 1 << 19));
    }

    #[test]
    fn memory_and_time_are_bounded() {
        let outcome = run(1 << 20, Duration::from_secs(10), || Ok(vec![1u8; 1 << 21].len()));
        assert!(matches!(outcome, Outcome::Stopped(_)));
        let outcome = run(1 << 20, Duration::from_millis(50), || {
            let mut n = 0;
            loop {
                n += std::hint::black_box(vec![1u8; 16]).len();
                if n == usize::MAX {
                    return Ok(n);
                }
            }
        });
        assert!(matches!(outcome, Outcome::Stopped(_)));
    }

    #[test]
    fn a_panic_is_a_failure() {
        let outcome = run(1 << 20, Duration::from_secs(10), || -> Result<(), Failure> {
            panic!("secret")
        });
        assert!(matches!(outcome, Outcome::Done(Err(failure)) if !failure.message.contains("secret")));
    }
}
