// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel's path manager interface does in its corners, and what comes of it for who uses this crate.

// setns, used to act on the server, has no safe interface in std.
#![allow(unsafe_code)]

#[allow(unreachable_pub, reason = "shared by several test programs")]
mod common;
#[allow(unreachable_pub, reason = "shared by several test programs")]
mod stress_support;

use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use common::path_manager::{endpoint_of, set_path_manager, setting_path_manager};
use common::{
    Lab, client, connect_and_talk, kernel_has, run, server, server6, talk, variable, wait_for_subflows, wait_until,
};
use mptcpapi::{Connection, Error, ErrorKind, EventKind, OpenSubflow, Status, Subflow};
use stress_support::{
    NoLimits, app, app_connection, half_open, live_ids, on_server, open_from, server_process, socket_address,
    wait_for_server,
};

fn view(stream: &TcpStream) -> Connection<'_> {
    Connection::new(stream).expect("a connection")
}

fn refused(stream: &TcpStream, wanted: OpenSubflow<'_>) -> Error {
    let before = live_ids(stream);
    let error = view(stream).open_subflow(&wanted).expect_err("it cannot be opened");
    assert_eq!((live_ids(stream), half_open()), (before, String::new()), "after {error}");
    error
}

/// The connection still carries data both ways.
fn still_talks(stream: &mut TcpStream) {
    stream.write_all(b"echo\n").expect("send");
    let mut line = [0; 5];
    stream.read_exact(&mut line).expect("receive");
    assert_eq!(&line, b"echo\n");
}

/// With a peer that sends back what comes.
fn echoing() -> TcpStream {
    let mut stream = app().connect(server(1)).expect("connect");
    stream.write_all(b"echo\n").expect("send");
    still_talks(&mut stream);
    stream
}

fn detail(stream: &TcpStream, id: u32) -> Subflow {
    let found = view(stream).subflows_detail().expect("a listing");
    *found.iter().find(|subflow| subflow.id == id).unwrap_or_else(|| panic!("no subflow {id}: {found:?}"))
}

fn from(ip: IpAddr, port: u16) -> OpenSubflow<'static> {
    OpenSubflow::new().local(SocketAddr::new(ip, port))
}

// ---- who runs a connection ----

#[test]
fn path_manager_is_that_of_the_moment_of_socket() {
    Lab::new().run(|| {
        let new = mptcpapi::SocketOptions::new().socket(mptcpapi::socket2::Domain::IPV4).expect("a socket");
        set_path_manager("userspace");
        new.socket.connect(&server(1).into()).expect("connect");
        let stream = talk(new.socket.into());
        assert_eq!(refused(&stream, OpenSubflow::new()).kind(), ErrorKind::KernelPathManager);
        let other = connect_and_talk(server(1));
        set_path_manager("kernel");
        open_from(&other, 2);
    });
}

// ---- addresses ----

#[test]
fn ports_that_are_taken_and_ports_that_are_not() {
    Lab::new().run(|| {
        let stream = app_connection();
        let taken = TcpListener::bind((client(2), 0)).expect("a port");
        let port = taken.local_addr().expect("an address").port();
        assert_eq!(refused(&stream, from(client(2), port)).raw_os_error(), libc::EADDRINUSE);
        drop(taken);
        let opened = view(&stream).open_subflow(&from(client(2), port)).expect("a subflow");
        assert_eq!(opened.local, SocketAddr::new(client(2), port));
        // The kernel opens it, and asks for no privilege for the port.
        view(&stream).open_subflow(&from(client(2), 80)).expect("a subflow");
    });
}

#[test]
fn unspecified_addresses_are_the_routes_choice() {
    Lab::new().run(|| {
        let stream = app_connection();
        let nowhere: IpAddr = "0.0.0.0".parse().expect("an address");
        let opened = view(&stream).open_subflow(&from(nowhere, 0)).expect("a subflow");
        assert_eq!(opened.local.ip(), client(1));
        let opened = view(&stream).open_subflow(&from(nowhere, 40_100).remote(server(2))).expect("a subflow");
        assert_eq!((opened.local.port(), opened.remote), (40_100, server(2)));
    });
}

