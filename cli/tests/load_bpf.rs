// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mptcpapi load-bpf`, in a BPF file system that only the test's lab sees.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use common::{MPTCPAPI, Unprivileged, in_lab, json, mptcpapi, run, skip};
use serde_json::{Value, json};

const ROOT: &str = "/sys/fs/bpf";
const DIRECTORY: &str = "/sys/fs/bpf/mptcpapi";
const PIN: &str = "/sys/fs/bpf/mptcpapi/subflow_option_v1";
const SYN_PIN: &str = "/sys/fs/bpf/mptcpapi/subflow_syn_v1";
const LOAD: &[&str] = &["load-bpf", "--json"];
const UNLOAD: &[&str] = &["load-bpf", "--unload", "--json"];

/// In a lab, with an empty file system of this mode.
fn with_file_system(name: &str, mode: &str, body: impl FnOnce()) {
    in_lab(name, &[], || {
        // Root of the machine has every user.
        let users = fs::read_to_string("/proc/self/uid_map").unwrap();
        if users.split_whitespace().last() != Some("4294967295") {
            return skip(name, "only root of the machine can load BPF programs");
        }
        let mounted = run(Command::new("mount").args(["-t", "bpf", "-o", &format!("mode={mode}"), "bpf", ROOT]));
        assert_eq!(mounted.0, 0, "{}", mounted.2);
        body();
    });
}

fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

fn names(directory: &str) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // The kernel's own.
    names.filter(|name| !name.ends_with("_debug") && !name.ends_with(".debug")).collect()
}

fn doctor(command: &mut Command) -> Value {
    let (_, stdout, stderr) = run(command);
    assert_eq!(stderr, "");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["check"] == "subflow_options").unwrap().clone()
}

#[test]
fn loads_replaces_and_unloads() {
    with_file_system("loads_replaces_and_unloads", "0755", || {
        let loaded = json(&mut mptcpapi(LOAD));
        assert_eq!(loaded, json!({"pin": PIN, "replaced": false, "changes": []}));
        assert_eq!((mode(DIRECTORY), mode(PIN)), (0o755, 0o444));
        let first = fs::metadata(PIN).unwrap().ino();
        let replaced = json(&mut mptcpapi(LOAD));
        assert_eq!(replaced, json!({"pin": PIN, "replaced": true, "changes": []}));
        assert_ne!(fs::metadata(PIN).unwrap().ino(), first);
        assert_eq!(names(DIRECTORY), ["subflow_option_v1"]);
        assert_eq!(json(&mut mptcpapi(UNLOAD)), json!({"removed": [PIN]}));
        assert_eq!(names(ROOT), [""; 0]);
        assert_eq!(json(&mut mptcpapi(UNLOAD)), json!({"removed": []}));
    });
}

#[test]
fn says_what_it_did() {
    with_file_system("says_what_it_did", "0700", || {
        let changed = format!("changed the mode of {ROOT} from 1700 to 1711, so that all users reach the program");
        let (code, text, errors) = run(&mut mptcpapi(&["load-bpf"]));
        assert_eq!((code, text, errors.as_str()), (0, format!("{changed}\nloaded: {PIN}\n"), ""));
        assert_eq!(mode(ROOT), 0o711);
        assert_eq!(run(&mut mptcpapi(&["load-bpf"])), (0, format!("replaced: {PIN}\n"), String::new()));
        let unload = || run(&mut mptcpapi(&["load-bpf", "--unload"]));
        assert_eq!(unload(), (0, format!("removed: {PIN}\n"), String::new()));
        assert_eq!(unload(), (0, "it was not loaded\n".to_owned(), String::new()));
    });
}

/// In a cgroup that is the root of all for it, or else the program would see the sockets of the whole machine.
fn in_cgroup(group: &str, arguments: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo 0 >\"$0\"/cgroup.procs && exec unshare --cgroup \"$@\"", group, MPTCPAPI]).args(arguments);
    shell
}

