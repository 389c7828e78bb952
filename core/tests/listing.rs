// SPDX-License-Identifier: MIT OR Apache-2.0
//! A listing is one picture of a connection, whatever others do to it meanwhile.

#[allow(unreachable_pub, reason = "shared by several test programs")]
mod common;

use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::path_manager::{destroy, endpoint_of};
use common::{Lab, checked, client, connected, run, variable, wait_for_subflows, wait_until};
use mptcpapi::{Connection, ErrorKind, Features, Subflow};

/// Subflows come and go for so long, and so often.
const CHURN: Duration = Duration::from_secs(2);
const CHANGES: u32 = 60;

#[test]
fn is_consistent_while_subflows_come_and_go() {
    Lab::with_endpoints().option("--paths 4").run(|| while_subflows_come_and_go(|connection| connection.subflows()));
}

#[test]
fn is_consistent_with_detail() {
    Lab::with_endpoints().option("--paths 4").run(|| {
        while_subflows_come_and_go(|connection| {
            let subflows = connection.subflows_detail()?;
            subflows.iter().for_each(check_detail);
            Ok(subflows)
        });
    });
}

#[test]
fn is_consistent_on_older_kernels() {
    Lab::with_endpoints().option("--paths 4").without("full-info").run(|| {
        assert!(!Features::probe().expect("features").full_info, "the older kernel is not older");
        while_subflows_come_and_go(|connection| connection.subflows());
    });
}

#[test]
fn is_consistent_with_detail_on_older_kernels() {
    Lab::with_endpoints().option("--paths 4").without("full-info").run(|| {
        while_subflows_come_and_go(|connection| {
            let subflows = connection.subflows_detail()?;
            subflows.iter().for_each(check_detail);
            Ok(subflows)
        });
    });
}

/// Every subflow of a listing with detail has it: those that died in between are not in there.
fn check_detail(subflow: &Subflow) {
    assert_eq!(subflow.congestion.as_deref(), Some("reno"), "{subflow:?}");
    assert_eq!(subflow.tos, Some(0), "{subflow:?}");
    assert_eq!(subflow.remote_id, Some(0), "{subflow:?}");
    assert_eq!(subflow.local_id == Some(0), subflow.local.ip() == client(1), "{subflow:?}");
    assert_eq!(subflow.backup, Some(false), "{subflow:?}");
}

