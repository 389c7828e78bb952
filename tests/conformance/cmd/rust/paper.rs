// SPDX-License-Identifier: MIT OR Apache-2.0
//! The paper's options.

use std::os::fd::AsFd;

use mptcpapi::paper::{self, SubStatus};
use serde_json::{Value, json};

use super::{Answer, Failure, done, hexadecimal, number, option_value, read_option, socket_address};

pub(super) fn answer(socket: &impl AsFd, name: &str, words: &[&str]) -> Answer {
    let id = || number::<u8>(words, 2);
    match name {
        "ids" => Ok(paper::get_sub_ids(socket)?.iter().map(status).collect()),
        "tuple" => {
            let (local, remote) = paper::get_sub_tuple(socket, id()?)?;
            Ok(json!({ "local": local.to_string(), "remote": remote.to_string(), "id": id()? }))
        }
        "open" => open(socket, &words[2..]),
        "close" => done(paper::close_sub_id(socket, id()?)),
        "getopt" => {
            let (id, level, name) = (id()?, number(words, 3)?, number(words, 4)?);
            read_option(words, |value| paper::sub_getsockopt(socket, id, level, name, value))
        }
        "setopt" => {
            let value = option_value(words.get(5).copied().unwrap_or_default())?;
            done(paper::sub_setsockopt(socket, id()?, number(words, 3)?, number(words, 4)?, &value))
        }
        "bytes" => {
            let mut bytes = option_value(&format!("bytes:{}", words.get(3).copied().unwrap_or_default()))?;
            let length = paper::getsockopt(socket, number(words, 2)?, &mut bytes)?;
            Ok(hexadecimal(&bytes[..length]))
        }
        other => Err(Failure::Usage(other.into())),
    }
}

fn status(status: &SubStatus) -> Value {
    json!({
        "id": status.id,
        "slave": status.slave,
        "fully_established": status.fully_established,
        "attached": status.attached,
        "low_prio": status.low_prio,
        "pre_established": status.pre_established,
    })
}

fn open(socket: &impl AsFd, words: &[&str]) -> Answer {
    let (mut local, mut remote, mut low_prio) = (None, None, false);
    for word in words {
        match word.split_once('=') {
            Some(("local", address)) => local = Some(socket_address(address)?),
            Some(("remote", address)) => remote = Some(socket_address(address)?),
            Some(("low_prio", on)) => low_prio = on == "1",
            _ => return Err(Failure::Usage((*word).into())),
        }
    }
    Ok(json!(paper::open_sub_tuple(socket, local, remote, low_prio)?))
}
