// SPDX-License-Identifier: MIT OR Apache-2.0
//! A subflow that has options of its own from the start.

use super::Setting;
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::open::{self, OpenSubflow};
use crate::subflow::Subflow;

const OPERATION: &str = "open_subflow";

/// Opens a subflow whose options are in force before the schedulers of both ends give it data: until then it is a backup.
pub(crate) fn open_with_options(connection: &Connection<'_>, wanted: &OpenSubflow<'_>) -> Result<Subflow> {
    let own = |(level, name, value): &(i32, i32, Vec<u8>)| Setting::new(*level, *name, value, OPERATION);
    let settings = wanted.options().iter().map(own).collect::<Result<Vec<_>>>()?;
    if settings.is_empty() {
        return open::open(connection, wanted);
    }
    let opened = open::open(connection, &wanted.clone().backup(true))?;
    let given = give(connection, &opened, &settings, wanted.is_backup());
    if given.is_err() {
        // Who asked for a subflow with options does not want one without. It may have died by itself.
        let _ = connection.reset_subflow(opened.id);
    }
    given.map(|()| opened)
}

fn give(connection: &Connection<'_>, opened: &Subflow, settings: &[Setting], backup: bool) -> Result<()> {
    let wanted: Vec<(u32, Result<Setting>)> = settings.iter().map(|setting| (opened.id, Ok(*setting))).collect();
    connection.apply(OPERATION, &wanted)?.into_iter().collect::<Result<()>>()?;
    if backup {
        return Ok(());
    }
    connection.set_backup(opened.id, false).map_err(|error| Error::os(OPERATION, error.raw_os_error()))
}
