// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counters, told in Prometheus' text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::log;

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) requests: AtomicU64,
    /// Answered with an error.
    pub(crate) refused: AtomicU64,
    /// Answered at the deadline, while a thread still waited.
    pub(crate) stuck: AtomicU64,
    /// Messages that no client of ours sends.
    pub(crate) nonsense: AtomicU64,
    pub(crate) handshakes: AtomicU64,
    /// Hand-shakes that came too late.
    pub(crate) late: AtomicU64,
    pub(crate) strikes: AtomicU64,
    /// Nanoseconds for which the switch was on, all together.
    pub(crate) window: AtomicU64,
}

/// What is counted when it is asked for.
#[derive(Debug, Default)]
pub(crate) struct Now {
    pub(crate) connections: usize,
    pub(crate) namespaces: usize,
    pub(crate) threads: usize,
}

pub(crate) fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

impl Metrics {
    /// The whole answer, to whatever was asked.
    pub(crate) fn page(&self, now: &Now) -> String {
        let mut text = String::new();
        let mut tell = |name: &str, kind: &str, help: &str, value: f64| {
            // Writing to a String does not fail.
            let _ = write!(text, "# HELP mptcpapi_agent_{name} {help}\n# TYPE mptcpapi_agent_{name} {kind}\n");
            let _ = writeln!(text, "mptcpapi_agent_{name} {value}");
        };
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let counter = "counter";
        tell("requests_total", counter, "Requests.", of(&self.requests));
        tell("refused_total", counter, "Requests answered with an error.", of(&self.refused));
        tell("stuck_total", counter, "Requests answered while the kernel had not.", of(&self.stuck));
        tell("nonsense_total", counter, "Connections closed for what they sent.", of(&self.nonsense));
        tell("handshakes_total", counter, "Sockets made under control of the application.", of(&self.handshakes));
        tell("late_total", counter, "Hand-shakes that came too late.", of(&self.late));
        tell("strikes_total", counter, "Users put off for a while.", of(&self.strikes));
        tell("window_seconds_total", counter, "Time for which the switch was on.", of(&self.window) / 1e9);
        tell("log_lost_total", counter, "Lines of the log for which there was no room.", of(&log::LOST));
        tell("connections", "gauge", "Connections of clients.", now.connections as f64);
        tell("namespaces", "gauge", "Network namespaces known.", now.namespaces as f64);
        tell("threads", "gauge", "Threads that serve.", now.threads as f64);
        let head = "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length:";
        format!("{head} {}\r\n\r\n{text}", text.len())
    }
}
