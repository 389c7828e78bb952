// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program `mptcpapi`; all of it is in the library of the same package, which the Python wheel calls too.

fn main() {
    std::process::exit(mptcpapi_cli::run(std::env::args_os()));
}
