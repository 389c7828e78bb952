// SPDX-License-Identifier: MIT OR Apache-2.0
//! Short names of the kernel's, kept without allocation.

use std::fmt;
use std::ops::Deref;

/// A name of at most 15 bytes: of a congestion control (`TCP_CA_NAME_MAX`) or a network interface (`IFNAMSIZ`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name {
    bytes: [u8; 15],
    length: u8,
}

impl Name {
    /// Keeps the first 15 bytes of `text`, cut at a character's boundary.
    pub fn new(text: &str) -> Self {
        let mut length = text.len().min(15);
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        let mut bytes = [0; 15];
        bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
        Name { bytes, length: length as u8 }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        // Built from text and cut at a boundary: always valid.
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn keeps_fifteen_bytes_and_never_half_a_character() {
        assert_eq!(Name::new("reno"), "reno");
        assert_eq!(Name::new("0123456789abcdefgh"), "0123456789abcde");
        assert_eq!(Name::new("0123456789abcdé"), "0123456789abcd");
        assert_eq!(Name::new(""), "");
    }
}
