// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boundary: panics, errors, structs whose size the caller tells, and strings.

use std::ffi::{CStr, c_char, c_int};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::panic::{AssertUnwindSafe, catch_unwind};

use libc::{sockaddr_in, sockaddr_in6, sockaddr_storage};
use mptcpapi::{Error, ErrorKind, Result};

use crate::event_types::{mptcpapi_event, mptcpapi_open, mptcpapi_option, mptcpapi_path_event};
use crate::types::{
    MPTCPAPI_ERROR_FELL_BACK, MPTCPAPI_ERROR_KERNEL_PATH_MANAGER, MPTCPAPI_ERROR_NO_SUCH_SUBFLOW, MPTCPAPI_ERROR_NONE,
    MPTCPAPI_ERROR_NOT_MPTCP, MPTCPAPI_ERROR_NOT_READY, MPTCPAPI_ERROR_OS, MPTCPAPI_ERROR_PERMISSION_DENIED,
    MPTCPAPI_ERROR_REFUSED, MPTCPAPI_ERROR_TIMED_OUT, MPTCPAPI_ERROR_UNSUPPORTED, mptcpapi_error, mptcpapi_features,
    mptcpapi_info, mptcpapi_subflow,
};

/// No struct of ours will ever be larger: a larger size is memory that the caller forgot to set.
const LARGEST: usize = 4096;

/// A struct of the C interface. It grows with the releases; its first field tells how much of it the caller has.
///
/// # Safety
/// `repr(C)` without padding, its first field is a `u32`, the size, and all zeros are a valid value of it.
pub(crate) unsafe trait Extensible: Copy {
    /// Its size in the release that had it first.
    const FIRST: usize;
}

// SAFETY: repr(C), begins with `size: u32`, and its size is the sum of its fields (asserted beside it).
unsafe impl Extensible for mptcpapi_subflow {
    const FIRST: usize = 384;
}
// SAFETY: as above.
unsafe impl Extensible for mptcpapi_info {
    const FIRST: usize = 56;
}
// SAFETY: as above.
unsafe impl Extensible for mptcpapi_features {
    const FIRST: usize = 148;
}
// SAFETY: as above.
unsafe impl Extensible for mptcpapi_error {
    const FIRST: usize = 880;
}

// SAFETY: as above.
unsafe impl Extensible for mptcpapi_open {
    const FIRST: usize = 288;
}
// SAFETY: as above.
unsafe impl Extensible for mptcpapi_option {
    const FIRST: usize = size_of::<mptcpapi_option>();
}
// SAFETY: as above.
unsafe impl Extensible for mptcpapi_event {
    const FIRST: usize = 736;
}
// SAFETY: as above.
unsafe impl Extensible for mptcpapi_path_event {
    const FIRST: usize = 160;
}

/// Memory of the caller's for structs of type T, each as large as the caller says.
#[derive(Clone, Copy)]
pub(crate) struct Target<T> {
    first: *mut T,
    size: usize,
}

impl<T: Extensible> Target<T> {
    /// EFAULT for NULL; EINVAL for a size below that of the first release, or absurd.
    ///
    /// # Safety
    /// `pointer` is NULL, or leads to as many readable and writable bytes as its first four say. Any alignment.
    pub(crate) unsafe fn new(pointer: *mut T, operation: &'static str) -> Result<Self> {
        if pointer.is_null() {
            return Err(Error::os(operation, libc::EFAULT).with_hint("a pointer is NULL"));
        }
        // SAFETY: not NULL, and at least the size is there by the caller's promise.
        let size = unsafe { pointer.cast::<u32>().read_unaligned() } as usize;
        if !(T::FIRST..=LARGEST).contains(&size) {
            return Err(Error::os(operation, libc::EINVAL).with_hint("set the field size to the sizeof of the struct"));
        }
        Ok(Target { first: pointer, size })
    }

    /// The value for the field `size`: the caller's own.
    pub(crate) fn size(&self) -> u32 {
        self.size as u32
    }

    /// Whether all structs of the caller's are aligned and have room for ours.
    pub(crate) fn is_direct(&self) -> bool {
        self.first.is_aligned() && self.size >= size_of::<T>() && self.size % align_of::<T>() == 0
    }

    /// One of the caller's structs, zeroed.
    ///
    /// # Safety
    /// [`Target::is_direct`] is true, and the memory has room for `index` + 1 structs of the caller's size.
    #[inline(always)]
    pub(crate) unsafe fn zeroed<'a>(self, index: usize) -> &'a mut T {
        // SAFETY: `size` bytes are there by the promise above; zeroed and aligned they are a T, and what is behind it.
        unsafe {
            let place = self.first.cast::<u8>().add(index * self.size);
            place.write_bytes(0, self.size);
            &mut *place.cast::<T>()
        }
    }

