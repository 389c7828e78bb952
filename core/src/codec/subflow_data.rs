// SPDX-License-Identifier: MIT OR Apache-2.0
//! `MPTCP_TCPINFO` and `MPTCP_SUBFLOW_ADDRS`: what kernels 5.16 to 6.4 have in place of `MPTCP_FULL_INFO`.

use super::uapi::SubflowData;
use super::{Elements, read_prefix};

/// The elements of one of the two options, and how many the kernel has.
pub(crate) fn parse(answer: &[u8]) -> (Elements<'_>, usize) {
    let head: SubflowData = read_prefix(answer);
    let array = answer.get(size_of::<SubflowData>()..).unwrap_or(&[]);
    let total = head.num_subflows as usize;
    (Elements::new(array, head.size_user as usize, total), total)
}