#[test]
fn families_that_do_not_match() {
    Lab::new().run(|| {
        let stream = app_connection();
        let v6: IpAddr = variable("LAB_CLIENT6_2").parse().expect("an address");
        assert_eq!(refused(&stream, from(v6, 0)).raw_os_error(), libc::EINVAL);
        assert_eq!(refused(&stream, from(v6, 0).remote(server6(2))).raw_os_error(), libc::EINVAL);
        assert_eq!(refused(&stream, from(client(2), 0).remote(server6(2))).raw_os_error(), libc::EINVAL);
        open_from(&stream, 2);
    });
}

/// An IPv6 socket on an IPv4 address lists its first subflow in another form than the later ones.
#[test]
fn v4_mapped_subflows_can_be_controlled_in_every_way() {
    Lab::new().run(|| {
        let mapped = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
            IpAddr::V6(_) => address,
        };
        let stream = talk(app().connect(mapped(server(1))).expect("connect"));
        let connection = view(&stream);
        for local in [SocketAddr::new(client(2), 0), mapped(SocketAddr::new(client(2), 0))] {
            for close in [Connection::close_subflow, Connection::reset_subflow, Connection::abandon_subflow] {
                let opened = connection.open_subflow(&OpenSubflow::new().local(local)).expect("a subflow");
                connection.set_backup(opened.id, true).expect("a priority");
                assert_eq!(detail(&stream, opened.id).backup, Some(true));
                close(&connection, opened.id).expect("closed");
                wait_for_subflows(&stream, 1);
            }
        }
        let kept = connection.open_subflow(&OpenSubflow::new().local(client(2))).expect("a subflow");
        connection.reset_subflow(1).expect("reset");
        assert_eq!(live_ids(&stream), [kept.id]);
    });
}

#[test]
fn subflows_bound_to_a_device() {
    Lab::new().run(|| {
        let mut stream = echoing();
        let connection = view(&stream);
        let bound = || connection.open_subflow(&OpenSubflow::new().interface("path2").remote(server(2)));
        let is_refused = bound().is_err_and(|error| error.kind() == ErrorKind::Unsupported);
        if !kernel_has(!is_refused, "subflows that are bound to an interface") {
            assert_eq!(live_ids(&stream), [1], "one that is not bound is not left there");
            return;
        }
        connection.reset_subflow(*live_ids(&stream).last().expect("the first try")).expect("reset");
        for close in [Connection::reset_subflow, Connection::close_subflow, Connection::abandon_subflow] {
            let opened = bound().expect("a subflow");
            assert_eq!(detail(&stream, opened.id).interface.as_deref(), Some("path2"));
            connection.set_backup(opened.id, true).expect("a priority");
            assert_eq!(detail(&stream, opened.id).backup, Some(true));
            close(&connection, opened.id).expect("closed");
            assert_eq!(live_ids(&stream), [1]);
        }
        // Nothing comes back over the wrong device.
        let wrong = OpenSubflow::new().interface("lo").local(client(2)).timeout(Duration::from_millis(300));
        let error = refused(&stream, wrong);
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        still_talks(&mut stream);
    });
}

#[test]
fn subflows_of_an_endpoint_with_a_device_are_reset() {
    Lab::new().run(|| {
        run("ip", &["mptcp", "endpoint", "add", &client(2).to_string(), "dev", "path2", "subflow"]);
        let stream = connect_and_talk(server(1));
        let second = wait_for_subflows(&stream, 2)[1];
        view(&stream).close_subflow(second.id).expect("reset");
        assert_eq!(live_ids(&stream), [1]);
    });
}

// ---- hosts and ports that do not answer ----

#[test]
fn hosts_that_are_not_there() {
    Lab::new().run(|| {
        let mut stream = echoing();
        let remote = |text: &str| OpenSubflow::new().remote(text.parse().expect("an address"));
        assert_eq!(refused(&stream, remote("10.77.1.1:0")).kind(), ErrorKind::Refused, "ourselves");
        run("ip", &["route", "add", "10.77.2.77/32", "dev", "path2", "table", "102"]);
        let error = refused(&stream, remote("10.77.2.77:5201").local(client(2)).timeout(Duration::from_secs(20)));
        assert_eq!(error.raw_os_error(), libc::EHOSTUNREACH, "{error}");
        run("lab", &["cut", "2"]);
        fs::write("/proc/sys/net/ipv4/tcp_syn_retries", "1").expect("written");
        let error = refused(&stream, from(client(2), 0).remote(server(2)).timeout(Duration::from_secs(20)));
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        assert_eq!(error.hint(), "", "it was the kernel's time-out");
        still_talks(&mut stream);
    });
}