    /// Writes one struct: what does not fit is cut, what a newer caller has beyond ours is zeroed. `fill` gets a zeroed
    /// struct; in the common case that is the caller's own memory, so that nothing is copied.
    ///
    /// # Safety
    /// The memory has room for `index` + 1 structs of the caller's size.
    #[inline]
    pub(crate) unsafe fn write(&self, index: usize, fill: impl Fn(&mut T)) {
        if self.is_direct() {
            // SAFETY: the same promise.
            fill(unsafe { self.zeroed(index) });
        } else {
            // SAFETY: the same promise.
            unsafe { self.write_copy(self.first.cast::<u8>().add(index * self.size), &fill) };
        }
    }

    /// For a caller of an older release, or one with odd addresses.
    ///
    /// # Safety
    /// `place` has room for one struct of the caller's size.
    #[cold]
    unsafe fn write_copy(&self, place: *mut u8, fill: &dyn Fn(&mut T)) {
        // SAFETY: all-zero is a valid T, by the promise of Extensible.
        let mut value: T = unsafe { std::mem::zeroed() };
        fill(&mut value);
        let ours = self.size.min(size_of::<T>());
        // SAFETY: `size` bytes are at `place`, and `ours` are neither more than those nor more than T has.
        unsafe {
            place.copy_from_nonoverlapping((&raw const value).cast(), ours);
            place.add(ours).write_bytes(0, self.size - ours);
        }
    }
}

/// The body of every fallible function: its panics are caught, its error is told as `-errno` and in `error`.
///
/// `body` answers the value and, beside it, a reason that is told though it is no failure.
///
/// # Safety
/// `error` is NULL or as [`Target::new`] asks.
#[inline]
pub(crate) unsafe fn call_with_reason(
    operation: &'static str,
    error: *mut mptcpapi_error,
    body: impl FnOnce() -> Result<(c_int, Option<Error>)>,
) -> c_int {
    let mut body = Some(body);
    let mut once = || body.take().map_or(Ok((0, None)), |body| body());
    // SAFETY: the same promise.
    unsafe { call_any(operation, error, &mut once) }
}

/// Compiled once for all of them.
///
/// # Safety
/// As there.
#[inline(never)]
unsafe fn call_any(
    operation: &'static str,
    error: *mut mptcpapi_error,
    body: &mut dyn FnMut() -> Result<(c_int, Option<Error>)>,
) -> c_int {
    // SAFETY: the same promise.
    unsafe { call_in_place(operation, error, body) }
}

/// [`call_with_reason`] for a function where nanoseconds count: compiled with its body.
///
/// # Safety
/// As there.
#[inline]
pub(crate) unsafe fn call_in_place(
    operation: &'static str,
    error: *mut mptcpapi_error,
    body: impl FnOnce() -> Result<(c_int, Option<Error>)>,
) -> c_int {
    let all = || {
        let report = match error.is_null() {
            true => None,
            // SAFETY: the caller's promise.
            false => match unsafe { Target::new(error, operation) } {
                Ok(report) => Some(report),
                Err(wrong) => return -wrong.raw_os_error(),
            },
        };
        let outcome = catch(body).unwrap_or_else(|| {
            Err(Error::os(operation, libc::EIO).with_hint("an error of libmptcpapi itself: please report it"))
        });
        let (value, reason) = match outcome {
            Ok(answer) => answer,
            Err(error) => (-error.raw_os_error(), Some(error)),
        };
        if let Some(report) = report {
            // SAFETY: one struct of the caller's size is there, by the caller's promise.
            unsafe {
                report.write(0, |place| {
                    place.size = report.size();
                    describe(reason.as_ref(), place);
                })
            };
        }
        value
    };
    catch(all).unwrap_or(-libc::EIO)
}

/// [`call_with_reason`] for a function that has no reason to give with its success.
///
/// # Safety
/// As there.
#[inline]
pub(crate) unsafe fn call(
    operation: &'static str,
    error: *mut mptcpapi_error,
    body: impl FnOnce() -> Result<c_int>,
) -> c_int {
    // SAFETY: the same promise.
    unsafe { call_with_reason(operation, error, || Ok((body()?, None))) }
}

/// None where `body` panicked. Its values are not looked at again, so none can be seen half changed.
fn catch<R>(body: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(body)).ok()
}

