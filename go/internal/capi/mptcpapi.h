/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libmptcpapi: the enhanced socket API for Multipath TCP on stock Linux.
 *
 * A program sees its own MPTCP connection through its own descriptor, which is only borrowed. Calls return 0 or more,
 * or -errno. Every fallible one is there with the suffix _e and a struct mptcpapi_error as well: it may be NULL, and is
 * written with success too (kind is MPTCPAPI_ERROR_NONE). The first field of every struct is its size, set by the
 * caller; the rest need not be set.
 *
 * Written by `cargo run -p xtask -- header`: change the Rust sources in capi/src instead.
 */

#ifndef MPTCPAPI_H
#define MPTCPAPI_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/** The version of this header; mptcpapi_version has that of the library that is running. */
#define MPTCPAPI_VERSION "0.1.0"
#define MPTCPAPI_VERSION_MAJOR 0
#define MPTCPAPI_VERSION_MINOR 1
#define MPTCPAPI_VERSION_PATCH 0


/** mptcpapi_status: an MPTCP socket without a connection: fresh, connecting, listening, or its connection is over. */
#define MPTCPAPI_STATUS_UNCONNECTED 0

/** mptcpapi_status: a connection that speaks MPTCP. */
#define MPTCPAPI_STATUS_MPTCP 1

/** mptcpapi_status: an MPTCP socket whose connection speaks plain TCP, as the peer or the path did not carry MPTCP. */
#define MPTCPAPI_STATUS_FALLBACK 2

/** mptcpapi_status: a plain TCP socket, such as one accepted from a plain TCP peer. */
#define MPTCPAPI_STATUS_TCP 3

/** Path manager: it cannot be known (no connection, or a kernel older than 6.9). */
#define MPTCPAPI_PATH_MANAGER_UNKNOWN 0

/** Path manager: the kernel's, by the endpoints and limits of the network namespace. */
#define MPTCPAPI_PATH_MANAGER_KERNEL 1

/** Path manager: programs, such as the application itself or a daemon. */
#define MPTCPAPI_PATH_MANAGER_USERSPACE 2

/** Error kind: no error. */
#define MPTCPAPI_ERROR_NONE 0

/** Error kind: the socket is plain TCP or another protocol (EOPNOTSUPP). */
#define MPTCPAPI_ERROR_NOT_MPTCP 1

/** Error kind: an MPTCP socket that speaks TCP now (EOPNOTSUPP). */
#define MPTCPAPI_ERROR_FELL_BACK 2

/** Error kind: the kernel lacks it, or a part is not loaded (ENOSYS). */
#define MPTCPAPI_ERROR_UNSUPPORTED 3

/** Error kind: no privilege, and nobody who lends it (EPERM). */
#define MPTCPAPI_ERROR_PERMISSION_DENIED 4

/** Error kind: the kernel's path manager runs this connection (EACCES). */
#define MPTCPAPI_ERROR_KERNEL_PATH_MANAGER 5

/** Error kind: there is no connection, or it is too young (ENOTCONN). */
#define MPTCPAPI_ERROR_NOT_READY 6

/** Error kind: the id names no live subflow (ENOENT). */
#define MPTCPAPI_ERROR_NO_SUCH_SUBFLOW 7

/** Error kind: the peer said no (ECONNREFUSED or ECONNRESET). */
#define MPTCPAPI_ERROR_REFUSED 8

/** Error kind: the deadline passed (ETIMEDOUT). */
#define MPTCPAPI_ERROR_TIMED_OUT 9

/** Error kind: anything else, see the errno. */
#define MPTCPAPI_ERROR_OS 10

/** Flag of mptcpapi_subflows: fill the detail fields too. Set in the flags of a subflow whose detail is filled. */
#define MPTCPAPI_DETAIL 1

/** Flag of mptcpapi_socket: the application itself is to run the subflows, whatever the network namespace says. */
#define MPTCPAPI_CONTROL_APP 1

/** How of mptcpapi_subflow_close: with a FIN where the application runs the subflows, else by a reset. */
#define MPTCPAPI_CLOSE_FIN 0

/** How of mptcpapi_subflow_close: by a reset at once. */
#define MPTCPAPI_CLOSE_RESET 1

/** Event: data has flowed, so the connection can be joined now. */
#define MPTCPAPI_EVENT_ESTABLISHED 1

/** Event: a subflow has come. */
#define MPTCPAPI_EVENT_SUBFLOW_ESTABLISHED 2

/** Event: a subflow has gone. */
#define MPTCPAPI_EVENT_SUBFLOW_CLOSED 3

/** Event: the peer wants a subflow to be a backup, or not any more. */
#define MPTCPAPI_EVENT_PRIORITY_CHANGED 4

/** Event: the peer offers an address. */
#define MPTCPAPI_EVENT_ADDRESS_ANNOUNCED 5

