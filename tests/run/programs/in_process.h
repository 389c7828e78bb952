/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Before the source of a program (cc -include): its calls become those of libmptcpapi. */
#include <errno.h>
#include <sys/socket.h>

#include <mptcpapi.h>

static inline int stream_socket(int family, int type, int protocol) {
  if (type != SOCK_STREAM || protocol != 0)
    return (errno = EINVAL), -1;
#ifdef MPTCPAPI_PAPER_STOCK
  mptcpapi_stock_options(1);
#endif
  int fd = mptcpapi_socket(family, MPTCPAPI_CONTROL_APP);
  if (fd < 0)
    errno = -fd;
  return fd < 0 ? -1 : fd;
}

#define socket(family, type, protocol) stream_socket(family, type, protocol)
#define getsockopt(fd, level, name, value, length) mptcpapi_getsockopt(fd, level, name, value, length)
#define setsockopt(fd, level, name, value, length) mptcpapi_setsockopt(fd, level, name, value, length)