// ---- the wrong moment ----

#[test]
fn after_the_peers_end_of_the_stream() {
    Lab::new().run(|| {
        let mut stream = app().connect(server(1)).expect("connect");
        stream.write_all(b"fin\n").expect("send");
        assert_eq!(stream.read(&mut [0]).expect("the end of the stream"), 0);
        let error = refused(&stream, OpenSubflow::new().timeout(Duration::from_millis(200)));
        assert_eq!(error.kind(), ErrorKind::NotReady, "{error}");
        // What is there can still be controlled.
        view(&stream).set_backup(1, true).expect("a priority");
    });
}

#[test]
fn after_the_peers_reset() {
    Lab::new().run(|| {
        let mut stream = app().connect(server(1)).expect("connect");
        stream.write_all(b"reset\n").expect("send");
        assert!(stream.read(&mut [0]).is_err());
        for error in [
            view(&stream).open_subflow(&OpenSubflow::new()).map(drop),
            view(&stream).announce(SocketAddr::new(client(2), 0)).map(drop),
            view(&stream).withdraw(1),
        ] {
            assert_eq!(error.expect_err("it is over").kind(), ErrorKind::NotReady);
        }
        assert_eq!(view(&stream).close_subflow(1).expect_err("it is over").kind(), ErrorKind::NoSuchSubflow);
    });
}

#[test]
fn while_the_connection_falls_back() {
    Lab::new().run(|| {
        let mut stream = app().connect(server(1)).expect("connect");
        stream.write_all(b"echo\n").expect("send");
        still_talks(&mut stream);
        run("lab", &["strip", "--not-syn"]);
        stream.set_nonblocking(true).expect("non-blocking");
        wait_until("fall-back", || {
            match stream.write(b"data") {
                Err(error) if error.kind() != IoErrorKind::WouldBlock => panic!("{error}"),
                _ => {}
            }
            // It notices with the next data.
            (view(&stream).status().expect("a status") == Status::Fallback).then_some(())
        });
        let connection = view(&stream);
        for answer in [
            connection.open_subflow(&OpenSubflow::new()).map(drop),
            connection.close_subflow(1),
            connection.abandon_subflow(1),
            connection.set_backup(1, true),
            connection.announce(SocketAddr::new(client(2), 0)).map(drop),
            connection.withdraw(1),
            connection.monitor().map(drop),
        ] {
            assert_eq!(answer.expect_err("it speaks TCP").kind(), ErrorKind::FellBack);
        }
        assert_eq!(view(&stream).status().expect("a status"), Status::Fallback);
        assert_eq!(half_open(), "");
    });
}

// ---- without subflows ----

#[test]
fn all_subflows_reset_under_the_kernels_path_manager() {
    Lab::with_endpoints().run(|| {
        let close_timeout = "/proc/sys/net/mptcp/close_timeout";
        if !kernel_has(fs::exists(close_timeout).expect("/proc"), "net.mptcp.close_timeout (6.7)") {
            return;
        }
        fs::write(close_timeout, "1").expect("written");
        let stream = connect_and_talk(server(1));
        let ids: Vec<u32> = wait_for_subflows(&stream, 2).iter().map(|subflow| subflow.id).collect();
        let connection = view(&stream);
        let monitor = connection.monitor().expect("a monitor");
        for id in &ids {
            connection.close_subflow(*id).expect("reset");
        }
        assert_eq!(live_ids(&stream), [0u32; 0]);
        for id in ids {
            assert_eq!(connection.close_subflow(id).expect_err("dead").kind(), ErrorKind::NoSuchSubflow);
            let event = monitor.next(Duration::from_secs(5)).expect("netlink").expect("an event");
            assert_eq!(
                (event.kind, event.subflow, event.errno),
                (EventKind::SubflowClosed, Some(id), libc::ECONNABORTED)
            );
        }
        assert_eq!((&stream).read(&mut [0]).expect_err("it is over").raw_os_error(), Some(libc::ENOTCONN));
        assert_eq!(connection.status().expect("a status"), Status::Unconnected);
        assert!(matches!(connection.info().expect("info").subflows, 0));
    });
}

