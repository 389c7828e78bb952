// SPDX-License-Identifier: MIT OR Apache-2.0
//! `MPTCP_FULL_INFO`: the connection and all its subflows in one consistent answer (since 6.5).

use std::net::SocketAddr;

use zerocopy::FromBytes;

use super::uapi::{FullInfoHeader, MptcpInfo, SUBFLOW_ADDRS_REMOTE, SUBFLOW_INFO_ADDRS, SUBFLOW_INFO_SIZE, TcpInfo};
use super::{Elements, read_prefix, sockaddr, u32_of};
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
        self.pairs().filter_map(|(info, tcp)| {
            let mut found = None;
            decode(info, tcp, |subflow| found = Some(subflow));
            found
        })
    }

    /// Hands the live subflows to `visit`, oldest first.
    #[inline]
    pub(crate) fn visit_live(&self, mut visit: impl FnMut(Subflow)) {
        for (info, tcp) in self.pairs() {
            if tcp.first().is_some_and(|&state| TcpState(state).is_live()) {
                decode(info, tcp, &mut visit);
            }
        }
    }

    #[inline]
    fn pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.subflow_info.iter().zip(self.tcp_info.iter())
    }

    /// The TCP states of all entries; all there is when no subflow_info was asked for.
    pub(crate) fn states(&self) -> impl Iterator<Item = TcpState> + use<'a> {
        self.tcp_info.iter().filter_map(|tcp| tcp.first().map(|&state| TcpState(state)))
    }
}

/// Hands over what the bytes say, if they are not cut. A call and not an answer, as an answer is copied once more.
#[inline]
fn decode(info: &[u8], tcp: &[u8], visit: impl FnOnce(Subflow)) {
    let Some((id, local, remote)) = identity(info) else { return };
    if let Ok((tcp, _)) = TcpInfo::ref_from_prefix(tcp) {
        visit(Subflow::from_tcp_info(id, local, remote, tcp));
    } else {
        visit(Subflow::from_tcp_info(id, local, remote, &read_prefix(tcp)));
    }
}

#[inline]
fn identity(info: &[u8]) -> Option<(u32, SocketAddr, SocketAddr)> {
    let id = u32_of(info)?;
    let (local, remote) = match info.first_chunk::<SUBFLOW_INFO_SIZE>() {
        // A length that the compiler knows: the checks of the decoder go away.
        Some(whole) => addresses(&whole[SUBFLOW_INFO_ADDRS..])?,
        None => addresses(info.get(SUBFLOW_INFO_ADDRS..)?)?,
    };
    Some((id, local, remote))
}

#[inline]
fn addresses(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    Some((sockaddr(bytes)?, sockaddr(bytes.get(SUBFLOW_ADDRS_REMOTE..)?)?))
}

/// A subflow from `mptcp_subflow_addrs` and `tcp_info`.
pub(crate) fn with_addresses(id: u32, bytes: &[u8], tcp: &[u8]) -> Option<Subflow> {
    let (local, remote) = addresses(bytes)?;
    Some(Subflow::from_tcp_info(id, local, remote, &read_prefix(tcp)))
}
