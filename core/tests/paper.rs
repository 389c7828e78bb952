// SPDX-License-Identifier: MIT OR Apache-2.0
//! The paper's options on real connections: ids, what waits for data, what fails and how.

#[allow(unreachable_pub, reason = "shared by several test programs")]
mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Barrier;
use std::thread;

use common::path_manager::destroy;
use common::{Lab, client, connect_and_talk, connected, plain, server, server6, talk, variable, wait_until};
use mptcpapi::paper::{
    self, Caller, MPTCP_CLOSE_SUB_ID, MPTCP_GET_SUB_IDS, MPTCP_GET_SUB_TUPLE, MPTCP_OPEN_SUB_TUPLE, ProcessMemory,
    SubStatus, answer_getsockopt, close_sub_id, get_sub_ids, get_sub_tuple, open_sub_tuple, sub_getsockopt,
    sub_setsockopt,
};
use mptcpapi::{Connection, Control, Error, ErrorKind, SocketOptions};

/// Connected, and no data has flowed.
fn fresh(to: SocketAddr) -> TcpStream {
    SocketOptions::new().control(Control::App).connect(to).expect("connect")
}

fn app() -> TcpStream {
    talk(fresh(server(1)))
}

fn list(stream: &impl AsFd) -> Vec<SubStatus> {
    get_sub_ids(stream).expect("a list")
}

fn ids(stream: &impl AsFd) -> Vec<u8> {
    list(stream).iter().map(|status| status.id).collect()
}

fn established(stream: &impl AsFd, number: usize) -> Vec<SubStatus> {
    wait_until("established subflows", || {
        let found = list(stream);
        (found.len() == number && found.iter().all(|status| status.fully_established)).then_some(found)
    })
}

fn any_port(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 0)
}

fn client6(path: usize) -> IpAddr {
    variable(&format!("LAB_CLIENT6_{path}")).parse().expect("an address")
}

/// From the second path to the peer; the id.
fn opened(stream: &impl AsFd) -> u8 {
    open_sub_tuple(stream, any_port(client(2)), any_port(server(1).ip()), false).expect("an id")
}

fn errno(result: Result<impl std::fmt::Debug, Error>) -> i32 {
    result.expect_err("it cannot be done").raw_os_error()
}

/// id, slave, fully established, low priority, pre-established.
fn plain_words(status: &SubStatus) -> (u8, bool, bool, bool, bool) {
    assert!(status.attached, "{status:?}");
    (status.id, status.slave, status.fully_established, status.low_prio, status.pre_established)
}

fn echo(stream: &mut TcpStream) {
    stream.write_all(b"echo\n").expect("send");
    let mut line = [0; 5];
    stream.read_exact(&mut line).expect("receive");
    assert_eq!(&line, b"echo\n");
}

// ---- ids ----

#[test]
fn newest_first_and_upwards() {
    Lab::new().run(|| {
        let stream = app();
        assert_eq!(list(&stream).iter().map(plain_words).collect::<Vec<_>>(), [(1, false, true, false, false)]);
        assert_eq!((opened(&stream), opened(&stream)), (2, 3));
        let found = established(&stream, 3);
        assert_eq!(found.iter().map(|status| status.id).collect::<Vec<_>>(), [3, 2, 1]);
        assert_eq!(plain_words(&found[0]), (3, true, true, false, false));
        close_sub_id(&stream, 2).expect("close");
        assert_eq!(ids(&stream), [3, 1]);
        // Next-fit: not the lowest that is free.
        assert_eq!(opened(&stream), 4);
        assert_eq!(ids(&stream)[0], 4);
        close_sub_id(&stream, 1).expect("close");
        close_sub_id(&stream, 3).expect("close");
        assert_eq!(ids(&stream), [4]);
        assert_eq!(errno(close_sub_id(&stream, 1)), libc::EINVAL);
        assert_eq!(established(&stream, 1)[0].id, 4);
    });
}