/** Event: the peer takes an address back. */
#define MPTCPAPI_EVENT_ADDRESS_REMOVED 6

/** Event: the connection speaks plain TCP from now on; no more events come of it. */
#define MPTCPAPI_EVENT_FALLBACK 7

/** Event: the connection is over; no more events come of it. */
#define MPTCPAPI_EVENT_CLOSED 8

/** Event: some were lost; what had changed was found out by a listing and told as ordinary events before this one. */
#define MPTCPAPI_EVENT_RESYNCED 9

/** Source of events: the kernel tells of each change. */
#define MPTCPAPI_SOURCE_NETLINK 1

/** Source of events: listings are compared, ten times a second. All that is left without privilege. */
#define MPTCPAPI_SOURCE_POLLING 2

/** Path event: the interface of a subflow lost its carrier, or was set down. */
#define MPTCPAPI_PATH_EVENT_LINK_DOWN 1

/** Path event: an interface works again. Of no subflow. */
#define MPTCPAPI_PATH_EVENT_LINK_UP 2

/** Path event: the local address of a subflow was removed. */
#define MPTCPAPI_PATH_EVENT_ADDRESS_REMOVED 3

/** Path event: nothing came back on a subflow for longer than the limit, although something was under way. */
#define MPTCPAPI_PATH_EVENT_STALLED 4

/** Path event: a subflow that had stalled goes on. */
#define MPTCPAPI_PATH_EVENT_RESUMED 5

/** Path event: the connection is over, or fell back to TCP. Of no subflow; nothing more comes. */
#define MPTCPAPI_PATH_EVENT_CLOSED 6

/** Flag of mptcpapi_path_watch_new: the peer is to send without pause, as in a download, so silence is a stall. */
#define MPTCPAPI_EXPECT_DATA 1

/** The events of one or several connections: opaque, from mptcpapi_monitor_new to mptcpapi_monitor_free. */
struct mptcpapi_monitor;

/** Watches the paths of one connection: opaque, from mptcpapi_path_watch_new to mptcpapi_path_watch_free. */
struct mptcpapi_path_watch;

/** The reason of a failure, or of a plain TCP socket, in numbers and words. All strings end with a zero byte. */
struct mptcpapi_error {
  /** sizeof(struct mptcpapi_error), set by the caller. */
  uint32_t size;
  /** MPTCPAPI_ERROR_*. */
  uint32_t kind;
  /** The errno, positive. */
  int32_t error;
  /** The id of the subflow that was asked about; 0 where none was. */
  uint32_t subflow;
  /** What was asked: "subflows", "socket" and so on. */
  char operation[32];
  /** The kernel's own words, empty where it had none. */
  char kernel_message[128];
  /** What the user can do, empty where there is nothing to say. */
  char hint[192];
  /** All of this as one sentence. */
  char message[512];
};

/** A connection as a whole, all counters from one moment. */
struct mptcpapi_info {
  /** sizeof(struct mptcpapi_info), set by the caller. */
  uint32_t size;
  /** The local token; 0 without a connection. Any user can see it: it is no secret. */
  uint32_t token;
  /** How many live subflows there are, the initial one included. */
  uint32_t subflows;
  /** How often the connection itself sent data again on another subflow, not the subflows' own retransmissions. */
  uint32_t retransmits;
  /**
   * Bytes of the application's stream sent, without repeats. Like the next three: of the whole connection since
   * Linux 6.5, before that the sum over the live subflows.
   */
  uint64_t bytes_sent;
  /** Bytes of the stream received. */
  uint64_t bytes_received;
  /** Bytes of the stream acknowledged by the peer. */
  uint64_t bytes_acked;
  /** Bytes sent again, on whatever subflow. */
  uint64_t bytes_retrans;
  /** Who runs the subflows of this connection: MPTCPAPI_PATH_MANAGER_*. */
  uint32_t path_manager;
  /** 1: the connection is falling back to TCP. Once it has, mptcpapi_info fails with MPTCPAPI_ERROR_FELL_BACK. */
  uint8_t fallback;
  /** 1: the peer opened the connection, 0: this side did; -1 unknown. */
  int8_t server_side;
  /** Zero. */
  uint8_t reserved[2];
};

/**
 * One live subflow.
 *
 * The fields up to `initial` describe one moment, the same for all subflows of a listing. The detail fields
 * are filled where `flags` has MPTCPAPI_DETAIL. Before Linux 6.15 the kernel shows `backup`, `backup_by_peer`,
 * `fully_established` and the address ids to CAP_NET_ADMIN only: where it does not, the ids are -1 and the
 * others 0.
 */
