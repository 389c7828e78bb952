/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The paper's options: wrong lengths, ids, pointers and sockets, and what is not the paper's. */

#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>

#include <netinet/tcp.h>

#include "paper.h"

/* No option has this number. */
enum { NOTHING = 9999 };

/* Those that answer at getsockopt; 70 is a number without a meaning. */
static const int names[] = {MPTCP_GET_SUB_IDS, MPTCP_CLOSE_SUB_ID, MPTCP_GET_SUB_TUPLE, MPTCP_OPEN_SUB_TUPLE,
  MPTCP_SUB_GETSOCKOPT};
enum { NAMES = sizeof names / sizeof *names };

static void wrong_lengths_and_ids(int fd) {
  unsigned char bytes[64] = {0}, pairs[62];
  for (socklen_t room = 0; room <= sizeof bytes; room++) {
    if (room != TUPLE && room != DRAFT_TUPLE && room != 57 && room != 58)
      EQUAL(fails(fd, MPTCP_OPEN_SUB_TUPLE, bytes, room, room), EINVAL);
    if (room != sizeof(struct mptcp_sub_getsockopt))
      EQUAL(fails(fd, MPTCP_SUB_GETSOCKOPT, bytes, room, room), EINVAL);
    if (room != sizeof(struct mptcp_sub_setsockopt))
      EQUAL(set_at(fd, MPTCP_SUB_SETSOCKOPT, bytes, room), EINVAL);
    if (room < 4)
      EQUAL(fails(fd, MPTCP_GET_SUB_IDS, bytes, room, room), EINVAL);
    bytes[0] = 1;
    if (room < TUPLE)
      EQUAL(fails(fd, MPTCP_GET_SUB_TUPLE, bytes, room, room), EINVAL);
    bytes[0] = 0;
  }
  EQUAL(fails(fd, MPTCP_CLOSE_SUB_ID, bytes, 0, 0), EINVAL);
  for (int id = 0; id < 256; id++)
    if (id != 1) {
      bytes[0] = (unsigned char)id;
      EQUAL(fails(fd, MPTCP_GET_SUB_TUPLE, bytes, 1, sizeof bytes), EINVAL);
      EQUAL(fails(fd, MPTCP_CLOSE_SUB_ID, bytes, 1, 1), EINVAL);
    }
  for (int i = 0; i < 2 * NAMES; i++) {
    const socklen_t negative = i < NAMES ? (socklen_t)-1 : (socklen_t)INT_MIN;
    socklen_t length = negative;
    EQUAL(get_at(fd, names[i % NAMES], bytes, &length), EINVAL);
    EQUAL(length, negative);
    EQUAL(set_at(fd, MPTCP_SUB_SETSOCKOPT, bytes, negative), EINVAL);
  }
  EQUAL(listed(fd, pairs), 1);
}

/* Three pages, of which the middle one cannot be used. */
static unsigned char *pages(size_t page) {
  unsigned char *memory = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  CHECK(mprotect(memory + page, page, PROT_NONE) == 0);
  return memory;
}

