// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each of the paper's options does, over the ordinary operations.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use socket2::SockRef;
use zerocopy::IntoBytes;

use super::ids::{Place, Priorities, Request, SubflowIds, Waiting};
use super::rights::{Rights, is_free};
use super::{SubStatus, errors};
use crate::codec::uapi::TcpInfo;
use crate::connection::{Connection, Snapshot};
use crate::detail;
use crate::error::{Error, ErrorKind, Result};
use crate::open::{self, OpenSubflow, unmapped};
use crate::option::OptionChange;
use crate::subflow::{INITIAL_ID, Subflow, TcpState};
use crate::sys::fork::hold_off_forks;
use crate::sys::netlink::lock;
use crate::sys::sockopt::{self, getsockopt_number, identity};
use crate::table::BySocket;

/// So many sockets are remembered.
const SOCKETS: usize = 16_384;
/// How often somebody else's open is looked at again, until the kernel's number of its subflow is known.
const LOOKS: usize = 100;

static IDS: LazyLock<Mutex<BySocket<SubflowIds>>> = LazyLock::new(|| Mutex::new(BySocket::new(SOCKETS)));

/// A connection whose subflows have the paper's ids.
pub(super) struct Numbered<'fd> {
    pub(super) connection: Connection<'fd>,
    socket: u128,
}

/// The same, as it was when the caller asked.
pub(super) struct View<'fd> {
    numbered: Numbered<'fd>,
    pub(super) snapshot: Snapshot,
}

/// A subflow that was found by its id.
enum Found {
    /// Asked for, and not yet there.
    Wanted(Request),
    There(Box<Subflow>),
}

