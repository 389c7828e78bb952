// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes of the kernel to types, and back: pure functions, no file descriptor, no `unsafe`.
//!
//! Nothing here trusts a length or a count: a shorter answer (older kernel) is filled up with zeros, a longer one
//! (newer kernel) is cut, and a count that promises more than the bytes hold is believed only as far as they reach.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

mod address;
pub(crate) mod agent;
pub(crate) mod diag;
pub(crate) mod full_info;
pub(crate) mod netlink;
pub(crate) mod option;
pub(crate) mod paper;
pub(crate) mod pm;
pub(crate) mod route;
pub(crate) mod subflow_data;
#[cfg(test)]
mod tests;
pub(crate) mod uapi;
#[cfg(feature = "agent")]
pub(crate) mod unix_diag;

pub(crate) use address::{diag_address, put_diag_address, sockaddr, sockaddr_in, sockaddr_in6};

/// A struct from the front of `bytes`: what is missing is zero, what is too much is ignored.
#[inline]
pub(crate) fn read_prefix<T>(bytes: &[u8]) -> T
where
    T: FromBytes + FromZeros + IntoBytes + Immutable + KnownLayout,
{
    if let Ok((value, _)) = T::read_from_prefix(bytes) {
        return value;
    }
    let mut value = T::new_zeroed();
    value.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    value
}

/// A packed array of the kernel's: elements of one size, which may differ from ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Elements<'a> {
    bytes: &'a [u8],
    size: usize,
    count: usize,
}

impl<'a> Elements<'a> {
    /// `count` elements of `size` bytes, or as many as `bytes` really holds.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], size: usize, count: usize) -> Self {
        let all_held = size != 0 && count.checked_mul(size).is_some_and(|length| length <= bytes.len());
        // A division costs as much as decoding an element.
        let count = if all_held { count } else { bytes.len().checked_div(size).unwrap_or(0) };
        Elements { bytes, size, count }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The elements as what they are, where their size is that of T and their place fits.
    #[inline]
    pub(crate) fn as_array_of<T: FromBytes + Immutable>(&self) -> Option<&'a [T]> {
        if self.size != size_of::<T>() {
            return None;
        }
        let (array, _) = <[T]>::ref_from_prefix_with_elems(self.bytes, self.count).ok()?;
        Some(array)
    }

    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let Elements { mut bytes, size, count } = *self;
        (0..count).map_while(move |_| {
            let (element, rest) = bytes.split_at_checked(size)?;
            bytes = rest;
            Some(element)
        })
    }
}

/// The little native-endian numbers of netlink attributes; None where the attribute is too short.
#[inline]
pub(crate) fn u32_of(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.first_chunk()?))
}

/// The bytes up to the first NUL, as text; None where they are not UTF-8.
pub(crate) fn text_of(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end]).ok()
}
