/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Stands in for <std::sys::backtrace::BacktraceLock::print::DisplayBacktrace as Display>::fmt, whose mangled name is given
 * by build.mk. Rust's fmt::Result comes back as one byte: 0 is Ok. */
unsigned char print_nothing(void) __asm__(PRINTER);

unsigned char print_nothing(void) { return 0; }
