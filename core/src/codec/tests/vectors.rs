// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every field of every vector. What is expected was read by other code, in another language: tests/vectors/layout.py.

use serde_json::Value;

use super::{address, bytes, datagrams, name, number, read};
use crate::codec::diag::{self, DiagSocket, SubflowContext};
use crate::codec::full_info::{FullInfo, with_addresses};
use crate::codec::netlink::{Message, Outcome, family_answer, messages};
use crate::codec::uapi::{FullInfoHeader, MptcpInfo, SOCK_DIAG_BY_FAMILY, TcpInfo};
use crate::codec::{pm, read_prefix, subflow_data};
use crate::subflow::Subflow;

/// The TCP states in which data can still be sent: established, and closed by the peer only.
const LIVE: [u64; 2] = [1, 8];

#[test]
fn mptcp_info() {
    for vector in read("mptcp_info.json") {
        let info: MptcpInfo = read_prefix(&bytes(&vector["bytes"]));
        same_info(&info, &vector["expected"], name(&vector));
    }
}

fn same_info(info: &MptcpInfo, expected: &Value, name: &str) {
    let fields = [
        ("subflows", info.subflows.into()),
        ("add_addr_signal", info.add_addr_signal.into()),
        ("add_addr_accepted", info.add_addr_accepted.into()),
        ("subflows_max", info.subflows_max.into()),
        ("add_addr_signal_max", info.add_addr_signal_max.into()),
        ("add_addr_accepted_max", info.add_addr_accepted_max.into()),
        ("flags", info.flags.into()),
        ("token", info.token.into()),
        ("write_seq", info.write_seq),
        ("snd_una", info.snd_una),
        ("rcv_nxt", info.rcv_nxt),
        ("local_addr_used", info.local_addr_used.into()),
        ("local_addr_max", info.local_addr_max.into()),
        ("csum_enabled", info.csum_enabled.into()),
        ("retransmits", info.retransmits.into()),
        ("bytes_retrans", info.bytes_retrans),
        ("bytes_sent", info.bytes_sent),
        ("bytes_received", info.bytes_received),
        ("bytes_acked", info.bytes_acked),
        ("subflows_total", info.subflows_total.into()),
        ("endp_laminar_max", info.endp_laminar_max.into()),
        ("endp_fullmesh_max", info.endp_fullmesh_max.into()),
        ("last_data_sent", info.last_data_sent.into()),
        ("last_data_recv", info.last_data_recv.into()),
        ("last_ack_recv", info.last_ack_recv.into()),
    ];
    same_fields(&fields, expected, name);
}

fn same_fields(fields: &[(&str, u64)], expected: &Value, name: &str) {
    for (field, value) in fields {
        assert_eq!(*value, number(&expected[field]), "{field} of {name}");
    }
}

#[test]
fn full_info() {
    for vector in read("full_info.json") {
        let header: FullInfoHeader = read_prefix(&bytes(&vector["header"]));
        let (tcp_info, subflow_info) = (bytes(&vector["tcp_info"]), bytes(&vector["subflow_info"]));
        let full = FullInfo::parse(&header, number(&vector["room"]) as usize, &tcp_info, &subflow_info);
        let (expected, name) = (&vector["expected"], name(&vector));
        assert_eq!(full.total as u64, number(&expected["total"]), "{name}");
        same_info(full.mptcp_info, &expected["mptcp_info"], name);
        let states: Vec<u64> = full.states().map(|state| state.0.into()).collect();
        assert_eq!(Value::from(states), expected["states"], "states of {name}");
        same_subflows(&full.entries().collect::<Vec<_>>(), &expected["subflows"], name);
        let mut live = Vec::new();
        full.visit_live(&mut live);
        let is_live = |one: &&Value| LIVE.contains(&number(&one["state"]));
        let expected: Value =
            expected["subflows"].as_array().expect("subflows").iter().filter(is_live).cloned().collect();
        same_subflows(&live, &expected, name);
    }
}

#[test]
fn subflow_data() {
    for vector in read("subflow_data.json") {
        let (addresses, tcp_info) = (bytes(&vector["addresses"]), bytes(&vector["tcp_info"]));
        let ((addresses, total), (tcp_info, _)) = (subflow_data::parse(&addresses), subflow_data::parse(&tcp_info));
        let (expected, name) = (&vector["expected"], name(&vector));
        assert_eq!(total as u64, number(&expected["total"]), "{name}");
        let pairs = addresses.iter().zip(tcp_info.iter());
        let subflows: Vec<_> = pairs.filter_map(|(addresses, tcp)| with_addresses(0, addresses, tcp)).collect();
        same_subflows(&subflows, &expected["subflows"], name);
    }
}

fn same_subflows(subflows: &[Subflow], expected: &Value, name: &str) {
    let expected = expected.as_array().expect("subflows");
    assert_eq!(subflows.len(), expected.len(), "number of subflows of {name}");
    for (subflow, expected) in subflows.iter().zip(expected) {
        assert_eq!(Some(subflow.local), address(&expected["local"]), "{name}");
        assert_eq!(Some(subflow.remote), address(&expected["remote"]), "{name}");
        assert_eq!(subflow.initial, subflow.id == 1, "{name}");
        let fields = [
            ("id", subflow.id.into()),
            ("state", subflow.state.0.into()),
            ("rtt_us", subflow.rtt_us.into()),
            ("rttvar_us", subflow.rttvar_us.into()),
            ("snd_cwnd", subflow.snd_cwnd.into()),
            ("mss", subflow.mss.into()),
            ("bytes_sent", subflow.bytes_sent),
            ("bytes_acked", subflow.bytes_acked),
            ("bytes_received", subflow.bytes_received),
            ("bytes_retrans", subflow.bytes_retrans),
            ("retransmits", subflow.retransmits.into()),
            ("unacked", subflow.unacked.into()),
            ("delivery_rate", subflow.delivery_rate),
            ("last_ack_ms", subflow.last_ack_ms.into()),
        ];
        same_fields(&fields, expected, name);
    }
}

