// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets: made, connected, listening, and what they are where MPTCP cannot be had.

#[allow(unreachable_pub, reason = "shared by several test programs")]
mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV6, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::Duration;

use common::{Lab, client, open_files, plain, run, server, server6, talk, wait_for_subflows, wait_until};
use mptcpapi::socket2::{Domain, SockRef, Socket};
use mptcpapi::{Connection, ErrorKind, SocketOptions, Status};

fn status(socket: &impl AsFd) -> Status {
    Connection::new(socket).expect("a connection").status().expect("a status")
}

fn is_mptcp(socket: &Socket) -> bool {
    socket.protocol().expect("SO_PROTOCOL").map(i32::from) == Some(262)
}

fn is_cloexec(socket: &Socket) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", socket.as_raw_fd())).expect("/proc");
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags");
    i32::from_str_radix(flags.trim(), 8).expect("octal") & libc::O_CLOEXEC != 0
}

/// Without MPTCP there is TCP, the reason is told, and connections work.
fn falls_back(errno: i32, hint: &str) {
    for domain in [Domain::IPV4, Domain::IPV6] {
        let new = SocketOptions::new().socket(domain).expect("a TCP socket");
        let reason = new.fallback_reason.expect("a reason");
        assert_eq!((reason.raw_os_error(), reason.operation()), (errno, "socket"));
        assert!(reason.hint().contains(hint), "{}", reason.hint());
        assert!(reason.to_string().contains(hint));
        assert!(!is_mptcp(&new.socket));
        assert_eq!(status(&new.socket), Status::Tcp);
    }
    for address in [server(1), plain(server(1)), server6(1)] {
        let stream = talk(mptcpapi::connect(address).expect("connect"));
        let connection = Connection::new(&stream).expect("a connection");
        assert_eq!(connection.status().expect("a status"), Status::Tcp);
        assert_eq!(connection.subflows().expect_err("no MPTCP").kind(), ErrorKind::NotMptcp);
        assert_eq!(connection.info().expect_err("no MPTCP").kind(), ErrorKind::NotMptcp);
    }
    let features = mptcpapi::Features::probe().expect("features");
    assert_eq!((features.mptcp, features.socket_errno, features.info), (false, errno, false));
    assert!(features.hint.contains(hint));
}

#[test]
fn falls_back_before_linux_5_6() {
    Lab::new().without("mptcp=EINVAL").run(|| falls_back(libc::EINVAL, "older than 5.6"));
}

#[test]
fn falls_back_where_mptcp_is_not_built_in() {
    Lab::new().without("mptcp=EPROTONOSUPPORT").run(|| falls_back(libc::EPROTONOSUPPORT, "CONFIG_MPTCP"));
}

#[test]
fn falls_back_where_mptcp_is_forbidden() {
    Lab::new().without("mptcp=EPERM").run(|| falls_back(libc::EPERM, "security policy"));
}

#[test]
fn falls_back_where_mptcp_is_switched_off() {
    Lab::new().run(|| {
        std::fs::write("/proc/sys/net/mptcp/enabled", "0").expect("the lab's own sysctl");
        falls_back(libc::ENOPROTOOPT, "net.mptcp.enabled");
    });
}

#[test]
fn other_refusals_are_errors() {
    Lab::new().without("mptcp=EMFILE").run(|| {
        let error = SocketOptions::new().socket(Domain::IPV4).expect_err("not a reason for TCP");
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::Os, libc::EMFILE));
    });
}

#[test]
fn families_without_mptcp_are_refused() {
    let error = SocketOptions::new().socket(Domain::UNIX).expect_err("not a family of MPTCP");
    assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::Os, libc::EAFNOSUPPORT));
}

#[test]
fn new_sockets_are_as_asked() {
    Lab::new().run(|| {
        for domain in [Domain::IPV4, Domain::IPV6] {
            for nonblocking in [false, true] {
                let new = SocketOptions::new().nonblocking(nonblocking).socket(domain).expect("a socket");
                assert!(new.fallback_reason.is_none() && is_mptcp(&new.socket));
                assert_eq!(new.socket.nonblocking().expect("flags"), nonblocking);
                assert!(is_cloexec(&new.socket));
                assert_eq!(status(&new.socket), Status::Unconnected);
            }
        }
    });
}

