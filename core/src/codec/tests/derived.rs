// SPDX-License-Identifier: MIT OR Apache-2.0
//! That the vectors have the cases that they are there for: a suite of them that has lost one would still pass.

use serde_json::Value;

use super::{bytes, name, number, read};

fn find(file: &str, wanted: &str) -> Value {
    let found = read(file).into_iter().find(|vector| name(vector) == wanted);
    found.unwrap_or_else(|| panic!("{file} has no vector `{wanted}`"))
}

#[test]
fn the_shape_of_the_older_kernels_is_there() {
    assert_eq!(bytes(&find("mptcp_info.json", "Linux 5.16")["bytes"]).len(), 48);
    let older = bytes(&find("subflow_data.json", "Linux 5.16: tcp_info of 232 bytes")["tcp_info"]);
    assert_eq!(older.len(), 16 + 2 * 232);
    let full = find("full_info.json", "tcp_info of 192 bytes: no bytes_sent");
    assert!(full["expected"]["subflows"][0]["bytes_acked"].as_u64() > Some(0));
    assert_eq!(full["expected"]["subflows"][0]["bytes_sent"], 0);
}

#[test]
fn one_two_and_nine_subflows_of_all_families_are_there() {
    for (wanted, count) in [
        ("IPv4, one subflow", 1),
        ("IPv4, two subflows", 2),
        ("IPv6, two subflows", 2),
        ("IPv4-mapped, two subflows", 2),
        ("IPv4, nine subflows", 9),
    ] {
        for file in ["full_info.json", "subflow_data.json"] {
            let subflows = find(file, wanted)["expected"]["subflows"].as_array().expect("subflows").clone();
            assert_eq!(subflows.len(), count, "{wanted} in {file}");
            assert!(subflows.iter().all(|subflow| number(&subflow["state"]) == 1), "{wanted} in {file}");
        }
    }
}

#[test]
fn a_dead_entry_is_there() {
    let destroyed = find("full_info.json", "initial subflow destroyed");
    assert_eq!(destroyed["expected"]["states"], Value::from(vec![7, 1]));
}

#[test]
fn the_kernels_words_are_there_capped_and_with_the_request() {
    for wanted in
        ["SUBFLOW_DESTROY of token 0, capped (kernel)", "SUBFLOW_DESTROY of token 0, the request repeated (kernel)"]
    {
        assert_eq!(find("genl.json", wanted)["expected"][0]["outcome"]["message"], "invalid token");
    }
}
