// SPDX-License-Identifier: MIT OR Apache-2.0
//! The connections of this network namespace as `mptcpapi list` shows them, and their schema in JSON.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use mptcpapi::{Info, NamespaceConnection};
use serde::Serialize;

use crate::processes::{Process, holders};
use crate::target::inode_of;

/// One connection. The names of the fields are the schema: they may get company, but none changes or goes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Connection {
    pub(crate) state: &'static str,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) token: u32,
    pub(crate) fallback: bool,
    pub(crate) server_side: Option<bool>,
    pub(crate) path_manager: &'static str,
    pub(crate) uid: u32,
    pub(crate) inode: u32,
    pub(crate) processes: Vec<Process>,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_acked: Option<u64>,
    pub(crate) bytes_retrans: Option<u64>,
    pub(crate) retransmits: Option<u32>,
    #[serde(flatten)]
    pub(crate) rate: Rate,
    pub(crate) subflows: Vec<Subflow>,
    #[serde(skip)]
    read_at: Instant,
}

/// One live subflow; fields of the same name as in the library, where they are described.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Subflow {
    pub(crate) id: Option<u32>,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) state: &'static str,
    pub(crate) initial: bool,
    pub(crate) rtt_us: u32,
    pub(crate) rttvar_us: u32,
    pub(crate) snd_cwnd: u32,
    pub(crate) mss: u32,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_acked: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_retrans: u64,
    pub(crate) retransmits: u32,
    pub(crate) unacked: u32,
    pub(crate) delivery_rate: u64,
    pub(crate) last_ack_ms: u32,
    pub(crate) backup: Option<bool>,
    pub(crate) backup_by_peer: Option<bool>,
    pub(crate) local_id: Option<u8>,
    pub(crate) remote_id: Option<u8>,
    pub(crate) fully_established: Option<bool>,
    pub(crate) congestion: Option<String>,
    pub(crate) tos: Option<u8>,
    pub(crate) interface: Option<String>,
    #[serde(flatten)]
    pub(crate) rate: Rate,
}

/// Bits per second since the round before; None in the first, and where the counters began anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Rate {
    pub(crate) sent_bit_s: Option<u64>,
    pub(crate) received_bit_s: Option<u64>,
}

/// The connections there are now, oldest first.
pub(crate) fn list() -> mptcpapi::Result<Vec<Connection>> {
    let found = mptcpapi::namespace_connections()?;
    let read_at = Instant::now();
    let inodes: HashSet<u32> = found.iter().map(|connection| connection.inode).filter(|&inode| inode != 0).collect();
    let mut holders = holders(&inodes);
    let mut connections: Vec<Connection> = found
        .into_iter()
        .map(|found| {
            let processes = holders.remove(&found.inode).unwrap_or_default();
            connection(found, processes, read_at)
        })
        .collect();
    // The kernel numbers inodes upwards; 0 is a connection that waits to be accepted.
    connections
        .sort_by_key(|connection| (connection.inode == 0, connection.inode, connection.local, connection.remote));
    Ok(connections)
}

fn connection(found: NamespaceConnection, processes: Vec<Process>, read_at: Instant) -> Connection {
    let mut connection = from_namespace(&found, processes, read_at);
    if let Some((info, subflows)) = ask_holder(&connection) {
        connection.read_at = Instant::now();
        connection.set_info(&info);
        connection.subflows = subflows.iter().map(|subflow| Subflow::new(subflow, Some(subflow.id))).collect();
    }
    connection.subflows.sort_by_key(|subflow| (subflow.id, !subflow.initial, subflow.local, subflow.remote));
    connection
}

fn from_namespace(found: &NamespaceConnection, processes: Vec<Process>, read_at: Instant) -> Connection {
    let subflow = |subflow: &mptcpapi::Subflow| Subflow {
        // Without ids, it is the one with the addresses that the connection began with.
        initial: (subflow.local, subflow.remote) == (found.local, found.remote),
        ..Subflow::new(subflow, None)
    };
    Connection {
        state: found.state.name(),
        local: found.local,
        remote: found.remote,
        token: found.token,
        fallback: found.fallback,
        server_side: None,
        path_manager: mptcpapi::PathManager::Unknown.name(),
        uid: found.uid,
        inode: found.inode,
        processes,
        bytes_sent: found.bytes_sent,
        bytes_received: found.bytes_received,
        bytes_acked: None,
        bytes_retrans: None,
        retransmits: None,
        rate: Rate::default(),
        subflows: found.subflows.iter().map(subflow).collect(),
        read_at,
    }
}

