// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done for a connection that somebody holds. Everything here may wait for the socket's lock, which the client can
//! hold for as long as it likes: it runs where that holds up nobody else.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mptcpapi::serving::{Facts, Operation, give_events, token_of};
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
/// Below, ports are the administrator's.
const PRIVILEGED_PORTS: u16 = 1024;

/// An errno, 0 for done, and words.
pub(crate) type Outcome = (i32, String);

pub(crate) fn refused(errno: Errno, text: &str) -> Outcome {
    (errno.raw_os_error(), text.to_owned())
}

pub(crate) fn failed(error: &io::Error) -> Outcome {
    (error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()), String::new())
}

/// What can be told of a request without taking any lock: the cookie of its namespace, or why it is refused.
pub(crate) fn look(operation: &Operation, uid: u32, fds: &[OwnedFd]) -> Result<u64, Outcome> {
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
    let port = operation.local().map_or(0, |local| local.port());
    if uid != 0 && (1..PRIVILEGED_PORTS).contains(&port) {
        return Err(refused(Errno::PERM, "local ports under 1024 are root's"));
    }
    Ok(first.namespace)
}

/// Does it.
pub(crate) fn carry_out(
    server: &Server,
    client: &Connection,
    operation: &Operation,
    fds: &[OwnedFd],
    cookie: u64,
) -> Outcome {
    let done = || -> io::Result<Outcome> {
        let Some(connection) = fds.first() else { return Ok(refused(Errno::BADF, "")) };
        let namespace = server.namespaces.of(connection.as_fd(), cookie, client.user.uid, &server.line)?;
        server.sweep_timer.within(crate::namespaces::IDLE);
        // Now, and not one that was known before: a socket can be connected anew.
        let token = token_of(connection.as_fd())?;
        if token == 0 {
            return Ok(refused(Errno::NOTCONN, "not connected, or no MPTCP connection"));
        }
        client.user.in_kernel();
        match (operation, fds) {
            (Operation::Command(command), _) => {
                if let Some(refusal) = check_interface(server, &namespace, operation)? {
                    return Ok(refusal);
                }
                namespace.with_sockets(&server.line, |commands, _| commands.carry_out(token, command))
            }
            (Operation::Reset { .. }, _) => {
                namespace.with_sockets(&server.line, |_, resets| resets.reset(token, operation))
            }
            (Operation::Watch, [_, events]) => watch(server, client, &namespace, token, events.as_fd()),
            _ => Ok(refused(Errno::INVAL, "")),
        }
    };
    done().unwrap_or_else(|error| failed(&error))
}

fn check_interface(server: &Server, namespace: &Namespace, operation: &Operation) -> io::Result<Option<Outcome>> {
    // Only an open has an address of this host and one of the peer's: what else there is makes no subflow here.
    if !server.policy.restricts_interfaces() || operation.name() != "open" {
        return Ok(None);
    }
    let index = operation.interface();
    if index == 0 {
        return Ok(Some(refused(Errno::PERM, "by the agent's policy, name the interface to open a subflow on")));
    }
    let name = namespace.with_sockets(&server.line, |commands, _| Ok(index_to_name(commands.as_fd(), index)?))?;
    let allowed = server.policy.allows_interface(&name);
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
    if !client.user.watches(namespace.cookie, number, server.policy.watched, live, is_known) {
        return Ok(refused(Errno::DQUOT, "this user watches too many connections"));
    }
    give_events(events, token, group)?;
    Ok((0, String::new()))
}