#[test]
fn connection_without_subflows_ends_after_its_time() {
    Lab::new().run(|| {
        let close_timeout = "/proc/sys/net/mptcp/close_timeout";
        if !kernel_has(fs::exists(close_timeout).expect("/proc"), "net.mptcp.close_timeout (6.7)") {
            return;
        }
        fs::write(close_timeout, "1").expect("written");
        on_server("echo 1 > /proc/sys/net/mptcp/close_timeout");
        let stream = app_connection();
        let connection = view(&stream);
        connection.reset_subflow(1).expect("reset");
        assert_eq!(live_ids(&stream), [0u32; 0]);
        std::thread::sleep(Duration::from_millis(2500));
        let error = connection.open_subflow(&from(client(2), 0).timeout(Duration::from_secs(1))).expect_err("too late");
        assert!(matches!(error.kind(), ErrorKind::NotReady | ErrorKind::Refused), "{error:?}");
        assert_eq!(half_open(), "");
    });
}

#[test]
fn a_backup_is_one_from_the_start() {
    for lab in [Lab::new(), Lab::new().without("full-info")] {
        lab.run(|| {
            let stream = echoing();
            let connection = view(&stream);
            let opened = connection.open_subflow(&from(client(2), 0).backup(true)).expect("a subflow");
            assert_eq!(detail(&stream, opened.id).backup, Some(true));
        });
    }
}

// ---- address ids ----

#[test]
fn more_ports_than_address_ids() {
    Lab::new().run(|| {
        let _limits = NoLimits::new();
        let mut stream = echoing();
        let connection = view(&stream);
        let open = |port: u16| connection.open_subflow(&from(client(2), port));
        // One after the other: at most a few are in use at once.
        for port in 20_000..20_300 {
            let opened = open(port).unwrap_or_else(|error| panic!("port {port}: {error}"));
            assert_eq!(opened.local.port(), port);
            connection.reset_subflow(opened.id).expect("reset");
        }
        // Most of them at once, then others in their place.
        let mut ids: Vec<u32> = (21_000..21_200).map(|port| open(port).expect("a subflow").id).collect();
        ids.drain(..150).for_each(|id| connection.reset_subflow(id).expect("reset"));
        ids.extend((22_000..22_150).map(|port| open(port).unwrap_or_else(|error| panic!("{port}: {error}")).id));
        // An id means one address at a time, for the peer too. A loaded peer resets one of hundreds of joins after all.
        let detail = connection.subflows_detail().expect("a listing");
        assert!((196..=201).contains(&detail.len()), "{} of 201", detail.len());
        let different: HashSet<u8> = detail.iter().filter_map(|subflow| subflow.local_id).collect();
        assert_eq!(different.len(), detail.len(), "two addresses have one id");
        // With all of them in use there is an end, and a way back.
        let error = (23_000..23_100).find_map(|port| open(port).err()).expect("255 ids");
        assert_eq!((error.raw_os_error(), error.hint().is_empty()), (libc::ENOSPC, false), "{error}");
        assert!((251..=256).contains(&live_ids(&stream).len()));
        connection.reset_subflow(live_ids(&stream)[1]).expect("reset");
        open(23_500).expect("the id that became free");
        still_talks(&mut stream);
    });
}

/// Closing one subflow takes the address of another out of the kernel's table; the peer must be told all the same.
#[test]
fn address_that_the_kernel_forgot_is_withdrawn() {
    Lab::new().run(|| {
        let mut stream = echoing();
        let connection = view(&stream);
        let opened = [open_from(&stream, 2), open_from(&stream, 2)];
        connection.close_subflow(opened[0].id).expect("closed");
        let id = detail(&stream, opened[1].id).local_id.expect("an address id");
        connection.withdraw(id).expect("withdrawn");
        wait_for_subflows(&stream, 1);
        let removed = on_server("nstat -asz MPTcpExtRmAddr | tail -1");
        assert_eq!(removed.split_whitespace().nth(1), Some("1"), "RM_ADDR at the peer: {removed}");
        wait_for_server(1);
        // And there is nothing left of it.
        let error = connection.withdraw(id).expect_err("it is withdrawn");
        assert_eq!(error.raw_os_error(), libc::ENOENT);
        still_talks(&mut stream);
    });
}