/// What only the descriptor tells, through a duplicate of it that is closed again at once. None without the right to
/// trace a holder, and where the socket has gone meanwhile.
fn ask_holder(connection: &Connection) -> Option<(Info, Vec<mptcpapi::Subflow>)> {
    connection.processes.iter().find_map(|process| {
        let fd = mptcpapi::fd_of_process(process.pid, process.fd).ok()?;
        // Since /proc was read, the number may have become another file's.
        if inode_of(&fd) != Some(connection.inode) {
            return None;
        }
        let view = mptcpapi::Connection::from_fd(fd.as_fd());
        Some((view.info().ok()?, view.subflows_detail().ok()?))
    })
}

impl Connection {
    fn set_info(&mut self, info: &Info) {
        self.server_side = info.server_side;
        self.path_manager = info.path_manager.name();
        self.bytes_sent = info.bytes_sent;
        self.bytes_received = info.bytes_received;
        self.bytes_acked = Some(info.bytes_acked);
        self.bytes_retrans = Some(info.bytes_retrans);
        self.retransmits = Some(info.retransmits);
    }
}

impl Subflow {
    pub(crate) fn new(subflow: &mptcpapi::Subflow, id: Option<u32>) -> Self {
        Subflow {
            id,
            local: subflow.local,
            remote: subflow.remote,
            state: subflow.state.name(),
            initial: subflow.initial,
            rtt_us: subflow.rtt_us,
            rttvar_us: subflow.rttvar_us,
            snd_cwnd: subflow.snd_cwnd,
            mss: subflow.mss,
            bytes_sent: subflow.bytes_sent,
            bytes_acked: subflow.bytes_acked,
            bytes_received: subflow.bytes_received,
            bytes_retrans: subflow.bytes_retrans,
            retransmits: subflow.retransmits,
            unacked: subflow.unacked,
            delivery_rate: subflow.delivery_rate,
            last_ack_ms: subflow.last_ack_ms,
            backup: subflow.backup,
            backup_by_peer: subflow.backup_by_peer,
            local_id: subflow.local_id,
            remote_id: subflow.remote_id,
            fully_established: subflow.fully_established,
            congestion: subflow.congestion.map(|name| name.to_string()),
            tos: subflow.tos,
            interface: subflow.interface.map(|name| name.to_string()),
            rate: Rate::default(),
        }
    }
}

/// The counters of one round, from which the next has its rates.
#[derive(Debug, Default)]
pub(crate) struct Counters(HashMap<Key, Counter>);

/// A connection by its token and addresses; a subflow by its connection's and its own.
type Key = (u32, Pair, Option<Pair>);
type Pair = (SocketAddr, SocketAddr);

#[derive(Debug, Clone, Copy)]
struct Counter {
    at: Instant,
    sent: u64,
    received: u64,
}

impl Counters {
    /// Fills in the rates since the round before, and keeps this one.
    pub(crate) fn rate(&mut self, connections: &mut [Connection]) {
        let mut now = HashMap::new();
        for connection in connections {
            let (at, token, pair) = (connection.read_at, connection.token, (connection.local, connection.remote));
            let mut rate_of = |subflow, sent, received| {
                let key = (token, pair, subflow);
                let counter = Counter { at, sent, received };
                let rate = self.0.get(&key).map_or(Rate::default(), |before| counter.since(before));
                now.insert(key, counter);
                rate
            };
            connection.rate = rate_of(None, connection.bytes_sent, connection.bytes_received);
            for subflow in &mut connection.subflows {
                let pair = (subflow.local, subflow.remote);
                subflow.rate = rate_of(Some(pair), subflow.bytes_sent, subflow.bytes_received);
            }
        }
        self.0 = now;
    }
}