fn describe(reason: Option<&Error>, report: &mut mptcpapi_error) {
    report.kind = MPTCPAPI_ERROR_NONE;
    let Some(reason) = reason else { return };
    report.kind = kind_number(reason.kind());
    report.error = reason.raw_os_error();
    report.subflow = reason.subflow().unwrap_or(0);
    put_text(&mut report.operation, reason.operation());
    put_text(&mut report.kernel_message, reason.kernel_message().unwrap_or(""));
    put_text(&mut report.hint, reason.hint());
    put_text(&mut report.message, &reason.to_string());
}

pub(crate) const fn kind_number(kind: ErrorKind) -> u32 {
    match kind {
        ErrorKind::NotMptcp => MPTCPAPI_ERROR_NOT_MPTCP,
        ErrorKind::FellBack => MPTCPAPI_ERROR_FELL_BACK,
        ErrorKind::Unsupported => MPTCPAPI_ERROR_UNSUPPORTED,
        ErrorKind::PermissionDenied => MPTCPAPI_ERROR_PERMISSION_DENIED,
        ErrorKind::KernelPathManager => MPTCPAPI_ERROR_KERNEL_PATH_MANAGER,
        ErrorKind::NotReady => MPTCPAPI_ERROR_NOT_READY,
        ErrorKind::NoSuchSubflow => MPTCPAPI_ERROR_NO_SUCH_SUBFLOW,
        ErrorKind::Refused => MPTCPAPI_ERROR_REFUSED,
        ErrorKind::TimedOut => MPTCPAPI_ERROR_TIMED_OUT,
        _ => MPTCPAPI_ERROR_OS,
    }
}

/// A struct that the caller fills: what an older one lacks is zero; None for NULL. EINVAL for a wrong size, E2BIG where
/// a newer caller uses what is unknown here.
///
/// # Safety
/// `pointer` is NULL, or leads to as many readable bytes as its first four say. Any alignment.
pub(crate) unsafe fn read_extensible<T: Extensible>(pointer: *const T, operation: &'static str) -> Result<Option<T>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, so the caller's promise holds; nothing is written through it.
    let size = unsafe { Target::new(pointer.cast_mut(), operation) }?.size() as usize;
    // SAFETY: all zeros are a valid value, by the trait's promise.
    let mut value: T = unsafe { std::mem::zeroed() };
    // SAFETY: so many bytes are readable by the caller's promise, and fit; the result is a T of numbers and pointers.
    unsafe {
        let length = size.min(size_of::<T>());
        std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut value).cast::<u8>(), length);
    }
    // SAFETY: inside the caller's struct.
    let unknown = (size_of::<T>()..size).any(|index| unsafe { pointer.cast::<u8>().add(index).read() } != 0);
    if unknown {
        return Err(Error::os(operation, libc::E2BIG).with_hint("this library is older than the program's header"));
    }
    Ok(Some(value))
}

/// An address that the caller filled; None where its family is 0.
pub(crate) fn socket_address(storage: &sockaddr_storage, operation: &'static str) -> Result<Option<SocketAddr>> {
    let storage = &raw const *storage;
    // SAFETY: a sockaddr_storage begins with its family.
    match i32::from(unsafe { (*storage).ss_family }) {
        0 => Ok(None),
        libc::AF_INET => {
            // SAFETY: a sockaddr_storage has the size and alignment of every other sockaddr.
            let v4 = unsafe { &*storage.cast::<sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Ok(Some(SocketAddr::new(ip.into(), u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*storage.cast::<sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Ok(Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id).into()))
        }
        _ => Err(wrong_argument(operation, "an address is of family AF_INET or AF_INET6")),
    }
}

/// The text of a field that the caller filled; None where no zero ends it, or it is not UTF-8.
pub(crate) fn text_of(field: &[c_char]) -> Option<&str> {
    // SAFETY: every c_char is a u8.
    let bytes = unsafe { &*(std::ptr::from_ref(field) as *const [u8]) };
    CStr::from_bytes_until_nul(bytes).ok()?.to_str().ok()
}

pub(crate) fn wrong_argument(operation: &'static str, hint: &'static str) -> Error {
    Error::os(operation, libc::EINVAL).with_hint(hint)
}

/// Writes text into a field of zeros. What does not fit is cut, never inside a character; a zero stays at the end.
pub(crate) fn put_text(field: &mut [c_char], text: &str) {
    let mut length = text.len().min(field.len() - 1);
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    for (place, byte) in field.iter_mut().zip(&text.as_bytes()[..length]) {
        *place = *byte as c_char;
    }
}

#[cfg(test)]
mod tests;
