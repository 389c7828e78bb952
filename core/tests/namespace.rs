// SPDX-License-Identifier: MIT OR Apache-2.0
//! All connections of a network namespace, whoever owns them.

#[allow(unreachable_pub, reason = "shared by several test programs")]
mod common;

use std::collections::BTreeSet;
use std::fs::read_link;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use common::hosts::Program;
use common::{Lab, client, connect_and_talk, connected, kernel_has, plain, run, server, told, wait_until};
use mptcpapi::{Connection, ErrorKind, NamespaceConnection, PathManager, Status, fd_of_process, namespace_connections};

fn inode(pid: u32, fd: i32) -> u32 {
    let link = read_link(format!("/proc/{pid}/fd/{fd}")).expect("a link");
    let text = link.to_string_lossy().into_owned();
    text.trim_start_matches("socket:[").trim_end_matches(']').parse().expect("a number")
}

fn of_inode(inode: u32) -> Option<NamespaceConnection> {
    namespace_connections().expect("connections").into_iter().find(|connection| connection.inode == inode)
}

fn with_two_subflows(inode: u32) -> NamespaceConnection {
    wait_until("two subflows", || of_inode(inode).filter(|connection| connection.subflows.len() == 2))
}

const IDS_WITHOUT_PRIVILEGE: &str = "address ids and priorities without privilege (6.15)";

fn full_info() -> bool {
    mptcpapi::Features::probe().expect("features").full_info
}

/// What the listing of the namespace must say of another process's connection.
fn another_process_is_seen() {
    let (other, fd) = Program::connected();
    let seen = with_two_subflows(inode(other.id(), fd));
    assert_eq!((seen.remote, seen.local.ip()), (server(1), client(1)));
    assert_eq!((seen.state.name(), seen.fallback), ("established", false));
    assert_eq!(seen.uid, 0);
    let counts = kernel_has(full_info(), "the bytes of other processes' connections (6.5)");
    assert_eq!((seen.bytes_sent, seen.bytes_received), if counts { (5, 1) } else { (0, 0) });
    assert_ne!(seen.token, 0);
    let locals: BTreeSet<_> = seen.subflows.iter().map(|subflow| subflow.local.ip()).collect();
    assert_eq!(locals, BTreeSet::from([client(1), client(2)]));
    let ids = kernel_has(seen.subflows.iter().all(|subflow| subflow.local_id.is_some()), IDS_WITHOUT_PRIVILEGE);
    for subflow in &seen.subflows {
        assert_eq!((subflow.id, subflow.state.name()), (0, "established"));
        assert_eq!(subflow.congestion.as_deref(), Some("reno"));
        assert_eq!(subflow.local_id == Some(0), ids && subflow.local == seen.local);
        assert!(subflow.rtt_us > 0 && subflow.mss > 500, "{subflow:?}");
    }
}

#[test]
fn shows_connections_of_other_processes() {
    Lab::with_endpoints().run(|| {
        another_process_is_seen();
    });
}

#[test]
fn needs_no_privilege() {
    Lab::with_endpoints().unprivileged().run(|| {
        assert!(!mptcpapi::Features::probe().expect("features").net_admin, "the test has privilege");
        another_process_is_seen();
    });
}

#[test]
fn nothing_about_a_connection_needs_privilege() {
    Lab::with_endpoints().unprivileged().run(|| {
        let stream = connected(2);
        let connection = Connection::new(&stream).expect("a connection");
        let detail = connection.subflows_detail().expect("a listing");
        assert_eq!(detail.len(), 2);
        assert!(detail.iter().all(|subflow| subflow.congestion.as_deref() == Some("reno")), "{detail:?}");
        let ids = kernel_has(detail.iter().all(|subflow| subflow.local_id.is_some()), IDS_WITHOUT_PRIVILEGE);
        assert!(detail.iter().all(|subflow| subflow.backup == ids.then_some(false)), "{detail:?}");
        let info = connection.info().expect("info");
        assert_eq!((info.server_side, info.path_manager), (ids.then_some(false), told(PathManager::Kernel)));
        let features = mptcpapi::Features::probe().expect("features");
        assert!(features.mptcp && features.info && features.detail);
        kernel_has(features.full_info, "MPTCP_FULL_INFO (6.5)");
    });
}

#[test]
fn says_the_same_as_the_connection_itself() {
    Lab::with_endpoints().run(|| {
        let (other, fd) = Program::connected();
        let seen = with_two_subflows(inode(other.id(), fd));
        let borrowed = fd_of_process(other.id(), fd).expect("its descriptor");
        let connection = Connection::new(&borrowed).expect("a connection");
        assert_eq!(connection.info().expect("info").token, seen.token);
        let pairs = |subflows: &[mptcpapi::Subflow]| -> BTreeSet<(SocketAddr, SocketAddr, Option<u8>)> {
            subflows.iter().map(|subflow| (subflow.local, subflow.remote, subflow.local_id)).collect()
        };
        assert_eq!(pairs(&connection.subflows_detail().expect("a listing")), pairs(&seen.subflows));
    });
}

#[test]
fn keeps_connections_apart() {
    Lab::with_endpoints().run(|| {
        let streams: Vec<_> = (0..20).map(|_| connected(2)).collect();
        let mut six = vec![connect_and_talk(common::server6(1))];
        six.push(connect_and_talk(common::server6(2)));
        let all = namespace_connections().expect("connections");
        for stream in streams.iter().chain(&six) {
            let local = stream.local_addr().expect("an address");
            let found: Vec<_> = all.iter().filter(|connection| connection.local == local).collect();
            assert_eq!(found.len(), 1, "{local}");
            let token = Connection::new(stream).expect("a connection").info().expect("info").token;
            assert_eq!(found[0].token, token);
            assert!(found[0].subflows.iter().any(|subflow| subflow.local == local), "{:?}", found[0]);
            if local.is_ipv4() {
                assert_eq!(found[0].subflows.len(), 2, "{:?}", found[0]);
            }
        }
        assert_eq!(all.len(), 22);
    });
}

#[test]
fn shows_a_connection_that_fell_back() {
    Lab::new().run(|| {
        let stream = connect_and_talk(plain(server(1)));
        assert_eq!(Connection::new(&stream).expect("a connection").status().expect("a status"), Status::Fallback);
        let local = stream.local_addr().expect("an address");
        let all = namespace_connections().expect("connections");
        let seen = all.iter().find(|connection| connection.local == local).expect("our connection");
        assert!(seen.fallback, "{seen:?}");
        assert_eq!(seen.inode, inode(std::process::id(), stream.as_raw_fd()));
    });
}

#[test]
fn is_empty_where_there_is_none() {
    Lab::new().run(|| {
        let listener = mptcpapi::listen((client(1), 0)).expect("listen");
        assert!(namespace_connections().expect("connections").is_empty());
        drop(listener);
        run("true", &[]);
    });
}

#[test]
fn a_sandbox_without_netlink_is_told() {
    Lab::new().without("netlink").run(|| {
        let error = namespace_connections().expect_err("forbidden");
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::PermissionDenied, libc::EPERM));
        let stream = connect_and_talk(server(1));
        let connection = Connection::new(&stream).expect("a connection");
        assert_eq!(connection.subflows().expect("a listing").len(), 1);
        let error = connection.subflows_detail().expect_err("forbidden");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.hint().contains("seccomp"), "{error}");
        let info = connection.info().expect("info");
        assert_eq!((info.path_manager, info.server_side, info.subflows), (PathManager::Unknown, None, 1));
    });
}
