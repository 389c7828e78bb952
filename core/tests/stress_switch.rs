// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets that the application controls, in a namespace that keeps the kernel's path manager, on good and bad days.

// seccomp, mount namespaces and signal handlers have no safe interface in std.
#![allow(unsafe_code)]

#[allow(unreachable_pub, reason = "shared by several test programs")]
mod common;
#[allow(unreachable_pub, reason = "shared by several test programs")]
mod stress_support;

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Lab, server, wait_until};
use mptcpapi::socket2::{Domain, Socket};
use mptcpapi::{Connection, Control, Error, ErrorKind, NewSocket, PathManager, SocketOptions};
use stress_support::{Child, app, figure, path_manager, shell};

const SETTING: &str = "/proc/sys/net/mptcp/path_manager";
const LOCK: &str = "mptcpapi/path_manager";

fn new_socket() -> Result<NewSocket, Error> {
    app().socket(Domain::IPV4)
}

/// Who runs the subflows of a socket: known once it is connected.
fn manager_of(socket: &Socket) -> PathManager {
    socket.connect(&server(1).into()).expect("connect");
    (&*socket).write_all(b"hold\n").expect("send");
    Connection::new(&socket.as_fd()).expect("a connection").info().expect("info").path_manager
}

fn controlled() -> Duration {
    let new = new_socket().expect("a socket");
    assert_eq!(manager_of(&new.socket), PathManager::Userspace);
    new.switched
}

fn not_controlled() {
    let new = SocketOptions::new().control(Control::Default).socket(Domain::IPV4).expect("a socket");
    assert_eq!(manager_of(&new.socket), PathManager::Kernel);
}

#[test]
fn threads_and_processes_at_once() {
    Lab::new().run(|| {
        let at_once = || {
            thread::scope(|scope| {
                let threads: Vec<_> =
                    (0..10).map(|_| scope.spawn(|| assert!((0..5).all(|_| controlled() > Duration::ZERO)))).collect();
                threads.into_iter().for_each(|thread| thread.join().expect("all are controlled"));
            });
        };
        let children: Vec<Child> = (0..3).map(|_| Child::fork(at_once)).collect();
        at_once();
        children.into_iter().for_each(Child::join);
        assert_eq!(path_manager(), "kernel");
        not_controlled();
    });
}

#[test]
fn window_is_measured() {
    Lab::new().run(|| {
        let mut windows: Vec<Duration> = (0..2000).map(|_| new_socket().expect("a socket").switched).collect();
        windows.sort_unstable();
        assert!(windows[0] > Duration::ZERO);
        let at = |part: usize| windows[windows.len() * part / 1000].as_nanos() as f64 / 1000.0;
        figure("the switch, us: median, p99, longest", format!("{} {} {}", at(500), at(990), at(999)));
    });
}

#[test]
fn namespace_that_is_userspace_is_left_alone() {
    Lab::new().run(|| {
        fs::write(SETTING, "userspace").expect("written");
        assert_eq!(controlled(), Duration::ZERO);
        assert_eq!(path_manager(), "userspace");
        // What somebody else decides in between counts.
        fs::write(SETTING, "kernel").expect("written");
        assert!(controlled() > Duration::ZERO);
        assert_eq!(path_manager(), "kernel");
        fs::write(SETTING, "userspace").expect("written");
        assert_eq!(controlled(), Duration::ZERO);
        assert_eq!(path_manager(), "userspace");
    });
}

/// In a mount namespace in which nobody can write to /proc/sys, as in a container.
fn with_read_only_sysctls(body: impl FnOnce()) {
    Child::fork(|| {
        // SAFETY: a process with one thread; no memory is touched.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0, "unshare: {}", std::io::Error::last_os_error());
        shell(
            "mount --make-rprivate / && mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys /proc/sys",
        );
        assert_eq!(fs::write(SETTING, "kernel").expect_err("read-only").raw_os_error(), Some(libc::EROFS));
        body();
    })
    .join();
}

#[test]
fn read_only_sysctls() {
    Lab::new().run(|| {
        with_read_only_sysctls(|| {
            let error = new_socket().expect_err("it cannot switch");
            assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::PermissionDenied, libc::EPERM));
            assert!(error.hint().contains("read-only"), "{error}");
            not_controlled();
        });
        // The way out that the hint names; and the proof that nothing is written then.
        fs::write(SETTING, "userspace").expect("written");
        with_read_only_sysctls(|| assert_eq!(controlled(), Duration::ZERO));
    });
}

/// As an ordinary user.
fn without_privilege(body: impl FnOnce()) {
    Child::fork(|| {
        // SAFETY: integers; a process with one thread.
        unsafe {
            assert_eq!(libc::setresgid(65534, 65534, 65534), 0);
            assert_eq!(libc::setresuid(65534, 65534, 65534), 0);
        }
        assert!(fs::OpenOptions::new().write(true).open(SETTING).is_err(), "this process may write sysctls");
        body();
    })
    .join();
}

