// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which system calls are trapped, as a table, and the program that the kernel makes of it. All others cost what a
//! filter costs: the kernel knows without running it that they pass.

use libc::{
    AF_INET, AF_INET6, BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, IPPROTO_TCP,
    SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF, SO_DOMAIN, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET,
    sock_filter,
};

use mptcpapi::paper::{
    MPTCP_CLOSE_SUB_ID, MPTCP_ENABLED, MPTCP_GET_SUB_IDS, MPTCP_GET_SUB_INFO, MPTCP_GET_SUB_TUPLE, MPTCP_INFO,
    MPTCP_OPEN_SUB_TUPLE, MPTCP_PATH_MANAGER, MPTCP_SCHEDULER, MPTCP_SUB_GETSOCKOPT, MPTCP_SUB_SETSOCKOPT,
};

use crate::Options;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_003e);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_00b7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: Option<u32> = None;

/// One of them never did anything.
pub(crate) const PAPER: [i32; 7] = [
    MPTCP_GET_SUB_IDS,
    MPTCP_CLOSE_SUB_ID,
    MPTCP_GET_SUB_TUPLE,
    MPTCP_OPEN_SUB_TUPLE,
    MPTCP_GET_SUB_INFO,
    MPTCP_SUB_GETSOCKOPT,
    MPTCP_SUB_SETSOCKOPT,
];
/// Of the later kernels.
const STOCK: [i32; 4] = [MPTCP_ENABLED, MPTCP_SCHEDULER, MPTCP_PATH_MANAGER, MPTCP_INFO];

/// Where the kernel tells the program: number, architecture, instruction pointer, arguments.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// An argument is one of these, once the other bits are taken away.
struct Is {
    argument: u32,
    mask: u32,
    one_of: Vec<i32>,
}

fn is(argument: u32, one_of: impl Into<Vec<i32>>) -> Is {
    Is { argument, mask: u32::MAX, one_of: one_of.into() }
}

/// A call of this number whose arguments are all so.
struct Trap {
    number: libc::c_long,
    when: Vec<Is>,
}

fn traps(options: &Options) -> Vec<Trap> {
    let mut traps = Vec::new();
    let mut trap = |number, when| traps.push(Trap { number, when });
    let mut names = PAPER.to_vec();
    if options.stock_options {
        names.extend(STOCK);
    }
    for number in [libc::SYS_getsockopt, libc::SYS_setsockopt] {
        trap(number, vec![is(1, [IPPROTO_TCP]), is(2, names.clone())]);
    }
    if !options.only_api {
        let kind = Is { argument: 1, mask: !((SOCK_CLOEXEC | SOCK_NONBLOCK) as u32), one_of: vec![SOCK_STREAM] };
        trap(libc::SYS_socket, vec![is(0, [AF_INET, AF_INET6]), kind, is(2, [0, IPPROTO_TCP])]);
    }
    if options.dual_stack {
        let with_addresses = [
            libc::SYS_bind,
            libc::SYS_connect,
            libc::SYS_getsockname,
            libc::SYS_getpeername,
            libc::SYS_accept,
            libc::SYS_accept4,
        ];
        for number in with_addresses {
            trap(number, Vec::new());
        }
        trap(libc::SYS_getsockopt, vec![is(1, [SOL_SOCKET]), is(2, [SO_DOMAIN])]);
    }
    traps
}

const fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

const fn load(at: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, at)
}

/// Skips so many instructions where A is k, or so many where not.
fn if_equal(k: u32, then: usize, otherwise: usize) -> sock_filter {
    let short = |distance: usize| u8::try_from(distance).expect("a trap is shorter than a jump can be");
    sock_filter { code: (BPF_JMP | BPF_JEQ | BPF_K) as u16, jt: short(then), jf: short(otherwise), k }
}

/// The lower half of an argument; they are 64 bits wide, whatever the call takes.
fn lower_half_of(argument: u32) -> u32 {
    ARGUMENTS_AT + 8 * argument + if cfg!(target_endian = "big") { 4 } else { 0 }
}