static void wrong_pointers(int fd) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  unsigned char *memory = pages(page), *end = memory + page, pairs[62];
  unsigned char *const bad[] = {NULL, NULL, end, end + page - 1};
  char value[16];
  unsigned room = sizeof value;
  socklen_t length;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    /* 1 is no pointer that C lets one make without words about it. */
    void *const wrong = i == 1 ? (void *)(uintptr_t)1 : bad[i];
    struct mptcp_sub_getsockopt no_value = {1, IPPROTO_IP, IP_TOS, wrong, &room};
    struct mptcp_sub_getsockopt no_length = {1, IPPROTO_IP, IP_TOS, value, wrong};
    struct mptcp_sub_getsockopt no_id = {9, IPPROTO_IP, IP_TOS, wrong, wrong};
    struct mptcp_sub_setsockopt not_set = {1, IPPROTO_IP, IP_TOS, wrong, 4};
    for (int j = 0; j < NAMES; j++) {
      const int is_tuple = names[j] == MPTCP_OPEN_SUB_TUPLE, is_option = names[j] == MPTCP_SUB_GETSOCKOPT;
      const socklen_t right = is_tuple ? TUPLE : is_option ? sizeof no_value : 64;
      length = right;
      EQUAL(get_at(fd, names[j], wrong, &length), EFAULT);
      EQUAL(length, right);
      EQUAL(get_at(fd, names[j], pairs, wrong), EFAULT);
    }
    EQUAL(set_at(fd, MPTCP_SUB_SETSOCKOPT, wrong, sizeof not_set), EFAULT);
    length = sizeof no_value;
    EQUAL(get_at(fd, MPTCP_SUB_GETSOCKOPT, &no_value, &length), EFAULT);
    EQUAL(get_at(fd, MPTCP_SUB_GETSOCKOPT, &no_length, &length), EFAULT);
    EQUAL(get_at(fd, MPTCP_SUB_GETSOCKOPT, &no_id, &length), EINVAL);
    EQUAL(set_at(fd, MPTCP_SUB_SETSOCKOPT, &not_set, sizeof not_set), EFAULT);
    EQUAL(room, sizeof value);
  }
  struct mptcp_sub_getsockopt negative = {1, IPPROTO_IP, IP_TOS, value, &room};
  room = (unsigned)-1;
  length = sizeof negative;
  EQUAL(get_at(fd, MPTCP_SUB_GETSOCKOPT, &negative, &length), EINVAL);
  /* Up to the end of what can be used, and one byte further. */
  memset(memory, POISON, page);
  length = 64;
  EQUAL(get_at(fd, MPTCP_GET_SUB_IDS, end - 3, &length), EFAULT);
  EQUAL(length, 64);
  EQUAL(get_at(fd, MPTCP_GET_SUB_IDS, end - 4, &length), 0);
  EQUAL(length, 4);
  CHECK(memcmp(end - 4, "\1\0\1\6", 4) == 0);
  end[1 - TUPLE] = 1;
  length = TUPLE;
  EQUAL(get_at(fd, MPTCP_GET_SUB_TUPLE, end + 1 - TUPLE, &length), EFAULT);
  EQUAL(get_at(fd, MPTCP_OPEN_SUB_TUPLE, end + 1 - TUPLE, &length), EFAULT);
  end[-1] = 1;
  EQUAL(get_at(fd, MPTCP_CLOSE_SUB_ID, end - 1, &(socklen_t){0}), EINVAL);
  EQUAL(listed(fd, pairs), 1);
  /* What can only be read. */
  memory[0] = 1;
  CHECK(mprotect(memory, page, PROT_READ) == 0);
  length = 64;
  EQUAL(get_at(fd, MPTCP_GET_SUB_IDS, memory, &length), EFAULT);
  EQUAL(get_at(fd, MPTCP_GET_SUB_TUPLE, memory, &length), EFAULT);
  EQUAL(length, 64);
  munmap(memory, 3 * page);
}

/* Of an open that was done, only the id is lost: the paper's kernel did not write it. */
static void constant_request(void) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  int fd = connect_app();
  unsigned char *memory = pages(page), pairs[62];
  socklen_t length = tuple(memory, 0, 0);
  CHECK(mprotect(memory, page, PROT_READ) == 0);
  EQUAL(get_at(fd, MPTCP_OPEN_SUB_TUPLE, memory, &length), 0);
  until_established(fd, 2);
  EQUAL(listed(fd, pairs), 2);
  munmap(memory, 3 * page);
  close(fd);
}

static void addresses_that_cannot_be_had(void) {
  int fd = connect_app(), other = socket(AF_INET, SOCK_STREAM, 0);
  unsigned char bytes[DRAFT_TUPLE], pairs[62];
  struct sockaddr_in foreign = ipv4("192.0.2.1", 0), taken = ipv4(getenv("LAB_CLIENT_2"), 0);
  socklen_t size = sizeof taken, length = tuple(bytes, 0, 0);
  CHECK(other >= 0 && bind(other, (struct sockaddr *)&taken, sizeof taken) == 0 && listen(other, 1) == 0);
  CHECK(getsockname(other, (struct sockaddr *)&taken, &size) == 0);
  memcpy(bytes + 1, &foreign, sizeof foreign);
  EQUAL(fails(fd, MPTCP_OPEN_SUB_TUPLE, bytes, length, length), EADDRNOTAVAIL);
  memcpy(bytes + 1, &taken, sizeof taken);
  EQUAL(fails(fd, MPTCP_OPEN_SUB_TUPLE, bytes, length, length), EADDRINUSE);
  /* The length says that these are two addresses of IPv6, for which the socket is not. */
  memset(bytes, 0, sizeof bytes);
  EQUAL(fails(fd, MPTCP_OPEN_SUB_TUPLE, bytes, 1, 57), EAFNOSUPPORT);
  EQUAL(listed(fd, pairs), 1);
  close(other);
  close(fd);
}

