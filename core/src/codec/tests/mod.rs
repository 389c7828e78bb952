// SPDX-License-Identifier: MIT OR Apache-2.0
//! The decoders against bytes of real kernels, against their own encoders, and against nonsense.

mod derived;
mod messages;
mod nonsense;
mod paper;
mod requests;
mod vectors;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;

/// The vectors of one file of tests/vectors.
fn read(file: &str) -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let content: Value = serde_json::from_str(&text).expect("JSON");
    let vectors = content["vectors"].as_array().expect("an array of vectors").clone();
    assert!(!vectors.is_empty(), "{file} is empty");
    vectors
}

fn name(vector: &Value) -> &str {
    vector["name"].as_str().expect("a name")
}

fn bytes(text: &Value) -> Vec<u8> {
    let text = text.as_str().expect("hexadecimal text");
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(digit).collect()
}

fn datagrams(vector: &Value) -> Vec<Vec<u8>> {
    vector["datagrams"].as_array().expect("datagrams").iter().map(bytes).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a number, not {value}"))
}

fn address(value: &Value) -> Option<SocketAddr> {
    value.as_str().map(|text| text.parse().expect("an address"))
}
