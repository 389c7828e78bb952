// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events of connections, and of their paths.

use std::ffi::c_int;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::time::Duration;

use mptcpapi::{
    Error, Event, EventKind, EventSource, Monitor, PathEvent, PathEventKind, PathWatch, PathWatchOptions, Result,
};

use crate::connection::{connection, fill, put_address};
use crate::event_types::{
    MPTCPAPI_EVENT_ADDRESS_ANNOUNCED, MPTCPAPI_EVENT_ADDRESS_REMOVED, MPTCPAPI_EVENT_CLOSED,
    MPTCPAPI_EVENT_ESTABLISHED, MPTCPAPI_EVENT_FALLBACK, MPTCPAPI_EVENT_PRIORITY_CHANGED, MPTCPAPI_EVENT_RESYNCED,
    MPTCPAPI_EVENT_SUBFLOW_CLOSED, MPTCPAPI_EVENT_SUBFLOW_ESTABLISHED, MPTCPAPI_EXPECT_DATA,
    MPTCPAPI_PATH_EVENT_ADDRESS_REMOVED, MPTCPAPI_PATH_EVENT_CLOSED, MPTCPAPI_PATH_EVENT_LINK_DOWN,
    MPTCPAPI_PATH_EVENT_LINK_UP, MPTCPAPI_PATH_EVENT_RESUMED, MPTCPAPI_PATH_EVENT_STALLED, MPTCPAPI_SOURCE_NETLINK,
    MPTCPAPI_SOURCE_POLLING, mptcpapi_event, mptcpapi_path_event,
};
use crate::ffi::{Target, call, put_text, wrong_argument};
use crate::types::{mptcpapi_error, mptcpapi_subflow};

/// The events of one or several connections: opaque, from mptcpapi_monitor_new to mptcpapi_monitor_free.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct mptcpapi_monitor(Monitor);

/// Watches the paths of one connection: opaque, from mptcpapi_path_watch_new to mptcpapi_path_watch_free.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct mptcpapi_path_watch(PathWatch);

/// Begins to watch a connection, which must be connected or connecting. Its descriptor is remembered by number only: the
/// monitor does not keep it open.
///
/// flags: 0. monitor: gets the monitor, to be freed. Returns 0 or -errno: ENOTCONN, EOPNOTSUPP, EFAULT, EINVAL, EMFILE.
/// With CAP_NET_ADMIN in the network namespace the kernel tells of each change; without it, listings are compared ten
/// times a second: see mptcpapi_monitor_source. All monitors of a process and namespace share one netlink socket.
/// A monitor may be used by several threads at once (each event goes to one of them), but not after a fork in the child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_monitor_new(fd: c_int, flags: c_int, monitor: *mut *mut mptcpapi_monitor) -> c_int {
    // SAFETY: the C caller's promise; no error struct is given.
    unsafe { mptcpapi_monitor_new_e(fd, flags, monitor, null_mut()) }
}

/// mptcpapi_monitor_new that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_monitor_new_e(
    fd: c_int,
    flags: c_int,
    monitor: *mut *mut mptcpapi_monitor,
    error: *mut mptcpapi_error,
) -> c_int {
    const OPERATION: &str = "monitor";
    let body = || {
        not_null(monitor, OPERATION)?;
        if flags != 0 {
            return Err(wrong_argument(OPERATION, "unknown flag"));
        }
        let made = Box::new(mptcpapi_monitor(connection(fd, OPERATION)?.monitor()?));
        // SAFETY: not NULL, so one pointer by the C caller's promise.
        unsafe { monitor.write_unaligned(Box::into_raw(made)) };
        Ok(0)
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}

/// Watches another connection of the same network namespace too. To watch thousands, add them to one monitor.
///
/// token: gets the token that its events carry; may be NULL. Returns 0 or -errno as mptcpapi_monitor_new does, EXDEV for
/// a connection of another namespace.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_monitor_add(monitor: *mut mptcpapi_monitor, fd: c_int, token: *mut u32) -> c_int {
    // SAFETY: the C caller's promise; no error struct is given.
    unsafe { mptcpapi_monitor_add_e(monitor, fd, token, null_mut()) }
}