#[test]
fn connects_over_both_families() {
    Lab::with_endpoints().run(|| {
        for address in [server(1), server6(1)] {
            let stream = talk(mptcpapi::connect(address).expect("connect"));
            assert_eq!(status(&stream), Status::Mptcp);
            let subflows = wait_for_subflows(&stream, 2);
            assert!(subflows.iter().all(|subflow| subflow.remote == address), "{subflows:?}");
        }
        let mapped = match server(1) {
            SocketAddr::V4(address) => SocketAddr::from((address.ip().to_ipv6_mapped(), address.port())),
            SocketAddr::V6(address) => panic!("{address} is IPv6"),
        };
        let stream = talk(mptcpapi::connect(mapped).expect("connect"));
        let subflows = wait_for_subflows(&stream, 2);
        assert_eq!((subflows[0].remote, stream.peer_addr().expect("a peer")), (mapped, mapped));
        let detail = Connection::new(&stream).expect("a connection").subflows_detail().expect("a listing");
        assert_eq!(detail.len(), 2, "found by sock_diag as they are listed");
    });
}

/// Addresses that are only valid with an interface, to which the kernel binds their sockets.
#[test]
fn connects_over_link_local_addresses() {
    Lab::new().run(|| {
        let shown =
            run("lab", &["server", "--", "ip", "-6", "-oneline", "address", "show", "dev", "path1", "scope", "link"]);
        let ip = shown.split_whitespace().find_map(|word| word.strip_suffix("/64")).expect("a link-local address");
        let device = run("ip", &["-oneline", "link", "show", "dev", "path1"]);
        let device = device.split(':').next().and_then(|number| number.parse().ok()).expect("its number");
        let address = SocketAddrV6::new(ip.parse().expect("an address"), server(1).port(), 0, device);
        let stream = talk(mptcpapi::connect(address).expect("connect"));
        let connection = Connection::new(&stream).expect("a connection");
        let subflows = connection.subflows().expect("a listing");
        // The kernel lists them without the interface.
        let plain = |address: SocketAddr| (address.ip(), address.port());
        assert_eq!((subflows.len(), plain(subflows[0].remote)), (1, plain(address.into())));
        assert_eq!(plain(subflows[0].local), plain(stream.local_addr().expect("an address")));
        let detail = connection.subflows_detail().expect("a listing");
        assert_eq!((detail.len(), plain(detail[0].remote)), (1, plain(address.into())));
        assert_eq!((detail[0].congestion.as_deref(), detail[0].local_id), (Some("reno"), Some(0)));
        assert_eq!(detail[0].interface.as_deref(), Some("path1"));
        assert_eq!(connection.info().expect("info").server_side, Some(false));
    });
}

#[test]
fn connects_from_the_address_asked_for() {
    Lab::new().run(|| {
        let source = SocketAddr::new(client(2), 0);
        let stream = SocketOptions::new().source(Some(source)).connect(server(1)).expect("connect");
        assert_eq!(stream.local_addr().expect("an address").ip(), client(2));
        let source = SocketAddr::new(client(1), 45_678);
        let stream = SocketOptions::new().source(Some(source)).connect(server(1)).expect("connect");
        assert_eq!(stream.local_addr().expect("an address"), source);
        let taken = SocketOptions::new().source(Some(source)).connect(server(1)).expect_err("the port is taken");
        assert_eq!((taken.kind(), taken.raw_os_error()), (ErrorKind::Os, libc::EADDRINUSE));
        let foreign = SocketOptions::new().source(Some(([192, 0, 2, 1], 0).into())).connect(server(1));
        let foreign = foreign.expect_err("not an address of this host");
        assert_eq!((foreign.kind(), foreign.raw_os_error()), (ErrorKind::Os, libc::EADDRNOTAVAIL));
    });
}

