// SPDX-License-Identifier: MIT OR Apache-2.0
//! `MPTCP_FULL_INFO`: the connection and all its subflows in one consistent answer (since 6.5).

use std::net::SocketAddr;

use super::uapi::{FullInfoHeader, MptcpInfo, SUBFLOW_ADDRS_REMOTE, SUBFLOW_INFO_ADDRS, SUBFLOW_INFO_SIZE, TcpInfo};
use super::{Elements, read_prefix, sockaddr, sockaddr_in, sockaddr_in6, u32_of};
use crate::connection::SubflowVisitor;
use crate::subflow::{Subflow, TcpState};

/// The answer, still in the kernel's bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FullInfo<'a> {
    pub(crate) mptcp_info: &'a MptcpInfo,
    /// How many entries the kernel has: more than the arrays hold means that they were too small.
    pub(crate) total: usize,
    tcp_info: Elements<'a>,
    subflow_info: Elements<'a>,
}

impl<'a> FullInfo<'a> {
    /// From the option's value and the two arrays it points to; `room` elements were asked for.
    #[inline]
    pub(crate) fn parse(header: &'a FullInfoHeader, room: usize, tcp_info: &'a [u8], subflow_info: &'a [u8]) -> Self {
        let total = header.num_subflows as usize;
        let filled = total.min(room);
        FullInfo {
            mptcp_info: &header.mptcp_info,
            total,
            tcp_info: Elements::new(tcp_info, header.size_tcpinfo_user as usize, filled),
            subflow_info: Elements::new(subflow_info, header.size_sfinfo_user as usize, filled),
        }
    }

    /// Every entry, dead ones too, oldest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Subflow> + use<'a> {
        self.subflow_info.iter().zip(self.tcp_info.iter()).filter_map(|(info, tcp)| entry(info, tcp))
    }

    /// Hands the live subflows to the visitor, oldest first.
    #[inline]
    pub(crate) fn visit_live(&self, visitor: &mut impl SubflowVisitor) {
        let Some((subflow_info, tcp_info)) = self.as_expected() else { return self.visit_live_of_others(visitor) };
        for (info, tcp) in subflow_info.iter().zip(tcp_info) {
            if !TcpState(tcp.state).is_live() {
                continue;
            }
            let (id, addresses) = info.split_at(SUBFLOW_INFO_ADDRS);
            let (local, remote) = addresses.split_at(SUBFLOW_ADDRS_REMOTE);
            let Some(id) = u32_of(id) else { continue };
            // Both addresses of a subflow are of one family: each is compiled by itself.
            if let (Some(local), Some(remote)) = (sockaddr_in(local), sockaddr_in(remote)) {
                visitor.visit(Subflow::from_tcp_info(id, local.into(), remote.into(), tcp));
            } else if let (Some(local), Some(remote)) = (sockaddr_in6(local), sockaddr_in6(remote)) {
                visitor.visit(Subflow::from_tcp_info(id, local.into(), remote.into(), tcp));
            }
        }
    }

    /// The elements without a need to check each: where they have the sizes that were asked for.
    #[inline]
    fn as_expected(&self) -> Option<(&'a [[u8; SUBFLOW_INFO_SIZE]], &'a [TcpInfo])> {
        Some((self.subflow_info.as_array_of()?, self.tcp_info.as_array_of()?))
    }

    /// Elements of an older kernel.
    #[cold]
    fn visit_live_of_others(&self, visitor: &mut dyn SubflowVisitor) {
        self.entries().filter(|subflow| subflow.state.is_live()).for_each(|subflow| visitor.visit(subflow));
    }

    /// The TCP states of all entries; all there is when no subflow_info was asked for.
    pub(crate) fn states(&self) -> impl Iterator<Item = TcpState> + use<'a> {
        self.tcp_info.iter().filter_map(|tcp| tcp.first().map(|&state| TcpState(state)))
    }
}

fn entry(info: &[u8], tcp: &[u8]) -> Option<Subflow> {
    let (id, local, remote) = identity(info.get(..SUBFLOW_INFO_SIZE).unwrap_or(info))?;
    Some(Subflow::from_tcp_info(id, local, remote, &read_prefix(tcp)))
}

/// The id and the addresses.
#[inline(always)]
fn identity(info: &[u8]) -> Option<(u32, SocketAddr, SocketAddr)> {
    let (local, remote) = addresses(info.get(SUBFLOW_INFO_ADDRS..)?)?;
    Some((u32_of(info)?, local, remote))
}

#[inline(always)]
fn addresses(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    Some((sockaddr(bytes)?, sockaddr(bytes.get(SUBFLOW_ADDRS_REMOTE..)?)?))
}

/// A subflow from `mptcp_subflow_addrs` and `tcp_info`.
pub(crate) fn with_addresses(id: u32, bytes: &[u8], tcp: &[u8]) -> Option<Subflow> {
    let (local, remote) = addresses(bytes)?;
    Some(Subflow::from_tcp_info(id, local, remote, &read_prefix(tcp)))
}