/// mptcpapi_monitor_add that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_monitor_add_e(
    monitor: *mut mptcpapi_monitor,
    fd: c_int,
    token: *mut u32,
    error: *mut mptcpapi_error,
) -> c_int {
    const OPERATION: &str = "monitor";
    let body = || {
        // SAFETY: NULL, or a monitor that lives, by the C caller's promise.
        let monitor = unsafe { object(monitor, OPERATION) }?;
        let added = monitor.0.add(&connection(fd, OPERATION)?)?;
        if !token.is_null() {
            // SAFETY: not NULL, so one u32 by the C caller's promise.
            unsafe { token.write_unaligned(added) };
        }
        Ok(0)
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}

/// Watches a connection no more. Events of it that are already here are still told. Returns 0 or -EFAULT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_monitor_remove(monitor: *mut mptcpapi_monitor, token: u32) -> c_int {
    const OPERATION: &str = "monitor";
    let body = || {
        // SAFETY: NULL, or a monitor that lives, by the C caller's promise.
        unsafe { object(monitor, OPERATION) }?.0.remove(token);
        Ok(0)
    };
    // SAFETY: no error struct is given.
    unsafe { call(OPERATION, null_mut(), body) }
}

/// Where the events come from: MPTCPAPI_SOURCE_NETLINK or MPTCPAPI_SOURCE_POLLING, or -EFAULT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_monitor_source(monitor: *const mptcpapi_monitor) -> c_int {
    const OPERATION: &str = "monitor";
    // SAFETY: NULL, or a monitor that lives, by the C caller's promise.
    let body = || Ok(source_number(unsafe { object(monitor, OPERATION) }?.0.source()));
    // SAFETY: no error struct is given.
    unsafe { call(OPERATION, null_mut(), body) }
}

/// A descriptor that is readable when there may be an event, and whenever one is queued: for poll, epoll and the like. It
/// may also wake without cause. It belongs to the monitor: do not close it. Or -EFAULT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_monitor_fd(monitor: *const mptcpapi_monitor) -> c_int {
    const OPERATION: &str = "monitor";
    // SAFETY: NULL, or a monitor that lives, by the C caller's promise.
    let body = || Ok(unsafe { object(monitor, OPERATION) }?.0.as_raw_fd());
    // SAFETY: no error struct is given.
    unsafe { call(OPERATION, null_mut(), body) }
}

/// The next event: returns 1, or 0 when the time is over first, or -errno.
///
/// event: its field size is set by the caller. timeout_ms: 0 does not wait, -1 waits for ever.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_monitor_next(
    monitor: *mut mptcpapi_monitor,
    event: *mut mptcpapi_event,
    timeout_ms: c_int,
) -> c_int {
    // SAFETY: the C caller's promise; no error struct is given.
    unsafe { mptcpapi_monitor_next_e(monitor, event, timeout_ms, null_mut()) }
}

/// mptcpapi_monitor_next that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_monitor_next_e(
    monitor: *mut mptcpapi_monitor,
    event: *mut mptcpapi_event,
    timeout_ms: c_int,
    error: *mut mptcpapi_error,
) -> c_int {
    const OPERATION: &str = "next";
    let body = || {
        // SAFETY: NULL, or a monitor that lives, by the C caller's promise.
        let monitor = unsafe { object(monitor, OPERATION) }?;
        // SAFETY: the C caller's promise about `event`.
        let target = unsafe { Target::new(event, OPERATION) }?;
        let Some(told) = monitor.0.next(timeout(timeout_ms))? else { return Ok(0) };
        // SAFETY: one struct of its size is there, by the same promise.
        unsafe { target.write(0, |place| fill_event(place, &told, target.size())) };
        Ok(1)
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}

/// Ends a monitor; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_monitor_free(monitor: *mut mptcpapi_monitor) {
    // SAFETY: NULL, or from mptcpapi_monitor_new and not yet freed, by the C caller's promise.
    unsafe { free(monitor) };
}

