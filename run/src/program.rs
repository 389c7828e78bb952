// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be said of a program before it runs.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::Error;

/// Of an ELF file: the class at its fifth byte, of 32 bits here.
const ELF: &[u8] = b"\x7fELF";
const CLASS_AT: usize = 4;
const OF_32_BITS: u8 = 1;
/// As much of a script's first line as the kernel reads.
const HEAD: usize = 256;

/// Tells in words what would else be a program that runs as if nobody supervised it. What cannot be read may still run.
///
/// # Errors
/// No such program, or one of 32 bits.
pub(crate) fn check(program: &OsStr) -> Result<(), Error> {
    let path = find(program)?;
    let mut head = head(&path).unwrap_or_default();
    if let Some(line) = head.strip_prefix(b"#!") {
        let interpreter = line.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        let interpreter = interpreter.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        head = self::head(Path::new(OsStr::from_bytes(interpreter))).unwrap_or_default();
    }
    if head.starts_with(ELF) && head.get(CLASS_AT) == Some(&OF_32_BITS) {
        let reason = "a 32-bit program: its calls have other numbers and layouts, and are not served".into();
        return Err(Error::NotExecutable { program: path, reason });
    }
    Ok(())
}

fn head(path: &Path) -> io::Result<Vec<u8>> {
    if !path.is_file() {
        // Opening a pipe would wait for its other end.
        return Ok(Vec::new());
    }
    let mut bytes = Vec::with_capacity(HEAD);
    File::open(path)?.take(HEAD as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where execvp() finds it.
fn find(program: &OsStr) -> Result<PathBuf, Error> {
    let not_found = || Error::NotFound { program: program.into(), error: io::Error::from_raw_os_error(libc::ENOENT) };
    if program.as_bytes().contains(&b'/') {
        let path = PathBuf::from(program);
        return match path.metadata() {
            Ok(_) => Ok(path),
            // As in a folder that the user may not search.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(Error::NotExecutable { program: path, reason: error.to_string() })
            }
            Err(_) => Err(not_found()),
        };
    }
    let places = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let found = env::split_paths(&places).map(|place| place.join(program)).find(|path| path.is_file());
    found.filter(|_| !program.is_empty()).ok_or_else(not_found)
}
