// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much of something a user has had, and for how long a user is refused.

use std::time::{Duration, Instant};

pub(crate) const BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// What a user takes is poured in, and runs out at a steady rate: its share.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    level: f64,
    at: Option<Instant>,
}

impl Bucket {
    /// What is in it, of which so much runs out in a second.
    pub(crate) fn level(&self, rate: f64, now: Instant) -> f64 {
        let passed = self.at.map_or(0.0, |then| now.saturating_duration_since(then).as_secs_f64());
        (self.level - passed * rate).max(0.0)
    }

    pub(crate) fn pour(&mut self, amount: f64, rate: f64, now: Instant) {
        self.level = self.level(rate, now) + amount;
        self.at = Some(now);
    }

    /// Pours it in where there is room.
    pub(crate) fn take(&mut self, amount: f64, rate: f64, room: f64) -> bool {
        let now = Instant::now();
        let has_room = self.level(rate, now) + amount <= room;
        if has_room {
            self.pour(amount, rate, now);
        }
        has_room
    }
}

/// Refusals for a time, longer from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Strikes {
    number: u32,
    until: Option<Instant>,
}

impl Strikes {
    pub(crate) fn is_out(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    pub(crate) fn strike(&mut self) -> Duration {
        let now = Instant::now();
        // Who behaved for as long as the longest refusal starts again.
        if self.until.is_some_and(|until| now > until + BACK_OFF_MAX) {
            self.number = 0;
        }
        self.number += 1;
        let time = Duration::from_secs(1 << (self.number - 1).min(6)).min(BACK_OFF_MAX);
        self.until = Some(now + time);
        time
    }

    /// There is nothing to remember.
    pub(crate) fn is_over(&self) -> bool {
        self.until.is_none_or(|until| until + BACK_OFF_MAX < Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_double_up_to_a_minute() {
        let mut strikes = Strikes::default();
        let times: Vec<u64> = (0..8).map(|_| strikes.strike().as_secs()).collect();
        assert_eq!(times, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(strikes.is_out() && !strikes.is_over());
    }

    #[test]
    fn a_share_runs_out() {
        let mut bucket = Bucket::default();
        let now = Instant::now();
        bucket.pour(3.0, 2.0, now);
        assert_eq!(bucket.level(2.0, now), 3.0);
        assert_eq!(bucket.level(2.0, now + Duration::from_secs(1)), 1.0);
        assert_eq!(bucket.level(2.0, now + Duration::from_secs(9)), 0.0);
        // An hour, so that the test's own time counts for nothing.
        assert_eq!((0..50).filter(|_| Bucket::take(&mut bucket, 1.0, 1.0 / 3600.0, 10.5)).count(), 7);
    }
}
