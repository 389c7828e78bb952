// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network interfaces of the calling thread's namespace.

use std::ffi::{CStr, CString};
use std::io;
use std::net::IpAddr;

use super::check;
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

/// The number of an interface.
pub(crate) fn index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: a NUL-terminated string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => None,
        index => Some(index),
    }
}

/// The first address of an interface in one family; link-local ones only where there is no other.
pub(crate) fn address(name: &str, ipv4: bool) -> Option<IpAddr> {
    let index = index(name)?;
    let all = addresses().ok()?;
    let of_interface = all.iter().filter(|(ip, other)| *other == index && ip.is_ipv4() == ipv4).map(|(ip, _)| *ip);
    of_interface.clone().find(|ip| !is_link_local(ip)).or_else(|| of_interface.into_iter().next())
}

/// Of no use to a peer behind a router.
pub(crate) fn is_link_local(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// What getifaddrs tells: an interface, and one of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) index: u32,
    /// It is set up, and has a carrier.
    pub(crate) works: bool,
    pub(crate) ip: Option<IpAddr>,
}

/// Every address of the namespace, with the number of its interface.
pub(crate) fn addresses() -> io::Result<Vec<(IpAddr, u32)>> {
    Ok(entries()?.into_iter().filter_map(|entry| Some((entry.ip?, entry.index))).collect())
}

/// Every interface of the namespace, those without an address too, once for each of its addresses.
pub(crate) fn entries() -> io::Result<Vec<Entry>> {
    const WORKS: u32 = (libc::IFF_UP | libc::IFF_RUNNING) as u32;
    let mut list = std::ptr::null_mut();
    // SAFETY: the kernel's answer is put behind `list`; nothing else is touched.
    check(unsafe { libc::getifaddrs(&raw mut list) }.into())?;
    let mut found = Vec::new();
    let mut entry = list;
    while !entry.is_null() {
        // SAFETY: `entry` walks the list that getifaddrs made, which is freed only below.
        let this = unsafe { &*entry };
        entry = this.ifa_next;
        let ip = match this.ifa_addr.is_null() {
            true => None,
            // SAFETY: a socket address is as long as its family says.
            false => unsafe { ip_address(this.ifa_addr) },
        };
        // SAFETY: every entry has a NUL-terminated name.
        let name = unsafe { CStr::from_ptr(this.ifa_name) };
        // SAFETY: a NUL-terminated string that outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        found.push(Entry { index, works: this.ifa_flags & WORKS == WORKS, ip });
    }
    // SAFETY: the list came from getifaddrs and is freed once.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

/// # Safety
/// `address` must point to a socket address of the size that its family has.
unsafe fn ip_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: every socket address begins with its family.
    match i32::from(unsafe { (*address).sa_family }) {
        libc::AF_INET => {
            // SAFETY: of family AF_INET.
            let v4 = unsafe { &*address.cast::<libc::sockaddr_in>() };
            Some(IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes()))
        }
        libc::AF_INET6 => {
            // SAFETY: of family AF_INET6.
            let v6 = unsafe { &*address.cast::<libc::sockaddr_in6>() };
            Some(IpAddr::from(v6.sin6_addr.s6_addr))
        }
        _ => None,
    }
}
