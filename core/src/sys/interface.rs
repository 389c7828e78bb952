// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network interfaces of the calling thread's namespace.

use std::ffi::CStr;
use std::io;

use crate::name::Name;

/// The name of an interface; None for number 0 and for one that is gone.
pub(crate) fn name(index: u32) -> Option<Name> {
    if index == 0 {
        return None;
    }
    let mut buffer = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the IF_NAMESIZE bytes that the call may write.
    let found = unsafe { libc::if_indextoname(index, buffer.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    CStr::from_bytes_until_nul(&buffer).ok()?.to_str().ok().map(Name::new)
}

/// The numbers of all interfaces.
pub(crate) fn all() -> io::Result<Vec<u32>> {
    // SAFETY: no arguments; the result is an array that ends with index 0, or null.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return Err(io::Error::last_os_error());
    }
    let mut indexes = Vec::new();
    let mut entry = list;
    // SAFETY: `entry` walks the array up to the closing entry, which is still part of it.
    while let index @ 1.. = unsafe { (*entry).if_index } {
        indexes.push(index);
        // SAFETY: the entry just read was not the last one.
        entry = unsafe { entry.add(1) };
    }
    // SAFETY: the array came from if_nameindex and is freed once.
    unsafe { libc::if_freenameindex(list) };
    Ok(indexes)
}
