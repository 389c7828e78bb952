// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words of the command line that are more than text.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Seconds, maybe with a fraction.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(0.01..=86_400.0).contains(&seconds) {
        return Err("not between 0.01 and 86400".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// `IP`, `IP:PORT` or `[IP]:PORT`; without a port, 0.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let ip = |text: &str| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 0));
    let found = text.parse().ok().or_else(|| ip(text));
    found.ok_or_else(|| "not IP, IP:PORT or [IP]:PORT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_limits() {
        assert_eq!(seconds("2"), Ok(Duration::from_secs(2)));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "nan", "inf", "1e9", "x", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_have_a_port_or_not() {
        let text = |text| address(text).map(|address| address.to_string());
        assert_eq!(text("10.77.2.1"), Ok("10.77.2.1:0".to_owned()));
        assert_eq!(text("10.77.2.1:80"), Ok("10.77.2.1:80".to_owned()));
        assert_eq!(text("fd77:2::1"), Ok("[fd77:2::1]:0".to_owned()));
        assert_eq!(text("[fd77:2::1]:80"), Ok("[fd77:2::1]:80".to_owned()));
        for wrong in ["", "host", "10.77.2", "10.77.2.1:", "10.77.2.1:65536", "host:80"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
