// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who is inside of the kernel's path manager. It serves one at a time, for the whole machine, and waits for the lock of
//! that one's socket, which its owner may hold. So the time that one user takes there is taken from all others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::threads::lock;
use crate::users::User;

/// A command takes microseconds. What is longer, and no busy machine explains, is the user's doing.
const ORDINARY: Duration = Duration::from_millis(5);

/// Those inside, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct PathManager(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    next: u64,
    users: BTreeMap<u64, Arc<User>>,
    /// Since when the first of them is the first.
    since: Option<Instant>,
}

impl PathManager {
    /// Does something inside, for this user.
    pub(crate) fn with<T>(&self, user: &Arc<User>, work: impl FnOnce() -> T) -> T {
        let mut inside = lock(&self.0);
        let place = inside.next;
        inside.next += 1;
        if inside.users.is_empty() {
            inside.since = Some(Instant::now());
        }
        inside.users.insert(place, user.clone());
        drop(inside);
        let done = work();
        let mut inside = lock(&self.0);
        let is_first = inside.users.first_key_value().is_some_and(|(first, _)| *first == place);
        inside.users.remove(&place);
        // Who is not the first has waited for the others.
        if is_first {
            let now = Instant::now();
            let time = inside.since.replace(now).map_or(Duration::ZERO, |since| now - since);
            drop(inside);
            if let Some(excess) = time.checked_sub(ORDINARY) {
                user.held_up_kernel(excess);
            }
        }
        done
    }

    /// The user that everybody who is inside waits for.
    pub(crate) fn first(&self) -> Option<Arc<User>> {
        lock(&self.0).users.first_key_value().map(|(_, user)| user.clone())
    }
}
