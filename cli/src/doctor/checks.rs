// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checks, from the kernel up to what a connection turned out to be.

use std::io;

use mptcpapi::{Control, ErrorKind, EventSource, Features, PathManager, SocketOptions, Status};

use super::self_test::{self, SelfTest};
use super::system::{self, Counters};
use super::{Check, Report};
use crate::load_bpf::pin;
use crate::{Failure, units};

/// What the checks look at.
struct Findings {
    features: Features,
    test: Result<SelfTest, Failure>,
    before: Counters,
    after: Counters,
}

/// All checks. Takes some milliseconds; seconds where loopback drops packets.
pub(super) fn all() -> Result<Report, Failure> {
    let features = Features::probe()?;
    let before = Counters::read();
    let test = self_test::run();
    let findings = Findings { features, test, before, after: Counters::read() };
    let ok = findings.test.as_ref().is_ok_and(SelfTest::passed);
    let checks = vec![
        kernel(),
        sockets(&findings),
        connection(&findings),
        blackhole(&findings),
        fallbacks(&findings.before),
        reading(&findings),
        full_info(&findings),
        detail(&findings),
        list(&findings),
        other_processes(),
        path_manager_known(&findings),
        path_manager(&findings),
        endpoints(&findings),
        control(&findings),
        control_app(),
        events(&findings),
        subflow_options(),
        join_initial(),
        checksum(),
        scheduler(),
        user_namespaces(),
    ];
    Ok(Report { version: env!("CARGO_PKG_VERSION"), ok, checks })
}

/// What a check says that needs an MPTCP socket where there is none.
const NO_SOCKET: (&str, &str) =
    ("not tried: there is no MPTCP socket", "make MPTCP sockets possible first (see sockets)");

/// What to do where netlink sockets cannot be made.
const NO_NETLINK: &str =
    "allow netlink sockets: a sandbox or security policy (seccomp, SELinux, AppArmor) forbids them";

fn kernel() -> Check {
    match system::sysctl("kernel.osrelease") {
        Some(release) => Check::ok("kernel", format!("Linux {release}")),
        None => Check::limited("kernel", "its release is not shown", "mount /proc"),
    }
}

fn sockets(findings: &Findings) -> Check {
    const NAME: &str = "sockets";
    let features = &findings.features;
    if features.mptcp {
        return Check::ok(NAME, "MPTCP sockets can be made (net.mptcp.enabled=1)");
    }
    let error = io::Error::from_raw_os_error(features.socket_errno);
    Check::no(NAME, format!("the kernel refuses MPTCP sockets: {error}"), features.hint)
}

fn connection(findings: &Findings) -> Check {
    const NAME: &str = "connection";
    let test = match &findings.test {
        Ok(test) => test,
        Err(failure) => {
            let finding = format!("no connection from 127.0.0.1 to itself: {failure}");
            return Check::no(
                NAME,
                finding,
                "look at the loopback interface (ip link set lo up) and the firewall (nft list ruleset)",
            );
        }
    };
    if test.passed() {
        return Check::ok(NAME, "a connection over loopback speaks MPTCP");
    }
    let finding = format!(
        "a connection over loopback is {} where it was opened, {} where it was accepted",
        test.client, test.server
    );
    let advice = match (test.client, test.server) {
        _ if !findings.features.mptcp => NO_SOCKET.1,
        (Status::Mptcp, Status::Mptcp) => "see reading: the connection speaks MPTCP, but cannot be read",
        _ if findings.is_disabled() => "see blackhole",
        _ => "look for what removes MPTCP options in this host's own firewall (nft list ruleset)",
    };
    Check::no(NAME, finding, advice)
}

impl Findings {
    /// The kernel made the test's connection as TCP because it has given MPTCP up for a while.
    fn is_disabled(&self) -> bool {
        const DISABLED: &str = "MPCapableSYNTXDisabled";
        self.after.get(DISABLED) > self.before.get(DISABLED)
    }
}