#[test]
fn diag() {
    for vector in read("diag.json") {
        same_messages(&datagrams(&vector), &vector, |message, expected, name| {
            let socket = if message.kind == SOCK_DIAG_BY_FAMILY { diag::parse(message.payload) } else { None };
            assert_eq!(socket.is_some(), expected["socket"].is_object(), "{name}");
            if let Some(socket) = socket {
                same_socket(&socket, &expected["socket"], name);
            }
        });
    }
}

#[test]
fn generic_netlink() {
    for vector in read("genl.json") {
        same_messages(&datagrams(&vector), &vector, |message, expected, name| {
            let family = if message.outcome().is_none() { family_answer(message) } else { None };
            assert_eq!(family.is_some(), expected["family"].is_object(), "{name}");
            if let Some(family) = family {
                let fields = [("id", family.id.into()), ("events", family.events.into())];
                same_fields(&fields, &expected["family"], name);
            }
        });
    }
}

fn same_messages(datagrams: &[Vec<u8>], vector: &Value, mut each: impl FnMut(&Message<'_>, &Value, &str)) {
    let expected = vector["expected"].as_array().expect("messages");
    let found: Vec<Message<'_>> = datagrams.iter().flat_map(|datagram| messages(datagram)).collect();
    assert_eq!(found.len(), expected.len(), "messages of {}", name(vector));
    for (message, expected) in found.iter().zip(expected) {
        let fields =
            [("kind", message.kind.into()), ("flags", message.flags.into()), ("sequence", message.sequence.into())];
        same_fields(&fields, expected, name(vector));
        assert_eq!(message.outcome(), outcome(&expected["outcome"]), "{}", name(vector));
        each(message, expected, name(vector));
    }
}

fn outcome(expected: &Value) -> Option<Outcome> {
    let errno = expected.get("errno")?.as_i64()? as i32;
    Some(Outcome { errno, message: expected["message"].as_str().map(str::to_owned) })
}

fn same_socket(socket: &DiagSocket<'_>, expected: &Value, name: &str) {
    assert_eq!(Some(socket.local), address(&expected["local"]), "{name}");
    assert_eq!(Some(socket.remote), address(&expected["remote"]), "{name}");
    assert_eq!(socket.congestion.as_deref(), expected["congestion"].as_str(), "{name}");
    assert_eq!(socket.tos.map(u64::from), expected["tos"].as_u64(), "{name}");
    assert_eq!(Some(socket.is_subflow), expected["is_subflow"].as_bool(), "{name}");
    let fields = [
        ("state", socket.state.0.into()),
        ("interface", socket.interface.into()),
        ("uid", socket.uid.into()),
        ("inode", socket.inode.into()),
    ];
    same_fields(&fields, expected, name);
    same_context(socket.mptcp, &expected["mptcp"], name);
    let (mptcp, tcp) = (&expected["mptcp_info"], &expected["tcp_info"]);
    assert_eq!(socket.mptcp_info().is_some(), mptcp.is_object() || tcp.is_object(), "{name}");
    if let Some(info) = socket.mptcp_info().filter(|_| mptcp.is_object()) {
        same_info(&info, mptcp, name);
    }
    if let Some(info) = socket.tcp_info().filter(|_| tcp.is_object()) {
        same_tcp_info(&info, tcp, name);
    }
}

fn same_context(context: Option<SubflowContext>, expected: &Value, name: &str) {
    assert_eq!(context.is_some(), expected.is_object(), "{name}");
    let Some(context) = context else { return };
    let fields = [
        ("token", context.token.into()),
        ("flags", context.flags.bits().into()),
        ("local_id", context.local_id.into()),
        ("remote_id", context.remote_id.into()),
    ];
    same_fields(&fields, expected, name);
}

fn same_tcp_info(tcp: &TcpInfo, expected: &Value, name: &str) {
    let fields = [
        ("state", tcp.state.into()),
        ("mss", tcp.snd_mss.into()),
        ("rtt_us", tcp.rtt.into()),
        ("snd_cwnd", tcp.snd_cwnd.into()),
        ("bytes_sent", tcp.bytes_sent),
        ("bytes_acked", tcp.bytes_acked),
    ];
    same_fields(&fields, expected, name);
}

#[test]
fn events() {
    for vector in read("events.json") {
        let (datagram, expected) = (bytes(&vector["datagram"]), &vector["expected"]);
        let found: Vec<Message<'_>> = messages(&datagram).collect();
        assert_eq!(found.len(), 1);
        let event = pm::event(found[0].payload);
        assert_eq!(event.is_some(), expected.is_object(), "{expected}");
        assert_eq!(event.map(|event| event.token), pm::event_token(found[0].payload));
        let Some(event) = event else { continue };
        assert_eq!(u64::from(event.command), number(&expected["command"]));
        assert_eq!(u64::from(event.token), number(&expected["token"]));
        assert_eq!((event.local, event.remote), (address(&expected["local"]), address(&expected["remote"])));
        assert_eq!(event.remote_id.map(u64::from), expected["remote_id"].as_u64());
        assert_eq!(event.backup, expected["backup"].as_bool());
        assert_eq!(event.error.map(u64::from), expected["error"].as_u64());
        assert_eq!(event.reset_reason.map(u64::from), expected["reset_reason"].as_u64());
    }
}
