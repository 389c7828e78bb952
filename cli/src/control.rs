// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mptcpapi open`, `close`, `backup`, `announce` and `withdraw`: the subflows of another process's connection.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use mptcpapi::{Connection, OpenSubflow};
use serde_json::json;

use crate::Failure;
use crate::connections::Subflow;
use crate::interrupt::Interrupt;
use crate::list;
use crate::output::{Line, Output, Style};
use crate::{parse, target};

/// Opens a subflow on another process's connection, and prints it
///
/// Waits for the peer's answer. Ctrl-C calls it off; whatever goes wrong, no half-open subflow stays behind. For the time
/// of this command the process's own `close` does not end the connection.
///
/// Needs CAP_NET_ADMIN, and a connection whose subflows are the application's to run: one made with control = app, or
/// under sysctl net.mptcp.path_manager=userspace.
#[derive(Debug, clap::Args)]
#[command(after_help = target::HELP)]
pub(crate) struct Open {
    #[command(flatten)]
    connection: target::Named,

    /// From this address, IP or IP:PORT; without it, from the one that the route to the remote address prefers
    #[arg(long, value_name = "ADDRESS", value_parser = parse::address)]
    local: Option<SocketAddr>,

    /// To this address, IP or IP:PORT; without it, to the peer's, and without a port, to the connection's
    #[arg(long, value_name = "ADDRESS", value_parser = parse::address)]
    remote: Option<SocketAddr>,

    /// Both ends shall use it only where no other subflow is left
    #[arg(long)]
    backup: bool,

    /// Bind it to this network interface; without --local, from an address of it
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,

    /// How long to wait for the peer's answer
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse::seconds)]
    timeout: Duration,

    /// Print the subflow as JSON, as `mptcpapi list --json` does
    #[arg(long)]
    json: bool,
}

/// Closes subflows of another process's connection, any of them, also the initial and the last one
///
/// What was in flight is sent again on the others. With a FIN where the subflows are the application's to run; where the
/// kernel's path manager runs them, by a reset. Needs CAP_NET_ADMIN.
///
/// Of several, all are tried; the exit status is 1 if one could not be closed.
#[derive(Debug, clap::Args)]
#[command(after_help = target::HELP)]
pub(crate) struct Close {
    #[command(flatten)]
    connection: target::Named,

    /// The subflows, as `mptcpapi list` numbers them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<u32>,

    /// By a reset at once (MP_TCPRST)
    #[arg(long)]
    reset: bool,

    /// Print for each subflow one line of JSON: {"closed": ID} or {"error": {...}}
    #[arg(long)]
    json: bool,
}

/// Tells the peer and the own scheduler whether to use a subflow as a backup only (MP_PRIO)
///
/// A backup subflow carries data only where no other is left. Needs CAP_NET_ADMIN, and a connection whose subflows are
/// the application's to run.
#[derive(Debug, clap::Args)]
#[command(after_help = target::HELP)]
pub(crate) struct Backup {
    #[command(flatten)]
    connection: target::Named,

    /// The subflow, as `mptcpapi list` numbers it
    #[arg(value_name = "ID")]
    id: u32,

    /// A backup, or not
    #[arg(value_name = "on|off")]
    on: OnOff,

    /// Print JSON: {"subflow": ID, "backup": true or false}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OnOff {
    On,
    Off,
}

/// Offers the peer an address to open subflows to (ADD_ADDR), and prints its address id
///
/// Something must listen there: this command does not. Needs CAP_NET_ADMIN, and a connection whose subflows are the
/// application's to run.
#[derive(Debug, clap::Args)]
#[command(after_help = target::HELP)]
pub(crate) struct Announce {
    #[command(flatten)]
    connection: target::Named,

    /// The address, IP or IP:PORT; without a port, the connection's
    #[arg(value_name = "ADDRESS", value_parser = parse::address)]
    address: SocketAddr,

    /// Print JSON: {"address_id": NUMBER}
    #[arg(long)]
    json: bool,
}

/// Takes an address back (RM_ADDR): both ends close its subflows
///
/// The peer is told on a living path, so this is the way to leave a dead one. Needs CAP_NET_ADMIN, and a connection
/// whose subflows are the application's to run.
#[derive(Debug, clap::Args)]
#[command(after_help = target::HELP)]
pub(crate) struct Withdraw {
    #[command(flatten)]
    connection: target::Named,

