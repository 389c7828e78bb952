// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the two processes of the agent say to each other. They are one program: no versions, no other byte order.

/// The length of an order and of an answer.
pub(super) const SIZE: usize = 16;
/// No user.
pub(super) const NOBODY: u64 = u64::MAX;

/// What is to be fetched from a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Sockets for commands and for sock_diag.
    Netlink,
    /// The switch.
    Setting,
    /// Sockets with which the switch's lock is taken.
    Locks,
    /// The user who has that lock.
    Holder,
    /// What tells the first local port that is not the administrator's.
    FirstPort,
    /// The generic netlink sockets that there are.
    Listeners,
    /// Nothing: the switch is not needed any more.
    Forget,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    pub(super) number: u32,
    pub(super) want: Want,
    /// Of the namespace that the descriptor is of.
    pub(super) cookie: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) number: u32,
    pub(super) errno: i32,
    /// The shape of a switch, or a user.
    pub(super) value: u64,
}

impl Order {
    pub(super) fn encode(self) -> [u8; SIZE] {
        let want = match self.want {
            Want::Netlink => 0u32,
            Want::Setting => 1,
            Want::Locks => 2,
            Want::Listeners => 3,
            Want::Forget => 4,
            Want::Holder => 5,
            Want::FirstPort => 6,
        };
        join(self.number, want, self.cookie)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Order> {
        let (number, want, cookie) = split(bytes)?;
        let want = match want {
            0 => Want::Netlink,
            1 => Want::Setting,
            2 => Want::Locks,
            3 => Want::Listeners,
            4 => Want::Forget,
            5 => Want::Holder,
            6 => Want::FirstPort,
            _ => return None,
        };
        Some(Order { number, want, cookie })
    }
}

impl Answer {
    pub(super) fn encode(self) -> [u8; SIZE] {
        join(self.number, self.errno as u32, self.value)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Answer> {
        let (number, errno, value) = split(bytes)?;
        Some(Answer { number, errno: errno as i32, value })
    }
}

fn join(first: u32, second: u32, third: u64) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..8].copy_from_slice(&second.to_ne_bytes());
    bytes[8..].copy_from_slice(&third.to_ne_bytes());
    bytes
}

fn split(bytes: &[u8]) -> Option<(u32, u32, u64)> {
    let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
    let number = |from: usize| Some(u32::from_ne_bytes(bytes[from..from + 4].try_into().ok()?));
    Some((number(0)?, number(4)?, u64::from_ne_bytes(bytes[8..].try_into().ok()?)))
}
