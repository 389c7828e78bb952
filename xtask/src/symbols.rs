// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a shared library exports, compared with capi/mptcpapi.map.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::{Result, read, verdict};

const SONAME: &str = "libmptcpapi.so.0";

pub(crate) fn check(library: &Path) -> Result {
    let promised = promised(&read("capi/mptcpapi.map")?);
    let exported =
        exported(&output(Command::new("nm").args(["-D", "--defined-only", "--with-symbol-versions"]), library)?);
    let mut complaints = Vec::new();
    for (symbol, version) in &exported {
        if !symbol.starts_with("mptcpapi_") {
            complaints.push(format!("{symbol} is exported, but is not of this library"));
        } else if promised.get(symbol) != Some(version) {
            complaints.push(format!("{symbol} is exported with version {version:?}, mptcpapi.map says otherwise"));
        }
    }
    for symbol in promised.keys().filter(|symbol| !exported.contains_key(*symbol)) {
        complaints.push(format!("{symbol} is in mptcpapi.map, but not in the library"));
    }
    if promised.is_empty() {
        complaints.push("mptcpapi.map names no symbol".into());
    }
    if !output(Command::new("readelf").args(["--dynamic", "--wide"]), library)?
        .lines()
        .any(|line| line.contains("(SONAME)") && line.contains(&format!("[{SONAME}]")))
    {
        complaints.push(format!("the SONAME is not {SONAME}"));
    }
    verdict(&complaints)
}

fn output(command: &mut Command, library: &Path) -> Result<String> {
    let output = command.arg(library).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Symbol and version of each name in the `global` parts of a version script.
pub(crate) fn promised(map: &str) -> BTreeMap<String, String> {
    let mut symbols = BTreeMap::new();
    let mut version = "";
    let mut global = false;
    for line in map.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_suffix(" {") {
            version = name;
        } else if let Some(part) = line.strip_suffix(':') {
            global = part == "global";
        } else if let Some(symbol) = line.strip_suffix(';').filter(|symbol| global && !symbol.starts_with('}')) {
            symbols.insert(symbol.to_owned(), version.to_owned());
        }
    }
    symbols
}

/// The same from `nm`: "ADDRESS KIND name@@version". The versions themselves are symbols of kind A.
fn exported(nm: &str) -> BTreeMap<String, String> {
    let words = nm.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words
        .filter_map(|words| match words[..] {
            [_, "A", _] => None,
            [_, _, name] => Some(name),
            _ => None,
        })
        .map(|name| name.split_once('@').unwrap_or((name, "")))
        .map(|(symbol, version)| (symbol.to_owned(), version.trim_start_matches('@').to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{exported, promised};

    #[test]
    fn map_and_nm_agree() {
        let map =
            "# text\nA_0.1 {\n  global:\n    a_one;\n  local:\n    *;\n};\nA_0.2 {\n  global:\n    a_two;\n} A_0.1;\n";
        let nm = "0000 A A_0.1\n0000 A A_0.2\n0001 T a_one@@A_0.1\n0002 T a_two@@A_0.2\n";
        assert_eq!(promised(map).len(), 2);
        assert_eq!(promised(map), exported(nm));
    }

    #[test]
    fn an_unversioned_symbol_differs() {
        assert_eq!(exported("0001 T a_one\n")["a_one"], "");
    }
}