/// Without data there is nothing that a peer could reject.
#[test]
fn round_from_thirty_one() {
    Lab::new().run(|| {
        let stream = fresh(server(1));
        for id in 2..=31 {
            assert_eq!((opened(&stream), ids(&stream)), (id, vec![id, 1]));
            close_sub_id(&stream, id).expect("close");
        }
        assert_eq!((opened(&stream), opened(&stream)), (2, 3));
        close_sub_id(&stream, 1).expect("close");
        for id in 4..=31 {
            assert_eq!(opened(&stream), id);
        }
        // The initial subflow is only hidden, so that its id is not free.
        let error = open_sub_tuple(&stream, any_port(client(2)), server(1), false).expect_err("all are in use");
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::PermissionDenied, libc::EPERM));
        close_sub_id(&stream, 30).expect("close");
        assert_eq!((opened(&stream), ids(&stream)[..2].to_vec()), (30, vec![30, 31]));
    });
}

#[test]
fn a_subflow_has_its_addresses() {
    Lab::new().run(|| {
        let stream = app();
        let (local, remote) = (SocketAddr::new(client(2), 20_123), server(2));
        assert_eq!(open_sub_tuple(&stream, local, remote, true).expect("an id"), 2);
        assert_eq!(get_sub_tuple(&stream, 2).expect("addresses"), (local, remote));
        let own = (stream.local_addr().expect("an address"), server(1));
        assert_eq!(get_sub_tuple(&stream, 1).expect("addresses"), own);
        assert!(established(&stream, 2)[0].low_prio);
        let error = get_sub_tuple(&stream, 9).expect_err("no such id");
        assert_eq!((error.kind(), error.subflow()), (ErrorKind::NoSuchSubflow, Some(9)));
        assert_eq!((error.operation(), error.raw_os_error()), ("get_sub_tuple", libc::EINVAL));
    });
}

#[test]
fn what_is_missing_of_the_remote_address_is_the_connections() {
    let any = |port| SocketAddr::new([0, 0, 0, 0].into(), port);
    let any6 = |port| SocketAddr::new([0; 16].into(), port);
    Lab::new().run(|| {
        for (stream, from, peer) in
            [(app(), any_port(client(2)), server(1)), (talk(fresh(server6(1))), any_port(client6(2)), server6(1))]
        {
            let other = if peer.is_ipv4() { server(2) } else { server6(2) };
            let remotes = [
                (None, peer),
                (Some(any(0)), peer),
                (Some(any6(peer.port())), peer),
                (Some(any_port(peer.ip())), peer),
                (Some(any_port(other.ip())), other),
            ];
            for (remote, wanted) in remotes {
                let id = open_sub_tuple(&stream, from, remote, false).expect("an id");
                let (local, remote) = get_sub_tuple(&stream, id).expect("addresses");
                assert_eq!((local.ip(), remote), (from.ip(), wanted));
            }
            established(&stream, 6);
            // The kernel's choice: of the remote address's family.
            let port = if peer.is_ipv4() { 20_123 } else { 20_124 };
            for (index, local) in [None, Some(any(0)), Some(any6(0)), Some(any(port))].into_iter().enumerate() {
                close_sub_id(&stream, index as u8 + 2).expect("close");
                let id = open_sub_tuple(&stream, local, None, false).expect("an id");
                let (own, remote) = get_sub_tuple(&stream, id).expect("addresses");
                assert_eq!((own.is_ipv4(), remote), (peer.is_ipv4(), peer), "from {local:?}");
                assert!(local.is_none_or(|local| local.port() == 0 || local.port() == own.port()), "{own}");
                established(&stream, 6);
            }
            // Also where the connection's first subflow is gone.
            close_sub_id(&stream, 1).expect("close");
            let id = open_sub_tuple(&stream, from, None, false).expect("an id");
            assert_eq!(get_sub_tuple(&stream, id).expect("addresses").1, peer);
        }
        assert_eq!(errno(open_sub_tuple(&app(), None, server6(2), false)), libc::EAFNOSUPPORT);
    });
}

#[test]
fn subflows_that_others_opened_have_ids_too() {
    for lab in [Lab::with_endpoints(), Lab::with_endpoints().without("full-info")] {
        lab.run(|| {
            let stream = connected(2);
            assert_eq!(ids(&stream), [2, 1]);
            let (local, _) = get_sub_tuple(&stream, 2).expect("addresses");
            assert_eq!(local.ip(), client(2));
            destroy(&["src", &local.ip().to_string(), "sport", "=", &format!(":{}", local.port())]);
            wait_until("the end of the second", || (ids(&stream) == [1]).then_some(()));
        });
    }
}

