// SPDX-License-Identifier: MIT OR Apache-2.0
//! include/mptcpapi.h, by cbindgen.

use std::fs;

use crate::{Result, VERSION, file, read, version_numbers};

const HEADER: &str = "include/mptcpapi.h";
/// In the order of the header.
const SOURCES: [&str; 10] =
    ["types", "event_types", "socket", "connection", "control", "option", "paper", "monitor", "features", "names"];

pub(crate) fn run(check: bool) -> Result {
    let header = generate()?;
    if check {
        if read(HEADER)? != header {
            return Err(format!("{HEADER} is not up to date: cargo run -p xtask -- header").into());
        }
        return Ok(());
    }
    fs::create_dir_all(file("include"))?;
    Ok(fs::write(file(HEADER), header)?)
}

fn generate() -> Result<String> {
    let mut config = cbindgen::Config::from_file(file("capi/cbindgen.toml"))?;
    config.header = Some(beginning()?);
    config.after_includes = Some(includes_and_version()?);
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(file(&format!("capi/src/{source}.rs")));
    }
    let mut bytes = Vec::new();
    builder.generate()?.write(&mut bytes);
    Ok(short_comments(&String::from_utf8(bytes)?))
}

/// A comment of three lines that has only one of text becomes one line.
fn short_comments(header: &str) -> String {
    let lines: Vec<&str> = header.lines().collect();
    let mut short = String::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let text = lines.get(at + 1).and_then(|next| next.trim_start().strip_prefix("* "));
        match text {
            Some(text) if line.trim() == "/**" && lines.get(at + 2).is_some_and(|end| end.trim() == "*/") => {
                short += &format!("{line} {text} */\n");
                at += 3;
            }
            _ => {
                short += &format!("{line}\n");
                at += 1;
            }
        }
    }
    short
}

fn beginning() -> Result<String> {
    Ok("/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libmptcpapi: the enhanced socket API for Multipath TCP on stock Linux.
 *
 * A program sees its own MPTCP connection through its own descriptor, which is only borrowed. Calls return 0 or more,
 * or -errno. Every fallible one is there with the suffix _e and a struct mptcpapi_error as well: it may be NULL, and is
 * written with success too (kind is MPTCPAPI_ERROR_NONE). The first field of every struct is its size, set by the
 * caller; the rest need not be set.
 *
 * Written by `cargo run -p xtask -- header`: change the Rust sources in capi/src instead.
 */"
    .into())
}

fn includes_and_version() -> Result<String> {
    let [major, minor, patch] = version_numbers()?;
    Ok(format!(
        "#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/** The version of this header; mptcpapi_version has that of the library that is running. */
#define MPTCPAPI_VERSION \"{VERSION}\"
#define MPTCPAPI_VERSION_MAJOR {major}
#define MPTCPAPI_VERSION_MINOR {minor}
#define MPTCPAPI_VERSION_PATCH {patch}
"
    ))
}

#[cfg(test)]
mod tests {
    use super::short_comments;

    #[test]
    fn only_comments_of_one_line_are_shortened() {
        let long = "/**\n * a\n * b\n */\nint a;\n";
        assert_eq!(
            short_comments(&format!("{long}  /**\n   * c\n   */\n  int c;\n")),
            format!("{long}  /** c */\n  int c;\n")
        );
    }
}
