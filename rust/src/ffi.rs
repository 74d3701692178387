//! What the parts of the C interface share: borrowed and owned memory, and the wall that no panic
//! crosses. `include/rust/ffi.h` states the contract.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct RustSlice {
    data: *const u8,
    size: usize,
}

impl RustSlice {
    /// # Safety
    /// The caller's `data` is valid for `size` bytes while the result lives.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        unsafe { elements(self.data, self.size) }
    }

    /// # Safety
    /// As `bytes`.
    pub unsafe fn text<'a>(self) -> Result<&'a str, Failure> {
        std::str::from_utf8(unsafe { self.bytes() }).map_err(|_| Failure::invalid("text is not UTF-8"))
    }
}

/// # Safety
/// `data` is valid for `size` elements while the result lives, or `size` is 0.
pub unsafe fn elements<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if size == 0 {
        &[]
    } else {
        unsafe { std::slice::from_raw_parts(data, size) }
    }
}

#[repr(C)]
pub struct RustBuffer {
    data: *mut u8,
    size: usize,
    capacity: usize,
}

impl From<String> for RustBuffer {
    fn from(text: String) -> Self {
        let mut bytes = std::mem::ManuallyDrop::new(text.into_bytes());
        RustBuffer { data: bytes.as_mut_ptr(), size: bytes.len(), capacity: bytes.capacity() }
    }
}

#[repr(C)]
pub struct RustIds {
    data: *mut u32,
    size: usize,
    capacity: usize,
}

impl From<Vec<u32>> for RustIds {
    fn from(ids: Vec<u32>) -> Self {
        let mut ids = std::mem::ManuallyDrop::new(ids);
        RustIds { data: ids.as_mut_ptr(), size: ids.len(), capacity: ids.capacity() }
    }
}

/// # Safety
/// `buffer` came from this library and was not freed.
#[no_mangle]
pub unsafe extern "C" fn RustBufferFree(buffer: RustBuffer) {
    if !buffer.data.is_null() {
        drop(unsafe { Vec::from_raw_parts(buffer.data, buffer.size, buffer.capacity) });
    }
}

/// # Safety
/// `ids` came from this library and was not freed.
#[no_mangle]
pub unsafe extern "C" fn RustIdsFree(ids: RustIds) {
    if !ids.data.is_null() {
        drop(unsafe { Vec::from_raw_parts(ids.data, ids.size, ids.capacity) });
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RustCode {
    Ok = 0,
    Invalid = 1,
    Exhausted = 2,
    Internal = 3,
}

#[derive(Debug)]
pub struct Failure {
    pub code: RustCode,
    pub message: String,
}

impl Failure {
    pub fn invalid(message: impl Into<String>) -> Self {
        Failure { code: RustCode::Invalid, message: message.into() }
    }
    pub fn exhausted(message: impl Into<String>) -> Self {
        Failure { code: RustCode::Exhausted, message: message.into() }
    }
    pub fn internal(message: impl Into<String>) -> Self {
        Failure { code: RustCode::Internal, message: message.into() }
    }
}

/// The default hook prints a panic's message, which may hold the text that caused it.
fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
}

/// Runs `work`; a panic in it becomes a failure.
pub fn catch<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    silence_panics();
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Failure::internal("a crate panicked on this input")))
}

/// One C entry: stores the result of `work` in `output`, or its message in `error`.
///
/// # Safety
/// `output` and `error` are valid for writes.
pub unsafe fn entry<T, U: From<T>>(
    output: *mut U,
    error: *mut RustBuffer,
    work: impl FnOnce() -> Result<T, Failure>,
) -> RustCode {
    match catch(work) {
        Ok(value) => {
            unsafe { output.write(U::from(value)) };
            RustCode::Ok
        }
        Err(failure) => {
            unsafe { error.write(failure.message.into()) };
            failure.code
        }
    }
}