/// The peer works off RM_ADDR when it finds the time: what was opened meanwhile from the same address must not be meant.
#[test]
fn address_is_used_again_right_after_it_was_withdrawn() {
    Lab::new().run(|| {
        let mut stream = echoing();
        let connection = view(&stream);
        let mut opened = open_from(&stream, 2);
        for round in 0..60 {
            connection.abandon_subflow(opened.id).expect("abandoned");
            // A peer in the midst of that may refuse.
            opened = wait_until("a subflow", || connection.open_subflow(&from(client(2), 0)).ok());
            // A peer that has not yet worked off one RM_ADDR drops the next.
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(live_ids(&stream), [1, opened.id], "in round {round}");
        }
        still_talks(&mut stream);
    });
}

#[test]
fn first_address_is_withdrawn() {
    Lab::new().run(|| {
        let mut stream = echoing();
        let kept = open_from(&stream, 2);
        view(&stream).withdraw(0).expect("withdrawn");
        wait_until("the end of the first subflow", || (live_ids(&stream) == [kept.id]).then_some(()));
        wait_for_server(1);
        still_talks(&mut stream);
    });
}

#[test]
fn announced_addresses_have_ids_of_their_own() {
    Lab::new().run(|| {
        let mut stream = echoing();
        let connection = view(&stream);
        let opened = open_from(&stream, 2);
        let ids: Vec<u8> = [(client(1), 7001), (client(2), 7001), (client(2), 7002)]
            .map(|(ip, port)| connection.announce(SocketAddr::new(ip, port)).expect("announced"))
            .to_vec();
        let mut different: HashSet<u8> = ids.iter().copied().collect();
        different.insert(detail(&stream, opened.id).local_id.expect("an address id"));
        assert_eq!((different.len(), different.contains(&0)), (4, false), "{ids:?}");
        for id in ids {
            connection.withdraw(id).expect("withdrawn");
            assert_eq!(connection.withdraw(id).expect_err("it is withdrawn").raw_os_error(), libc::ENOENT);
        }
        assert_eq!(live_ids(&stream), [1, opened.id]);
        still_talks(&mut stream);
    });
}

// ---- the peer ----

#[test]
fn peer_that_wants_no_joins_to_its_first_address() {
    Lab::new().run(|| {
        on_server("echo 0 > /proc/sys/net/mptcp/allow_join_initial_addr_port");
        let mut stream = echoing();
        // The kernel leaves that to whoever controls the connection; the peer takes it nevertheless.
        open_from(&stream, 2);
        view(&stream).open_subflow(&from(client(2), 0).remote(server(2))).expect("a subflow");
        still_talks(&mut stream);
    });
}

fn server_under_userspace_path_manager() {
    on_server(&setting_path_manager("userspace"));
}

/// A server whose subflows programs run takes joins only while one of them listens: a monitor is enough.
#[test]
fn monitor_of_a_server_lets_joins_in() {
    Lab::new().run(|| {
        server_under_userspace_path_manager();
        let address = SocketAddr::new(server(1).ip(), 6000);
        let _server = server_process(|| {
            let listener = mptcpapi::listen(address).expect("a listener");
            let (mut first, _) = listener.accept().expect("a connection");
            first.read_exact(&mut [0]).expect("a byte");
            let monitor = view(&first).monitor().expect("a monitor");
            // The first join may come while the monitor is being made: then it is no news.
            if live_ids(&first).len() == 1 {
                let event = monitor.next(Duration::from_secs(20)).expect("netlink");
                assert_eq!(event.map(|event| event.kind), Some(EventKind::SubflowEstablished));
            }
            first.write_all(b"x").expect("send");
            first.read_exact(&mut [0]).expect_err("the end");
        });
        let connect = || app().connect(address).ok();
        let mut stream = wait_until("the server", connect);
        let error = view(&stream).open_subflow(&from(client(2), 0).timeout(Duration::from_millis(200)));
        assert_eq!(error.expect_err("too young").kind(), ErrorKind::NotReady);
        stream.write_all(b"x").expect("send");
        // Until the server listens, it resets what comes.
        wait_until("a join", || match view(&stream).open_subflow(&from(client(2), 0)) {
            Ok(_) => Some(()),
            Err(error) => {
                assert_eq!((error.kind(), error.hint().is_empty()), (ErrorKind::Refused, false), "{error:?}");
                None
            }
        });
        stream.read_exact(&mut [0]).expect("the server's event");
    });
}

