// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bookkeeping: what must be remembered of a connection between two calls. Pure, no system call.

use std::net::SocketAddr;

use crate::subflow::INITIAL_ID;

type Pair = (SocketAddr, SocketAddr);

/// Subflow ids for kernels that have none of their own (before 6.5): a pair of addresses keeps the number it was first
/// seen with, and no number is given twice.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    next: u32,
    known: Vec<(Pair, u32)>,
}

impl Ids {
    pub(crate) fn new() -> Self {
        Ids { next: INITIAL_ID + 1, known: Vec::new() }
    }

    /// The ids of the pairs that are there now. `initial` is the pair that the connection began with.
    /// A pair that is not there any more is forgotten: when it comes back, it is another subflow.
    pub(crate) fn assign(&mut self, initial: Option<Pair>, present: &[Pair]) -> Vec<u32> {
        self.known.retain(|(pair, _)| present.contains(pair));
        let begins = self.next == INITIAL_ID + 1 && self.known.is_empty();
        present
            .iter()
            .map(|pair| {
                if let Some((_, id)) = self.known.iter().find(|(known, _)| known == pair) {
                    return *id;
                }
                let id = if begins && Some(*pair) == initial { INITIAL_ID } else { self.take_next() };
                self.known.push((*pair, id));
                id
            })
            .collect()
    }

    fn take_next(&mut self) -> u32 {
        let id = self.next;
        self.next += 1;
        id
    }
}