#[test]
fn with_the_program_for_syns_and_without() {
    with_file_system("with_the_program_for_syns_and_without", "0755", || {
        let group = format!("/sys/fs/cgroup/mptcpapi-test-{}", std::process::id());
        let mounted = run(Command::new("mount").args(["-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"]));
        assert_eq!(mounted.0, 0, "{}", mounted.2);
        fs::create_dir(&group).unwrap();
        let finding = || doctor(&mut mptcpapi(&["doctor", "--json"]))["finding"].as_str().unwrap().to_owned();
        let load_with = || json(&mut in_cgroup(&group, &["load-bpf", "--syn", "--json"]));
        json(&mut mptcpapi(LOAD));
        assert!(finding().contains("`mptcpapi load-bpf --syn`"), "{}", finding());
        for _ in 0..2 {
            let loaded = load_with();
            assert_eq!(loaded, json!({"pin": PIN, "replaced": true, "changes": [], "syn": SYN_PIN}));
            assert_eq!((mode(PIN), mode(SYN_PIN)), (0o444, 0o600));
        }
        assert!(finding().contains("from its SYN on"), "{}", finding());
        assert_eq!(names(DIRECTORY).len(), 2);
        let (code, text, errors) = run(&mut mptcpapi(&["load-bpf"]));
        let removed = format!("removed {SYN_PIN}, as --syn was not given");
        assert_eq!((code, text, errors.as_str()), (0, format!("{removed}\nreplaced: {PIN}\n"), ""));
        assert_eq!(names(DIRECTORY), ["subflow_option_v1"]);
        load_with();
        // As if killed before the last step.
        fs::rename(SYN_PIN, format!("{SYN_PIN}_new")).unwrap();
        load_with();
        assert_eq!(names(DIRECTORY).len(), 2);
        assert_eq!(json(&mut mptcpapi(UNLOAD)), json!({"removed": [PIN, SYN_PIN]}));
        assert_eq!(names(ROOT), [""; 0]);
        assert_eq!(run(&mut mptcpapi(&["load-bpf", "--syn", "--unload"])).0, 2);
        fs::remove_dir(&group).unwrap();
    });
}

#[test]
fn mounts_a_file_system_where_there_is_none() {
    with_file_system("mounts_a_file_system_where_there_is_none", "0755", || {
        // Below it may be another; the lab's own mounts are nobody else's.
        while run(Command::new("umount").arg(ROOT)).0 == 0 {}
        let loaded = json(&mut mptcpapi(LOAD));
        assert_eq!(loaded["changes"], json!([format!("mounted a BPF file system at {ROOT}")]));
        assert_eq!(mode(ROOT), 0o755);
        fs::File::open(PIN).unwrap();
    });
}

/// As on one that is built without CONFIG_DEBUG_INFO_BTF: it does not describe its types.
#[test]
fn kernel_without_btf() {
    with_file_system("kernel_without_btf", "0755", || {
        let hidden = run(Command::new("mount").args(["-t", "tmpfs", "none", "/sys/kernel/btf"]));
        assert_eq!(hidden.0, 0, "{}", hidden.2);
        let (status, _, stderr) = run(&mut mptcpapi(&["load-bpf"]));
        assert_eq!(status, 1);
        assert!(stderr.contains("CONFIG_DEBUG_INFO_BTF"), "{stderr}");
        assert_eq!(names(ROOT), [""; 0]);
    });
}