/// It can do so only to an address that the client announced, and listens on.
#[test]
fn server_opens_a_subflow() {
    Lab::new().run(|| {
        server_under_userspace_path_manager();
        let address = SocketAddr::new(server(1).ip(), 6000);
        let offered = socket_address(client(2), 7300);
        let server = server_process(|| {
            let listener = mptcpapi::listen(address).expect("a listener");
            let (mut first, _) = listener.accept().expect("a connection");
            let monitor = view(&first).monitor().expect("a monitor");
            first.read_exact(&mut [0]).expect("a byte");
            let connection = view(&first);
            // To the port that the client happened to have: nobody listens there.
            let error = connection.open_subflow(&OpenSubflow::new().local(server(2).ip())).expect_err("nobody there");
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
            // An announcement that crosses the refused SYN is sometimes lost, and not repeated for two minutes.
            (&first).write_all(b"y").expect("send");
            let announced = wait_until("an announcement", || {
                let event = monitor.next(Duration::from_secs(1)).expect("netlink")?;
                event.remote.filter(|_| event.kind == EventKind::AddressAnnounced)
            });
            assert_eq!(announced, offered);
            let wanted = OpenSubflow::new().local(server(2).ip()).remote(announced);
            let opened = connection.open_subflow(&wanted).expect("a subflow");
            assert_eq!((opened.remote, opened.local.ip()), (offered, server(2).ip()));
            // A FIN would be told when the client's kernel next looks at it, which it may put off.
            connection.reset_subflow(opened.id).expect("reset");
            (&first).read_exact(&mut [0]).expect_err("the end");
        });
        let mut stream = wait_until("the server", || app().connect(address).ok());
        // Bound to exactly this address: the kernel finds no other listener for it.
        let _listener = mptcpapi::listen(offered).expect("a listener");
        let monitor = view(&stream).monitor().expect("a monitor");
        stream.write_all(b"x").expect("send");
        stream.read_exact(&mut [0]).expect("the server's word");
        let connection = view(&stream);
        let announce = || wait_until("a connection that can be joined", || connection.announce(offered).ok());
        let mut id = announce();
        let mut kinds = Vec::new();
        while !kinds.contains(&EventKind::SubflowClosed) {
            let Some(event) = monitor.next(Duration::from_secs(2)).expect("netlink") else {
                // It got lost, and the kernel repeats it only after two minutes.
                connection.withdraw(id).expect("withdrawn");
                id = announce();
                continue;
            };
            kinds.push(event.kind);
            assert!(event.kind != EventKind::SubflowEstablished || event.local == Some(offered), "{event:?}");
        }
        assert!(kinds.contains(&EventKind::SubflowEstablished), "{kinds:?}");
        drop(stream);
        server.join();
    });
}

// ---- the kernel's own path manager ----

#[test]
fn what_is_reset_under_the_kernels_path_manager_comes_back_with_its_endpoint() {
    Lab::with_endpoints().run(|| {
        let stream = connect_and_talk(server(1));
        let second = wait_for_subflows(&stream, 2)[1];
        let monitor = view(&stream).monitor().expect("a monitor");
        view(&stream).reset_subflow(second.id).expect("reset");
        let endpoint = endpoint_of(2);
        run("ip", &["mptcp", "endpoint", "delete", "id", &endpoint]);
        run("ip", &["mptcp", "endpoint", "add", &client(2).to_string(), "subflow"]);
        let again = wait_for_subflows(&stream, 2)[1];
        assert!(again.id > second.id);
        let told = [(); 2].map(|()| monitor.next(Duration::from_secs(5)).expect("netlink").expect("an event"));
        assert_eq!(told.map(|event| event.subflow), [Some(second.id), Some(again.id)]);
    });
}