    /// The address id; 0 is the address that the connection began with
    #[arg(value_name = "ADDRESS_ID")]
    address_id: u8,

    /// Print JSON: {"withdrawn": ADDRESS_ID}
    #[arg(long)]
    json: bool,
}

impl Open {
    pub(crate) fn run(&self) -> i32 {
        exit_status(self.json, self.open())
    }

    fn open(&self) -> Result<(), Failure> {
        let interrupt = Interrupt::new()?;
        let mut wanted = OpenSubflow::new().backup(self.backup).timeout(self.timeout).cancel(interrupt.as_fd());
        if let Some(local) = self.local {
            wanted = wanted.local(local);
        }
        if let Some(remote) = self.remote {
            wanted = wanted.remote(remote);
        }
        if let Some(name) = &self.interface {
            wanted = wanted.interface(name);
        }
        let opened = {
            let fd = taken(&self.connection)?;
            let connection = Connection::new(&fd)?;
            let opened = connection.open_subflow(&wanted)?;
            // It is open; that its detail cannot be had is no failure.
            let detail = connection.subflows_detail().unwrap_or_default();
            let detailed = detail.into_iter().find(|subflow| subflow.id == opened.id);
            Subflow::new(&detailed.unwrap_or(opened), Some(opened.id))
        };
        let mut output = Output::new();
        if self.json {
            return Ok(output.json(&opened, false)?);
        }
        let (titles, row) = list::text::subflow_lines([&opened].into_iter(), false, output.width());
        Ok(output.lines(&[vec![titles], row].concat())?)
    }
}

impl Close {
    pub(crate) fn run(&self) -> i32 {
        match self.close() {
            Ok(closed) => closed.into_iter().map(|one| self.tell(one)).max().unwrap_or(0),
            Err(failure) => failure.report_as(self.json),
        }
    }

    fn close(&self) -> Result<Vec<mptcpapi::Result<u32>>, Failure> {
        let fd = taken(&self.connection)?;
        let connection = Connection::new(&fd)?;
        let close = |id| if self.reset { connection.reset_subflow(id) } else { connection.close_subflow(id) };
        Ok(self.ids.iter().map(|&id| close(id).map(|()| id)).collect())
    }

    fn tell(&self, closed: mptcpapi::Result<u32>) -> i32 {
        let told = closed.map_err(Failure::from).and_then(|id| tell(self.json, &json!({ "closed": id }), None));
        exit_status(self.json, told)
    }
}

impl Backup {
    pub(crate) fn run(&self) -> i32 {
        exit_status(self.json, self.set())
    }

    fn set(&self) -> Result<(), Failure> {
        let on = self.on == OnOff::On;
        Connection::new(&taken(&self.connection)?)?.set_backup(self.id, on)?;
        tell(self.json, &json!({ "subflow": self.id, "backup": on }), None)
    }
}

impl Announce {
    pub(crate) fn run(&self) -> i32 {
        exit_status(self.json, self.announce())
    }

    fn announce(&self) -> Result<(), Failure> {
        let id = Connection::new(&taken(&self.connection)?)?.announce(self.address)?;
        tell(self.json, &json!({ "address_id": id }), Some(id.to_string()))
    }
}

impl Withdraw {
    pub(crate) fn run(&self) -> i32 {
        exit_status(self.json, self.withdraw())
    }

    fn withdraw(&self) -> Result<(), Failure> {
        Connection::new(&taken(&self.connection)?)?.withdraw(self.address_id)?;
        tell(self.json, &json!({ "withdrawn": self.address_id }), None)
    }
}

fn taken(connection: &target::Named) -> Result<OwnedFd, Failure> {
    connection.take().map(|(_, fd)| fd)
}

/// What was done, as JSON; for people only where there is something that they do not know.
fn tell(json: bool, object: &serde_json::Value, text: Option<String>) -> Result<(), Failure> {
    let mut output = Output::new();
    match text {
        _ if json => output.json(object, false)?,
        Some(text) => output.lines(&[Line::of(Style::Plain, text)])?,
        None => {}
    }
    Ok(())
}

fn exit_status(json: bool, done: Result<(), Failure>) -> i32 {
    done.map_or_else(|failure| failure.report_as(json), |()| 0)
}