#[test]
fn a_refusal_is_told_and_the_next_address_tried() {
    Lab::new().run(|| {
        let mut closed = server(1);
        closed.set_port(1);
        for options in [SocketOptions::new(), SocketOptions::new().timeout(Some(Duration::from_secs(20)))] {
            let error = options.connect(closed).expect_err("nobody listens there");
            assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::Refused, libc::ECONNREFUSED));
            assert_eq!(error.operation(), "connect");
            let stream = options.connect(&[closed, server(2)][..]).expect("the second address");
            assert_eq!(stream.peer_addr().expect("a peer"), server(2));
        }
        let error = mptcpapi::connect(&[][..]).expect_err("no address");
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::Os, libc::EINVAL));
    });
}

#[test]
fn a_dead_path_times_out() {
    Lab::new().run(|| {
        run("lab", &["cut", "1"]);
        let options = SocketOptions::new().timeout(Some(Duration::from_millis(200)));
        let error = options.connect(server(1)).expect_err("nothing comes through");
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::TimedOut, libc::ETIMEDOUT));
        let stream = options.connect(&[server(1), server(2)][..]).expect("over the other path");
        assert_eq!(stream.peer_addr().expect("a peer"), server(2));
        let unrouted = SocketOptions::new().connect("192.0.2.1:80").expect_err("no route");
        assert_eq!((unrouted.kind(), unrouted.raw_os_error()), (ErrorKind::Os, libc::ENETUNREACH));
    });
}

#[test]
fn a_name_that_does_not_resolve_is_an_error() {
    Lab::new().run(|| {
        for name in ["no-such-name.invalid:80", "without a port", ""] {
            let error = mptcpapi::connect(name).expect_err("no address");
            assert_eq!(error.kind(), ErrorKind::Os, "{name}");
            assert!(error.hint().contains("does not resolve"), "{name}: {error}");
            assert!(error.raw_os_error() > 0, "{name}");
        }
        assert_eq!(mptcpapi::listen("no-such-name.invalid:80").expect_err("no address").operation(), "listen");
    });
}

#[test]
fn a_nonblocking_connection_is_connected_first() {
    Lab::new().run(|| {
        let mut stream = SocketOptions::new().nonblocking(true).connect(server(1)).expect("connect");
        assert_eq!(status(&stream), Status::Mptcp);
        assert!(SockRef::from(&stream).nonblocking().expect("flags"));
        let error = stream.read(&mut [0]).expect_err("nothing to read");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    });
}

#[test]
fn what_it_is_while_connecting() {
    Lab::new().run(|| {
        run("lab", &["cut", "1"]);
        let socket = SocketOptions::new().nonblocking(true).socket(Domain::IPV4).expect("a socket").socket;
        let error = socket.connect(&server(1).into()).expect_err("on its way");
        assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS));
        let connection = Connection::new(&socket).expect("a connection");
        assert_eq!(connection.status().expect("a status"), Status::Unconnected);
        assert!(connection.subflows().expect("a listing").is_empty());
        let info = connection.info().expect("info");
        assert_eq!((info.subflows, info.server_side), (0, None));
        run("lab", &["heal", "1"]);
        wait_until("a connection", || (connection.status().expect("a status") == Status::Mptcp).then_some(()));
        assert_eq!(connection.subflows().expect("a listing").len(), 1);
    });
}

/// A Python client on the server's host, which connects to us with this protocol and waits.
fn client_of(address: SocketAddr, protocol: i32) -> common::hosts::Program {
    let script = format!(
        "import socket, sys\n\
         s = socket.socket(socket.AF_INET{}, socket.SOCK_STREAM, {protocol})\n\
         s.connect(('{}', {})); s.sendall(b'hello'); s.recv(1); print('answered', flush=True); sys.stdin.read()\n",
        if address.is_ipv6() { "6" } else { "" },
        address.ip(),
        address.port(),
    );
    common::hosts::Program::start("lab", &["server", "--", "python3", "-c", &script])
}

