// SPDX-License-Identifier: MIT OR Apache-2.0
//! Netlink framing: messages out of a datagram, errors with the kernel's words, generic netlink requests.

use super::uapi::{genl, netlink};
use super::{text_of, u32_of};

/// One message of a datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages in one datagram; stops at the first that is cut or malformed.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header = datagram.first_chunk::<HEADER>()?;
        let length = u32_of(header)? as usize;
        let message = Message {
            kind: u16_of(&header[4..])?,
            flags: u16_of(&header[6..])?,
            sequence: u32_of(&header[8..])?,
            payload: datagram.get(HEADER..length)?,
        };
        datagram = length.checked_next_multiple_of(4).and_then(|next| datagram.get(next..)).unwrap_or(&[]);
        Some(message)
    })
}

/// The attributes in `bytes`, nested marks removed; stops at the first that is malformed.
#[inline]
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> + use<'_> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<ATTRIBUTE_HEADER>()?;
        let length = usize::from(u16_of(header)?);
        let kind = u16_of(&header[2..])? & ATTRIBUTE_KIND_MASK;
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

#[inline]
fn u16_of(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.first_chunk()?))
}

/// The attributes of a generic netlink message.
pub(crate) fn genl_attributes<'a>(message: &Message<'a>) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
    attributes(message.payload.get(GENL_HEADER..).unwrap_or(&[]))
}

/// What the kernel says of a request: an errno (0 is success) and, with extended acknowledgement, a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) errno: i32,
    pub(crate) message: Option<String>,
}

impl Message<'_> {
    /// The outcome in an `NLMSG_ERROR` or `NLMSG_DONE` message; None for any other kind.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        let error = match self.kind {
            netlink::ERROR => i32::from_ne_bytes(*self.payload.first_chunk()?),
            // A dump may end without a word: success.
            netlink::DONE => self.payload.first_chunk().map_or(0, |&bytes| i32::from_ne_bytes(bytes)),
            _ => return None,
        };
        Some(Outcome { errno: error.checked_neg().unwrap_or(libc::EPROTO), message: self.extended_text() })
    }

    fn extended_text(&self) -> Option<String> {
        if self.flags & netlink::ACK_TLVS == 0 {
            return None;
        }
        let mut at = 4;
        if self.kind == netlink::ERROR {
            // The request follows: its header alone when capped, else all of it.
            let original = u32_of(self.payload.get(4..)?)? as usize;
            let repeated = if self.flags & netlink::CAPPED != 0 { HEADER } else { original.max(HEADER) };
            at += repeated.checked_next_multiple_of(4)?;
        }
        attributes(self.payload.get(at..)?)
            .find(|(kind, _)| *kind == netlink::ERROR_ATTR_MESSAGE)
            .and_then(|(_, value)| text_of(value))
            .map(str::to_owned)
    }
}

/// A generic netlink request under construction.
#[derive(Debug)]
pub(crate) struct GenlRequest {
    bytes: Vec<u8>,
}

impl GenlRequest {
    pub(crate) fn new(family: u16, command: u8, version: u8, flags: u16, sequence: u32) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&family.to_ne_bytes());
        bytes.extend_from_slice(&(netlink::REQUEST | flags).to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&[command, version, 0, 0]);
        GenlRequest { bytes }
    }

    /// Attributes inside an attribute.
    pub(crate) fn nested(mut self, kind: u16, inner: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self = inner(self.attribute(kind | NESTED, &[]));
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (ATTRIBUTE_HEADER + value.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }
}

/// A generic netlink family as the controller describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) id: u16,
    /// The multicast group of the events; 0 where there is none (before 5.12).
    pub(crate) events: u32,
}

/// Asks the generic netlink controller for the family `mptcp_pm`.
pub(crate) fn family_request(sequence: u32) -> Vec<u8> {
    let mut name = genl::MPTCP_PM_NAME.as_bytes().to_vec();
    name.push(0);
    GenlRequest::new(genl::CONTROLLER, genl::CTRL_CMD_GETFAMILY, 1, 0, sequence)
        .attribute(genl::CTRL_ATTR_FAMILY_NAME, &name)
        .finish()
}

/// The family, from the controller's answer.
pub(crate) fn family_answer(message: &Message<'_>) -> Option<Family> {
    let (mut id, mut events) = (None, 0);
    for (kind, value) in attributes(message.payload.get(GENL_HEADER..)?) {
        match kind {
            genl::CTRL_ATTR_FAMILY_ID => id = value.first_chunk().map(|&bytes| u16::from_ne_bytes(bytes)),
            genl::CTRL_ATTR_MCAST_GROUPS => events = events_group(value).unwrap_or(0),
            _ => {}
        }
    }
    Some(Family { id: id?, events })
}

fn events_group(groups: &[u8]) -> Option<u32> {
    attributes(groups).find_map(|(_, group)| {
        let attribute = |wanted| attributes(group).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let name = text_of(attribute(genl::CTRL_ATTR_MCAST_GRP_NAME)?)?;
        if name == genl::MPTCP_PM_EVENTS { u32_of(attribute(genl::CTRL_ATTR_MCAST_GRP_ID)?) } else { None }
    })
}

/// `struct genlmsghdr`.
pub(crate) const GENL_HEADER: usize = 4;
/// Where the attributes of a generic netlink message begin.
#[cfg(feature = "agent")]
pub(crate) const EVENT_ATTRIBUTES_AT: usize = 16 + GENL_HEADER;
/// `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
/// Without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const ATTRIBUTE_KIND_MASK: u16 = 0x3fff;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