/* Each of the options; that of a set too. */
static void all_fail(int fd, int error) {
  unsigned char bytes[64] = {1};
  for (int i = 0; i < NAMES; i++) {
    const socklen_t right = names[i] == MPTCP_OPEN_SUB_TUPLE ? TUPLE : names[i] == MPTCP_SUB_GETSOCKOPT ? 32 : 64;
    EQUAL(fails(fd, names[i], bytes, right, right), error);
    EQUAL(fails(fd, names[i], bytes, 0, 0), error);
  }
  EQUAL(set_at(fd, MPTCP_SUB_SETSOCKOPT, bytes, 32), error);
  EQUAL(set_at(fd, MPTCP_SUB_SETSOCKOPT, bytes, 0), error);
}

static void sockets_without_a_connection(void) {
  int fresh = mptcpapi_socket(AF_INET, 0), plain = socket(AF_INET, SOCK_STREAM, 0), file = open("/dev/null", O_RDONLY);
  int udp = socket(AF_INET, SOCK_DGRAM, 0), fell_back = connected_to_port(1, 0), closed = dup(file);
  struct sockaddr_in any = ipv4("127.0.0.1", 0);
  CHECK(fresh >= 0 && plain >= 0 && file >= 0 && udp >= 0 && closed >= 0 && close(closed) == 0);
  talk(fell_back);
  all_fail(closed, EBADF);
  all_fail(-1, EBADF);
  all_fail(INT_MIN, EBADF);
  all_fail(file, ENOTSOCK);
  all_fail(plain, EOPNOTSUPP);
  all_fail(udp, EOPNOTSUPP);
  all_fail(fell_back, EOPNOTSUPP);
  all_fail(fresh, EOPNOTSUPP);
  CHECK(bind(fresh, (struct sockaddr *)&any, sizeof any) == 0 && listen(fresh, 1) == 0);
  all_fail(fresh, EOPNOTSUPP);
  close(fresh);
  close(plain);
  close(udp);
  close(file);
  close(fell_back);
}

static void kernel_path_manager(void) {
  int fd = connected_to_port(0, 0);
  unsigned char bytes[DRAFT_TUPLE], pairs[62];
  socklen_t length = tuple(bytes, 1, 0);
  talk(fd);
  EQUAL(listed(fd, pairs), 1);
  EQUAL(fails(fd, MPTCP_OPEN_SUB_TUPLE, bytes, length, length), EOPNOTSUPP);
  EQUAL(listed(fd, pairs), 1);
  close(fd);
}

/* Whatever the two calls of the system answer. */
static void passed_on(int fd, int level, int name, void *value, socklen_t room) {
  socklen_t ours = room, kernels = room;
  char copy[64];
  int expected, error;
  CHECK(room <= sizeof copy);
  errno = 0;
  expected = getsockopt(fd, level, name, value ? copy : NULL, &kernels);
  error = errno;
  errno = 0;
  EQUAL(mptcpapi_getsockopt(fd, level, name, value, &ours), expected);
  EQUAL(errno, error);
  EQUAL(ours, kernels);
  CHECK(expected != 0 || memcmp(copy, value, ours) == 0);
}

