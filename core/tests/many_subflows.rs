// SPDX-License-Identifier: MIT OR Apache-2.0
//! However many subflows there are, all are listed; and what that costs in allocations.

// A global allocator is unsafe to implement. This one counts, and leaves the work to the system's.
#![allow(unsafe_code)]

#[allow(unreachable_pub, reason = "shared by several test programs")]
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};

use common::path_manager::{Subflows, destroy};
use common::{Lab, checked, kernel_has, variable, wait_for_subflows};
use mptcpapi::{Connection, Features, Subflow};

/// As documented: so many subflows are listed without allocating.
const STACK: usize = 64;
const FULL_INFO: &str = "MPTCP_FULL_INFO (6.5)";

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the counter is of the calling thread and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations<T>(of: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATIONS.get();
    let result = of();
    (ALLOCATIONS.get() - before, result)
}

fn userspace() -> Lab {
    Lab::new().option("--path-manager userspace")
}

/// Lists the connection in every way there is; all must agree.
fn all_listings_agree(stream: &TcpStream, number: usize) {
    let connection = Connection::new(stream).expect("a connection");
    // A view that has not listed yet, one that has, and one that was told a wrong number.
    for connection in [&connection, &connection, &Connection::new(stream).expect("a view").with_room(3)] {
        let subflows = connection.subflows().expect("a listing");
        assert_eq!(checked(&subflows).len(), number);
        assert_eq!(connection.info().expect("info").subflows as usize, number);
    }
    let detail = connection.subflows_detail().expect("a listing");
    assert_eq!(checked(&detail).len(), number);
    let complete = |subflow: &Subflow| {
        subflow.congestion.as_deref() == Some("reno")
            && subflow.fully_established.is_some()
            && subflow.local_id == Some(u8::from(subflow.local.ip() == common::client(2)))
    };
    detail.iter().for_each(|subflow| assert!(complete(subflow), "{subflow:?}"));
}

fn numbers_of_subflows(numbers: &[usize]) {
    let subflows = Subflows::new();
    for &number in numbers {
        let stream = subflows.connection(number);
        all_listings_agree(&stream, number);
    }
}

#[test]
fn are_all_listed() {
    userspace().run(|| numbers_of_subflows(&[1, 17, 40, STACK, STACK + 1, 200]));
}

#[test]
fn are_all_listed_on_older_kernels() {
    userspace().without("full-info").run(|| {
        assert!(!Features::probe().expect("features").full_info, "the older kernel is not older");
        numbers_of_subflows(&[1, 17, 40, STACK, STACK + 1, 200]);
    });
}

#[test]
fn are_listed_while_they_become_more() {
    userspace().run(|| {
        let subflows = Subflows::new();
        let stream = subflows.connection(1);
        let connection = Connection::new(&stream).expect("a connection");
        let token = connection.info().expect("info").token;
        let listings = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let creator = scope.spawn(|| {
                for _ in 1..200 {
                    let before = listings.load(Ordering::Relaxed);
                    subflows.create(token, common::client(2), 1, common::server(1));
                    common::wait_until("a listing", || (listings.load(Ordering::Relaxed) != before).then_some(()));
                }
            });
            let (mut last, mut sizes) = (0, 0);
            while !creator.is_finished() {
                // In a row, and not only now and then.
                for _ in 0..100 {
                    let number = checked(&connection.subflows().expect("a listing")).len();
                    assert!(number >= last, "{number} after {last}");
                    sizes += u32::from(number != last);
                    last = number;
                    listings.fetch_add(1, Ordering::Relaxed);
                }
            }
            assert!(sizes > 10, "only {sizes} sizes were seen");
        });
        wait_for_subflows(&stream, 200);
    });
}

#[test]
fn that_die_are_listed_no_more() {
    userspace().run(|| {
        let subflows = Subflows::new();
        let stream = subflows.connection(40);
        let before = Connection::new(&stream).expect("a connection").subflows().expect("a listing");
        destroy(&["src", &variable("LAB_CLIENT_2")]);
        let after = wait_for_subflows(&stream, 20);
        let kept = before.iter().filter(|subflow| subflow.local.ip() == common::client(1)).map(|subflow| subflow.id);
        assert!(checked(&after).into_iter().eq(kept), "those over path 1, with the ids they had");
        all_listings_agree(&stream, 20);
    });
}

#[test]
fn cost_no_allocation_up_to_64() {
    userspace().run(|| {
        if !kernel_has(Features::probe().expect("features").full_info, FULL_INFO) {
            return;
        }
        let subflows = Subflows::new();
        for number in [1, 2, STACK] {
            let stream = subflows.connection(number);
            let connection = Connection::new(&stream).expect("a connection");
            let mut list = Vec::new();
            // Cold: the vector itself.
            let (cold, result) = allocations(|| connection.subflows_into(&mut list));
            result.expect("a listing");
            assert!(cold >= 1, "the counter counts");
            for _ in 0..10 {
                let (warm, result) = allocations(|| connection.subflows_into(&mut list));
                result.expect("a listing");
                assert_eq!((warm, list.len()), (0, number));
                let (visited, result) = allocations(|| connection.visit_subflows(|_| ()));
                result.expect("a listing");
                assert_eq!(visited, 0);
            }
            assert_eq!(allocations(|| connection.subflows().expect("a listing")).0, 1, "the answer, in one piece");
            connection.info().expect("info");
            assert_eq!(allocations(|| connection.info().expect("info")).0, 0);
            assert_eq!(allocations(|| connection.status().expect("a status")).0, 0);
        }
    });
}

#[test]
fn cost_two_allocations_beyond_64() {
    userspace().run(|| {
        if !kernel_has(Features::probe().expect("features").full_info, FULL_INFO) {
            return;
        }
        let subflows = Subflows::new();
        for number in [STACK + 1, 100] {
            let stream = subflows.connection(number);
            let connection = Connection::new(&stream).expect("a connection");
            let mut list = Vec::new();
            connection.subflows_into(&mut list).expect("a listing");
            for _ in 0..10 {
                let (warm, result) = allocations(|| connection.subflows_into(&mut list));
                result.expect("a listing");
                assert_eq!((warm, list.len()), (2, number), "the two arrays that the kernel fills");
            }
            assert_eq!(allocations(|| connection.subflows().expect("a listing")).0, 3);
        }
    });
}