#[test]
fn all_descriptors_of_a_socket_have_the_same_ids() {
    Lab::new().run(|| {
        let stream = app();
        let again = stream.try_clone().expect("a duplicate");
        assert_eq!(opened(&stream), 2);
        close_sub_id(&again, 1).expect("close");
        assert_eq!(opened(&again), 3);
        assert_eq!((ids(&stream), ids(&again)), (vec![3, 2], vec![3, 2]));
        // Another connection has its own.
        assert_eq!(opened(&app()), 2);
    });
}

/// Each id is given once, and is the one of the subflow that its thread asked for.
#[test]
fn threads_that_open_the_same_at_once() {
    const THREADS: usize = 4;
    Lab::new().run(|| {
        for _ in 0..10 {
            let (stream, together) = (app(), Barrier::new(THREADS));
            let open = || {
                together.wait();
                let id = opened(&stream);
                (id, get_sub_tuple(&stream, id).expect("it is there").0)
            };
            let all: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(open)).collect();
                threads.into_iter().map(|thread| thread.join().expect("a thread")).collect()
            });
            assert_eq!(all.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>(), BTreeSet::from([2, 3, 4, 5]));
            assert_eq!(all.iter().map(|(_, local)| *local).collect::<BTreeSet<_>>().len(), THREADS);
            established(&stream, THREADS + 1);
            for (id, local) in all {
                assert_eq!(get_sub_tuple(&stream, id).expect("addresses").0, local, "of {id}");
            }
        }
    });
}

// ---- before any data ----

#[test]
fn an_open_before_any_data_is_done_at_the_next_call_after_it() {
    Lab::new().run(|| {
        let stream = fresh(server(1));
        assert_eq!(open_sub_tuple(&stream, any_port(client(2)), any_port(server(1).ip()), true).expect("an id"), 2);
        let all: Vec<_> = list(&stream).iter().map(plain_words).collect();
        assert_eq!(all, [(2, true, false, true, false), (1, false, true, false, false)]);
        assert_eq!(get_sub_tuple(&stream, 2).expect("addresses"), (any_port(client(2)), server(1)));
        let kernel = || Connection::new(&stream).expect("a view").subflows().expect("a listing").len();
        assert_eq!((kernel(), list(&stream).len()), (1, 2));
        let stream = talk(stream);
        assert_eq!(Connection::new(&stream).expect("a view").subflows().expect("a listing").len(), 1);
        assert_eq!(established(&stream, 2).iter().map(|status| status.id).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(get_sub_tuple(&stream, 2).expect("addresses").0.ip(), client(2));
    });
}

#[test]
fn a_close_before_any_data_leaves_the_connection_alive() {
    Lab::new().run(|| {
        let mut stream = fresh(server(1));
        close_sub_id(&stream, 1).expect("close");
        assert_eq!((ids(&stream), errno(close_sub_id(&stream, 1))), (vec![], libc::EINVAL));
        assert_eq!(opened(&stream), 2);
        stream.write_all(b"echo\n").expect("send");
        echo(&mut stream);
        // The open comes before the close.
        assert_eq!(established(&stream, 1)[0].id, 2);
        let alive = Connection::new(&stream).expect("a view").subflows().expect("a listing");
        assert_eq!(alive.iter().map(|subflow| subflow.id).collect::<Vec<_>>(), [2]);
        echo(&mut stream);
    });
}

#[test]
fn what_waits_can_be_called_off() {
    Lab::new().run(|| {
        let stream = fresh(server(1));
        assert_eq!((opened(&stream), opened(&stream)), (2, 3));
        close_sub_id(&stream, 2).expect("close");
        assert_eq!(ids(&stream), [3, 1]);
        let stream = talk(stream);
        assert_eq!(established(&stream, 2)[0].id, 3);
    });
}

#[test]
fn errors_of_bind_come_at_once_where_the_open_waits() {
    Lab::new().run(|| {
        let stream = fresh(server(1));
        let taken = TcpListener::bind(any_port(client(2))).expect("a port").local_addr().expect("an address");
        let busy = TcpListener::bind(taken).expect("the port");
        let foreign = any_port("192.0.2.1".parse().expect("an address"));
        for stream in [&stream, &app()] {
            let open = |local| errno(open_sub_tuple(stream, local, server(1), false));
            assert_eq!((open(taken), open(foreign)), (libc::EADDRINUSE, libc::EADDRNOTAVAIL));
            assert_eq!(ids(stream), [1]);
        }
        drop(busy);
    });
}

// ---- failures ----

#[test]
fn no_connection_is_eopnotsupp() {
    Lab::new().run(|| {
        let fails = |socket: &TcpStream, kind: Option<ErrorKind>| {
            let errors = [
                get_sub_ids(socket).expect_err("list"),
                get_sub_tuple(socket, 1).expect_err("tuple"),
                open_sub_tuple(socket, any_port(client(2)), server(1), false).expect_err("open"),
                close_sub_id(socket, 1).expect_err("close"),
                sub_getsockopt(socket, 1, libc::IPPROTO_IP, libc::IP_TOS, &mut [0; 4]).expect_err("get"),
                sub_setsockopt(socket, 1, libc::IPPROTO_IP, libc::IP_TOS, &[0; 4]).expect_err("set"),
            ];
            assert_eq!(errno(paper::getsockopt(socket, MPTCP_GET_SUB_IDS, &mut [0; 64])), libc::EOPNOTSUPP);
            for error in errors {
                assert_eq!(error.raw_os_error(), libc::EOPNOTSUPP, "{error:?}");
                assert!(kind.is_none_or(|kind| kind == error.kind()), "{error:?}");
            }
        };
        fails(&TcpStream::connect(server(1)).expect("connect"), Some(ErrorKind::NotMptcp));
        fails(&talk(fresh(plain(server(1)))), Some(ErrorKind::FellBack));
        // Not any more.
        let mut stream = fresh(server(1));
        stream.write_all(b"reset\n").expect("send");
        wait_until("the peer's reset", || stream.read(&mut [0]).is_err().then_some(()));
        fails(&stream, None);
    });
}

#[test]
fn the_kernels_path_manager_lets_none_open() {
    Lab::new().run(|| {
        let stream = connect_and_talk(server(1));
        let error = open_sub_tuple(&stream, any_port(client(2)), server(1), false).expect_err("not ours");
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::KernelPathManager, libc::EOPNOTSUPP));
        assert_eq!(error.operation(), "open_sub_tuple");
        assert_eq!(ids(&stream), [1]);
        close_sub_id(&stream, 1).expect("close");
        assert_eq!(ids(&stream), []);
    });
}

