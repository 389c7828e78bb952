// SPDX-License-Identifier: MIT OR Apache-2.0

use std::ffi::{CStr, c_char};
use std::net::SocketAddr;
use std::ptr::{null, null_mut};

use libc::{sa_family_t, sockaddr_in, sockaddr_in6, sockaddr_storage};

use mptcpapi::Error;

use super::{Extensible, LARGEST, Target, call, call_with_reason, put_text, read_extensible, socket_address, text_of};
use crate::types::{MPTCPAPI_ERROR_NONE, MPTCPAPI_ERROR_OS, MPTCPAPI_ERROR_PERMISSION_DENIED, mptcpapi_error};

/// A struct that has grown since its first release.
#[repr(C)]
#[derive(Clone, Copy)]
struct Grown {
    size: u32,
    old: u32,
    new: u32,
}

// SAFETY: repr(C), three u32 without padding, the first is the size.
unsafe impl Extensible for Grown {
    const FIRST: usize = 8;
}

const UNTOUCHED: u32 = 0xeeee_eeee;

/// Writes two structs into memory of a caller that says `size`, and shows the memory.
fn written(size: u32) -> [u32; 12] {
    let mut memory = [UNTOUCHED; 12];
    memory[0] = size;
    // SAFETY: two structs of at most 20 bytes fit into 48.
    let target = unsafe { Target::<Grown>::new(memory.as_mut_ptr().cast(), "test") }.unwrap();
    for (index, old) in [(0, 1), (1, 3)] {
        // SAFETY: as above.
        unsafe { target.write(index, |place| *place = Grown { size: target.size(), old, new: old + 1 }) };
    }
    memory
}

#[test]
fn the_size_of_today_is_filled() {
    assert_eq!(written(12)[..7], [12, 1, 2, 12, 3, 4, UNTOUCHED]);
}

#[test]
fn an_older_caller_gets_what_it_has_room_for() {
    assert_eq!(written(8)[..5], [8, 1, 8, 3, UNTOUCHED]);
}

#[test]
fn a_newer_caller_gets_zeros_for_what_is_unknown_here() {
    assert_eq!(written(20)[..11], [20, 1, 2, 0, 0, 20, 3, 4, 0, 0, UNTOUCHED]);
}