fn blackhole(findings: &Findings) -> Check {
    const NAME: &str = "blackhole";
    let times = findings.after.get("Blackhole");
    let timeout = system::sysctl("net.mptcp.blackhole_timeout").and_then(|text| text.parse::<u64>().ok());
    if findings.is_disabled() {
        let finding = format!(
            "new connections of this namespace are plain TCP for {} s and more, as SYNs with MPTCP were lost on a path",
            timeout.unwrap_or(0)
        );
        let advice =
            "end it with `sysctl -w net.mptcp.blackhole_timeout=0`, and find the firewall that drops SYNs with MPTCP";
        return Check::no(NAME, finding, advice);
    }
    let past = if times > 0 { format!("; it has happened {times} times") } else { String::new() };
    match timeout {
        None => Check::ok(NAME, "this kernel does not give MPTCP up when SYNs with it are lost"),
        Some(0) => Check::ok(
            NAME,
            "switched off (net.mptcp.blackhole_timeout=0): lost SYNs make only their own connection TCP",
        ),
        Some(_) if times > 0 && findings.test.is_err() => Check::limited(
            NAME,
            format!(
                "SYNs with MPTCP were lost {times} times; whether MPTCP is given up now, only a connection can tell"
            ),
            "see connection",
        ),
        Some(timeout) => Check::ok(
            NAME,
            format!(
                "not now{past}; SYNs with MPTCP lost on one path make all new connections TCP for {timeout} s \
                 (net.mptcp.blackhole_timeout)"
            ),
        ),
    }
}

/// Counters that grow when something between the hosts, not the peer, made a connection fall back.
const PATH_TROUBLE: [&str; 6] = [
    "MPCapableSYNTXDrop",
    "MPCapableFallbackACK",
    "MPCapableDataFallback",
    "DSSCorruptionFallback",
    "DssFallback",
    "InfiniteMapRx",
];