#[test]
fn an_ordinary_user_reads_and_has_no_low_port() {
    Lab::new().option("--path-manager userspace").unprivileged().run(|| {
        let stream = connect_and_talk(server(1));
        assert_eq!(ids(&stream), [1]);
        let open = |port| errno(open_sub_tuple(&stream, SocketAddr::new(client(2), port), server(1), false));
        assert_eq!((open(80), open(1023), open(0), open(1024)), (libc::EACCES, libc::EACCES, libc::EPERM, libc::EPERM));
        assert_eq!(errno(close_sub_id(&stream, 1)), libc::EPERM);
        assert_eq!(ids(&stream), [1]);
        let mut tos = [1; 4];
        assert_eq!(sub_getsockopt(&stream, 1, libc::IPPROTO_IP, libc::IP_TOS, &mut tos).expect("an option"), 4);
        assert_eq!(tos, [0; 4]);
    });
}

/// Where another process answers, its own rights do not count.
#[test]
fn an_unprivileged_caller_has_no_low_port() {
    Lab::new().run(|| {
        let stream = app();
        let memory = ProcessMemory::own();
        let caller = Caller::new(&memory).unprivileged(true);
        let open = |caller: &Caller<'_>, port| {
            let mut request = tuple(false, SocketAddr::new(client(2), port), server(1));
            let mut length = request.len() as u32;
            let (value, length) = (request.as_mut_ptr() as u64, &raw mut length as u64);
            answer_getsockopt(stream.as_fd(), caller, libc::IPPROTO_TCP, MPTCP_OPEN_SUB_TUPLE, value, length)
        };
        assert_eq!(open(&caller, 80), Some(Err(libc::EACCES)));
        assert_eq!(open(&caller, 20_080), Some(Ok(())));
        assert_eq!(open(&Caller::new(&memory), 80), Some(Ok(())));
        assert_eq!(get_sub_tuple(&stream, 3).expect("addresses").0, SocketAddr::new(client(2), 80));
    });
}