impl<'fd> Numbered<'fd> {
    pub(super) fn new(fd: BorrowedFd<'fd>) -> Self {
        Numbered { connection: Connection::from_fd(fd), socket: identity(fd) }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    fn with<R>(&self, use_it: impl FnOnce(&mut SubflowIds) -> R) -> R {
        let _no_fork = hold_off_forks();
        use_it(lock(&IDS).get(self.socket))
    }

    /// None for a socket that has no ids, and gets none by this: it may be no connection at all.
    fn with_known<R>(&self, use_it: impl FnOnce(&mut SubflowIds) -> R) -> Option<R> {
        let _no_fork = hold_off_forks();
        lock(&IDS).known(self.socket).map(use_it)
    }

    /// Brings the ids up to date. EOPNOTSUPP where this is no MPTCP connection, or not any more.
    fn look(&self, operation: &'static str) -> Result<Snapshot> {
        let moment = self.with_known(SubflowIds::now).unwrap_or(0);
        let snapshot = self.connection.snapshot(operation).map_err(errors::of_connection)?;
        if !snapshot.connected {
            return Err(errors::of_connection(Error::new(ErrorKind::NotReady, operation)));
        }
        let listed: Vec<_> = snapshot.present().map(|subflow| (subflow.id, (subflow.local, subflow.remote))).collect();
        self.with(|ids| ids.update(snapshot.token, moment, &listed));
        Ok(snapshot)
    }

    /// Sends the SYN for an entry, or puts it off.
    fn ask(&self, operation: &'static str, id: u8, request: Request) -> Result<()> {
        let wanted = OpenSubflow::new()
            .local(request.local)
            .remote(request.remote)
            .backup(request.low_prio)
            .timeout(Duration::ZERO);
        match open::request(&self.connection, &wanted) {
            Ok(number) => {
                self.with(|ids| ids.settle(id, number));
                self.give_options(number, &request);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotReady && self.look(operation).is_ok() => {
                self.with(|ids| ids.put_off(id, request));
                Ok(())
            }
            Err(error) => {
                self.with(|ids| ids.remove(id));
                Err(errors::of_operation(operation, id, &error))
            }
        }
    }

    /// Options that were set while it was only asked for. A subflow without one of them is better than none.
    fn give_options(&self, number: Option<u32>, request: &Request) {
        let Some(subflow) = number.filter(|_| !request.options.is_empty()) else { return };
        let options = request.options.iter();
        let changes = options.map(|(level, name, value)| OptionChange { subflow, level: *level, name: *name, value });
        let _ = self.connection.set_subflow_options(&changes.collect::<Vec<_>>());
    }

    fn close(&self, number: u32, id: u8) -> Result<()> {
        let outcome = self.connection.close_subflow(number);
        if outcome.as_ref().map_or_else(|error| error.kind() == ErrorKind::NoSuchSubflow, |()| true) {
            self.with(|ids| ids.remove(id));
        }
        outcome
    }

    /// Which subflows this side uses as backups. In another network namespace nobody says so. Asking takes longer than all
    /// else of a listing, so what was true a moment ago is believed.
    fn priorities(&self, snapshot: &Snapshot) -> Priorities {
        let numbers: Vec<u32> = snapshot.present().map(|subflow| subflow.id).collect();
        if let Some(known) = self.with(|ids| ids.priorities(&numbers)) {
            return known;
        }
        let mut subflows: Vec<Subflow> = snapshot.present().copied().collect();
        let _ = detail::add_detail(self.fd(), &mut subflows);
        let found = |number: &u32| subflows.iter().find(|subflow| subflow.id == *number)?.backup;
        let known: Priorities = numbers.iter().map(|number| (*number, found(number))).collect();
        self.with(|ids| ids.set_priorities(known.clone()));
        known
    }

    /// One has been changed.
    pub(super) fn forget_priorities(&self) {
        self.with_known(|ids| ids.set_priorities(Priorities::new()));
    }

    /// Before 6.5 the kernel does not say of which subflow it is.
    fn tcp_info(&self, number: u32) -> Option<Vec<u8>> {
        let all = sockopt::tcp_infos(self.fd()).ok()?;
        all.iter().find_map(|(other, info)| (other == number).then(|| info.to_vec()))
    }

    fn find(&self, operation: &'static str, snapshot: &Snapshot, id: u8) -> Result<Found> {
        let mut later;
        let mut snapshot = snapshot;
        for _ in 0..LOOKS {
            let place = self.with(|ids| ids.get(id).map(|entry| entry.place.clone()));
            match place {
                None => break,
                Some(Place::Waiting(request)) => return Ok(Found::Wanted(request)),
                Some(Place::Kernel(number)) => {
                    // Else it came after this listing, or it went.
                    if let Some(subflow) = snapshot.present().find(|subflow| subflow.id == number) {
                        return Ok(Found::There(Box::new(*subflow)));
                    }
                }
                // Another thread is asking the kernel for it just now.
                Some(Place::Asked(_)) => std::thread::sleep(Duration::from_micros(50)),
            }
            later = self.look(operation)?;
            snapshot = &later;
        }
        Err(errors::no_such_id(operation, id))
    }

    pub(super) fn waits(&self) -> bool {
        self.with_known(|ids| ids.waits()).unwrap_or(false)
    }

    /// Carries out what was put off, if that can be done by now. True while something still waits.
    pub(super) fn pump(&self) -> bool {
        const OPERATION: &str = "open_sub_tuple";
        if !self.waits() {
            return false;
        }
        match self.look(OPERATION) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == libc::EOPNOTSUPP => {
                // The connection has ended.
                self.with(|ids| *ids = SubflowIds::default());
                return false;
            }
            Err(_) => return true,
        }
        if self.connection.no_data_has_flowed() || !self.with(SubflowIds::begin_pumping) {
            return true;
        }
        let Waiting { opens, closes } = self.with(SubflowIds::take_waiting);
        for (id, request) in opens {
            // One that fails vanishes from the list, as it did from that of the paper's kernel.
            let _ = self.ask(OPERATION, id, request);
        }
        for (id, number) in closes {
            let _ = self.close(number, id);
        }
        self.with(SubflowIds::end_pumping)
    }
}

impl<'fd> View<'fd> {
    /// Carries out what was put off, and looks.
    pub(super) fn new(fd: BorrowedFd<'fd>, operation: &'static str) -> Result<Self> {
        let numbered = Numbered::new(fd);
        numbered.pump();
        Ok(View { snapshot: numbered.look(operation)?, numbered })
    }

    /// GET_SUB_IDS.
    pub(super) fn sub_ids(&self) -> Result<Vec<SubStatus>> {
        let snapshot = &self.snapshot;
        let priorities = self.numbered.priorities(snapshot);
        let found = |number: u32| {
            let subflow = snapshot.present().find(|subflow| subflow.id == number)?;
            let backup = priorities.iter().find(|(other, _)| *other == number).and_then(|(_, backup)| *backup);
            Some((*subflow, backup))
        };
        let shown = self.numbered.with(|ids| ids.shown().cloned().collect::<Vec<_>>());
        let statuses = shown.into_iter().map(|entry| {
            let (slave, established, pre, backup) = match entry.place {
                Place::Kernel(number) => {
                    let (subflow, backup) = found(number)?;
                    let live = subflow.state.is_live();
                    // The peer's word that ends a join is the second segment that it sends.
                    let pre = live && entry.asked && subflow.segments_in < 2;
                    (!subflow.initial, live && !pre, pre, backup)
                }
                _ => (true, false, false, None),
            };
            Some(SubStatus {
                id: entry.id,
                slave,
                fully_established: established,
                attached: true,
                low_prio: backup.unwrap_or(entry.low_prio),
                pre_established: pre,
            })
        });
        Ok(statuses.flatten().collect())
    }