impl Counter {
    fn since(&self, before: &Counter) -> Rate {
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64();
        let rate = |now: u64, before: u64| {
            let bytes = now.checked_sub(before).filter(|_| seconds > 0.0)?;
            Some((bytes as f64 * 8.0 / seconds).round() as u64)
        };
        Rate { sent_bit_s: rate(self.sent, before.sent), received_bit_s: rate(self.received, before.received) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    /// A connection with every field set, of which all but the byte counters stay the same.
    pub(crate) fn sample(read_at: Instant, sent: u64, received: u64) -> Connection {
        let (local, remote) = ("10.77.1.1:43210".parse().unwrap(), "10.77.1.2:5201".parse().unwrap());
        let subflow = Subflow {
            id: Some(1),
            local,
            remote,
            state: "established",
            initial: true,
            rtt_us: 53,
            rttvar_us: 7,
            snd_cwnd: 10,
            mss: 1428,
            bytes_sent: sent,
            bytes_acked: 3,
            bytes_received: received,
            bytes_retrans: 5,
            retransmits: 6,
            unacked: 8,
            delivery_rate: 9,
            last_ack_ms: 11,
            backup: Some(false),
            backup_by_peer: Some(true),
            local_id: Some(0),
            remote_id: Some(2),
            fully_established: Some(true),
            congestion: Some("reno".into()),
            tos: Some(0),
            interface: None,
            rate: Rate::default(),
        };
        Connection {
            state: "established",
            local,
            remote,
            token: 0x1a2b_3c4d,
            fallback: false,
            server_side: Some(false),
            path_manager: "kernel",
            uid: 1000,
            inode: 4711,
            processes: vec![Process { pid: 99, fd: 3, command: "client".into() }],
            bytes_sent: sent,
            bytes_received: received,
            bytes_acked: Some(12),
            bytes_retrans: Some(13),
            retransmits: Some(14),
            rate: Rate::default(),
            subflows: vec![subflow],
            read_at,
        }
    }

    #[test]
    fn the_schema_stays() {
        let mut connection = sample(Instant::now(), 1, 2);
        connection.rate = Rate { sent_bit_s: Some(15), received_bit_s: None };
        let subflow = json!({
            "id": 1, "local": "10.77.1.1:43210", "remote": "10.77.1.2:5201", "state": "established",
            "initial": true, "rtt_us": 53, "rttvar_us": 7, "snd_cwnd": 10, "mss": 1428,
            "bytes_sent": 1, "bytes_acked": 3, "bytes_received": 2, "bytes_retrans": 5, "retransmits": 6,
            "unacked": 8, "delivery_rate": 9, "last_ack_ms": 11, "backup": false, "backup_by_peer": true,
            "local_id": 0, "remote_id": 2, "fully_established": true, "congestion": "reno", "tos": 0,
            "interface": null, "sent_bit_s": null, "received_bit_s": null,
        });
        let expected = json!({
            "state": "established", "local": "10.77.1.1:43210", "remote": "10.77.1.2:5201", "token": 439041101,
            "fallback": false, "server_side": false, "path_manager": "kernel", "uid": 1000, "inode": 4711,
            "processes": [{"pid": 99, "fd": 3, "command": "client"}],
            "bytes_sent": 1, "bytes_received": 2, "bytes_acked": 12, "bytes_retrans": 13, "retransmits": 14,
            "sent_bit_s": 15, "received_bit_s": null, "subflows": [subflow],
        });
        assert_eq!(serde_json::to_value(&connection).unwrap(), expected);
    }

    #[test]
    fn rates_are_bits_per_second_since_the_round_before() {
        let (start, mut counters) = (Instant::now(), Counters::default());
        let mut round = |after_ms, sent, received| {
            let mut round = [sample(start + Duration::from_millis(after_ms), sent, received)];
            counters.rate(&mut round);
            assert_eq!(round[0].rate, round[0].subflows[0].rate);
            (round[0].rate.sent_bit_s, round[0].rate.received_bit_s)
        };
        assert_eq!(round(0, 1000, 0), (None, None), "nothing to compare with");
        assert_eq!(round(500, 2000, 125), (Some(16_000), Some(2_000)));
        assert_eq!(round(2500, 2000, 125), (Some(0), Some(0)));
        assert_eq!(round(2500, 2001, 125), (None, None), "no time between");
        assert_eq!(round(3500, 1000, 126), (None, Some(8)), "a counter that began anew");
    }

    #[test]
    fn another_connection_with_the_same_addresses_has_rates_of_its_own() {
        let (start, mut counters) = (Instant::now(), Counters::default());
        counters.rate(&mut [sample(start, 0, 0)]);
        let mut other = [Connection { token: 1, ..sample(start + Duration::from_secs(1), 1000, 1000) }];
        counters.rate(&mut other);
        assert_eq!(other[0].rate, Rate::default());
    }
}