#[test]
fn accepts_mptcp_and_plain_tcp() {
    Lab::new().run(|| {
        let own6 = format!("[{}]:0", common::variable("LAB_CLIENT6_1"));
        for text in [format!("{}:0", client(1)), own6] {
            let listener = mptcpapi::listen(text.as_str()).expect("listen");
            let address = listener.local_addr().expect("an address");
            let connection = Connection::new(&listener).expect("a view of a listening socket");
            assert_eq!(connection.status().expect("a status"), Status::Unconnected);
            assert!(connection.subflows().expect("a listing").is_empty());
            assert!(connection.subflows_detail().expect("a listing").is_empty());
            assert_eq!(connection.info().expect("info").subflows, 0);
            for (protocol, expected) in [(262, Status::Mptcp), (6, Status::Tcp)] {
                let mut other = client_of(address, protocol);
                let (mut stream, _) = listener.accept().expect("accept");
                stream.read_exact(&mut [0; 5]).expect("receive");
                stream.write_all(b"!").expect("send");
                assert_eq!(other.line(), "answered");
                assert_eq!(status(&stream), expected);
                check_accepted(&stream, expected);
            }
        }
    });
}

fn check_accepted(stream: &TcpStream, status: Status) {
    let connection = Connection::new(stream).expect("a connection");
    if status == Status::Tcp {
        assert_eq!(connection.subflows().expect_err("no MPTCP").kind(), ErrorKind::NotMptcp);
        return;
    }
    let subflows = connection.subflows_detail().expect("a listing");
    assert_eq!(subflows.len(), 1);
    assert_eq!(subflows[0].local, stream.local_addr().expect("an address"));
    assert_eq!(subflows[0].remote, stream.peer_addr().expect("an address"));
    let info = connection.info().expect("info");
    assert_eq!((info.server_side, info.bytes_received, info.bytes_sent), (Some(true), 5, 1));
}

#[test]
fn a_taken_port_is_an_error_and_a_used_one_is_not() {
    Lab::new().run(|| {
        let listener = mptcpapi::listen((client(1), 0)).expect("listen");
        let address = listener.local_addr().expect("an address");
        let error = mptcpapi::listen(address).expect_err("taken");
        assert_eq!(
            (error.kind(), error.raw_os_error(), error.operation()),
            (ErrorKind::Os, libc::EADDRINUSE, "listen")
        );
        let mut other = client_of(address, 262);
        let (mut stream, _) = listener.accept().expect("accept");
        stream.read_exact(&mut [0; 5]).expect("receive");
        stream.write_all(b"!").expect("send");
        assert_eq!(other.line(), "answered");
        // Closed here first: this side keeps the port in TIME_WAIT.
        drop((stream, listener));
        mptcpapi::listen(address).expect("SO_REUSEADDR");
    });
}

#[test]
fn no_descriptor_is_left_behind() {
    Lab::new().run(|| {
        let mut closed = server(1);
        closed.set_port(1);
        let everything = || {
            drop(SocketOptions::new().socket(Domain::IPV6));
            drop(mptcpapi::connect(server(1)).expect("connect"));
            drop(mptcpapi::listen((client(1), 0)).expect("listen"));
            assert!(mptcpapi::connect(closed).is_err());
            assert!(SocketOptions::new().timeout(Some(Duration::ZERO)).connect(closed).is_err());
            assert!(SocketOptions::new().source(Some(([192, 0, 2, 1], 0).into())).connect(server(1)).is_err());
            assert!(mptcpapi::listen("192.0.2.1:80").is_err());
            mptcpapi::Features::probe().expect("features");
        };
        everything();
        let before = open_files();
        (0..10).for_each(|_| everything());
        assert_eq!(open_files(), before);
    });
}

#[test]
fn sockets_are_not_inherited() {
    Lab::new().run(|| {
        let stream = common::connected(1);
        let listener = mptcpapi::listen((client(1), 0)).expect("listen");
        Connection::new(&stream).expect("a connection").subflows_detail().expect("a listing");
        let output = Command::new("ls").args(["-l", "/proc/self/fd"]).output().expect("ls");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains("socket:"), "{text}");
        drop(listener);
    });
}
