/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Options of one subflow: shapes, wrong arguments, what is missing without the BPF program, and what it does. */

#include <limits.h>
#include <netinet/tcp.h>

#include "test.h"

/* The size of the first release: this number never changes. */
enum { FIRST_OPTION = 32 + sizeof(void *), FIRST_FEATURES = 148, NOTHING = 9999, FD_NONE = -1 };

static struct mptcpapi_option wanted(uint32_t subflow, int level, int name, const void *value, socklen_t length) {
  struct mptcpapi_option option;
  memset(&option, POISON, sizeof option);
  option.size = sizeof option;
  option.subflow = subflow;
  option.level = level;
  option.name = name;
  option.value = value;
  option.length = length;
  return option;
}

static int get_int(int fd, uint32_t id, int level, int name) {
  int value = INT_MIN;
  socklen_t length = sizeof value;
  EQUAL(mptcpapi_subflow_getsockopt(fd, id, level, name, &value, &length), 0);
  EQUAL(length, sizeof value);
  return value;
}

/* Memory of exactly `room` bytes, so that a write beyond is seen; how much was filled. */
static socklen_t get_name(int fd, socklen_t room, const char *start) {
  char *exact = malloc(room ? room : 1);
  socklen_t length = room;
  CHECK(exact);
  EQUAL(mptcpapi_subflow_getsockopt(fd, 1, IPPROTO_TCP, TCP_CONGESTION, exact, &length), 0);
  CHECK(length <= room && memcmp(exact, start, length < strlen(start) ? length : strlen(start)) == 0);
  free(exact);
  return length;
}

static void values_read_without_the_program(int fd, const char *congestion) {
  char info[4096];
  socklen_t length = sizeof info;
  for (socklen_t room = 0; room <= 16; room++)
    EQUAL(get_name(fd, room, congestion), room);
  EQUAL(get_name(fd, 17, congestion), 16);
  EQUAL(get_name(fd, 100000, congestion), 16);
  CHECK(get_int(fd, 1, IPPROTO_TCP, TCP_MAXSEG) > 500);
  EQUAL(get_int(fd, 1, IPPROTO_IP, IP_TOS), 0);
  CHECK(get_int(fd, 1, SOL_SOCKET, SO_SNDBUF) > 0);
  EQUAL(mptcpapi_subflow_getsockopt(fd, 1, IPPROTO_TCP, TCP_INFO, info, &length), 0);
  CHECK(length > 100 && info[0] == 1);
}

