// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which options of one subflow can be read and set, and what that needs.

use super::{BIND_TO_IFINDEX, IPV6_AUTOFLOWLABEL, RTO_MAX_MS, TXREHASH};

/// What an option's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OptionShape {
    /// A C `int`.
    Int,
    /// A C `int`, or eight bytes where the caller gives or has room for them.
    Long,
    /// A name of at most 15 bytes.
    Name,
    /// `struct tcp_info`, as much of it as the caller has room for.
    Info,
}

/// Where a value is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OptionGet {
    /// sock_diag: nothing has to be loaded.
    Diag,
    /// sock_diag for `CAP_NET_ADMIN`, else the BPF program.
    DiagOrBpf,
    /// The BPF program: `mptcpapi load-bpf`.
    Bpf,
    /// It can only be set.
    Never,
}

/// One option: a row of the table that [`subflow_option_table`] shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubflowOptionInfo {
    /// `SOL_SOCKET`, `IPPROTO_TCP`, `IPPROTO_IP`, `IPPROTO_IPV6`.
    pub level: i32,
    /// The number of the option.
    pub name: i32,
    /// The names of both in C.
    pub words: (&'static str, &'static str),
    /// What its value looks like.
    pub shape: OptionShape,
    /// Where it is read.
    pub get: OptionGet,
    /// It can be set, by the BPF program.
    pub set: bool,
    /// The capability that setting it needs, in the user namespace of the connection's network namespace, and when.
    pub needs: &'static str,
    /// The first kernel that has it, beyond what the BPF program needs (6.1); empty where that is enough.
    pub since: &'static str,
}

impl SubflowOptionInfo {
    pub(super) fn find(level: i32, name: i32) -> Option<&'static SubflowOptionInfo> {
        TABLE.iter().find(|row| (row.level, row.name) == (level, name))
    }
}

/// Every option that can be read or set on one subflow. Any other is ENOPROTOOPT.
pub fn subflow_option_table() -> &'static [SubflowOptionInfo] {
    TABLE
}

const MARKING: &str = "CAP_NET_ADMIN, or CAP_NET_RAW since 5.17";
const BINDING: &str = "CAP_NET_RAW where it is bound already";

macro_rules! table {
    ($($level:ident $name:ident = $number:expr, $shape:ident, $get:ident, $set:literal, $needs:expr, $since:literal;)*) => {
        &[$(SubflowOptionInfo {
            level: libc::$level,
            name: $number,
            words: (stringify!($level), stringify!($name)),
            shape: OptionShape::$shape,
            get: OptionGet::$get,
            set: $set,
            needs: $needs,
            since: $since,
        }),*]
    };
}

#[rustfmt::skip]
static TABLE: &[SubflowOptionInfo] = table! {
    SOL_SOCKET SO_SNDBUF = libc::SO_SNDBUF, Int, Diag, true, "", "";
    SOL_SOCKET SO_RCVBUF = libc::SO_RCVBUF, Int, Diag, true, "", "";
    SOL_SOCKET SO_KEEPALIVE = libc::SO_KEEPALIVE, Int, Bpf, true, "", "";
    SOL_SOCKET SO_PRIORITY = libc::SO_PRIORITY, Int, Bpf, true, "CAP_NET_ADMIN or CAP_NET_RAW outside 0 to 6", "";
    SOL_SOCKET SO_RCVLOWAT = libc::SO_RCVLOWAT, Int, Bpf, false, "", "";
    SOL_SOCKET SO_MARK = libc::SO_MARK, Int, DiagOrBpf, true, MARKING, "";
    SOL_SOCKET SO_MAX_PACING_RATE = libc::SO_MAX_PACING_RATE, Long, Bpf, true, "", "";
    SOL_SOCKET SO_BINDTODEVICE = libc::SO_BINDTODEVICE, Name, Diag, true, BINDING, "";
    SOL_SOCKET SO_BINDTOIFINDEX = BIND_TO_IFINDEX, Int, Diag, true, BINDING, "";
    SOL_SOCKET SO_TXREHASH = TXREHASH, Int, Bpf, true, "", "";
    IPPROTO_TCP TCP_NODELAY = libc::TCP_NODELAY, Int, Bpf, true, "", "";
    IPPROTO_TCP TCP_MAXSEG = libc::TCP_MAXSEG, Int, Diag, true, "", "";
    IPPROTO_TCP TCP_KEEPIDLE = libc::TCP_KEEPIDLE, Int, Bpf, true, "", "";
    IPPROTO_TCP TCP_KEEPINTVL = libc::TCP_KEEPINTVL, Int, Bpf, true, "", "";
    IPPROTO_TCP TCP_KEEPCNT = libc::TCP_KEEPCNT, Int, Bpf, true, "", "";
    IPPROTO_TCP TCP_SYNCNT = libc::TCP_SYNCNT, Int, Bpf, true, "", "";
    IPPROTO_TCP TCP_WINDOW_CLAMP = libc::TCP_WINDOW_CLAMP, Int, Bpf, true, "", "";
    IPPROTO_TCP TCP_INFO = libc::TCP_INFO, Info, Diag, false, "", "";
    IPPROTO_TCP TCP_CONGESTION = libc::TCP_CONGESTION, Name, Diag, true, "CAP_NET_ADMIN for a restricted one", "";
    IPPROTO_TCP TCP_THIN_LINEAR_TIMEOUTS = libc::TCP_THIN_LINEAR_TIMEOUTS, Int, Bpf, true, "", "";
    IPPROTO_TCP TCP_USER_TIMEOUT = libc::TCP_USER_TIMEOUT, Int, Bpf, true, "", "";
    IPPROTO_TCP TCP_NOTSENT_LOWAT = libc::TCP_NOTSENT_LOWAT, Int, Bpf, true, "", "";
    IPPROTO_TCP TCP_RTO_MAX_MS = RTO_MAX_MS, Int, Bpf, true, "", "6.15";
    IPPROTO_IP IP_TOS = libc::IP_TOS, Int, Diag, true, "", "";
    IPPROTO_IPV6 IPV6_TCLASS = libc::IPV6_TCLASS, Int, Diag, true, "", "";
    IPPROTO_IPV6 IPV6_AUTOFLOWLABEL = IPV6_AUTOFLOWLABEL, Int, Bpf, true, "", "";
};
