// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mptcpapi doctor`: what it finds in the lab, and as if the kernel were older or forbade things.

mod common;

use std::io::Read;
use std::process::Command;

use common::{MPTCPAPI, Unprivileged, WITHOUT, connect_to_peer, in_lab, mptcpapi, run};
use serde_json::Value;

const DOCTOR: &[&str] = &["doctor", "--json"];

/// The exit status and the report, which must agree.
fn report(command: &mut Command) -> Value {
    let (code, stdout, stderr) = run(command);
    assert_eq!(stderr, "");
    let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}\n{stdout}"));
    assert_eq!(code, if report["ok"] == true { 0 } else { 1 }, "{report:#}");
    for check in report["checks"].as_array().unwrap() {
        assert_eq!(check["advice"].is_null(), check["status"] == "ok", "{check:#}");
        assert!(check["advice"] != "" && check["finding"] != "", "{check:#}");
    }
    report
}

fn without(features: &str) -> Value {
    report(Command::new(WITHOUT).args([features, "--", MPTCPAPI]).args(DOCTOR))
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let found = report["checks"].as_array().unwrap().iter().find(|check| check["check"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

#[track_caller]
fn assert_status(report: &Value, name: &str, status: &str) {
    assert_eq!(check(report, name)["status"], status, "{report:#}");
}

#[track_caller]
fn assert_says(report: &Value, name: &str, field: &str, part: &str) {
    assert!(check(report, name)[field].as_str().unwrap().contains(part), "{:#}", check(report, name));
}

fn sysctl(name: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/mptcp/{name}"), value).unwrap();
}

#[test]
fn all_is_well_in_the_lab() {
    in_lab("all_is_well_in_the_lab", &["--endpoints"], || {
        let report = report(&mut mptcpapi(DOCTOR));
        assert_eq!(report["ok"], true, "{report:#}");
        for check in report["checks"].as_array().unwrap() {
            // About this machine and its users, not the lab.
            if !["other_processes", "subflow_options", "user_namespaces"].contains(&check["check"].as_str().unwrap()) {
                assert_eq!(check["status"], "ok", "{check:#}");
            }
        }
        assert_says(&report, "control_app", "finding", "the path manager was userspace for ");
        assert_says(&report, "events", "finding", "netlink");
        let setting = std::fs::read_to_string("/proc/sys/net/mptcp/path_manager").unwrap();
        assert_eq!(setting.trim(), "kernel", "the switch is undone");
        let (code, text, _) = run(&mut mptcpapi(&["doctor"]));
        assert_eq!(code, 0);
        assert!(text.ends_with("\nMPTCP connections can be made and read here.\n"), "{text}");
    });
}

#[test]
fn says_why_there_are_no_sockets() {
    let cases = [
        ("EINVAL", "older than 5.6"),
        ("EPROTONOSUPPORT", "CONFIG_MPTCP"),
        ("ENOPROTOOPT", "sysctl net.mptcp.enabled=1"),
        ("EPERM", "security policy"),
    ];
    for (errno, hint) in cases {
        let report = without(&format!("mptcp={errno}"));
        assert_eq!(report["ok"], false);
        for name in ["sockets", "connection", "reading"] {
            assert_status(&report, name, "no");
        }
        assert_says(&report, "sockets", "advice", hint);
    }
    let (code, text, _) = run(Command::new(WITHOUT).args(["mptcp=ENOPROTOOPT", "--", MPTCPAPI, "doctor"]));
    assert_eq!(code, 1);
    let lines: Vec<&str> = text.lines().collect();
    let place = lines.iter().position(|line| line.starts_with("no       sockets ")).unwrap();
    assert!(lines[place + 1].trim_start().starts_with("-> MPTCP is switched off here"), "{text}");
}

#[test]
fn mptcp_switched_off_is_found() {
    in_lab("mptcp_switched_off_is_found", &[], || {
        sysctl("enabled", "0");
        let report = report(&mut mptcpapi(DOCTOR));
        assert_eq!(report["ok"], false);
        assert_says(&report, "sockets", "advice", "sysctl net.mptcp.enabled=1");
        for name in ["control_app", "events"] {
            assert_says(&report, name, "finding", "not tried");
        }
    });
}

#[test]
fn older_kernels_are_limited_or_not_enough() {
    in_lab("older_kernels_are_limited_or_not_enough", &[], || {
        let report = without("full-info");
        assert_eq!(report["ok"], true);
        assert_status(&report, "full_info", "limited");
        assert_says(&report, "full_info", "advice", "Linux 6.5");
        let report = without("mptcp-sockopts");
        assert_eq!(report["ok"], false);
        assert_status(&report, "sockets", "ok");
        assert_status(&report, "reading", "no");
        assert_says(&report, "reading", "advice", "Linux 5.16");
    });
}

#[test]
fn a_sandbox_without_netlink_limits_the_detail() {
    in_lab("a_sandbox_without_netlink_limits_the_detail", &[], || {
        for features in ["sock-diag", "netlink"] {
            let report = without(features);
            assert_eq!(report["ok"], true);
            for name in ["detail", "list"] {
                assert_status(&report, name, "no");
                assert_says(&report, name, "advice", "netlink");
            }
            for name in ["control", "events"] {
                assert_status(&report, name, if features == "netlink" { "limited" } else { "ok" });
            }
            if features == "netlink" {
                assert_says(&report, "control", "advice", "netlink");
                assert_says(&report, "events", "advice", "netlink");
            }
            assert_status(&report, "path_manager_known", if features == "netlink" { "limited" } else { "ok" });
        }
    });
}

#[test]
fn an_ordinary_user_may_not_control() {
    in_lab("an_ordinary_user_may_not_control", &[], || {
        let report = report(&mut Unprivileged::new().command(DOCTOR));
        assert_eq!(report["ok"], true, "{report:#}");
        assert_status(&report, "control", "limited");
        assert_says(&report, "control", "advice", "root");
        assert_status(&report, "control_app", "limited");
        assert_says(&report, "control_app", "advice", "CAP_NET_ADMIN");
        assert_status(&report, "events", "limited");
        assert_says(&report, "events", "finding", "polling");
        for name in ["reading", "full_info", "detail", "list"] {
            assert_status(&report, name, "ok");
        }
    });
}

#[test]
fn looks_at_endpoints_limits_and_path_manager() {
    in_lab("looks_at_endpoints_limits_and_path_manager", &["--endpoints"], || {
        let doctor = || report(&mut mptcpapi(DOCTOR));
        let ip = |arguments: &[&str]| assert_eq!(run(Command::new("ip").arg("mptcp").args(arguments)).0, 0);
        assert_says(&doctor(), "endpoints", "finding", "2 to open subflows from, 0 announced; limits: 8 more");
        ip(&["limits", "set", "subflows", "0"]);
        assert_says(&doctor(), "endpoints", "advice", "ip mptcp limits set subflows");
        ip(&["limits", "set", "subflows", "3", "add_addr_accepted", "0"]);
        ip(&["endpoint", "flush"]);
        assert_says(&doctor(), "endpoints", "advice", "ip mptcp endpoint add");
        ip(&["endpoint", "add", "10.77.1.1", "signal"]);
        assert_says(&doctor(), "endpoints", "finding", "0 to open subflows from, 1 announced; limits: 3 more");
        assert_status(&doctor(), "endpoints", "ok");
        sysctl("path_manager", "userspace");
        assert_says(&doctor(), "path_manager", "finding", "userspace");
        assert_says(&doctor(), "endpoints", "finding", "userspace");
        assert_says(&doctor(), "control_app", "finding", "without a switch");
    });
}

#[test]
fn reads_the_settings() {
    in_lab("reads_the_settings", &[], || {
        sysctl("allow_join_initial_addr_port", "0");
        sysctl("checksum_enabled", "1");
        sysctl("blackhole_timeout", "77");
        let report = report(&mut mptcpapi(DOCTOR));
        assert_says(&report, "join_initial", "advice", "net.mptcp.allow_join_initial_addr_port=1");
        assert_says(&report, "checksum", "finding", "on:");
        assert_says(&report, "blackhole", "finding", "TCP for 77 s");
        let scheduler = std::fs::read_to_string("/proc/sys/net/mptcp/scheduler").unwrap();
        assert_says(&report, "scheduler", "finding", scheduler.trim());
    });
}

#[test]
fn a_dead_loopback_is_found() {
    in_lab("a_dead_loopback_is_found", &[], || {
        assert_eq!(run(Command::new("ip").args(["link", "set", "lo", "down"])).0, 0);
        let report = report(&mut mptcpapi(DOCTOR));
        assert_eq!(report["ok"], false);
        assert_status(&report, "sockets", "ok");
        assert_status(&report, "connection", "no");
        assert_says(&report, "connection", "advice", "ip link set lo up");
    });
}

#[test]
fn notices_that_the_kernel_has_given_mptcp_up() {
    in_lab("notices_that_the_kernel_has_given_mptcp_up", &[], || {
        sysctl("blackhole_timeout", "3600");
        let rules = "add table inet blackhole; \
                     add chain inet blackhole input { type filter hook input priority 0; }; \
                     add rule inet blackhole input tcp flags syn tcp option mptcp exists drop";
        let dropped = run(Command::new("lab").args(["server", "--", "nft", rules]));
        assert_eq!(dropped.0, 0, "{}", dropped.2);
        // The kernel gives up after two lost SYNs with MPTCP.
        connect_to_peer(0, "hold").read_exact(&mut [0]).unwrap();
        let report = report(&mut mptcpapi(DOCTOR));
        assert_eq!(report["ok"], false);
        assert_status(&report, "blackhole", "no");
        assert_says(&report, "blackhole", "advice", "net.mptcp.blackhole_timeout=0");
        assert_says(&report, "connection", "advice", "see blackhole");
        assert_says(&report, "fallbacks", "finding", "MPCapableSYNTXDrop 1");
        sysctl("blackhole_timeout", "0");
        let after = self::report(&mut mptcpapi(DOCTOR));
        assert_eq!(after["ok"], true, "{after:#}");
        assert_status(&after, "blackhole", "ok");
    });
}

#[test]
fn a_firewall_that_strips_mptcp_is_found() {
    in_lab("a_firewall_that_strips_mptcp_is_found", &[], || {
        let rules = "add table inet strip; \
                     add chain inet strip lo { type filter hook prerouting priority -150; }; \
                     add rule inet strip lo iif lo reset tcp option mptcp";
        let stripped = run(Command::new("nft").arg(rules));
        assert_eq!(stripped.0, 0, "{}", stripped.2);
        let report = report(&mut mptcpapi(DOCTOR));
        assert_eq!(report["ok"], false);
        assert_says(&report, "connection", "finding", "is fallback where it was opened, tcp where it was accepted");
        assert_says(&report, "connection", "advice", "nft list ruleset");
        assert_status(&report, "blackhole", "ok");
    });
}