static void wrong_arguments(int fd) {
  SIZED(struct mptcpapi_error, error);
  char value[16];
  int one = 1;
  socklen_t length;
  memset(value, POISON, sizeof value);
  /* NULL. */
  EQUAL(mptcpapi_subflow_getsockopt(fd, 1, IPPROTO_TCP, TCP_CONGESTION, value, NULL), -EFAULT);
  length = 16;
  EQUAL(mptcpapi_subflow_getsockopt_e(fd, 1, IPPROTO_TCP, TCP_CONGESTION, NULL, &length, &error), -EFAULT);
  CHECK(error.hint[0] && strcmp(error.operation, "subflow_option") == 0);
  EQUAL(mptcpapi_subflow_setsockopt(fd, 1, IPPROTO_TCP, TCP_NODELAY, NULL, sizeof one), -EFAULT);
  EQUAL(mptcpapi_subflow_setsockopts(fd, NULL, 1), -EFAULT);
  EQUAL(mptcpapi_subflow_setsockopts(fd, NULL, 0), 0);
  errno = 0;
  EQUAL(mptcpapi_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, NULL, 4), -1);
  EQUAL(errno, EFAULT);
  length = 0;
  EQUAL(mptcpapi_subflow_getsockopt(fd, 1, IPPROTO_TCP, TCP_CONGESTION, NULL, &length), 0);
  /* Lengths. */
  for (int bits = 0; bits < 2; bits++) {
    const socklen_t negative = bits ? (socklen_t)-1 : (socklen_t)INT_MIN;
    length = negative;
    EQUAL(mptcpapi_subflow_getsockopt(fd, 1, IPPROTO_TCP, TCP_CONGESTION, value, &length), -EINVAL);
    EQUAL(length, negative);
    EQUAL(mptcpapi_subflow_setsockopt(fd, 1, IPPROTO_TCP, TCP_NODELAY, &one, negative), -EINVAL);
    EQUAL(mptcpapi_setsockopt_e(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", negative, &error), -EINVAL);
    EQUAL(mptcpapi_set_option(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", negative), -EINVAL);
  }
  for (socklen_t shorter = 0; shorter < sizeof one; shorter++)
    EQUAL(mptcpapi_subflow_setsockopt(fd, 1, IPPROTO_TCP, TCP_NODELAY, &one, shorter), -EINVAL);
  EQUAL(mptcpapi_subflow_setsockopt(fd, 1, IPPROTO_IP, IP_TOS, &one, 0), -EINVAL);
  EQUAL(mptcpapi_subflow_setsockopt(fd, 1, IPPROTO_TCP, TCP_CONGESTION, "", 0), -EINVAL);
  /* Subflows and options that are none. */
  for (size_t i = 0; i < 3; i++) {
    const uint32_t none[] = {0, 77, UINT32_MAX};
    length = 16;
    EQUAL(mptcpapi_subflow_getsockopt_e(fd, none[i], IPPROTO_TCP, TCP_CONGESTION, value, &length, &error), -ENOENT);
    EQUAL(error.kind, MPTCPAPI_ERROR_NO_SUCH_SUBFLOW);
    EQUAL(error.subflow, none[i]);
    EQUAL(length, 16);
  }
  EQUAL(mptcpapi_subflow_getsockopt(fd, 1, IPPROTO_TCP, NOTHING, value, &length), -ENOPROTOOPT);
  EQUAL(mptcpapi_subflow_getsockopt(fd, 1, INT_MIN, -1, value, &length), -ENOPROTOOPT);
  EQUAL(mptcpapi_subflow_setsockopt_e(fd, 1, IPPROTO_TCP, TCP_INFO, value, 16, &error), -ENOPROTOOPT);
  CHECK(error.hint[0] && strcmp(error.operation, "set_subflow_option") == 0);
  CHECK(all_are(value, sizeof value, POISON));
}

static void wrong_sizes(int fd) {
  const uint32_t sizes[] = {0, 3, 4, FIRST_OPTION - 1, 4097, 0xAAAAAAAA, 0xFFFFFFFF};
  struct { struct mptcpapi_option now; char later[7]; } newer[2];
  int one = 1;
  struct mptcpapi_option option = wanted(77, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  EQUAL(sizeof option, FIRST_OPTION);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    option.size = sizes[i];
    EQUAL(mptcpapi_subflow_setsockopts(fd, &option, 1), -EINVAL);
  }
  EQUAL(option.error, (int)0xAAAAAAAA);
  /* The distance between elements is the caller's. */
  memset(newer, POISON, sizeof newer);
  newer[0].now = wanted(77, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  newer[1].now = wanted(1, IPPROTO_TCP, NOTHING, &one, sizeof one);
  newer[0].now.size = sizeof *newer;
  EQUAL(mptcpapi_subflow_setsockopts(fd, &newer[0].now, 2), 0);
  EQUAL(newer[0].now.error, ENOENT);
  EQUAL(newer[0].now.kind, MPTCPAPI_ERROR_NO_SUCH_SUBFLOW);
  EQUAL(newer[1].now.error, ENOPROTOOPT);
  EQUAL(newer[1].now.kind, MPTCPAPI_ERROR_OS);
  CHECK(all_are(newer[0].later, sizeof newer[0].later, POISON));
  /* One wrong element: none is tried. */
  newer[1].now.value = NULL;
  newer[0].now.error = 77;
  EQUAL(mptcpapi_subflow_setsockopts(fd, &newer[0].now, 2), -EFAULT);
  EQUAL(newer[0].now.error, 77);
}

static void without_the_program(int fd) {
  SIZED(struct mptcpapi_features, features);
  SIZED(struct mptcpapi_error, error);
  int one = 1;
  socklen_t length = sizeof one;
  struct mptcpapi_option option = wanted(1, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  EQUAL(mptcpapi_features(&features), 0);
  EQUAL(features.subflow_options, 0);
  CHECK(all_are(features.reserved2, sizeof features.reserved2, 0));
  features.size = FIRST_FEATURES;
  features.subflow_options = POISON;
  EQUAL(mptcpapi_features(&features), 0);
  EQUAL(features.subflow_options, POISON);
  EQUAL(mptcpapi_subflow_getsockopt(fd, 1, IPPROTO_TCP, TCP_KEEPIDLE, &one, &length), -ENOSYS);
  EQUAL(mptcpapi_subflow_setsockopt_e(fd, 1, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one, &error), -ENOSYS);
  EQUAL(error.kind, MPTCPAPI_ERROR_UNSUPPORTED);
  CHECK(strstr(error.hint, "mptcpapi load-bpf"));
  EQUAL(mptcpapi_subflow_setsockopts_e(fd, &option, 1, &error), -ENOSYS);
  EQUAL(one, 1);
}

static void whole_connection(int fd) {
  SIZED(struct mptcpapi_error, error);
  EQUAL(mptcpapi_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5), 0);
  EQUAL(get_name(fd, 16, "cubic"), 16);
  EQUAL(mptcpapi_setsockopt_e(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4, &error), 0);
  EQUAL(error.kind, MPTCPAPI_ERROR_NONE);
  EQUAL(get_name(fd, 16, "reno"), 16);
  EQUAL(mptcpapi_setsockopt_e(fd, IPPROTO_TCP, TCP_CONGESTION, "nothere", 7, &error), -ENOENT);
  EQUAL(error.kind, MPTCPAPI_ERROR_OS);
  CHECK(strcmp(error.operation, "set_option") == 0);
  EQUAL(mptcpapi_set_option(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5), 0);
  EQUAL(get_name(fd, 16, "cubic"), 16);
  EQUAL(mptcpapi_set_option_e(fd, IPPROTO_TCP, TCP_CONGESTION, "nothere", 7, &error), -ENOENT);
  CHECK(strcmp(error.operation, "set_option") == 0);
}

static void descriptors(int connection) {
  int plain = socket(AF_INET, SOCK_STREAM, 0), closed = dup(connection), one = 1;
  socklen_t length = sizeof one;
  struct mptcpapi_option option = wanted(1, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  CHECK(plain >= 0 && closed >= 0 && close(closed) == 0);
  EQUAL(mptcpapi_subflow_getsockopt(closed, 1, IPPROTO_TCP, TCP_CONGESTION, &one, &length), -EBADF);
  EQUAL(mptcpapi_subflow_setsockopt(FD_NONE, 1, IPPROTO_TCP, TCP_NODELAY, &one, length), -EBADF);
  EQUAL(mptcpapi_subflow_setsockopts(INT_MIN, &option, 1), -EBADF);
  EQUAL(mptcpapi_setsockopt_e(INT_MAX, IPPROTO_TCP, TCP_NODELAY, &one, length, NULL), -EBADF);
  EQUAL(mptcpapi_set_option(FD_NONE, IPPROTO_TCP, TCP_NODELAY, &one, length), -EBADF);
  EQUAL(mptcpapi_subflow_getsockopt(plain, 1, IPPROTO_TCP, TCP_CONGESTION, &one, &length), -EOPNOTSUPP);
  EQUAL(mptcpapi_subflow_setsockopts(plain, &option, 1), -EOPNOTSUPP);
  EQUAL(mptcpapi_setsockopt(plain, IPPROTO_TCP, TCP_NODELAY, &one, length), 0);
  close(plain);
}

/* Two connections, so that it is seen that only the right one is touched. */
static void with_the_program(const int ends[2]) {
  SIZED(struct mptcpapi_features, features);
  SIZED(struct mptcpapi_error, error);
  int value = 7000, larger[2] = {33, -1};
  const unsigned char tos = 0x28;
  struct mptcpapi_option options[3];
  EQUAL(mptcpapi_features(&features), 0);
  EQUAL(features.subflow_options, 1);
  EQUAL(mptcpapi_subflow_setsockopt(ends[0], 1, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, sizeof value), 0);
  EQUAL(get_int(ends[0], 1, IPPROTO_TCP, TCP_USER_TIMEOUT), 7000);
  EQUAL(get_int(ends[1], 1, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
  EQUAL(mptcpapi_subflow_setsockopt(ends[0], 1, IPPROTO_TCP, TCP_KEEPIDLE, larger, sizeof larger), 0);
  EQUAL(get_int(ends[0], 1, IPPROTO_TCP, TCP_KEEPIDLE), 33);
  EQUAL(mptcpapi_subflow_setsockopt(ends[0], 1, IPPROTO_IP, IP_TOS, &tos, 1), 0);
  EQUAL(get_int(ends[0], 1, IPPROTO_IP, IP_TOS), 0x28);
  EQUAL(mptcpapi_subflow_setsockopt(ends[0], 1, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5), 0);
  EQUAL(mptcpapi_subflow_setsockopt_e(ends[0], 1, IPPROTO_TCP, TCP_CONGESTION, "nothere", 7, &error), -ENOENT);
  EQUAL(error.kind, MPTCPAPI_ERROR_OS);
  options[0] = wanted(1, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, sizeof value);
  options[1] = wanted(2, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, sizeof value);
  options[2] = wanted(1, IPPROTO_TCP, TCP_CONGESTION, "nothere", 8);
  EQUAL(mptcpapi_subflow_setsockopts_e(ends[1], options, 3, &error), 1);
  EQUAL(options[0].error, 0);
  EQUAL(options[0].kind, MPTCPAPI_ERROR_NONE);
  EQUAL(options[1].kind, MPTCPAPI_ERROR_NO_SUCH_SUBFLOW);
  EQUAL(options[2].error, ENOENT);
  EQUAL(options[2].kind, MPTCPAPI_ERROR_OS);
  EQUAL(get_int(ends[1], 1, IPPROTO_TCP, TCP_USER_TIMEOUT), 7000);
  /* The whole connection is told; its subflow keeps what is its own. */
  EQUAL(mptcpapi_setsockopt(ends[0], IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0);
  EQUAL(get_name(ends[0], 16, "cubic"), 16);
}

int main(void) {
  int ends[2], again[2], loaded;
  if (!getenv("MPTCPAPI_LAB"))
    return skip("expects the privilege, and congestion control reno: only in the lab");
  connected(ends);
  connected(again);
  values_read_without_the_program(ends[0], "reno");
  wrong_arguments(ends[0]);
  wrong_sizes(ends[0]);
  without_the_program(ends[0]);
  whole_connection(ends[0]);
  descriptors(ends[0]);
  loaded = system("lab load-bpf");
  if (loaded == 0) {
    with_the_program(again);
    EQUAL(system("lab unload-bpf"), 0);
  }
  for (int i = 0; i < 2; i++) {
    close(ends[i]);
    close(again[i]);
  }
  return loaded == 0 ? 0 : skip("the BPF program cannot be loaded here");
}
