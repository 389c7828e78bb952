// SPDX-License-Identifier: MIT OR Apache-2.0
//! The paper's structs, byte by byte as its kernel had them on x86-64.

use std::net::SocketAddr;

use crate::codec::paper::{OpenTuple, StatusFlags, SubOption, open_tuple, put_sub_ids, put_sub_tuple, sub_ids_size};

const LOCAL: &str = "10.1.2.3:4660";
const REMOTE: &str = "10.4.5.6:80";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn list() {
    let list = [(3, StatusFlags::SLAVE | StatusFlags::ATTACHED), (1, StatusFlags::from_bits_retain(0x1e))];
    assert_eq!(put_sub_ids(&list), [2, 0, 3, 0x05, 1, 0x1e]);
    assert_eq!(put_sub_ids(&[]), [0, 0]);
    assert_eq!((sub_ids_size(0), sub_ids_size(31)), (2, 64));
}

#[test]
fn tuple_of_ipv4() {
    let bytes = put_sub_tuple(7, address(LOCAL), address(REMOTE));
    let expected: Vec<u8> = [
        &[7][..],
        &[2, 0, 0x12, 0x34, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0],
        &[2, 0, 0, 80, 10, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(bytes, expected);
    let wanted = OpenTuple { local: address(LOCAL), remote: address(REMOTE), low_prio: false };
    assert_eq!(open_tuple(&bytes), Some(wanted));
    // As the first draft has it: the priority behind the id.
    let mut draft = bytes.clone();
    draft.insert(1, 1);
    assert_eq!(open_tuple(&draft), Some(OpenTuple { low_prio: true, ..wanted }));
    // The family that stands in the addresses is not looked at.
    let mut unnamed = bytes;
    (unnamed[1], unnamed[17]) = (0, 99);
    assert_eq!(open_tuple(&unnamed), Some(wanted));
}

#[test]
fn tuple_of_ipv6() {
    let (local, remote) = (address("[fe80::1%5]:4660"), address("[2001:db8::2]:80"));
    let bytes = put_sub_tuple(31, local, remote);
    assert_eq!(bytes.len(), 57);
    assert_eq!(bytes[..9], [31, 10, 0, 0x12, 0x34, 0, 0, 0, 0]);
    assert_eq!(bytes[25..29], [5, 0, 0, 0]);
    assert_eq!(open_tuple(&bytes), Some(OpenTuple { local, remote, low_prio: false }));
    let mut draft = bytes;
    draft.insert(1, 0);
    assert_eq!(open_tuple(&draft), Some(OpenTuple { local, remote, low_prio: false }));
}

#[test]
fn the_length_alone_tells_what_an_open_is() {
    for length in 0..200 {
        let is_one = matches!(length, 33 | 34 | 57 | 58);
        assert_eq!(open_tuple(&vec![1; length]).is_some(), is_one, "{length} bytes");
    }
}

#[test]
fn option() {
    let mut bytes = [0xff; 32];
    bytes[0] = 3;
    bytes[4..8].copy_from_slice(&6i32.to_ne_bytes());
    bytes[8..12].copy_from_slice(&18i32.to_ne_bytes());
    bytes[16..24].copy_from_slice(&0x7fff_1234u64.to_ne_bytes());
    bytes[24..28].copy_from_slice(&4u32.to_ne_bytes());
    let option = SubOption::new(&bytes);
    assert_eq!((option.id, option.level, option.name, option.value), (3, 6, 18, 0x7fff_1234));
    // Of SUB_SETSOCKOPT the last four bytes are padding; of SUB_GETSOCKOPT they belong to the pointer.
    assert_eq!(option.set_length(), Some(4));
    assert_eq!(option.length, 0xffff_ffff_0000_0004);
    bytes[24..28].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert_eq!(SubOption::new(&bytes).set_length(), None);
}