struct mptcpapi_subflow {
  /** sizeof(struct mptcpapi_subflow), set by the caller in element 0 of the array. */
  uint32_t size;
  /** The kernel's subflow id: 1 is the initial one, no number is used twice in a connection. */
  uint32_t id;
  /** The address on this host: struct sockaddr_in or sockaddr_in6. */
  struct sockaddr_storage local;
  /** The peer's address. */
  struct sockaddr_storage remote;
  /** MPTCPAPI_DETAIL or 0. */
  uint32_t flags;
  /** The kernel's TCP state (1 is established); mptcpapi_state_name has its name. */
  uint32_t state;
  /** Smoothed round-trip time in microseconds. */
  uint32_t rtt_us;
  /** Mean deviation of the round-trip time in microseconds. */
  uint32_t rttvar_us;
  /** Congestion window in segments. */
  uint32_t snd_cwnd;
  /** Segment size for sending in bytes. */
  uint32_t mss;
  /** Bytes sent, with those sent again. */
  uint64_t bytes_sent;
  /** Bytes that the peer acknowledged. */
  uint64_t bytes_acked;
  /** Bytes received. */
  uint64_t bytes_received;
  /** Bytes sent again. */
  uint64_t bytes_retrans;
  /** The latest delivery rate in bytes per second. */
  uint64_t delivery_rate;
  /** Segments sent again since the beginning. */
  uint32_t retransmits;
  /** Segments sent and not yet acknowledged. */
  uint32_t unacked;
  /** Milliseconds since the last acknowledgement arrived. */
  uint32_t last_ack_ms;
  /** 1 of the subflow that began the connection. */
  uint8_t initial;
  /** Detail. 1: this side asked the peer to use the subflow as a backup only. */
  uint8_t backup;
  /** Detail. 1: the peer asked this side to use the subflow as a backup only. */
  uint8_t backup_by_peer;
  /** Detail. 1: the peer is known to have completed the MPTCP handshake on this subflow. */
  uint8_t fully_established;
  /** Detail. Address id of the local address (RFC 8684 section 3.2), 0 to 255; -1 unknown. */
  int16_t local_id;
  /** Detail. Address id of the peer's address, 0 to 255; -1 unknown. */
  int16_t remote_id;
  /** Detail. The TOS byte of its IPv4 packets, the traffic class of its IPv6 packets. */
  uint8_t tos;
  /** Zero. */
  uint8_t reserved[3];
  /** Detail. The congestion control in use. */
  char congestion[16];
  /** Detail. The network interface that the subflow is bound to; empty where it is not bound to any. */
  char interface[16];
};

/** One option of one subflow. */
struct mptcpapi_option {
  /** sizeof(struct mptcpapi_option), set by the caller; of an array, in element 0. */
  uint32_t size;
  /** The subflow. */
  uint32_t subflow;
  /** SOL_SOCKET, IPPROTO_TCP, IPPROTO_IP or IPPROTO_IPV6. */
  int level;
  /** The number of the option. */
  int name;
  /** The value, as setsockopt(2) wants it. */
  const void *value;
  /** The length of the value. */
  socklen_t length;
  /** How it went: 0 or an errno; set by the library. Zero where a subflow is opened. */
  int error;
  /** How it went: MPTCPAPI_ERROR_*; set by the library. */
  uint32_t kind;
  /** Zero. */
  uint32_t reserved;
};

/** What subflow to open. Everything but size may be zero. */
struct mptcpapi_open {
  /** sizeof(struct mptcpapi_open), set by the caller. */
  uint32_t size;
  /** How long to wait for the outcome, in milliseconds; 0 stands for 5000. */
  uint32_t timeout_ms;
  /** The address to open it from; port 0 is the kernel's choice. Family 0: the one that the route prefers. */
  struct sockaddr_storage local;
  /** The address to open it to; port 0 is the connection's. Family 0: the peer's address. */
  struct sockaddr_storage remote;
  /** 1: both ends shall use it only where no other subflow is left. */
  uint8_t backup;
  /** Zero. */
  uint8_t reserved[3];
  /** A descriptor that calls it off when it becomes readable (an eventfd, a pipe); 0 or negative: none. */
  int cancel_fd;
  /** The network interface to bind it to; empty: none. Without a local address, it also gives that. */
  char interface[16];
  /** Options of the new subflow, in force before it carries data (their field subflow is ignored); may be NULL. */
  const struct mptcpapi_option *options;
  /** How many. */
  size_t option_count;
};