/// Begins to watch the paths of a connection: its links and addresses, and its subflows for stalls.
///
/// stall_ms: after how long without an answer a subflow counts as stalled; -1 stands for 50, 0: never. flags: 0 or
/// MPTCPAPI_EXPECT_DATA. watch: gets the watch, to be freed. Returns 0 or -errno as mptcpapi_monitor_new does.
/// Needs no privilege. The descriptor is remembered by number only, and not kept open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_path_watch_new(
    fd: c_int,
    stall_ms: c_int,
    flags: c_int,
    watch: *mut *mut mptcpapi_path_watch,
) -> c_int {
    // SAFETY: the C caller's promise; no error struct is given.
    unsafe { mptcpapi_path_watch_new_e(fd, stall_ms, flags, watch, null_mut()) }
}

/// mptcpapi_path_watch_new that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_path_watch_new_e(
    fd: c_int,
    stall_ms: c_int,
    flags: c_int,
    watch: *mut *mut mptcpapi_path_watch,
    error: *mut mptcpapi_error,
) -> c_int {
    const OPERATION: &str = "path_watch";
    let body = || {
        not_null(watch, OPERATION)?;
        if flags & !MPTCPAPI_EXPECT_DATA != 0 {
            return Err(wrong_argument(OPERATION, "unknown flag"));
        }
        let mut options = PathWatchOptions::new().expect_data(flags & MPTCPAPI_EXPECT_DATA != 0);
        if let Ok(limit) = u64::try_from(stall_ms) {
            options = options.stall(Duration::from_millis(limit));
        }
        let made = Box::new(mptcpapi_path_watch(connection(fd, OPERATION)?.path_watch(options)?));
        // SAFETY: not NULL, so one pointer by the C caller's promise.
        unsafe { watch.write_unaligned(Box::into_raw(made)) };
        Ok(0)
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}

/// A descriptor that is readable when there may be a path event. It belongs to the watch. Or -EFAULT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_path_watch_fd(watch: *const mptcpapi_path_watch) -> c_int {
    const OPERATION: &str = "path_watch";
    // SAFETY: NULL, or a watch that lives, by the C caller's promise.
    let body = || Ok(unsafe { object(watch, OPERATION) }?.0.as_raw_fd());
    // SAFETY: no error struct is given.
    unsafe { call(OPERATION, null_mut(), body) }
}

/// The next path event: returns 1, or 0 when the time is over first, or -errno.
///
/// event: its field size is set by the caller. timeout_ms: 0 does not wait, -1 waits for ever.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_path_watch_next(
    watch: *mut mptcpapi_path_watch,
    event: *mut mptcpapi_path_event,
    timeout_ms: c_int,
) -> c_int {
    // SAFETY: the C caller's promise; no error struct is given.
    unsafe { mptcpapi_path_watch_next_e(watch, event, timeout_ms, null_mut()) }
}

/// mptcpapi_path_watch_next that tells more about a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_path_watch_next_e(
    watch: *mut mptcpapi_path_watch,
    event: *mut mptcpapi_path_event,
    timeout_ms: c_int,
    error: *mut mptcpapi_error,
) -> c_int {
    const OPERATION: &str = "path_watch";
    let body = || {
        // SAFETY: NULL, or a watch that lives, by the C caller's promise.
        let watch = unsafe { object(watch, OPERATION) }?;
        // SAFETY: the C caller's promise about `event`.
        let target = unsafe { Target::new(event, OPERATION) }?;
        let Some(told) = watch.0.next(timeout(timeout_ms))? else { return Ok(0) };
        // SAFETY: one struct of its size is there, by the same promise.
        unsafe { target.write(0, |place| fill_path_event(place, &told, target.size())) };
        Ok(1)
    };
    // SAFETY: the C caller's promise about `error`.
    unsafe { call(OPERATION, error, body) }
}

/// Ends a watch; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mptcpapi_path_watch_free(watch: *mut mptcpapi_path_watch) {
    // SAFETY: NULL, or from mptcpapi_path_watch_new and not yet freed, by the C caller's promise.
    unsafe { free(watch) };
}