#[test]
fn an_upgrade_leaves_no_gap() {
    with_file_system("an_upgrade_leaves_no_gap", "0755", || {
        json(&mut mptcpapi(LOAD));
        let (done, opened) = (AtomicBool::new(false), AtomicU32::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    fs::File::open(PIN).unwrap();
                    opened.fetch_add(1, Ordering::Relaxed);
                }
            });
            for _ in 0..10 {
                let before = opened.load(Ordering::Relaxed);
                json(&mut mptcpapi(LOAD));
                while opened.load(Ordering::Relaxed) == before {
                    thread::yield_now();
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn several_at_once_do_not_disturb_each_other() {
    with_file_system("several_at_once_do_not_disturb_each_other", "0755", || {
        let start = |arguments| mptcpapi(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        for _ in 0..3 {
            let children: Vec<Child> = [LOAD, UNLOAD, LOAD, UNLOAD, LOAD].into_iter().map(start).collect();
            for child in children {
                let output = child.wait_with_output().unwrap();
                assert!(output.status.success(), "{output:?}");
            }
        }
        json(&mut mptcpapi(LOAD));
        assert_eq!(names(DIRECTORY), ["subflow_option_v1"]);
    });
}

#[test]
fn a_killed_load_is_cleaned_up_and_others_names_stay() {
    with_file_system("a_killed_load_is_cleaned_up_and_others_names_stay", "0755", || {
        json(&mut mptcpapi(LOAD));
        // As if killed before the last step, and a version that this command does not know.
        fs::rename(PIN, format!("{PIN}_new")).unwrap();
        assert_eq!(doctor(&mut mptcpapi(&["doctor", "--json"]))["status"], "limited");
        assert_eq!(json(&mut mptcpapi(LOAD))["replaced"], false);
        assert_eq!(names(DIRECTORY), ["subflow_option_v1"]);
        fs::rename(PIN, format!("{DIRECTORY}/subflow_option_v2")).unwrap();
        let check = doctor(&mut mptcpapi(&["doctor", "--json"]));
        assert_eq!(check["status"], "limited");
        assert!(check["finding"].as_str().unwrap().contains("of version 2, this is made for version 1"), "{check}");
        json(&mut mptcpapi(LOAD));
        fs::create_dir(format!("{DIRECTORY}/theirs")).unwrap();
        let removed = json(&mut mptcpapi(UNLOAD));
        assert_eq!(removed, json!({"removed": [PIN, format!("{DIRECTORY}/subflow_option_v2")]}));
        assert_eq!(names(DIRECTORY), ["theirs"]);
    });
}

#[test]
fn a_directory_of_another_user_is_not_used() {
    with_file_system("a_directory_of_another_user_is_not_used", "1777", || {
        for owned in [true, false] {
            fs::create_dir(DIRECTORY).unwrap();
            if owned {
                std::os::unix::fs::chown(DIRECTORY, Some(65534), None).unwrap();
            } else {
                fs::set_permissions(DIRECTORY, fs::Permissions::from_mode(0o777)).unwrap();
            }
            let (code, stdout, stderr) = run(&mut mptcpapi(LOAD));
            assert_eq!(code, 1);
            assert!(stderr.contains("as root, remove it first"), "{stderr}");
            let report: Value = serde_json::from_str(&stdout).unwrap();
            assert_eq!(report["error"]["kind"], "PermissionDenied");
            assert_eq!(names(DIRECTORY), [""; 0]);
            fs::remove_dir(DIRECTORY).unwrap();
        }
    });
}

#[test]
fn only_root_may_and_all_may_use_it() {
    with_file_system("only_root_may_and_all_may_use_it", "0700", || {
        let unprivileged = Unprivileged::new();
        let refused = |arguments: &[&str], why: &str| {
            let (code, stdout, stderr) = run(&mut unprivileged.command(arguments));
            assert_eq!(code, 1, "{stdout}");
            assert!(stderr.contains(why), "{stderr}");
            let report: Value = serde_json::from_str(&stdout).unwrap();
            assert_eq!(report["error"]["kind"], "PermissionDenied", "{report}");
        };
        let doctor_of_nobody = || doctor(&mut unprivileged.command(&["doctor", "--json"]));
        refused(LOAD, "CAP_BPF and CAP_PERFMON");
        assert_eq!(names(ROOT), [""; 0]);
        let check = doctor_of_nobody();
        assert_eq!(check["status"], "limited");
        assert!(check["finding"].as_str().unwrap().contains("Permission denied"), "{check}");
        assert!(check["advice"].as_str().unwrap().contains("`mptcpapi load-bpf`"), "{check}");
        json(&mut mptcpapi(LOAD));
        refused(LOAD, "CAP_BPF and CAP_PERFMON");
        refused(UNLOAD, "run as root");
        assert_eq!(doctor_of_nobody()["status"], "ok");
        json(&mut mptcpapi(UNLOAD));
        let check = doctor_of_nobody();
        assert!(check["finding"].as_str().unwrap().ends_with("the BPF program is not loaded"), "{check}");
        // Root of a user namespace is not root of the machine.
        let mut inside = Command::new("unshare");
        inside.args(["--user", "--map-root-user", MPTCPAPI]).args(LOAD);
        let (code, _, stderr) = run(&mut inside);
        assert_eq!(code, 1);
        assert!(stderr.contains("user namespace"), "{stderr}");
    });
}