fn fallbacks(counters: &Counters) -> Check {
    const NAME: &str = "fallbacks";
    let (opened, asked) = (counters.get("MPCapableSYNTX"), counters.get("MPCapableSYNRX"));
    let refused = counters.get("MPCapableFallbackSYNACK");
    let mut finding = format!("since this namespace exists: {opened} connections opened, {asked} accepted");
    if refused > 0 {
        finding += &format!("; {refused} to peers (or over paths) that answered without MPTCP");
    }
    let trouble: Vec<String> = PATH_TROUBLE
        .iter()
        .map(|&name| (name, counters.get(name)))
        .filter(|&(_, count)| count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if trouble.is_empty() {
        return Check::ok(NAME, finding);
    }
    let finding = format!("{finding}; fell back on the way: {}", trouble.join(", "));
    let advice = "something on a path drops or changes MPTCP options: look for firewalls and proxies there; \
                  `nstat -az 'MPTcpExt*'` shows all counters";
    Check::limited(NAME, finding, advice)
}

fn reading(findings: &Findings) -> Check {
    const NAME: &str = "reading";
    if !findings.features.mptcp {
        return Check::no(NAME, NO_SOCKET.0, NO_SOCKET.1);
    }
    if !findings.features.info {
        return Check::no(NAME, "connections cannot be read (no MPTCP_INFO)", "use Linux 5.16 or newer");
    }
    if let Ok(SelfTest { info: Err(error), .. } | SelfTest { subflows: Err(error), .. }) = &findings.test {
        return Check::no(NAME, format!("the connection over loopback cannot be read: {error}"), "see connection");
    }
    Check::ok(NAME, "connections and their subflows can be read (MPTCP_INFO)")
}

fn full_info(findings: &Findings) -> Check {
    const NAME: &str = "full_info";
    if !findings.features.mptcp {
        return Check::no(NAME, NO_SOCKET.0, NO_SOCKET.1);
    }
    if findings.features.full_info {
        return Check::ok(NAME, "subflows have the kernel's own ids, and one call lists them (MPTCP_FULL_INFO)");
    }
    let finding = "no MPTCP_FULL_INFO: this library numbers subflows itself, and listing takes more calls";
    Check::limited(NAME, finding, "use Linux 6.5 or newer")
}

fn detail(findings: &Findings) -> Check {
    const NAME: &str = "detail";
    const WORKS: &str = "priorities, address ids, congestion control and interface of subflows can be read (sock_diag)";
    if !findings.features.detail {
        return Check::no(NAME, "sock_diag cannot be asked", NO_NETLINK);
    }
    match findings.test.as_ref().map(|test| &test.detail) {
        Ok(Ok(subflows)) if subflows.iter().all(|subflow| subflow.backup.is_some()) => Check::ok(NAME, WORKS),
        Ok(Ok(_)) => {
            let advice = "run as root, or use Linux 6.15 or newer, which shows them to everybody";
            Check::limited(NAME, "this kernel hides priorities and address ids of subflows from this user", advice)
        }
        Ok(Err(error)) if findings.features.info && findings.test.as_ref().is_ok_and(SelfTest::passed) => {
            Check::no(NAME, error.to_string(), hint_or(error, "modprobe tcp_diag"))
        }
        _ => {
            Check::limited(NAME, "sock_diag is there, but there was no MPTCP connection to try it on", "see connection")
        }
    }
}

fn list(findings: &Findings) -> Check {
    const NAME: &str = "list";
    let listed = match findings.test.as_ref().map(|test| &test.listed) {
        Ok(Ok(listed)) => Ok(*listed && findings.features.mptcp),
        Ok(Err(error)) => Err(error.clone()),
        Err(_) => mptcpapi::namespace_connections().map(|_| false),
    };
    match listed {
        Ok(true) => Check::ok(NAME, "the connections of this namespace can be listed (sock_diag, module mptcp_diag)"),
        Ok(false) => {
            let finding = "sock_diag answers, but there was no MPTCP connection to find";
            Check::limited(NAME, finding, "see connection")
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Check::no(NAME, error.to_string(), NO_NETLINK),
        Err(error) => Check::no(NAME, error.to_string(), hint_or(&error, "modprobe mptcp_diag")),
    }
}

/// The hint of an error, or what to do where it has none.
fn hint_or(error: &mptcpapi::Error, otherwise: &str) -> String {
    if error.hint().is_empty() { otherwise.to_owned() } else { error.hint().to_owned() }
}

fn other_processes() -> Check {
    const NAME: &str = "other_processes";
    if system::has_capability(system::CAP_SYS_PTRACE) {
        return Check::ok(
            NAME,
            "`mptcpapi list` can show subflow ids of other users' connections too (CAP_SYS_PTRACE)",
        );
    }
    match system::sysctl("kernel.yama.ptrace_scope").as_deref() {
        None | Some("0") => Check::ok(NAME, "`mptcpapi list` can show subflow ids of this user's connections"),
        Some(scope) => Check::limited(
            NAME,
            format!(
                "`mptcpapi list` cannot show subflow ids of other processes' connections \
                 (kernel.yama.ptrace_scope={scope})"
            ),
            "run `mptcpapi list` as root; a program sees the ids of its own connections in any case",
        ),
    }
}

fn path_manager_known(findings: &Findings) -> Check {
    const NAME: &str = "path_manager_known";
    if findings.features.path_manager_known {
        return Check::ok(NAME, "who runs the subflows of a connection can be told");
    }
    let advice =
        "use Linux 6.9 or newer, and allow netlink sockets; until then, what the namespace says holds for new sockets";
    Check::limited(NAME, "who runs the subflows of a connection cannot be told", advice)
}

fn path_manager(findings: &Findings) -> Check {
    const NAME: &str = "path_manager";
    match findings.features.path_manager {
        PathManager::Kernel => Check::ok(NAME, "kernel: it opens subflows by the endpoints of this namespace"),
        PathManager::Userspace => Check::ok(NAME, "userspace: programs open the subflows, the kernel opens none"),
        _ => Check::limited(NAME, "unknown", "look at `sysctl net.mptcp`: this kernel may know other path managers"),
    }
}

fn endpoints(findings: &Findings) -> Check {
    const NAME: &str = "endpoints";
    if findings.features.path_manager == PathManager::Userspace {
        return Check::ok(NAME, "not looked at by the userspace path manager");
    }
    let settings = match mptcpapi::path_manager_settings() {
        Ok(settings) => settings,
        Err(error) => {
            return Check::limited(NAME, error.to_string(), hint_or(&error, NO_NETLINK));
        }
    };
    let count =
        |what: fn(&mptcpapi::Endpoint) -> bool| settings.endpoints.iter().filter(|endpoint| what(endpoint)).count();
    let (opening, announced) = (count(|endpoint| endpoint.subflow), count(|endpoint| endpoint.signal));
    let finding = format!(
        "{opening} to open subflows from, {announced} announced; limits: {} more subflows, {} addresses of a peer",
        settings.subflows, settings.add_addr_accepted
    );
    if settings.subflows == 0 {
        return Check::limited(NAME, finding, "allow more than the initial subflow: `ip mptcp limits set subflows 2`");
    }
    if opening + announced == 0 && settings.add_addr_accepted == 0 {
        let advice = "a connection keeps one subflow: for each further address, \
                      `ip mptcp endpoint add ADDRESS dev INTERFACE subflow`";
        return Check::limited(NAME, finding, advice);
    }
    Check::ok(NAME, finding)
}

fn control(findings: &Findings) -> Check {
    const NAME: &str = "control";
    if findings.features.net_admin {
        return Check::ok(NAME, "this process may open and close subflows (CAP_NET_ADMIN)");
    }
    if has_no_netlink() {
        return Check::limited(NAME, "this process may read, but not open or close subflows: no netlink", NO_NETLINK);
    }
    let advice = "run as root, or give the program the capability: `setcap cap_net_admin+ep PROGRAM`";
    Check::limited(NAME, "this process may read, but not open or close subflows (no CAP_NET_ADMIN)", advice)
}

fn has_no_netlink() -> bool {
    mptcpapi::path_manager_settings().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// Tried: it may fail in ways that no setting tells, such as a read-only /proc/sys.
fn control_app() -> Check {
    const NAME: &str = "control_app";
    let made = SocketOptions::new().control(Control::App).socket(mptcpapi::socket2::Domain::IPV4);
    match made {
        Ok(new) if new.fallback_reason.is_some() => Check::no(NAME, NO_SOCKET.0, NO_SOCKET.1),
        Ok(new) if new.switched.is_zero() => {
            Check::ok(NAME, "sockets are the application's to run without a switch: the path manager is userspace")
        }
        Ok(new) => {
            let switched = u32::try_from(new.switched.as_micros()).unwrap_or(u32::MAX);
            let finding = format!(
                "programs can make sockets with control = app: the path manager was userspace for {}",
                units::microseconds(switched)
            );
            Check::ok(NAME, finding)
        }
        Err(error) => {
            let advice = hint_or(&error, "see control");
            let finding =
                format!("no socket with control = app: {}", io::Error::from_raw_os_error(error.raw_os_error()));
            match error.kind() {
                ErrorKind::PermissionDenied => Check::limited(NAME, finding, advice),
                _ => Check::no(NAME, finding, advice),
            }
        }
    }
}

fn events(findings: &Findings) -> Check {
    const NAME: &str = "events";
    match findings.test.as_ref().map(|test| &test.events) {
        Ok(Ok(EventSource::Netlink)) => Check::ok(NAME, "the kernel tells of each change (netlink)"),
        Ok(Ok(_)) => {
            let finding =
                "changes are found by comparing listings (polling): what comes and goes in between is not seen";
            let privilege = "for events from the kernel: run as root, or give the program CAP_NET_ADMIN";
            Check::limited(NAME, finding, if has_no_netlink() { NO_NETLINK } else { privilege })
        }
        Ok(Err(error)) if findings.test.as_ref().is_ok_and(SelfTest::passed) => {
            Check::no(NAME, error.to_string(), hint_or(error, NO_NETLINK))
        }
        _ => Check::limited(NAME, "not tried: there was no MPTCP connection", "see connection"),
    }
}

/// That the program answers is not tried: it would walk all TCP sockets of the namespace.
fn subflow_options() -> Check {
    const NAME: &str = "subflow_options";
    const LOAD: &str = "as root of the machine, after each of its starts: `mptcpapi load-bpf`";
    match pin::found() {
        Ok(versions) if versions.contains(&pin::VERSION) => {
            let (done, version) = ("options of single subflows can be read and set", pin::VERSION);
            let syn = if pin::has_syn() {
                "those of a new one are in force from its SYN on"
            } else {
                "those of a new one are in force after its SYN; before it with `mptcpapi load-bpf --syn`"
            };
            Check::ok(NAME, format!("{done} (BPF program, version {version}); {syn}"))
        }
        Ok(versions) => {
            let other = versions.last().map(|version| {
                format!("the BPF program is of version {version}, this is made for version {}", pin::VERSION)
            });
            let finding = other.unwrap_or_else(|| "the BPF program is not loaded".to_owned());
            Check::limited(NAME, format!("options of single subflows cannot be set: {finding}"), LOAD)
        }
        Err(error) => {
            let finding = format!("options of single subflows cannot be set: {}: {error}", pin::DIRECTORY);
            Check::limited(NAME, finding, LOAD)
        }
    }
}

fn join_initial() -> Check {
    const NAME: &str = "join_initial";
    match system::sysctl("net.mptcp.allow_join_initial_addr_port").as_deref() {
        None => Check::ok(NAME, "no such setting: peers may open subflows to the address that they connected to"),
        Some("0") => Check::limited(
            NAME,
            "peers are asked not to open subflows to the address that they connected to",
            "unless a load balancer makes it needed: `sysctl -w net.mptcp.allow_join_initial_addr_port=1`",
        ),
        Some(_) => Check::ok(NAME, "peers may open subflows to the address that they connected to"),
    }
}

fn checksum() -> Check {
    const NAME: &str = "checksum";
    match system::sysctl("net.mptcp.checksum_enabled").as_deref() {
        Some("1") => {
            Check::ok(NAME, "on: data that middleboxes changed is noticed, at some cost (net.mptcp.checksum_enabled)")
        }
        _ => Check::ok(NAME, "off, unless the peer wants it (net.mptcp.checksum_enabled)"),
    }
}

fn scheduler() -> Check {
    const NAME: &str = "scheduler";
    match system::sysctl("net.mptcp.scheduler") {
        Some(name) => Check::ok(NAME, name),
        None => Check::ok(NAME, "the only one that this kernel has"),
    }
}

fn user_namespaces() -> Check {
    const NAME: &str = "user_namespaces";
    const WHAT: &str = "ordinary users can make networks of their own, for tests";
    const NOT: &str = "ordinary users cannot make networks of their own, for tests";
    // Root always can: for others, only the settings tell.
    let tried = system::effective_user().filter(|&user| user != 0).and_then(|_| system::can_unshare());
    if tried == Some(true) {
        return Check::ok(NAME, WHAT);
    }
    let settings = [
        ("user.max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"),
        ("kernel.unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "kernel.apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    let forbids = settings.iter().find(|(name, value, _)| system::sysctl(name).as_deref() == Some(value));
    match forbids {
        Some((name, value, command)) => {
            Check::limited(NAME, format!("{NOT} ({name}={value})"), format!("`{command}`, or run tests as root"))
        }
        None if tried == Some(false) => {
            Check::limited(NAME, NOT, "run tests as root: a sandbox or security module forbids user namespaces")
        }
        None => Check::ok(NAME, WHAT),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn only_trouble_on_the_path_limits() {
        let check = |values: &str| {
            let names = "MPCapableSYNTX MPCapableFallbackSYNACK MPCapableDataFallback";
            fallbacks(&Counters::parse(&format!("MPTcpExt: {names}\nMPTcpExt: {values}\n")))
        };
        assert_eq!(check("3 0 0").status, Verdict::Ok);
        let tcp_peers = check("3 2 0");
        assert_eq!(tcp_peers.status, Verdict::Ok);
        assert!(tcp_peers.finding.contains("2 to peers"), "{}", tcp_peers.finding);
        let trouble = check("3 0 1");
        assert_eq!(trouble.status, Verdict::Limited);
        assert!(trouble.finding.ends_with("fell back on the way: MPCapableDataFallback 1"), "{}", trouble.finding);
    }
}