    /// Those that have an id.
    pub(super) fn subflows_newest_first(&self) -> Vec<Subflow> {
        let shown = self.numbered.with(|ids| ids.shown().map(|entry| entry.place.clone()).collect::<Vec<_>>());
        let of_place = |place: &Place| {
            let is_it = |subflow: &&Subflow| *place == Place::Kernel(subflow.id);
            self.snapshot.present().find(is_it).copied()
        };
        shown.iter().filter_map(of_place).collect()
    }

    /// `struct tcp_info` by the kernel's numbers; of dead subflows only where the kernel gives all at once (6.5).
    pub(super) fn tcp_infos(&self) -> Vec<(u32, Vec<u8>)> {
        let of_one = |subflow: &Subflow| {
            let mut info = vec![0; sockopt::TCP_INFO_MAX];
            let option = (libc::IPPROTO_TCP, libc::TCP_INFO);
            let length = self.numbered.connection.subflow_option(subflow.id, option.0, option.1, &mut info).ok()?;
            info.truncate(length);
            Some((subflow.id, info))
        };
        match sockopt::tcp_infos(self.numbered.fd()) {
            Ok(all) => all.iter().map(|(number, info)| (number, info.to_vec())).collect(),
            Err(_) => self.snapshot.present().filter_map(of_one).collect(),
        }
    }

    /// GET_SUB_TUPLE.
    pub(super) fn sub_tuple(&self, id: u8) -> Result<(SocketAddr, SocketAddr)> {
        const OPERATION: &str = "get_sub_tuple";
        Ok(match self.find(OPERATION, id)? {
            Found::There(subflow) => (subflow.local, subflow.remote),
            Found::Wanted(request) => (request.local, request.remote),
        })
    }

    /// OPEN_SUB_TUPLE. Does not wait for the peer. What cannot be joined yet is asked for by a later [`View::pump`].
    pub(super) fn open_sub_tuple(
        &self,
        local: Option<SocketAddr>,
        remote: Option<SocketAddr>,
        low_prio: bool,
        rights: Rights,
    ) -> Result<u8> {
        const OPERATION: &str = "open_sub_tuple";
        let remote = self.whole_remote(OPERATION, remote.map(unmapped))?;
        let any = any_of_family(remote, local.map_or(0, |local| local.port()));
        let local = local.map(unmapped).filter(|local| !local.ip().is_unspecified()).unwrap_or(any);
        let family = getsockopt_number::<i32>(self.numbered.fd(), libc::SOL_SOCKET, libc::SO_DOMAIN);
        if (local.is_ipv6() || remote.is_ipv6()) && family.is_ok_and(|family| family == libc::AF_INET) {
            return Err(Error::os(OPERATION, libc::EAFNOSUPPORT)
                .with_hint("the socket is of IPv4 only: make it AF_INET6, or use mptcpapi run --dual-stack"));
        }
        is_free(self.numbered.fd(), local, rights).map_err(|error| Error::io(OPERATION, &error))?;
        let request = Request { local, remote, low_prio, options: Vec::new() };
        let id = self.numbered.with(|ids| ids.begin(request.clone()));
        let id = id.ok_or_else(|| Error::os(OPERATION, libc::EPERM).with_hint("all ids (1 to 31) are in use"))?;
        self.numbered.ask(OPERATION, id, request)?;
        Ok(id)
    }

    /// CLOSE_SUB_ID.
    pub(super) fn close_sub_id(&self, id: u8) -> Result<()> {
        const OPERATION: &str = "close_sub_id";
        let subflow = loop {
            match self.find(OPERATION, id)? {
                Found::There(subflow) => break subflow,
                Found::Wanted(_) if self.numbered.with(|ids| ids.cancel(id)) => return Ok(()),
                // Another thread has just begun to ask for it.
                Found::Wanted(_) => {}
            }
        };
        // The connection would die with it.
        if subflow.id == INITIAL_ID && self.numbered.connection.no_data_has_flowed() {
            self.numbered.with(|ids| ids.close_later(id));
            return Ok(());
        }
        self.numbered.close(subflow.id, id).map_err(|error| errors::of_operation(OPERATION, id, &error))
    }

    /// SUB_GETSOCKOPT.
    pub(super) fn sub_option(&self, id: u8, level: i32, name: i32, value: &mut [u8]) -> Result<usize> {
        const OPERATION: &str = "sub_getsockopt";
        let subflow = match self.find(OPERATION, id)? {
            Found::There(subflow) => subflow,
            Found::Wanted(request) => return self.option_of_wanted(OPERATION, &request, level, name, value),
        };
        if (level, name) == (libc::IPPROTO_TCP, libc::TCP_INFO) {
            if let Some(info) = self.numbered.tcp_info(subflow.id) {
                return Ok(fill(value, &info));
            }
        }
        match self.numbered.connection.subflow_option(subflow.id, level, name, value) {
            Err(error) if errors::is_not_served(&error) => match self.is_alone() {
                true => self.option_of_connection(OPERATION, level, name, value),
                false => Err(errors::not_served(OPERATION, &error)),
            },
            outcome => outcome.map_err(|error| errors::of_operation(OPERATION, id, &error)),
        }
    }