#[test]
fn one_that_is_refused_leaves_the_list() {
    Lab::new().run(|| {
        let stream = app();
        let nobody = SocketAddr::new(server(2).ip(), 9);
        assert_eq!(open_sub_tuple(&stream, any_port(client(2)), nobody, false).expect("an id"), 2);
        wait_until("its end", || (ids(&stream) == [1]).then_some(()));
        assert_eq!(opened(&stream), 3);
    });
}

// ---- IPv6, and the bytes ----

#[test]
fn ipv6_sockets_have_subflows_of_both_families() {
    Lab::new().run(|| {
        let stream = talk(fresh(server6(1)));
        assert_eq!(open_sub_tuple(&stream, any_port(client6(2)), server6(2), false).expect("an id"), 2);
        // Families of the two addresses.
        assert_eq!(errno(open_sub_tuple(&stream, any_port(client(2)), server6(2), false)), libc::EINVAL);
        assert_eq!(errno(open_sub_tuple(&stream, any_port(client6(2)), server(2), false)), libc::EINVAL);
        open_sub_tuple(&stream, any_port(client(2)), server(2), false).expect("an id");
        established(&stream, 3);
        let (local, remote) = get_sub_tuple(&stream, 2).expect("addresses");
        assert_eq!((local.ip(), remote), (client6(2), server6(2)));
        // Of IPv4 only.
        let stream = app();
        assert_eq!(errno(open_sub_tuple(&stream, any_port(client6(2)), server6(2), false)), libc::EAFNOSUPPORT);
    });
}

/// `struct mptcp_sub_tuple`, by hand.
fn tuple(draft: bool, local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let mut bytes = if draft { vec![0, 1] } else { vec![0] };
    for address in [local, remote] {
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        bytes.extend((family as u16).to_ne_bytes());
        bytes.extend(address.port().to_be_bytes());
        match address.ip() {
            IpAddr::V4(ip) => bytes.extend(ip.octets().iter().chain(&[0; 8])),
            IpAddr::V6(ip) => bytes.extend([0; 4].iter().chain(&ip.octets()).chain(&[0; 4])),
        }
    }
    bytes
}

#[test]
fn both_forms_of_both_families() {
    Lab::new().run(|| {
        for (stream, local, remote) in
            [(app(), any_port(client(2)), server(2)), (talk(fresh(server6(1))), any_port(client6(2)), server6(2))]
        {
            for (draft, id) in [(false, 2), (true, 3)] {
                let mut request = tuple(draft, local, remote);
                let length = paper::getsockopt(&stream, MPTCP_OPEN_SUB_TUPLE, &mut request).expect("an id");
                assert_eq!((length, request[0]), (request.len(), id));
                assert_eq!(request[1..], tuple(draft, local, remote)[1..]);
            }
            // The second one is a backup.
            let low_prio: Vec<_> = established(&stream, 3).iter().map(|status| status.low_prio).collect();
            assert_eq!(low_prio, [true, false, false]);
            let mut reply = [2; 100];
            let length = paper::getsockopt(&stream, MPTCP_GET_SUB_TUPLE, &mut reply).expect("addresses");
            let (local, remote) = get_sub_tuple(&stream, 2).expect("addresses");
            assert_eq!(reply[1..length], tuple(false, local, remote)[1..]);
            assert_eq!(reply[length..], [2; 100][length..]);
            // One byte, or the draft's eight, of which the first is the id.
            for mut request in [vec![2], vec![3, 9, 9, 9, 1, 0, 0, 0]] {
                paper::getsockopt(&stream, MPTCP_CLOSE_SUB_ID, &mut request).expect("close");
            }
            assert_eq!(ids(&stream), [1]);
        }
    });
}

/// Families that stand in the addresses were never looked at: the length tells.
#[test]
fn the_length_alone_tells_the_family() {
    Lab::new().run(|| {
        let stream = app();
        let mut request = tuple(false, any_port(client(2)), server(2));
        request[1..3].copy_from_slice(&[0xff, 0xff]);
        request[17..19].copy_from_slice(&[0, 0]);
        paper::getsockopt(&stream, MPTCP_OPEN_SUB_TUPLE, &mut request).expect("an id");
        assert_eq!(get_sub_tuple(&stream, 2).expect("addresses").1, server(2));
    });
}