/** One event of one connection. */
struct mptcpapi_event {
  /** sizeof(struct mptcpapi_event), set by the caller. */
  uint32_t size;
  /** MPTCPAPI_EVENT_*; a newer library may tell others. */
  uint32_t kind;
  /** The local token of the connection: tells several watched ones apart. */
  uint32_t token;
  /** The subflow's id; 0 for events of no subflow, and of one that came and went before it could be listed. */
  uint32_t subflow;
  /** Why a subflow closed: an errno, as ECONNABORTED (closed here) or ECONNRESET (by the peer); 0 unknown. */
  int32_t error;
  /** The reason of the peer's reset (RFC 8684 section 3.6); -1 none. */
  int32_t reset_reason;
  /** The peer's address id, of announcements; -1 none. */
  int16_t address_id;
  /** What the peer asked for, of MPTCPAPI_EVENT_PRIORITY_CHANGED: 0 or 1; -1 none. */
  int8_t backup;
  /** 1: found by comparing two listings, not told by the kernel. */
  uint8_t polled;
  /** Zero. */
  uint32_t reserved;
  /** The subflow's local address; family 0: none. */
  struct sockaddr_storage local;
  /** The subflow's remote address, or the announced address; family 0: none. */
  struct sockaddr_storage remote;
  /** Zero. */
  uint64_t reserved2[8];
  /** The last statistics that were seen of a closed subflow; id 0: none. Its size is set by the library. */
  struct mptcpapi_subflow last;
};

/** One thing that has happened to one path. */
struct mptcpapi_path_event {
  /** sizeof(struct mptcpapi_path_event), set by the caller. */
  uint32_t size;
  /** MPTCPAPI_PATH_EVENT_*; a newer library may tell others. */
  uint32_t kind;
  /** The subflow concerned; 0 of MPTCPAPI_PATH_EVENT_LINK_UP and _CLOSED. */
  uint32_t subflow;
  /** Zero. */
  uint32_t reserved;
  /** Its local address, without port, or one of the interface that works again; family 0: unknown. */
  struct sockaddr_storage local;
  /** The interface; empty: unknown. */
  char interface[16];
};

