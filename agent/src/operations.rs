// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done for a connection that somebody holds. Everything here may wait for the socket's lock, which the client can
//! hold for as long as it likes: it runs where that holds up nobody else.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mptcpapi::serving::{Facts, Operation, connection_of, give_events};
use rustix::io::Errno;
use rustix::net::getsockname;
use rustix::net::netdevice::index_to_name;
use rustix::net::netlink::SocketAddrNetlink;

use crate::connection::Connection;
use crate::namespaces::Namespace;
use crate::server::Server;

/// `IPPROTO_MPTCP`.
const MPTCP: i32 = 262;
const SOCK_STREAM: i32 = 1;

/// An errno, 0 for done, and words.
pub(crate) type Outcome = (i32, String);

pub(crate) fn refused(errno: Errno, text: &str) -> Outcome {
    (errno.raw_os_error(), text.to_owned())
}

pub(crate) fn failed(error: &io::Error) -> Outcome {
    (error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()), String::new())
}

/// What can be told of a request without taking any lock: the cookie of its namespace, or why it is refused.
pub(crate) fn look(operation: &Operation, fds: &[OwnedFd]) -> Result<u64, Outcome> {
    let facts = fds.iter().map(|fd| Facts::of(fd.as_fd())).collect::<io::Result<Vec<_>>>();
    let facts = facts.map_err(|error| failed(&error))?;
    let Some(first) = facts.first() else { return Ok(0) };
    if first.namespace == 0 || facts.iter().any(|one| one.namespace != first.namespace) {
        return Err(refused(Errno::XDEV, "the sockets are of different network namespaces"));
    }
    // Any socket tells which namespace is meant.
    if matches!(operation, Operation::Begin) {
        return Ok(first.namespace);
    }
    if (first.protocol, first.kind) != (MPTCP, SOCK_STREAM) {
        return Err(refused(Errno::OPNOTSUPP, "not an MPTCP socket"));
    }
    Ok(first.namespace)
}

/// Does it, for the connection with the token that is answered; 0 where there is none.
pub(crate) fn carry_out(
    server: &Server,
    client: &Connection,
    operation: &Operation,
    fds: &[OwnedFd],
    cookie: u64,
) -> (u32, Outcome) {
    let mut token = 0;
    let mut done = || -> io::Result<Outcome> {
        let Some(connection) = fds.first() else { return Ok(refused(Errno::BADF, "")) };
        let namespace = server.namespaces.of(connection.as_fd(), cookie, client.user.uid, &server.line)?;
        server.sweep_timer.within(crate::namespaces::IDLE);
        // Now, and not one that was known before: a socket can be connected anew.
        let subflows;
        (token, subflows) = connection_of(connection.as_fd())?;
        if token == 0 {
            return Ok(refused(Errno::NOTCONN, "not connected, or no MPTCP connection"));
        }
        match (operation, fds) {
            (Operation::Command(command), _) => {
                let refusal = check_port(server, client, &namespace, operation)?
                    .or(check_interface(server, &namespace, operation)?)
                    .or_else(|| check_subflows(server, operation, subflows));
                if let Some(refusal) = refusal {
                    return Ok(refusal);
                }
                namespace.with_sockets(&server.line, |commands, _| {
                    client.user.in_kernel();
                    server.path_manager.with(&client.user, || commands.carry_out(token, command))
                })
            }
            (Operation::Reset { .. }, _) => {
                namespace.with_sockets(&server.line, |_, resets| resets.reset(token, operation))
            }
            (Operation::Watch, [_, events]) => watch(server, client, &namespace, token, events.as_fd()),
            _ => Ok(refused(Errno::INVAL, "")),
        }
    };
    let outcome = done().unwrap_or_else(|error| failed(&error));
    (token, outcome)
}

fn check_port(
    server: &Server,
    client: &Connection,
    namespace: &Namespace,
    operation: &Operation,
) -> io::Result<Option<Outcome>> {
    let port = operation.local().map_or(0, |local| local.port());
    if port == 0 || client.user.uid == 0 {
        return Ok(None);
    }
    let first = namespace.first_port(&server.line)?;
    let text = || format!("local ports under {first} are root's here");
    Ok((port < first).then(|| refused(Errno::PERM, &text())))
}

fn check_subflows(server: &Server, operation: &Operation, subflows: u8) -> Option<Outcome> {
    let is_too_many = is_open(operation) && subflows >= server.policy().subflows;
    is_too_many.then(|| refused(Errno::DQUOT, "by the agent's policy, this connection has enough subflows"))
}

/// Only an open has an address of this host and one of the peer's: what else there is makes no subflow here.
fn is_open(operation: &Operation) -> bool {
    operation.name() == "open"
}

fn check_interface(server: &Server, namespace: &Namespace, operation: &Operation) -> io::Result<Option<Outcome>> {
    if !is_open(operation) || !server.policy().restricts_interfaces() {
        return Ok(None);
    }
    let index = operation.interface();
    if index == 0 {
        return Ok(Some(refused(Errno::PERM, "by the agent's policy, name the interface to open a subflow on")));
    }
    let name = namespace.with_sockets(&server.line, |commands, _| Ok(index_to_name(commands.as_fd(), index)?))?;
    let allowed = server.policy().allows_interface(&name);
    Ok((!allowed).then(|| refused(Errno::PERM, "the agent's policy does not allow this interface")))
}

fn watch(
    server: &Server,
    client: &Connection,
    namespace: &Namespace,
    token: u32,
    events: BorrowedFd<'_>,
) -> io::Result<Outcome> {
    let group = server.line.events_group();
    if group == 0 {
        return Ok(refused(Errno::NOENT, "this kernel has no events"));
    }
    let Ok(address) = SocketAddrNetlink::try_from(getsockname(events)?) else {
        return Ok(refused(Errno::INVAL, "not a netlink socket"));
    };
    // Without an address it receives nothing, and is not listed with those that do.
    if address.pid() == 0 {
        return Ok(refused(Errno::DESTADDRREQ, "bind the netlink socket first"));
    }
    let number = rustix::fs::fstat(events)?.st_ino;
    let live = || server.line.listeners(namespace.fd.as_fd(), namespace.cookie).ok().map(HashSet::from_iter);
    let is_known = |cookie| server.namespaces.knows(cookie);
    let most = server.policy().watched;
    if !client.user.watches(namespace.cookie, number, most, live, is_known) {
        return Ok(refused(Errno::DQUOT, "this user watches too many connections"));
    }
    client.user.in_kernel();
    server.path_manager.with(&client.user, || give_events(events, token, group))?;
    Ok((0, String::new()))
}
