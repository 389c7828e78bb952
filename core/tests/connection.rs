// SPDX-License-Identifier: MIT OR Apache-2.0
//! Views of sockets: of wrong ones, of closed ones, of other processes', and of other network namespaces'.

// A thread in another network namespace is what is tested; unshare is unsafe to call.
#![allow(unsafe_code)]

#[allow(unreachable_pub, reason = "shared by several test programs")]
mod common;

use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use common::hosts::Program;
use common::path_manager::set_path_manager;
use common::{Lab, checked, client, connect_and_talk, connected, run, server, told, wait_until};
use mptcpapi::socket2::{Domain, Protocol, Socket, Type};
use mptcpapi::{Connection, Error, ErrorKind, PathManager, Status, borrow_fd, fd_of_process};

fn refusal(socket: &impl AsFd) -> (ErrorKind, i32) {
    let error = Connection::new(socket).expect_err("no connection of ours");
    assert_eq!(error.operation(), "connection");
    // The same is said by each call of a view that was made without a look.
    let connection = Connection::from_fd(socket.as_fd());
    let errors: [Error; 4] = [
        connection.status().expect_err("status"),
        connection.info().expect_err("info"),
        connection.subflows().expect_err("subflows"),
        connection.subflows_detail().expect_err("subflows_detail"),
    ];
    for other in errors {
        assert_eq!((other.kind(), other.raw_os_error()), (error.kind(), error.raw_os_error()), "{other}");
    }
    (error.kind(), error.raw_os_error())
}

#[test]
fn wrong_descriptors_are_refused() {
    let not_socket = (ErrorKind::Os, libc::ENOTSOCK);
    assert_eq!(refusal(&File::open("/proc/self/exe").expect("a file")), not_socket);
    assert_eq!(refusal(&File::open("/").expect("a directory")), not_socket);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    assert_eq!((refusal(&reader), refusal(&writer)), (not_socket, not_socket));

    let not_mptcp = (ErrorKind::NotMptcp, libc::EOPNOTSUPP);
    assert_eq!(refusal(&UdpSocket::bind("127.0.0.1:0").expect("UDP")), not_mptcp);
    assert_eq!(refusal(&UdpSocket::bind("[::1]:0").expect("UDP")), not_mptcp);
    assert_eq!(refusal(&UnixStream::pair().expect("a pair").0), not_mptcp);
    let directory = std::env::temp_dir().join(format!("mptcpapi-test-{}", std::process::id()));
    let listener = UnixListener::bind(&directory).expect("a listener");
    std::fs::remove_file(&directory).expect("its name");
    assert_eq!(refusal(&listener), not_mptcp);
    let netlink = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(Protocol::from(0))).expect("netlink");
    assert_eq!(refusal(&netlink), not_mptcp);
    // A netlink protocol with TCP's number is not TCP.
    let netlink = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(Protocol::TCP)).expect("netlink");
    assert_eq!(refusal(&netlink), not_mptcp);
}

#[test]
fn closed_and_negative_descriptors_are_ebadf() {
    // In a process of its own: the number must not be taken by another test meanwhile.
    Lab::new().run(|| {
        let fd = common::connected(1).into_raw_fd();
        drop(fd_of_process(std::process::id(), fd).expect("open so far"));
        // SAFETY: the number was ours alone, and nobody uses it again but to see that it is closed.
        assert_eq!(unsafe { libc::close(fd) }, 0);
        assert_eq!(refusal(&borrow_fd(fd).expect("a number")), (ErrorKind::Os, libc::EBADF));
        assert_eq!(refusal(&borrow_fd(i32::MAX).expect("a number")), (ErrorKind::Os, libc::EBADF));
        for fd in [-1, -100, i32::MIN] {
            assert_eq!(borrow_fd(fd).expect_err("negative").raw_os_error(), Some(libc::EBADF));
        }
    });
}

#[test]
fn plain_tcp_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let connection = Connection::new(&listener).expect("a view");
    assert_eq!(connection.status().expect("a status"), Status::Tcp);
    for error in [connection.subflows().expect_err("TCP"), connection.info().expect_err("TCP")] {
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::NotMptcp, libc::EOPNOTSUPP));
        assert_eq!(error.subflow(), None);
    }
}

#[test]
fn info_counts_the_bytes() {
    for lab in [Lab::with_endpoints(), Lab::with_endpoints().without("full-info")] {
        lab.run(|| {
            let stream = connected(2);
            (&stream).write_all(&[7; 10_000]).expect("send");
            let connection = Connection::new(&stream).expect("a connection");
            // hold\n, and the ten thousand.
            let all = wait_until("an acknowledgement", || {
                let info = connection.info().expect("info");
                (info.bytes_acked >= 10_005).then_some(info)
            });
            assert!(all.bytes_sent >= 10_005 && all.bytes_received >= 1, "{all:?}");
            assert_eq!((all.subflows, all.fallback, all.server_side), (2, false, Some(false)));
            assert_eq!(all.path_manager, told(PathManager::Kernel));
            assert_ne!(all.token, 0);
        });
    }
}