/** What this kernel offers to this process in its network namespace. */
struct mptcpapi_features {
  /** sizeof(struct mptcpapi_features), set by the caller. */
  uint32_t size;
  /** The errno with which the kernel refuses to make MPTCP sockets; 0 where it does not. */
  int32_t socket_errno;
  /** 1: MPTCP sockets can be made. */
  uint8_t mptcp;
  /** 1: connections can be read (Linux 5.16). */
  uint8_t info;
  /** 1: subflows have the kernel's own ids, and one call lists them (Linux 6.5). */
  uint8_t full_info;
  /** 1: sock_diag answers, so MPTCPAPI_DETAIL works. */
  uint8_t detail;
  /** 1: the path manager of a connection can be told (Linux 6.9). */
  uint8_t path_manager_known;
  /** 1: this process may control the connections of its network namespace (CAP_NET_ADMIN there). */
  uint8_t net_admin;
  /** Zero. */
  uint8_t reserved[2];
  /** The path manager that new connections of this namespace get: MPTCPAPI_PATH_MANAGER_*. */
  uint32_t path_manager;
  /** What to do about a refusal to make MPTCP sockets; empty where there is none. */
  char hint[128];
  /** 1: the BPF program is loaded that reads and sets options of one subflow (`mptcpapi load-bpf`). */
  uint8_t subflow_options;
  /** 1: an agent answers, which controls connections for processes without privilege (`mptcpapi agent`). */
  uint8_t agent;
  /** Zero. */
  uint8_t reserved2[2];
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Makes a stream socket: MPTCP, or plain TCP where the kernel has no MPTCP for this process. The caller owns it.
 *
 * family: AF_INET or AF_INET6. flags: SOCK_NONBLOCK, SOCK_CLOEXEC (always set), MPTCPAPI_CONTROL_APP.
 *
 * Returns the descriptor or -errno: EAFNOSUPPORT, EINVAL (an unknown flag), EMFILE and the others of socket(2); with
 * MPTCPAPI_CONTROL_APP also EPERM and EBUSY. Any thread may call it. Needs no privilege without MPTCPAPI_CONTROL_APP;
 * with it CAP_NET_ADMIN in the network namespace, or a namespace whose path manager is "userspace" already. Else the
 * path manager of the namespace is switched for the microseconds of this call: a socket that another program makes in
 * that moment is concerned too.
 */
int mptcpapi_socket(int family, int flags);

/**
 * mptcpapi_socket that tells more. With a plain TCP socket as the answer, error holds the reason for that: EINVAL (the
 * kernel is older than 5.6), EPROTONOSUPPORT (built without MPTCP), ENOPROTOOPT (switched off), EPERM (forbidden).
 */
int mptcpapi_socket_e(int family, int flags, struct mptcpapi_error *error);

/**
 * What the socket is now: MPTCPAPI_STATUS_* or -errno.
 *
 * Errors: EBADF, ENOTSOCK, EOPNOTSUPP for a socket that is neither MPTCP nor TCP, ENOSYS before Linux 5.16.
 * Needs no privilege. Any thread may call it. Three cheap system calls.
 */
int mptcpapi_status(int fd);

/** mptcpapi_status that tells more about a failure. */
int mptcpapi_status_e(int fd, struct mptcpapi_error *error);

/**
 * Tells about the connection as a whole. Zero token and no subflows on an unconnected socket.
 *
 * info: its field size is set by the caller. Returns 0 or -errno: EBADF, ENOTSOCK, EOPNOTSUPP (not MPTCP, or fell back
 * to TCP), ENOSYS before Linux 5.16, EFAULT (info is NULL), EINVAL (wrong size); *info is written only with 0.
 * Needs no privilege. Any thread may call it. Some ten system calls, as the path manager and the side are asked by
 * netlink; mptcpapi_subflows is cheaper where only the subflows are wanted.
 */
int mptcpapi_info(int fd, struct mptcpapi_info *info);

/** mptcpapi_info that tells more about a failure. */
int mptcpapi_info_e(int fd, struct mptcpapi_info *info, struct mptcpapi_error *error);

/**
 * Lists the live subflows, oldest first, all from one moment.
 *
 * array: of capacity elements, array[0].size set by the caller to the size of one; may be NULL where capacity is 0.
 * flags: 0 or MPTCPAPI_DETAIL, which costs one more exact look-up per subflow and fills the detail fields.
 *
 * Returns how many live subflows there are, 0 on an unconnected or listening socket; at most capacity of them (the
 * oldest) are written. Or -errno, and nothing is written: EBADF, ENOTSOCK, EOPNOTSUPP (not MPTCP, or fell back to TCP),
 * ENOSYS before Linux 5.16, EFAULT (array is NULL), EINVAL (wrong size, unknown flag); with MPTCPAPI_DETAIL also EXDEV
 * where the socket is in another network namespace than the calling thread.
 * Needs no privilege. Any thread may call it. One system call without detail (Linux 6.5), and no
 * allocation up to 64 subflows.
 */
int mptcpapi_subflows(int fd, struct mptcpapi_subflow *array, size_t capacity, int flags);

/** mptcpapi_subflows that tells more about a failure. */
int mptcpapi_subflows_e(int fd, struct mptcpapi_subflow *array, size_t capacity, int flags, struct mptcpapi_error *error);

/**
 * Opens a subflow and waits until the peer has confirmed it, or it is clear why not. Whatever goes wrong, no half-open
 * subflow stays behind. A connection that is too young to be joined (no data has flowed) is waited for, up to the
 * deadline.
 *
 * open: what to open, or NULL: from the address that the route prefers, to the peer's address. id: gets the subflow's
 * id; may be NULL.
 *
 * Returns 0 or -errno: EOPNOTSUPP (not MPTCP, or fell back), ENOTCONN (no connection, or too young at the deadline),
 * EACCES (the kernel's path manager runs this connection), EPERM, ECONNREFUSED and ECONNRESET (the peer said no),
 * ETIMEDOUT, ECANCELED, EADDRNOTAVAIL, EADDRINUSE, ENETUNREACH, EHOSTUNREACH, ENODEV, EINVAL (families, sizes), E2BIG (a
 * newer caller's field). Needs a connection whose subflows the application runs (MPTCPAPI_CONTROL_APP) and CAP_NET_ADMIN
 * in its network namespace; Linux 5.19. Any thread may call it, several at once.
 */
int mptcpapi_subflow_open(int fd, const struct mptcpapi_open *open, uint32_t *id);

/** mptcpapi_subflow_open that tells more about a failure. */
int mptcpapi_subflow_open_e(int fd, const struct mptcpapi_open *open, uint32_t *id, struct mptcpapi_error *error);

/**
 * Closes a subflow, any of them, the initial and the last one included; what was in flight on it is sent again on the
 * others. A connection without subflows lives on for net.mptcp.close_timeout seconds, and an open revives it.
 *
 * how: MPTCPAPI_CLOSE_FIN or MPTCPAPI_CLOSE_RESET. Returns 0 or -errno: ENOENT (no such live subflow), EPERM, EOPNOTSUPP,
 * ENOTCONN for the initial subflow of a connection on which no data has flowed, EINVAL.
 * Needs CAP_NET_ADMIN in the network namespace. Any thread may call it.
 */
int mptcpapi_subflow_close(int fd, uint32_t id, int how);

/** mptcpapi_subflow_close that tells more about a failure. */
int mptcpapi_subflow_close_e(int fd, uint32_t id, int how, struct mptcpapi_error *error);

/**
 * Leaves the path of a subflow that does not work any more: the peer is told on another path to use it no longer
 * (RM_ADDR), so that it sends again at once what it had under way there, and the subflow is closed. Where this is the
 * last subflow, open another one first. Returns and needs what mptcpapi_subflow_close does.
 */
int mptcpapi_subflow_abandon(int fd, uint32_t id);

/** mptcpapi_subflow_abandon that tells more about a failure. */
int mptcpapi_subflow_abandon_e(int fd, uint32_t id, struct mptcpapi_error *error);

/**
 * Tells the peer, and the own scheduler, whether to use a subflow only where no other is left (MP_PRIO).
 *
 * on: 0 or 1. Returns 0 or -errno: ENOENT (no such live subflow), EACCES (the kernel's path manager runs this
 * connection), EPERM, EOPNOTSUPP. Needs MPTCPAPI_CONTROL_APP and CAP_NET_ADMIN. Any thread may call it.
 */
int mptcpapi_subflow_set_backup(int fd, uint32_t id, int on);

/** mptcpapi_subflow_set_backup that tells more about a failure. */
int mptcpapi_subflow_set_backup_e(int fd, uint32_t id, int on, struct mptcpapi_error *error);

/**
 * Offers the peer an address to open subflows to (ADD_ADDR). Something must listen there: this call does not.
 *
 * address: a struct sockaddr_in or sockaddr_in6 of `length` bytes; port 0 stands for the connection's. addr_id: gets the
 * address id; may be NULL. Returns 0 or -errno as mptcpapi_subflow_set_backup does, EFAULT and EINVAL for the address.
 */
int mptcpapi_announce(int fd, const struct sockaddr *address, socklen_t length, uint8_t *addr_id);

/** mptcpapi_announce that tells more about a failure. */
int mptcpapi_announce_e(int fd, const struct sockaddr *address, socklen_t length, uint8_t *addr_id, struct mptcpapi_error *error);

/**
 * Takes an address back (RM_ADDR): the peer is told on a living path, and both ends close the subflows of this local
 * address. addr_id: 0 is the address that the connection began with.
 *
 * Returns 0 or -errno as mptcpapi_subflow_set_backup does; ENOENT for an id that this connection does not have.
 */
int mptcpapi_withdraw(int fd, uint8_t addr_id);

/** mptcpapi_withdraw that tells more about a failure. */
int mptcpapi_withdraw_e(int fd, uint8_t addr_id, struct mptcpapi_error *error);

/**
 * Reads an option of one subflow, as getsockopt(2) reads one of a TCP socket: shapes, lengths and errors are the same.
 *
 * length: in, the room at value; out, how much of it was filled.
 *
 * Returns 0 or -errno: ENOENT (no such live subflow), ENOPROTOOPT (not an option of one subflow: `mptcpapi doctor
 * --options` lists those that are), ENOSYS (needs the BPF program, and it is not loaded: `mptcpapi load-bpf`), EOPNOTSUPP,
 * EXDEV, EFAULT, EINVAL. Needs no privilege. Any thread may call it. TCP_INFO, TCP_CONGESTION, TCP_MAXSEG, IP_TOS,
 * IPV6_TCLASS, the buffers and the device are read without the program.
 */
int mptcpapi_subflow_getsockopt(int fd, uint32_t id, int level, int name, void *value, socklen_t *length);

/** mptcpapi_subflow_getsockopt that tells more about a failure. */
int mptcpapi_subflow_getsockopt_e(int fd, uint32_t id, int level, int name, void *value, socklen_t *length, struct mptcpapi_error *error);

/**
 * Sets an option of one subflow and of no other, as setsockopt(2) sets one of a TCP socket. It stays when other subflows
 * are opened; a later setsockopt(2) of the same option on the whole connection overwrites it, mptcpapi_set_option
 * does not.
 *
 * Returns 0 or -errno: as mptcpapi_subflow_getsockopt, and EPERM where the option needs a capability of any TCP socket.
 * Needs the BPF program that `mptcpapi load-bpf` loads, once, as root; Linux 6.1. Any thread may call it.
 */
int mptcpapi_subflow_setsockopt(int fd, uint32_t id, int level, int name, const void *value, socklen_t length);

/** mptcpapi_subflow_setsockopt that tells more about a failure. */
int mptcpapi_subflow_setsockopt_e(int fd, uint32_t id, int level, int name, const void *value, socklen_t length, struct mptcpapi_error *error);

/**
 * Sets several options of several subflows for the price of one (up to 64): each element tells in its fields error and
 * kind how it went.
 *
 * options: of count elements, options[0].size set by the caller to the size of one.
 *
 * Returns how many were set, or -errno where none could be: as mptcpapi_subflow_setsockopt.
 */
int mptcpapi_subflow_setsockopts(int fd, struct mptcpapi_option *options, size_t count);

/** mptcpapi_subflow_setsockopts that tells more about a failure. */
int mptcpapi_subflow_setsockopts_e(int fd, struct mptcpapi_option *options, size_t count, struct mptcpapi_error *error);

/**
 * Sets an option of the whole connection, as setsockopt(2) does. Afterwards the subflows that were given a value of their
 * own for it, by this process, get it again.
 *
 * Returns 0 or -errno: the kernel's for the connection, and as mptcpapi_subflow_setsockopt where a subflow did not get its
 * value again. Any thread may call it.
 */
int mptcpapi_set_option(int fd, int level, int name, const void *value, socklen_t length);

/** mptcpapi_set_option that tells more about a failure. */
int mptcpapi_set_option_e(int fd, int level, int name, const void *value, socklen_t length, struct mptcpapi_error *error);

/**
 * getsockopt(2) that also answers the options of "An enhanced socket API for Multipath TCP" (ANRW '16), at IPPROTO_TCP:
 * MPTCP_GET_SUB_IDS, MPTCP_CLOSE_SUB_ID, MPTCP_GET_SUB_TUPLE, MPTCP_OPEN_SUB_TUPLE and MPTCP_SUB_GETSOCKOPT of
 * mptcpapi_paper.h. Any other option goes to the kernel.
 *
 * Returns 0, or -1 with errno, as the paper's kernel did: EINVAL (a length, an id), EOPNOTSUPP (not an MPTCP connection,
 * or not any more; an open on one that the kernel's path manager runs), EFAULT, EPERM (no right to control the
 * connection), ENOPROTOOPT, and those of bind(2) and connect(2). A subflow that is opened before data has flowed is asked
 * for at a later call of this function on that connection. Any thread may call it.
 */
int mptcpapi_getsockopt(int fd, int level, int name, void *value, socklen_t *length);

/**
 * mptcpapi_getsockopt that tells more about a failure: 0 or -errno. The operation that the error names is that of the
 * option: "get_sub_ids", "open_sub_tuple", and so on; "getsockopt" for the kernel's.
 */
int mptcpapi_getsockopt_e(int fd, int level, int name, void *value, socklen_t *length, struct mptcpapi_error *error);

/**
 * setsockopt(2) that also answers MPTCP_SUB_SETSOCKOPT of mptcpapi_paper.h, at IPPROTO_TCP. Of any other option, which goes
 * to the kernel, the subflows that were given a value of their own by this process get it again.
 *
 * Returns 0, or -1 with errno: as mptcpapi_getsockopt. Any thread may call it.
 */
int mptcpapi_setsockopt(int fd, int level, int name, const void *value, socklen_t length);

/**
 * mptcpapi_setsockopt that tells more about a failure: 0 or -errno. The operation that the error names is
 * "sub_setsockopt" for the paper's option, "set_option" for the kernel's.
 */
int mptcpapi_setsockopt_e(int fd, int level, int name, const void *value, socklen_t length, struct mptcpapi_error *error);

/**
 * Whether mptcpapi_getsockopt and mptcpapi_setsockopt of this process also answer the options 42 to 45 as the MPTCP
 * kernels 0.9x did. Off (0) at first: Linux uses these numbers otherwise. Returns what it was.
 */
int mptcpapi_stock_options(int on);

/**
 * Begins to watch a connection, which must be connected or connecting. Its descriptor is remembered by number only: the
 * monitor does not keep it open.
 *
 * flags: 0. monitor: gets the monitor, to be freed. Returns 0 or -errno: ENOTCONN, EOPNOTSUPP, EFAULT, EINVAL, EMFILE.
 * With CAP_NET_ADMIN in the network namespace the kernel tells of each change; without it, listings are compared ten
 * times a second: see mptcpapi_monitor_source. All monitors of a process and namespace share one netlink socket.
 * A monitor may be used by several threads at once (each event goes to one of them), but not after a fork in the child.
 */
int mptcpapi_monitor_new(int fd, int flags, struct mptcpapi_monitor **monitor);

/** mptcpapi_monitor_new that tells more about a failure. */
int mptcpapi_monitor_new_e(int fd, int flags, struct mptcpapi_monitor **monitor, struct mptcpapi_error *error);

/**
 * Watches another connection of the same network namespace too. To watch thousands, add them to one monitor.
 *
 * token: gets the token that its events carry; may be NULL. Returns 0 or -errno as mptcpapi_monitor_new does, EXDEV for
 * a connection of another namespace.
 */
int mptcpapi_monitor_add(struct mptcpapi_monitor *monitor, int fd, uint32_t *token);

/** mptcpapi_monitor_add that tells more about a failure. */
int mptcpapi_monitor_add_e(struct mptcpapi_monitor *monitor, int fd, uint32_t *token, struct mptcpapi_error *error);

/** Watches a connection no more. Events of it that are already here are still told. Returns 0 or -EFAULT. */
int mptcpapi_monitor_remove(struct mptcpapi_monitor *monitor, uint32_t token);

/** Where the events come from: MPTCPAPI_SOURCE_NETLINK or MPTCPAPI_SOURCE_POLLING, or -EFAULT. */
int mptcpapi_monitor_source(const struct mptcpapi_monitor *monitor);

/**
 * A descriptor that is readable when there may be an event, and whenever one is queued: for poll, epoll and the like. It
 * may also wake without cause. It belongs to the monitor: do not close it. Or -EFAULT.
 */
int mptcpapi_monitor_fd(const struct mptcpapi_monitor *monitor);

/**
 * The next event: returns 1, or 0 when the time is over first, or -errno.
 *
 * event: its field size is set by the caller. timeout_ms: 0 does not wait, -1 waits for ever.
 */
int mptcpapi_monitor_next(struct mptcpapi_monitor *monitor, struct mptcpapi_event *event, int timeout_ms);

/** mptcpapi_monitor_next that tells more about a failure. */
int mptcpapi_monitor_next_e(struct mptcpapi_monitor *monitor, struct mptcpapi_event *event, int timeout_ms, struct mptcpapi_error *error);

/** Ends a monitor; NULL is allowed. */
void mptcpapi_monitor_free(struct mptcpapi_monitor *monitor);

/**
 * Begins to watch the paths of a connection: its links and addresses, and its subflows for stalls.
 *
 * stall_ms: after how long without an answer a subflow counts as stalled; -1 stands for 50, 0: never. flags: 0 or
 * MPTCPAPI_EXPECT_DATA. watch: gets the watch, to be freed. Returns 0 or -errno as mptcpapi_monitor_new does.
 * Needs no privilege. The descriptor is remembered by number only, and not kept open.
 */
int mptcpapi_path_watch_new(int fd, int stall_ms, int flags, struct mptcpapi_path_watch **watch);

/** mptcpapi_path_watch_new that tells more about a failure. */
int mptcpapi_path_watch_new_e(int fd, int stall_ms, int flags, struct mptcpapi_path_watch **watch, struct mptcpapi_error *error);

/** A descriptor that is readable when there may be a path event. It belongs to the watch. Or -EFAULT. */
int mptcpapi_path_watch_fd(const struct mptcpapi_path_watch *watch);

/**
 * The next path event: returns 1, or 0 when the time is over first, or -errno.
 *
 * event: its field size is set by the caller. timeout_ms: 0 does not wait, -1 waits for ever.
 */
int mptcpapi_path_watch_next(struct mptcpapi_path_watch *watch, struct mptcpapi_path_event *event, int timeout_ms);

/** mptcpapi_path_watch_next that tells more about a failure. */
int mptcpapi_path_watch_next_e(struct mptcpapi_path_watch *watch, struct mptcpapi_path_event *event, int timeout_ms, struct mptcpapi_error *error);

/** Ends a watch; NULL is allowed. */
void mptcpapi_path_watch_free(struct mptcpapi_path_watch *watch);

/**
 * Tries what this kernel offers to this process in the calling thread's network namespace. Sends no packet, changes
 * nothing, needs no privilege. Any thread may call it.
 *
 * features: its field size is set by the caller. Returns 0 or -errno: EFAULT (features is NULL), EINVAL (wrong size),
 * EMFILE and the like; a feature that is missing is no error.
 */
int mptcpapi_features(struct mptcpapi_features *features);

/** mptcpapi_features that tells more about a failure. */
int mptcpapi_features_e(struct mptcpapi_features *features, struct mptcpapi_error *error);

/** The version of the library that is running, "0.1.0". MPTCPAPI_VERSION is that of the header. */
const char *mptcpapi_version(void);

/**
 * The word for MPTCPAPI_STATUS_*: "unconnected", "mptcp", "fallback", "tcp"; "unknown" for other numbers.
 * The text is the library's and stays, as that of the functions below.
 */
const char *mptcpapi_status_name(int status);

/** The kernel's name of a TCP state in small letters: "established", "fin_wait1" and so on; "unknown" for other numbers. */
const char *mptcpapi_state_name(uint32_t state);

/** The word for MPTCPAPI_PATH_MANAGER_*: "kernel", "userspace"; "unknown" for other numbers. */
const char *mptcpapi_path_manager_name(uint32_t path_manager);

/**
 * The name of MPTCPAPI_ERROR_*, the same in every language: "NotMptcp", "FellBack" and so on; "None" for
 * MPTCPAPI_ERROR_NONE, "unknown" for other numbers.
 */
const char *mptcpapi_error_name(uint32_t kind);

/** The word for MPTCPAPI_EVENT_*: "subflow_established" and so on; "unknown" for other numbers. */
const char *mptcpapi_event_name(uint32_t kind);

/** The word for MPTCPAPI_PATH_EVENT_*: "link_down" and so on; "unknown" for other numbers. */
const char *mptcpapi_path_event_name(uint32_t kind);

/** The word for MPTCPAPI_SOURCE_*: "netlink", "polling"; "unknown" for other numbers. */
const char *mptcpapi_source_name(int source);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MPTCPAPI_H */