impl Trap {
    /// Ends with a trap, or goes on behind itself.
    fn compile(&self) -> Vec<sock_filter> {
        let lengths = self.when.iter().map(|is| 1 + usize::from(is.mask != u32::MAX) + is.one_of.len());
        let length = 2 + lengths.sum::<usize>() + 1;
        let mut code = vec![load(NUMBER_AT)];
        let behind = |code: &Vec<sock_filter>| length - code.len() - 1;
        code.push(if_equal(self.number as u32, 0, behind(&code)));
        for is in &self.when {
            code.push(load(lower_half_of(is.argument)));
            if is.mask != u32::MAX {
                code.push(statement(BPF_ALU | BPF_AND | BPF_K, is.mask));
            }
            for (index, value) in is.one_of.iter().enumerate() {
                let others = is.one_of.len() - index - 1;
                let otherwise = if others == 0 { behind(&code) } else { 0 };
                code.push(if_equal(*value as u32, others, otherwise));
            }
        }
        code.push(statement(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
        code
    }
}

/// None on an architecture whose calls are not known here.
pub(crate) fn program(options: &Options) -> Option<Vec<sock_filter>> {
    let pass = statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    // Programs of another architecture, of 32 bits say, have other numbers.
    let mut code = vec![load(ARCHITECTURE_AT), if_equal(ARCHITECTURE?, 1, 0), pass];
    code.extend(traps(options).iter().flat_map(Trap::compile));
    code.push(pass);
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel does with it, as far as our programs go.
    fn outcome(code: &[sock_filter], architecture: u32, number: libc::c_long, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend((number as u32).to_ne_bytes());
        data.extend(architecture.to_ne_bytes());
        data.extend(0u64.to_ne_bytes());
        data.extend(arguments.iter().flat_map(|argument| argument.to_ne_bytes()));
        let (mut a, mut at) = (0u32, 0);
        loop {
            let one = code[at];
            at += 1;
            match u32::from(one.code) {
                code if code == BPF_LD | BPF_W | BPF_ABS => {
                    let bytes = &data[one.k as usize..][..4];
                    a = u32::from_ne_bytes(bytes.try_into().unwrap());
                }
                code if code == BPF_ALU | BPF_AND | BPF_K => a &= one.k,
                code if code == BPF_JMP | BPF_JEQ | BPF_K => {
                    at += usize::from(if a == one.k { one.jt } else { one.jf })
                }
                code if code == BPF_RET | BPF_K => return one.k,
                code => panic!("{code:#x}"),
            }
        }
    }

    fn is_trapped(options: &Options, number: libc::c_long, arguments: [u64; 3]) -> bool {
        let code = program(options).unwrap();
        let [first, second, third] = arguments;
        let arguments = [first, second, third, u64::MAX, u64::MAX, 0];
        assert_eq!(outcome(&code, 0x4000_0003, number, arguments), SECCOMP_RET_ALLOW, "of 32 bits");
        match outcome(&code, ARCHITECTURE.unwrap(), number, arguments) {
            SECCOMP_RET_USER_NOTIF => true,
            SECCOMP_RET_ALLOW => false,
            other => panic!("{other:#x}"),
        }
    }

    #[test]
    fn stream_sockets_only() {
        let options = Options::default();
        let socket = |family: i32, kind: i32, protocol: u64| {
            is_trapped(&options, libc::SYS_socket, [family as u64, kind as u64, protocol])
        };
        for family in [AF_INET, AF_INET6] {
            for flags in [0, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_CLOEXEC | SOCK_NONBLOCK] {
                assert!(socket(family, SOCK_STREAM | flags, 0) && socket(family, SOCK_STREAM | flags, 6));
                assert!(!socket(family, libc::SOCK_DGRAM | flags, 0));
            }
        }
        assert!(!socket(libc::AF_UNIX, SOCK_STREAM, 0) && !socket(AF_INET, SOCK_STREAM, 262));
        assert!(!socket(AF_INET, SOCK_STREAM, 132) && !socket(AF_INET, SOCK_STREAM | 0x10, 0));
        // The kernel takes an int: what lies above it in the register says nothing.
        assert!(is_trapped(&options, libc::SYS_socket, [0xdead_0000_0002, 1 | 1 << 40, 6 | 1 << 63]));
        assert!(!is_trapped(&Options { only_api: true, ..options }, libc::SYS_socket, [2, 1, 0]));
    }

    #[test]
    fn options_of_the_paper_only() {
        let plain = Options::default();
        let stock = Options { stock_options: true, ..Options::default() };
        for number in [libc::SYS_getsockopt, libc::SYS_setsockopt] {
            for name in 0..100 {
                assert_eq!(is_trapped(&plain, number, [3, 6, name]), (66..=72).contains(&name), "{name}");
                let either = (66..=72).contains(&name) || (42..=45).contains(&name);
                assert_eq!(is_trapped(&stock, number, [3, 6, name]), either, "{name}");
                assert!(!is_trapped(&plain, number, [3, 1, name]) && !is_trapped(&plain, number, [3, 284, name]));
            }
        }
    }

    #[test]
    fn addresses_for_a_dual_stack_only() {
        let (plain, dual) = (Options::default(), Options { dual_stack: true, ..Options::default() });
        for number in [libc::SYS_bind, libc::SYS_connect, libc::SYS_getpeername, libc::SYS_accept4] {
            assert!(!is_trapped(&plain, number, [3, 0, 0]) && is_trapped(&dual, number, [3, 0, 0]));
        }
        assert!(is_trapped(&dual, libc::SYS_getsockopt, [3, 1, SO_DOMAIN as u64]));
        assert!(!is_trapped(&dual, libc::SYS_getsockopt, [3, 1, 4]));
        for number in [libc::SYS_read, libc::SYS_sendto, libc::SYS_close, libc::SYS_shutdown] {
            assert!(!is_trapped(&dual, number, [3, 6, 66]));
        }
    }
}