#[test]
fn the_path_manager_of_a_connection_is_its_own() {
    Lab::new().run(|| {
        let manager = |stream| Connection::new(stream).expect("a connection").info().expect("info").path_manager;
        let first = connect_and_talk(server(1));
        set_path_manager("userspace");
        let second = connect_and_talk(server(1));
        assert_eq!((manager(&first), manager(&second)), (told(PathManager::Kernel), told(PathManager::Userspace)));
        let fresh = mptcpapi::SocketOptions::new().socket(Domain::IPV4).expect("a socket").socket;
        let info = Connection::new(&fresh).expect("a view").info().expect("info");
        assert_eq!((info.token, info.path_manager), (0, PathManager::Unknown));
    });
}

#[test]
fn another_namespace_has_everything_but_detail() {
    Lab::with_endpoints().run(|| {
        let stream = connected(2);
        let connection = Connection::new(&stream).expect("a connection");
        let abroad = || {
            // SAFETY: changes the network namespace of this thread only, which ends soon.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
            let view = Connection::new(&stream).expect("a connection");
            assert_eq!(view.status().expect("a status"), Status::Mptcp);
            assert_eq!(checked(&view.subflows().expect("a listing")).len(), 2);
            let info = view.info().expect("info");
            (view.subflows_detail(), info)
        };
        let (detail, info) = thread::scope(|scope| scope.spawn(abroad).join().expect("the thread"));
        let error = detail.expect_err("sock_diag asks the thread's namespace");
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::Os, libc::EXDEV));
        assert!(error.hint().contains("network namespace"), "{error}");
        assert_eq!((info.subflows, info.path_manager, info.server_side), (2, PathManager::Unknown, None));
        // At home it works, also afterwards.
        assert_eq!(connection.subflows_detail().expect("a listing").len(), 2);
        assert_eq!(connection.info().expect("info").path_manager, told(PathManager::Kernel));
    });
}

/// Netlink sockets are kept for later use: each answers for its own network namespace only.
#[test]
fn connections_of_two_namespaces_in_one_process() {
    Lab::with_endpoints().run(|| {
        let stream = connected(2);
        let at_home = || {
            let detail = Connection::new(&stream).expect("a connection").subflows_detail().expect("a listing");
            assert_eq!(checked(&detail).len(), 2);
        };
        at_home();
        let abroad = || {
            // SAFETY: changes the network namespace of this thread only, which ends soon.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
            run("ip", &["link", "set", "lo", "up"]);
            let listener = mptcpapi::listen("127.0.0.1:0").expect("listen");
            let own = mptcpapi::connect(listener.local_addr().expect("an address")).expect("connect");
            let detail = Connection::new(&own).expect("a connection").subflows_detail().expect("a listing");
            assert_eq!((detail.len(), detail[0].local), (1, own.local_addr().expect("an address")));
            assert_eq!(
                mptcpapi::namespace_connections().expect("connections").len(),
                2,
                "both ends, and none of home's"
            );
            (own, listener)
        };
        let (own, _listener) = thread::scope(|scope| scope.spawn(abroad).join().expect("the thread"));
        // The socket that was made there serves here too, and does not get in the way of home's.
        assert_eq!(Connection::new(&own).expect("a connection").subflows_detail().expect("a listing").len(), 1);
        at_home();
    });
}

#[test]
fn another_process_lends_its_descriptor() {
    Lab::with_endpoints().run(|| {
        let (other, fd) = Program::connected();
        let borrowed = fd_of_process(other.id(), fd).expect("its descriptor");
        let connection = Connection::new(&borrowed).expect("a connection");
        let listed = wait_until("two subflows", || {
            let subflows = connection.subflows_detail().expect("a listing");
            (subflows.len() == 2).then_some(subflows)
        });
        checked(&listed);
        assert_eq!(listed[0].local.ip(), client(1));
        assert!(run("ss", &["-Mtn"]).contains(&listed[0].local.to_string()));

        let refused = |pid, fd| fd_of_process(pid, fd).expect_err("no such descriptor").raw_os_error();
        assert_eq!(refused(other.id(), 9_999), Some(libc::EBADF));
        assert_eq!(refused(other.id(), -1), Some(libc::EBADF));
        assert_eq!(refused(u32::MAX, 0), Some(libc::ESRCH));
        assert_eq!(refused(0x3fff_ffff, 0), Some(libc::ESRCH));
        assert_eq!(refused(0, 0), Some(libc::EINVAL));
    });
}

#[test]
fn a_duplicate_descriptor_is_the_same_connection() {
    Lab::with_endpoints().run(|| {
        let stream = connected(2);
        let again = fd_of_process(std::process::id(), stream.as_raw_fd()).expect("our own");
        let token = |socket: &dyn Fn() -> u32| socket();
        let of = |fd: std::os::fd::BorrowedFd<'_>| Connection::from_fd(fd).info().expect("info").token;
        assert_eq!(token(&|| of(stream.as_fd())), token(&|| of(again.as_fd())));
    });
}
