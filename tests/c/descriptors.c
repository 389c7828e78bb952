/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Descriptors that are no MPTCP connection, or not yet, or not any more. */

#include <fcntl.h>
#include <limits.h>

#include "test.h"

static void expect_error(int fd, int status, int number, uint32_t kind) {
  SIZED(struct mptcpapi_subflow, subflow);
  SIZED(struct mptcpapi_info, info);
  SIZED(struct mptcpapi_error, error);
  EQUAL(mptcpapi_status(fd), status);
  EQUAL(mptcpapi_info(fd, &info), -number);
  EQUAL(mptcpapi_subflows(fd, &subflow, 1, 0), -number);
  EQUAL(mptcpapi_subflows(fd, NULL, 0, 0), -number);
  EQUAL(mptcpapi_subflows_e(fd, &subflow, 1, MPTCPAPI_DETAIL, &error), -number);
  CHECK(all_are((char *)&info + 4, sizeof info - 4, POISON));
  CHECK(all_are((char *)&subflow + 4, sizeof subflow - 4, POISON));
  EQUAL(error.kind, kind);
  EQUAL(error.error, number);
  EQUAL(error.subflow, 0);
  CHECK(strcmp(error.operation, "subflows") == 0);
  CHECK(strncmp(error.message, "subflows: ", 10) == 0 && error.message[10]);
}

static void expect_unconnected(int fd) {
  SIZED(struct mptcpapi_subflow, subflow);
  SIZED(struct mptcpapi_info, info);
  CHECK(fd >= 0);
  EQUAL(mptcpapi_status(fd), MPTCPAPI_STATUS_UNCONNECTED);
  EQUAL(mptcpapi_subflows(fd, &subflow, 1, 0), 0);
  EQUAL(mptcpapi_subflows(fd, &subflow, 1, MPTCPAPI_DETAIL), 0);
  CHECK(all_are((char *)&subflow + 4, sizeof subflow - 4, POISON));
  EQUAL(mptcpapi_info(fd, &info), 0);
  EQUAL(info.subflows, 0);
  EQUAL(info.path_manager, MPTCPAPI_PATH_MANAGER_UNKNOWN);
  EQUAL(info.server_side, -1);
  EQUAL(info.fallback, 0);
}

static void no_sockets(void) {
  int file = open("/dev/null", O_RDWR);
  int closed = dup(file);
  CHECK(closed >= 0 && close(closed) == 0);
  expect_error(closed, -EBADF, EBADF, MPTCPAPI_ERROR_OS);
  expect_error(-1, -EBADF, EBADF, MPTCPAPI_ERROR_OS);
  expect_error(-100, -EBADF, EBADF, MPTCPAPI_ERROR_OS);
  expect_error(INT_MIN, -EBADF, EBADF, MPTCPAPI_ERROR_OS);
  expect_error(INT_MAX, -EBADF, EBADF, MPTCPAPI_ERROR_OS);
  expect_error(file, -ENOTSOCK, ENOTSOCK, MPTCPAPI_ERROR_OS);
  close(file);
}

static void other_sockets(void) {
  int udp = socket(AF_INET6, SOCK_DGRAM, 0);
  int tcp = socket(AF_INET, SOCK_STREAM, 0);
  int tcp6 = socket(AF_INET6, SOCK_STREAM, 0);
  int pair[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  expect_error(udp, -EOPNOTSUPP, EOPNOTSUPP, MPTCPAPI_ERROR_NOT_MPTCP);
  expect_error(pair[0], -EOPNOTSUPP, EOPNOTSUPP, MPTCPAPI_ERROR_NOT_MPTCP);
  expect_error(tcp, MPTCPAPI_STATUS_TCP, EOPNOTSUPP, MPTCPAPI_ERROR_NOT_MPTCP);
  expect_error(tcp6, MPTCPAPI_STATUS_TCP, EOPNOTSUPP, MPTCPAPI_ERROR_NOT_MPTCP);
  close(udp);
  close(tcp);
  close(tcp6);
  close(pair[0]);
  close(pair[1]);
}

static void not_yet_connected(void) {
  struct sockaddr_in address;
  int fresh = mptcpapi_socket(AF_INET, 0), fresh6 = mptcpapi_socket(AF_INET6, 0);
  int listening = listener(&address);
  expect_unconnected(fresh);
  expect_unconnected(fresh6);
  expect_unconnected(listening);
  close(fresh);
  close(fresh6);
  close(listening);
}

/* Nobody answers on this address of path 1. */
static void connecting(const char *own) {
  struct sockaddr_in nobody = ipv4(own, 9);
  int fd = mptcpapi_socket(AF_INET, SOCK_NONBLOCK);
  nobody.sin_addr.s_addr = htonl((ntohl(nobody.sin_addr.s_addr) & 0xFFFFFF00) | 200);
  CHECK(connect(fd, (struct sockaddr *)&nobody, sizeof nobody) == -1 && errno == EINPROGRESS);
  expect_unconnected(fd);
  close(fd);
}

static void falls_back_with_a_tcp_peer(void) {
  struct sockaddr_in address = ipv4("127.0.0.1", 0);
  socklen_t length = sizeof address;
  int listening = socket(AF_INET, SOCK_STREAM, 0), fd = mptcpapi_socket(AF_INET, 0);
  CHECK(bind(listening, (struct sockaddr *)&address, sizeof address) == 0 && listen(listening, 1) == 0);
  CHECK(getsockname(listening, (struct sockaddr *)&address, &length) == 0);
  CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
  expect_error(fd, MPTCPAPI_STATUS_FALLBACK, EOPNOTSUPP, MPTCPAPI_ERROR_FELL_BACK);
  close(fd);
  close(listening);
}

static void accepted_from_a_tcp_peer(void) {
  struct sockaddr_in address;
  int listening = listener(&address), tcp = socket(AF_INET, SOCK_STREAM, 0), accepted;
  CHECK(connect(tcp, (struct sockaddr *)&address, sizeof address) == 0);
  accepted = accept(listening, NULL, NULL);
  CHECK(accepted >= 0);
  expect_error(accepted, MPTCPAPI_STATUS_TCP, EOPNOTSUPP, MPTCPAPI_ERROR_NOT_MPTCP);
  close(accepted);
  close(tcp);
  close(listening);
}

static void flags_of_new_sockets(void) {
  SIZED(struct mptcpapi_error, error);
  int blocking = mptcpapi_socket_e(AF_INET, SOCK_CLOEXEC, &error);
  int nonblocking = mptcpapi_socket(AF_INET6, SOCK_NONBLOCK);
  CHECK(blocking >= 0 && nonblocking >= 0);
  EQUAL(error.kind, MPTCPAPI_ERROR_NONE);
  EQUAL(error.error, 0);
  EQUAL(fcntl(blocking, F_GETFD), FD_CLOEXEC);
  EQUAL(fcntl(nonblocking, F_GETFD), FD_CLOEXEC);
  EQUAL(fcntl(blocking, F_GETFL) & O_NONBLOCK, 0);
  EQUAL(fcntl(nonblocking, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  close(blocking);
  close(nonblocking);
}

int main(void) {
  const char *own = getenv("LAB_CLIENT_1");
  no_sockets();
  other_sockets();
  not_yet_connected();
  falls_back_with_a_tcp_peer();
  accepted_from_a_tcp_peer();
  flags_of_new_sockets();
  if (!own)
    return skip("a connection on its way needs the lab");
  connecting(own);
  return 0;
}