    /// SUB_SETSOCKOPT.
    pub(super) fn set_sub_option(&self, id: u8, level: i32, name: i32, value: &[u8], rights: Rights) -> Result<()> {
        const OPERATION: &str = "sub_setsockopt";
        if !rights.may_set(level, name, value) {
            return Err(Error::os(OPERATION, libc::EPERM));
        }
        let subflow = loop {
            match self.find(OPERATION, id)? {
                Found::There(subflow) => break subflow,
                Found::Wanted(_) => {
                    crate::option::may_be_set(level, name, value, OPERATION)?;
                    if self.numbered.with(|ids| ids.set_option(id, level, name, value)) {
                        return Ok(());
                    }
                    // Another thread has just begun to ask for it.
                }
            }
        };
        match self.numbered.connection.set_subflow_option(subflow.id, level, name, value) {
            Err(error) if errors::is_not_served(&error) => match self.is_alone() {
                true => sockopt::setsockopt(self.numbered.fd(), level, name, value)
                    .map_err(|error| Error::io(OPERATION, &error)),
                false => Err(errors::not_served(OPERATION, &error)),
            },
            outcome => outcome.map_err(|error| errors::of_operation(OPERATION, id, &error)),
        }
    }

    /// Nothing but its state is known of a subflow that is not there. What is not set on it, it will inherit.
    fn option_of_wanted(
        &self,
        operation: &'static str,
        request: &Request,
        level: i32,
        name: i32,
        value: &mut [u8],
    ) -> Result<usize> {
        if (level, name) == (libc::IPPROTO_TCP, libc::TCP_INFO) {
            let info = TcpInfo { state: TcpState::SYN_SENT.0, ..TcpInfo::default() };
            return Ok(fill(value, info.as_bytes()));
        }
        let own = request.options.iter().find(|(its_level, its_name, _)| (*its_level, *its_name) == (level, name));
        match own {
            Some((_, _, own)) => Ok(fill(value, own)),
            None => self.option_of_connection(operation, level, name, value),
        }
    }

    fn option_of_connection(&self, operation: &'static str, level: i32, name: i32, value: &mut [u8]) -> Result<usize> {
        sockopt::getsockopt(self.numbered.fd(), level, name, value).map_err(|error| Error::io(operation, &error))
    }

    /// The one subflow and the connection are the same then.
    fn is_alone(&self) -> bool {
        self.numbered.with(|ids| ids.shown().count() == 1)
    }

    /// That there is a subflow of this id.
    pub(super) fn known(&self, operation: &'static str, id: u8) -> Result<()> {
        self.find(operation, id).map(|_| ())
    }

    fn find(&self, operation: &'static str, id: u8) -> Result<Found> {
        self.numbered.find(operation, &self.snapshot, id)
    }

    /// What is missing of the remote address, or all of it, is the connection's. An address that is any is missing.
    fn whole_remote(&self, operation: &'static str, wanted: Option<SocketAddr>) -> Result<SocketAddr> {
        let (given, port) =
            (wanted.filter(|wanted| !wanted.ip().is_unspecified()), wanted.map_or(0, |wanted| wanted.port()));
        if let Some(remote) = given.filter(|_| port != 0) {
            return Ok(remote);
        }
        let peer = self.peer().ok_or_else(|| errors::of_connection(Error::new(ErrorKind::NotReady, operation)))?;
        let mut remote = given.unwrap_or(peer);
        remote.set_port(if port == 0 { peer.port() } else { port });
        Ok(remote)
    }

    /// Where the connection goes, also where its first subflow is gone.
    fn peer(&self) -> Option<SocketAddr> {
        let initial =
            self.snapshot.entries.iter().find(|subflow| subflow.id == INITIAL_ID).map(|subflow| subflow.remote);
        let peer = SockRef::from(&self.numbered.fd()).peer_addr().ok().and_then(|peer| peer.as_socket());
        peer.or(initial).map(unmapped)
    }
}

/// The kernel chooses the address then.
fn any_of_family(other: SocketAddr, port: u16) -> SocketAddr {
    let ip: IpAddr = if other.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(ip, port)
}

pub(super) fn fill(value: &mut [u8], bytes: &[u8]) -> usize {
    let length = bytes.len().min(value.len());
    value[..length].copy_from_slice(&bytes[..length]);
    length
}
