// SPDX-License-Identifier: MIT OR Apache-2.0
//! `MPTCP_FULL_INFO`: the connection and all its subflows in one consistent answer (since 6.5).

use super::uapi::{
    FullInfoHeader, MptcpInfo, SUBFLOW_ADDRS_REMOTE, SUBFLOW_INFO_ADDRS, SUBFLOW_INFO_SIZE, TcpInfo,
};
use super::{Elements, read_prefix, sockaddr, u32_of};
use crate::subflow::{Subflow, TcpState};

/// The answer, still in the kernel's bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FullInfo<'a> {
    pub(crate) mptcp_info: MptcpInfo,
    /// How many entries the kernel has: more than the arrays hold means that they were too small.
    pub(crate) total: usize,
    tcp_info: Elements<'a>,
    subflow_info: Elements<'a>,
}

impl<'a> FullInfo<'a> {
    /// From the option's value and the two arrays it points to; `room` elements were asked for.
    pub(crate) fn parse(header: &FullInfoHeader, room: usize, tcp_info: &'a [u8], subflow_info: &'a [u8]) -> Self {
        let total = header.num_subflows as usize;
        let filled = total.min(room);
        FullInfo {
            mptcp_info: header.mptcp_info,
            total,
            tcp_info: Elements::new(tcp_info, header.size_tcpinfo_user as usize, filled),
            subflow_info: Elements::new(subflow_info, header.size_sfinfo_user as usize, filled),
        }
    }

    /// Every entry, dead ones too, oldest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Subflow> + use<'a> {
        self.subflow_info.iter().zip(self.tcp_info.iter()).filter_map(|(info, tcp)| entry(info, tcp))
    }

    /// The TCP states of all entries; all there is when no subflow_info was asked for.
    pub(crate) fn states(&self) -> impl Iterator<Item = TcpState> + use<'a> {
        self.tcp_info.iter().filter_map(|tcp| tcp.first().map(|&state| TcpState(state)))
    }
}

fn entry(info: &[u8], tcp: &[u8]) -> Option<Subflow> {
    let id = u32_of(info)?;
    let addresses = info.get(SUBFLOW_INFO_ADDRS..info.len().min(SUBFLOW_INFO_SIZE))?;
    with_addresses(id, addresses, tcp)
}

/// A subflow from `mptcp_subflow_addrs` and `tcp_info`.
pub(crate) fn with_addresses(id: u32, addresses: &[u8], tcp: &[u8]) -> Option<Subflow> {
    let local = sockaddr(addresses)?;
    let remote = sockaddr(addresses.get(SUBFLOW_ADDRS_REMOTE..)?)?;
    Some(Subflow::from_tcp_info(id, local, remote, &read_prefix::<TcpInfo>(tcp)))
}