#[test]
fn who_may_not_switch_need_not_in_a_userspace_namespace() {
    Lab::new().run(|| {
        without_privilege(|| {
            let error = new_socket().expect_err("it cannot switch");
            assert_eq!((error.kind(), error.hint().is_empty()), (ErrorKind::PermissionDenied, false), "{error}");
        });
        assert_eq!(path_manager(), "kernel");
        fs::write(SETTING, "userspace").expect("written");
        without_privilege(|| assert_eq!(controlled(), Duration::ZERO));
    });
}

#[test]
fn somebody_who_writes_the_setting_all_the_time() {
    Lab::new().run(|| {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    fs::write(SETTING, "kernel").expect("written");
                }
            });
            let (mut made, mut given_up) = (0, 0);
            for _ in 0..300 {
                match new_socket() {
                    // Never one that the kernel controls.
                    Ok(new) => {
                        assert_eq!(manager_of(&new.socket), PathManager::Userspace);
                        made += 1;
                    }
                    Err(error) => {
                        assert_eq!((error.raw_os_error(), error.hint().is_empty()), (libc::EAGAIN, false), "{error}");
                        given_up += 1;
                    }
                }
            }
            over.store(true, Ordering::Relaxed);
            figure("sockets made, given up, while the setting is written all the time", format!("{made} {given_up}"));
            assert!(made > 0);
        });
        assert_eq!(path_manager(), "kernel");
    });
}

/// From now on, socket() for MPTCP does this to the calling process: that is in the midst of a switch.
fn on_mptcp_socket(action: u32) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let equal = |k: u32, otherwise: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: otherwise,
        k,
    };
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    // struct seccomp_data: the call's number, then at 16 its arguments; the third is the protocol.
    let low_half = if cfg!(target_endian = "big") { 4 } else { 0 };
    let mut filter = [
        statement(LOAD, 0),
        equal(libc::SYS_socket as u32, 3),
        statement(LOAD, 16 + 2 * 8 + low_half),
        equal(libc::IPPROTO_MPTCP as u32, 1),
        statement(RETURN, action),
        statement(RETURN, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: integers, and a program that outlives the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

#[test]
fn killed_in_the_midst_of_a_switch() {
    Lab::new().run(|| {
        for _ in 0..5 {
            let status = Child::fork(|| {
                on_mptcp_socket(libc::SECCOMP_RET_KILL_PROCESS);
                let _ = new_socket();
            })
            .wait();
            assert!(libc::WIFSIGNALED(status), "it was to be killed: {status}");
            // That is the damage.
            assert_eq!(path_manager(), "userspace");
            // The next one who switches repairs it.
            assert!(controlled() > Duration::ZERO);
            assert_eq!(path_manager(), "kernel");
            not_controlled();
        }
    });
}

#[test]
fn killed_child_of_a_namespace_that_is_userspace_repairs_nothing() {
    Lab::new().option("--path-manager userspace").run(|| {
        let status = Child::fork(|| {
            on_mptcp_socket(libc::SECCOMP_RET_KILL_PROCESS);
            let _ = new_socket();
        })
        .wait();
        assert!(libc::WIFSIGNALED(status), "it was to be killed: {status}");
        assert_eq!(controlled(), Duration::ZERO);
        assert_eq!(path_manager(), "userspace");
    });
}

extern "C" fn stop(_: libc::c_int) {
    // SAFETY: a signal to itself; allowed in a signal handler.
    unsafe { libc::raise(libc::SIGSTOP) };
}

#[test]
fn stopped_in_the_midst_of_a_switch() {
    Lab::new().run(|| {
        let child = Child::fork(|| {
            // SAFETY: the handler does nothing but stop the process.
            unsafe { libc::signal(libc::SIGSYS, stop as *const () as libc::sighandler_t) };
            on_mptcp_socket(libc::SECCOMP_RET_TRAP);
            let _ = new_socket();
        });
        wait_until("the child in its switch", || (path_manager() == "userspace").then_some(()));
        is_busy();
        child.signal(libc::SIGKILL);
        child.wait();
        controlled();
        assert_eq!(path_manager(), "kernel");
    });
}

/// The switch is taken: that is told, in a bounded time, and the setting stays what it is.
fn is_busy() {
    let (before, begun) = (path_manager(), Instant::now());
    let error = new_socket().expect_err("the lock is taken");
    assert_eq!((error.raw_os_error(), error.hint().contains(LOCK)), (libc::EBUSY, true), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30), "it waited for ever");
    assert_eq!(path_manager(), before);
}

#[test]
fn squatter_on_the_locks_name() {
    Lab::new().run(|| {
        let name = SocketAddr::from_abstract_name(LOCK).expect("a name");
        let squatter = UnixDatagram::bind_addr(&name).expect("the name is free");
        is_busy();
        not_controlled();
        drop(squatter);
        controlled();
    });
}