static void the_kernels_own(int fd) {
  char value[64];
  int one = 1, error;
  memset(value, 0, sizeof value);
  passed_on(fd, SOL_SOCKET, SO_TYPE, value, sizeof value);
  passed_on(fd, SOL_SOCKET, SO_TYPE, value, 2);
  passed_on(fd, IPPROTO_TCP, TCP_CONGESTION, value, sizeof value);
  passed_on(fd, IPPROTO_TCP, TCP_CONGESTION, NULL, sizeof value);
  passed_on(fd, IPPROTO_TCP, NOTHING, value, 4);
  passed_on(fd, IPPROTO_TCP, MPTCP_GET_SUB_INFO, value, 4);
  passed_on(fd, NOTHING, MPTCP_GET_SUB_IDS, value, sizeof value);
  passed_on(fd, SOL_SOCKET, MPTCP_GET_SUB_IDS, value, 4);
  /* The numbers of the kernels 0.9x: this kernel's, unless they are asked for. */
  for (int name = 42; name <= 45; name++)
    passed_on(fd, IPPROTO_TCP, name, value, sizeof value);
  passed_on(-1, SOL_SOCKET, SO_TYPE, value, 4);
  for (int name = MPTCP_GET_SUB_IDS; name <= MPTCP_SUB_GETSOCKOPT; name++) {
    errno = 0;
    EQUAL(setsockopt(fd, IPPROTO_TCP, name, &one, sizeof one), -1);
    error = errno;
    EQUAL(set_at(fd, name, &one, sizeof one), error);
  }
  EQUAL(mptcpapi_setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one), 0);
  EQUAL(set_at(fd, NOTHING, &one, sizeof one), ENOPROTOOPT);
  EQUAL(fails(fd, MPTCP_SUB_SETSOCKOPT, value, 32, 32), ENOPROTOOPT);
}

static void told(int status, int number, const struct mptcpapi_error *error, const char *operation, const char *hint) {
  EQUAL(status, -number);
  EQUAL(error->error, number);
  CHECK(strcmp(error->operation, operation) == 0);
  CHECK(strstr(error->hint, hint) && strstr(error->message, hint));
}

/* More than an errno, for who asks. */
static void errors_in_words(int fd) {
  struct mptcpapi_error error = {.size = sizeof error};
  unsigned char bytes[64] = {9};
  socklen_t length = sizeof bytes;
  told(mptcpapi_getsockopt_e(fd, IPPROTO_TCP, MPTCP_GET_SUB_TUPLE, bytes, &length, &error), EINVAL, &error,
       "get_sub_tuple", "no subflow of this connection has this id");
  EQUAL(error.kind, MPTCPAPI_ERROR_NO_SUCH_SUBFLOW);
  EQUAL(error.subflow, 9);
  length = 1;
  told(mptcpapi_getsockopt_e(fd, IPPROTO_TCP, MPTCP_GET_SUB_IDS, bytes, &length, &error), EINVAL, &error, "get_sub_ids",
       "length");
  told(mptcpapi_setsockopt_e(fd, IPPROTO_TCP, MPTCP_SUB_SETSOCKOPT, bytes, 4, &error), EINVAL, &error, "sub_setsockopt",
       "length");
  told(mptcpapi_getsockopt_e(fd, IPPROTO_TCP, NOTHING, bytes, &length, &error), EOPNOTSUPP, &error, "getsockopt", "");
  length = sizeof bytes;
  EQUAL(mptcpapi_getsockopt_e(fd, IPPROTO_TCP, MPTCP_GET_SUB_IDS, bytes, &length, &error), 0);
  EQUAL(error.kind, MPTCPAPI_ERROR_NONE);
  EQUAL(length, 4);
  /* mptcpapi_set_option knows the kernel's options only. */
  EQUAL(mptcpapi_set_option(fd, IPPROTO_TCP, MPTCP_SUB_SETSOCKOPT, bytes, 32), -ENOPROTOOPT);
  error.size = 3;
  EQUAL(mptcpapi_getsockopt_e(fd, IPPROTO_TCP, MPTCP_GET_SUB_IDS, bytes, &length, &error), -EINVAL);
}

int main(void) {
  int fd;
  if (!getenv("MPTCPAPI_LAB") || !getenv("LAB_PORT"))
    return skip("needs the lab with a peer, without endpoints");
  fd = connect_app();
  wrong_lengths_and_ids(fd);
  wrong_pointers(fd);
  the_kernels_own(fd);
  errors_in_words(fd);
  close(fd);
  constant_request();
  addresses_that_cannot_be_had();
  sockets_without_a_connection();
  kernel_path_manager();
  return 0;
}
