// SPDX-License-Identifier: MIT OR Apache-2.0
//! Socket addresses as `mptcpapi.Address`, kept: a program asks for the same few again and again.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

static ADDRESS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static KEPT: Mutex<Option<Kept>> = Mutex::new(None);
/// So many addresses are kept, about 200 kB; then the collection begins anew.
const KEPT_MAX: usize = 1024;

type Kept = HashMap<SocketAddr, Py<PyAny>, BuildHasherDefault<Fold>>;

/// A hash for a few short keys: the standard one, made against attackers, takes longer than all the rest here. Who sends
/// us addresses that collide makes us compare 1024 of them, no more.
#[derive(Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_ne_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // Knuth's multiplier spreads the low bits, in which addresses differ, to the high ones, and back.
        let product = u128::from(self.0 ^ word) * 0x9E37_79B9_7F4A_7C15;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The address as the tuple `Address(host, port)`.
pub(crate) fn to_python(py: Python<'_>, address: SocketAddr) -> PyResult<Py<PyAny>> {
    if let Some(known) = lookup(py, &address) {
        return Ok(known);
    }
    let class = ADDRESS.import(py, "mptcpapi._values", "Address")?;
    let made = class.call1((host(&address), address.port()))?.unbind();
    let surplus = keep(address, made.clone_ref(py));
    // Outside the lock, as Python code may run when an object ends.
    drop(surplus);
    Ok(made)
}

fn lookup(py: Python<'_>, address: &SocketAddr) -> Option<Py<PyAny>> {
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    Some(kept.as_ref()?.get(address)?.clone_ref(py))
}

fn keep(address: SocketAddr, made: Py<PyAny>) -> Option<Kept> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let surplus = if kept.as_ref().is_some_and(|all| all.len() >= KEPT_MAX) { kept.take() } else { None };
    kept.get_or_insert_default().insert(address, made);
    surplus
}

/// As `ipaddress` reads it: the zone of a link-local address behind a percent sign.
fn host(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        other => other.ip().to_string(),
    }
}
