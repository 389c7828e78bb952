// SPDX-License-Identifier: MIT OR Apache-2.0
//! Generated files and the checks that keep them in step: run by make, from anywhere in the checkout.

mod header;
mod symbols;
mod versions;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The answer of every task; an error is what is wrong, in words.
type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// The workspace's version, which this crate shares.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Writes include/mptcpapi.h from the Rust sources.
    Header {
        /// Only tells whether the header is what would be written.
        #[arg(long)]
        check: bool,
    },
    /// Compares the dynamic symbols of a shared library with capi/mptcpapi.map.
    Symbols {
        /// The only thing it does: here for clarity.
        #[arg(long)]
        check: bool,
        /// The shared library.
        library: PathBuf,
    },
    /// Tells whether header, symbol versions and package templates agree with the workspace's version.
    Versions {
        /// The only thing it does: here for clarity.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Header { check } => header::run(check),
        Task::Symbols { library, .. } => symbols::check(&library),
        Task::Versions { .. } => versions::check(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A file of the checkout.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(file(path)).map_err(|error| format!("{path}: {error}").into())
}

/// Major, minor and patch number of the version.
fn version_numbers() -> Result<[u32; 3]> {
    let numbers = VERSION.split('.').map(str::parse).collect::<std::result::Result<Vec<u32>, _>>()?;
    numbers.try_into().map_err(|_| format!("{VERSION} is not three numbers").into())
}

/// One complaint per line; Ok where there is none.
fn verdict(complaints: &[String]) -> Result {
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\nxtask: ").into()) }
}