#[test]
fn a_size_that_is_no_multiple_of_a_field_is_a_stride_all_the_same() {
    let memory = written(13);
    // SAFETY: any bytes are valid bytes.
    let bytes: [u8; 48] = unsafe { std::mem::transmute(memory) };
    assert_eq!(bytes[12], 0);
    assert_eq!(bytes[13..21], [13, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(bytes[25..28], [0, 0xee, 0xee]);
}

#[test]
fn wrong_sizes_and_null_are_errors() {
    let errno = |size: u32| {
        let mut memory = [size; 3];
        // SAFETY: nothing is written.
        unsafe { Target::<Grown>::new(memory.as_mut_ptr().cast(), "test") }.err().map(|error| error.raw_os_error())
    };
    for wrong in [0, 3, 7, LARGEST as u32 + 1, UNTOUCHED, u32::MAX] {
        assert_eq!(errno(wrong), Some(libc::EINVAL), "{wrong}");
    }
    assert_eq!(errno(8), None);
    assert_eq!(errno(LARGEST as u32), None);
    // SAFETY: NULL is allowed.
    let null = unsafe { Target::<Grown>::new(null_mut(), "test") };
    assert_eq!(null.err().unwrap().raw_os_error(), libc::EFAULT);
}

fn empty_report() -> mptcpapi_error {
    // SAFETY: all-zero is a valid value of a struct of numbers.
    let mut report: mptcpapi_error = unsafe { std::mem::zeroed() };
    report.size = size_of::<mptcpapi_error>() as u32;
    report
}

fn string(field: &[c_char]) -> &str {
    // SAFETY: every c_char is a u8.
    let bytes = unsafe { &*(std::ptr::from_ref(field) as *const [u8]) };
    CStr::from_bytes_until_nul(bytes).unwrap().to_str().unwrap()
}

#[test]
fn a_panic_is_an_error_of_the_library_and_the_next_call_works() {
    let mut report = empty_report();
    // SAFETY: a whole struct.
    let panicked = unsafe { call("test", &mut report, || panic!("this panic is part of the test")) };
    assert_eq!(panicked, -libc::EIO);
    assert_eq!((report.kind, report.error), (MPTCPAPI_ERROR_OS, libc::EIO));
    assert!(string(&report.hint).contains("report"));
    // SAFETY: NULL is allowed.
    assert_eq!(unsafe { call("test", null_mut(), || panic!("so is this one")) }, -libc::EIO);
    // SAFETY: a whole struct.
    assert_eq!(unsafe { call("test", &mut report, || Ok(7)) }, 7);
    assert_eq!((report.kind, report.error, string(&report.hint)), (MPTCPAPI_ERROR_NONE, 0, ""));
}

#[test]
fn an_error_is_told_in_numbers_and_words() {
    let mut report = empty_report();
    let fail = || Err(Error::os("test", libc::EPERM).with_hint("try it as root"));
    // SAFETY: a whole struct.
    assert_eq!(unsafe { call("test", &mut report, fail) }, -libc::EPERM);
    assert_eq!((report.kind, report.error, report.subflow), (MPTCPAPI_ERROR_PERMISSION_DENIED, libc::EPERM, 0));
    assert_eq!((string(&report.operation), string(&report.hint)), ("test", "try it as root"));
    assert_eq!(string(&report.message), Error::os("test", libc::EPERM).with_hint("try it as root").to_string());
    assert_eq!(string(&report.kernel_message), "");
}

#[test]
fn a_reason_beside_a_success_does_not_make_it_a_failure() {
    let mut report = empty_report();
    let body = || Ok((5, Some(Error::os("test", libc::ENOPROTOOPT))));
    // SAFETY: a whole struct.
    assert_eq!(unsafe { call_with_reason("test", &mut report, body) }, 5);
    assert_eq!((report.kind, report.error), (MPTCPAPI_ERROR_OS, libc::ENOPROTOOPT));
}

#[test]
fn with_a_wrong_error_struct_nothing_is_done() {
    let mut report = empty_report();
    report.size = 16;
    let mut done = false;
    let body = || {
        done = true;
        Ok(0)
    };
    // SAFETY: the whole struct is there, though it claims less.
    assert_eq!(unsafe { call("test", &mut report, body) }, -libc::EINVAL);
    assert!(!done);
    assert_eq!(report.error, 0);
}

fn put<const N: usize>(text: &str) -> [c_char; N] {
    let mut field = [0; N];
    put_text(&mut field, text);
    field
}

#[test]
fn text_is_cut_between_characters_and_ends_with_zero() {
    assert_eq!(string(&put::<4>("abcdef")), "abc");
    assert_eq!(string(&put::<4>("abé")), "ab");
    assert_eq!(string(&put::<1>("a")), "");
    assert_eq!(put::<5>("ab"), [b'a' as c_char, b'b' as c_char, 0, 0, 0]);
}

/// What is read of a caller's struct that consists of these numbers: its fields, or the errno.
fn read(memory: &[u32]) -> Result<[u32; 3], i32> {
    // SAFETY: every caller below has at least as many bytes as it says, or a size that is refused.
    let read = unsafe { read_extensible::<Grown>(memory.as_ptr().cast(), "test") };
    read.map(|grown| grown.map(|grown| [grown.size, grown.old, grown.new]).unwrap())
        .map_err(|error| error.raw_os_error())
}

#[test]
fn a_struct_of_an_older_caller_has_zeros_for_what_it_lacks() {
    assert_eq!(read(&[12, 1, 2]), Ok([12, 1, 2]));
    assert_eq!(read(&[8, 1, UNTOUCHED]), Ok([8, 1, 0]));
}

#[test]
fn a_newer_caller_may_not_ask_for_what_is_unknown_here() {
    assert_eq!(read(&[20, 1, 2, 0, 0, UNTOUCHED]), Ok([20, 1, 2]));
    for unknown in [[1, 0], [0, 1], [0, 0x0100_0000_u32.to_be()], [0, 0x0100_0000_u32.to_le()]] {
        assert_eq!(read(&[20, 1, 2, unknown[0], unknown[1], 0]), Err(libc::E2BIG), "{unknown:?}");
    }
    // Where the size ends inside a number, only the bytes before it are asked for.
    assert_eq!(read(&[13, 1, 2, u32::from_ne_bytes([0, 9, 9, 9])]), Ok([13, 1, 2]));
    assert_eq!(read(&[13, 1, 2, u32::from_ne_bytes([9, 0, 0, 0])]), Err(libc::E2BIG));
}

#[test]
fn wrong_sizes_are_refused_and_null_is_nothing_when_read() {
    for wrong in [0, 3, 7, LARGEST as u32 + 1, UNTOUCHED, u32::MAX] {
        assert_eq!(read(&[wrong, 0, 0]), Err(libc::EINVAL), "{wrong}");
    }
    // SAFETY: NULL is allowed.
    assert!(unsafe { read_extensible::<Grown>(null(), "test") }.unwrap().is_none());
}

#[test]
fn a_struct_is_read_from_any_address() {
    let mut memory = [0xee_u8; 16];
    for (place, number) in [(1, 12_u32), (5, 1), (9, 2)] {
        memory[place..place + 4].copy_from_slice(&number.to_ne_bytes());
    }
    // SAFETY: twelve bytes follow.
    let read = unsafe { read_extensible::<Grown>(memory[1..].as_ptr().cast(), "test") }.unwrap().unwrap();
    assert_eq!([read.size, read.old, read.new], [12, 1, 2]);
}

fn storage<T: Copy>(address: T) -> sockaddr_storage {
    // SAFETY: all-zero is a valid sockaddr_storage, which has the size and alignment of every other sockaddr.
    unsafe {
        let mut storage: sockaddr_storage = std::mem::zeroed();
        (&raw mut storage).cast::<T>().write(address);
        storage
    }
}

#[test]
fn addresses_of_both_families_are_read() {
    // SAFETY: all-zero is a valid value of structs of numbers.
    let (mut v4, mut v6): (sockaddr_in, sockaddr_in6) = unsafe { std::mem::zeroed() };
    assert_eq!(socket_address(&storage(v4), "test").unwrap(), None);
    v4.sin_family = libc::AF_INET as sa_family_t;
    v4.sin_port = 5201_u16.to_be();
    v4.sin_addr.s_addr = u32::from_ne_bytes([10, 77, 2, 1]);
    v6.sin6_family = libc::AF_INET6 as sa_family_t;
    v6.sin6_port = 1_u16.to_be();
    v6.sin6_addr.s6_addr = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    v6.sin6_scope_id = 3;
    let read = |storage| socket_address(&storage, "test").unwrap().unwrap();
    assert_eq!(read(storage(v4)), "10.77.2.1:5201".parse().unwrap());
    assert_eq!(read(storage(v6)), "[fe80::9%3]:1".parse::<SocketAddr>().unwrap());
    v4.sin_family = libc::AF_UNIX as sa_family_t;
    assert_eq!(socket_address(&storage(v4), "test").unwrap_err().raw_os_error(), libc::EINVAL);
}

#[test]
fn text_of_a_field_ends_with_zero_and_is_utf_8() {
    assert_eq!(text_of(&put::<4>("ab")), Some("ab"));
    assert_eq!(text_of(&put::<4>("")), Some(""));
    assert_eq!(text_of(&[b'a' as c_char, 0, b'b' as c_char]), Some("a"));
    assert_eq!(text_of(&[b'a' as c_char; 4]), None);
    assert_eq!(text_of(&[0xff_u8 as c_char, 0]), None);
    assert_eq!(text_of(&[]), None);
}