fn while_subflows_come_and_go(list: impl Fn(&Connection<'_>) -> mptcpapi::Result<Vec<Subflow>>) {
    tell_paths_apart();
    let stream = connected(4);
    let connection = Connection::new(&stream).expect("a connection");
    let over = AtomicBool::new(false);
    let mut addresses: HashMap<u32, (SocketAddr, SocketAddr)> = HashMap::new();
    let (mut listings, mut pictures) = (0u32, BTreeSet::new());
    thread::scope(|scope| {
        let churn = scope.spawn(|| {
            // Whatever happens here, the listings end.
            let changes = std::panic::catch_unwind(churn);
            over.store(true, Ordering::Relaxed);
            changes.expect("the churn")
        });
        while !over.load(Ordering::Relaxed) {
            let subflows = match list(&connection) {
                Ok(subflows) => subflows,
                // An older kernel cannot always be read in one piece, and says so.
                Err(error) if error.raw_os_error() == libc::EAGAIN => continue,
                Err(error) => panic!("{error}"),
            };
            listings += 1;
            for subflow in &subflows {
                let pair = (subflow.local, subflow.remote);
                assert_eq!(*addresses.entry(subflow.id).or_insert(pair), pair, "id {} has moved", subflow.id);
            }
            subflows.iter().for_each(check_statistics);
            pictures.insert(checked(&subflows));
        }
        let changes = churn.join().expect("the churn");
        assert!(changes >= CHANGES && listings > 100, "{changes} changes, {listings} listings");
        assert!(pictures.len() > 10 && addresses.len() > 10, "{} pictures of {:?}", pictures.len(), addresses.keys());
    });
}

/// Each path has segments of its own size, so that statistics of another subflow are noticed.
fn tell_paths_apart() {
    for path in 1..=4 {
        run("ip", &["link", "set", "dev", &format!("path{path}"), "mtu", &mtu(path).to_string()]);
    }
}

fn mtu(path: usize) -> u32 {
    1500 - 50 * path as u32
}

fn check_statistics(subflow: &Subflow) {
    let path = (1..=4).find(|&path| client(path) == subflow.local.ip()).expect("a path");
    // Headers of IPv4 and TCP, the latter with time stamps.
    assert_eq!(subflow.mss, mtu(path) - 20 - 32, "statistics of another subflow: {subflow:?}");
}

/// Endpoints go and come back, and subflows are killed; path 1 stays. How often something changed.
fn churn() -> u32 {
    let end = Instant::now() + CHURN;
    let endpoints: Vec<(String, String)> =
        (2..=3).map(|path| (variable(&format!("LAB_CLIENT_{path}")), endpoint_of(path))).collect();
    let mut changes = 0;
    while Instant::now() < end || changes < CHANGES {
        for (address, id) in &endpoints {
            run("ip", &["mptcp", "endpoint", "delete", "id", id]);
            destroy(&["src", &variable("LAB_CLIENT_4")]);
            run("ip", &["mptcp", "endpoint", "add", address, "id", id, "subflow"]);
            let fourth = endpoint_of(4);
            run("ip", &["mptcp", "endpoint", "delete", "id", &fourth]);
            run("ip", &["mptcp", "endpoint", "add", &variable("LAB_CLIENT_4"), "id", &fourth, "subflow"]);
            changes += 5;
        }
    }
    changes
}

#[test]
fn leaves_out_a_killed_subflow() {
    Lab::with_endpoints().run(|| {
        let stream = connected(2);
        let connection = Connection::new(&stream).expect("a connection");
        let before = connection.subflows_detail().expect("a listing");
        assert_eq!(before.iter().map(|subflow| subflow.id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(connection.info().expect("info").server_side, Some(false));
        destroy(&["src", &variable("LAB_CLIENT_1")]);
        let after = wait_for_subflows(&stream, 1);
        assert_eq!(
            (after[0].id, after[0].local),
            (2, before[1].local),
            "the initial one is gone, the other keeps its id"
        );
        assert_eq!(connection.subflows_detail().expect("a listing").len(), 1);
        assert_eq!(connection.info().expect("info").subflows, 1);
        // The addresses that the connection began with do not come back as a subflow.
        assert_eq!(connection.status().expect("a status").name(), "mptcp");
    });
}

#[test]
fn leaves_out_a_killed_subflow_on_older_kernels() {
    Lab::with_endpoints().without("full-info").run(|| {
        let stream = connected(2);
        let connection = Connection::new(&stream).expect("a connection");
        let before = connection.subflows().expect("a listing");
        assert_eq!(before.iter().map(|subflow| subflow.id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(before[0].local, stream.local_addr().expect("an address"));
        destroy(&["src", &variable("LAB_CLIENT_1")]);
        let after = wait_for_subflows(&stream, 1);
        assert_eq!((after[0].id, after[0].local), (2, before[1].local));
    });
}

#[test]
fn is_the_same_from_every_view_and_descriptor() {
    for lab in [Lab::with_endpoints(), Lab::with_endpoints().without("full-info")] {
        lab.run(|| {
            let stream = connected(2);
            let other = stream.try_clone().expect("a duplicate");
            let pairs = |stream| {
                let subflows = Connection::new(stream).expect("a connection").subflows().expect("a listing");
                subflows.iter().map(|subflow| (subflow.id, subflow.local)).collect::<Vec<_>>()
            };
            assert_eq!(pairs(&stream), pairs(&other));
        });
    }
}

/// MPTCP sockets that a listener accepts have its cookie, once somebody has asked for that.
#[test]
fn keeps_apart_what_a_listener_accepts() {
    Lab::new().without("full-info").run(|| {
        let listener = mptcpapi::listen((client(1), 0)).expect("listen");
        assert!(Connection::new(&listener).expect("a view").subflows().expect("a listing").is_empty());
        let address = listener.local_addr().expect("an address");
        let pairs: Vec<_> = (0..3)
            .map(|_| {
                let mut other = mptcpapi::connect(address).expect("connect");
                other.write_all(b"x").expect("send");
                let (mut stream, _) = listener.accept().expect("accept");
                stream.read_exact(&mut [0]).expect("receive");
                (other, stream)
            })
            .collect();
        for (_, stream) in &pairs {
            let subflows = Connection::new(stream).expect("a connection").subflows().expect("a listing");
            assert_eq!(subflows.iter().map(|subflow| (subflow.id, subflow.initial)).collect::<Vec<_>>(), [(1, true)]);
        }
    });
}

#[test]
fn tells_the_interface_of_a_bound_subflow() {
    Lab::new().run(|| {
        let second = variable("LAB_CLIENT_2");
        run("ip", &["mptcp", "limits", "set", "subflows", "8"]);
        run("ip", &["mptcp", "endpoint", "add", &second, "dev", "path2", "subflow"]);
        let stream = connected(2);
        let detail = Connection::new(&stream).expect("a connection").subflows_detail().expect("a listing");
        let interfaces: Vec<_> = detail.iter().map(|subflow| subflow.interface.as_deref().map(str::to_owned)).collect();
        assert_eq!(interfaces, [None, Some("path2".to_owned())]);
        detail.iter().for_each(check_detail);
    });
}

#[test]
fn ends_with_the_connection() {
    Lab::with_endpoints().run(|| {
        let stream = connected(2);
        let connection = Connection::new(&stream).expect("a connection");
        stream.shutdown(std::net::Shutdown::Both).expect("shutdown");
        let last = wait_until("an end", || match connection.subflows() {
            Ok(subflows) if subflows.is_empty() => Some(Ok(())),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        });
        assert!(last.is_ok(), "{last:?}");
        assert!(connection.subflows_detail().expect("a listing").is_empty());
    });
}

#[test]
fn of_plain_tcp_is_an_error() {
    Lab::new().run(|| {
        let stream = mptcpapi::connect(common::plain(common::server(1))).expect("connect");
        let connection = Connection::new(&stream).expect("a connection");
        assert_eq!(connection.status().expect("a status").name(), "fallback");
        let error = connection.subflows().expect_err("no MPTCP");
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::FellBack, libc::EOPNOTSUPP));
        assert_eq!(connection.subflows_detail().expect_err("no MPTCP").kind(), ErrorKind::FellBack);
        assert_eq!(connection.info().expect_err("no MPTCP").kind(), ErrorKind::FellBack);
    });
}
