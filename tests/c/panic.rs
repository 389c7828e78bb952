// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes the place of the library in run.sh: made and linked by the same rules of capi/build.mk, it does nothing but
//! panic, and catch that as the library does. What is tested is std without its printer of backtraces.

#[unsafe(no_mangle)]
pub extern "C" fn mptcpapi_status(fd: i32) -> i32 {
    const EIO: i32 = 5;
    std::panic::catch_unwind(|| panic!("of the test, about {fd}")).map_or(-EIO, |()| 0)
}