/// `place` is zeroed.
fn fill_event(place: &mut mptcpapi_event, event: &Event, size: u32) {
    place.size = size;
    place.kind = event_number(event.kind);
    place.token = event.token;
    place.subflow = event.subflow.unwrap_or(0);
    place.error = event.errno;
    place.reset_reason = event.reset_reason.and_then(|reason| i32::try_from(reason).ok()).unwrap_or(-1);
    place.address_id = event.address_id.map_or(-1, i16::from);
    place.backup = event.backup.map_or(-1, i8::from);
    place.polled = event.polled.into();
    event.local.iter().for_each(|local| put_address(&mut place.local, local));
    event.remote.iter().for_each(|remote| put_address(&mut place.remote, remote));
    event.last.iter().for_each(|last| fill(&mut place.last, last, size_of::<mptcpapi_subflow>() as u32, 0));
}

/// `place` is zeroed.
fn fill_path_event(place: &mut mptcpapi_path_event, event: &PathEvent, size: u32) {
    place.size = size;
    place.kind = path_event_number(event.kind);
    place.subflow = event.subflow.unwrap_or(0);
    event.local.iter().for_each(|ip| put_address(&mut place.local, &SocketAddr::new(*ip, 0)));
    put_text(&mut place.interface, event.interface.as_deref().unwrap_or_default());
}

fn timeout(milliseconds: c_int) -> Duration {
    u64::try_from(milliseconds).map_or(Duration::MAX, Duration::from_millis)
}

fn not_null<T>(pointer: *const T, operation: &'static str) -> Result<()> {
    if pointer.is_null() {
        return Err(Error::os(operation, libc::EFAULT).with_hint("a pointer is NULL"));
    }
    Ok(())
}

/// # Safety
/// `pointer` is NULL, or leads to a T that lives.
unsafe fn object<'a, T>(pointer: *const T, operation: &'static str) -> Result<&'a T> {
    not_null(pointer, operation)?;
    // SAFETY: not NULL, so a T by the promise above. Its methods take it shared: several threads may.
    Ok(unsafe { &*pointer })
}

/// # Safety
/// `pointer` is NULL, or came from a Box and was not freed.
unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // SAFETY: by the promise above.
        drop(unsafe { Box::from_raw(pointer) });
    }
}

pub(crate) const fn event_number(kind: EventKind) -> u32 {
    match kind {
        EventKind::Established => MPTCPAPI_EVENT_ESTABLISHED,
        EventKind::SubflowEstablished => MPTCPAPI_EVENT_SUBFLOW_ESTABLISHED,
        EventKind::SubflowClosed => MPTCPAPI_EVENT_SUBFLOW_CLOSED,
        EventKind::PriorityChanged => MPTCPAPI_EVENT_PRIORITY_CHANGED,
        EventKind::AddressAnnounced => MPTCPAPI_EVENT_ADDRESS_ANNOUNCED,
        EventKind::AddressRemoved => MPTCPAPI_EVENT_ADDRESS_REMOVED,
        EventKind::Fallback => MPTCPAPI_EVENT_FALLBACK,
        EventKind::Closed => MPTCPAPI_EVENT_CLOSED,
        EventKind::Resynced => MPTCPAPI_EVENT_RESYNCED,
        _ => 0,
    }
}

pub(crate) const fn path_event_number(kind: PathEventKind) -> u32 {
    match kind {
        PathEventKind::LinkDown => MPTCPAPI_PATH_EVENT_LINK_DOWN,
        PathEventKind::LinkUp => MPTCPAPI_PATH_EVENT_LINK_UP,
        PathEventKind::AddressRemoved => MPTCPAPI_PATH_EVENT_ADDRESS_REMOVED,
        PathEventKind::Stalled => MPTCPAPI_PATH_EVENT_STALLED,
        PathEventKind::Resumed => MPTCPAPI_PATH_EVENT_RESUMED,
        PathEventKind::Closed => MPTCPAPI_PATH_EVENT_CLOSED,
        _ => 0,
    }
}

pub(crate) const fn source_number(source: EventSource) -> c_int {
    match source {
        EventSource::Netlink => MPTCPAPI_SOURCE_NETLINK,
        _ => MPTCPAPI_SOURCE_POLLING,
    }
}
