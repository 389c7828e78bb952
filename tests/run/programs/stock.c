/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The options 42 to 45 of the 0.9x kernels: stock HOST PORT LOCAL2 REMOTE2
 * stock linux: what Linux has by these numbers, on sockets that nobody has changed. */
#include "calls.h"

#define SUBFLOWS 4

static void print_int(const char *what, int fd, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  if (getsockopt(fd, IPPROTO_TCP, name, &value, &length) != 0)
    fail(what);
  printf("%s %d\n", what, value);
}

static void print_name(const char *what, int fd, int name) {
  char value[32] = "";
  socklen_t length = sizeof value;
  if (getsockopt(fd, IPPROTO_TCP, name, value, &length) != 0)
    fail(what);
  printf("%s %s of %u bytes\n", what, value, length);
}

static void set_name(const char *what, int fd, int name, const char *value) {
  int result = setsockopt(fd, IPPROTO_TCP, name, value, (socklen_t)strlen(value));
  printf("%s %s\n", what, result == 0 ? "ok" : errno == ENOENT ? "ENOENT" : errno == EPERM ? "EPERM" : strerror(errno));
}

/* What the first subflow alone has carried. */
static const char *received(const struct tcp_info *info) {
  return info->tcpi_bytes_received >= CONTENT ? "all" : info->tcpi_bytes_received == 0 ? "nothing" : "some";
}

static void print_subflow(const struct tcp_info *info, const struct mptcp_sub_info *ends) {
  char local[INET_ADDRSTRLEN], remote[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, &ends->src_v4.sin_addr, local, sizeof local);
  inet_ntop(AF_INET, &ends->dst_v4.sin_addr, remote, sizeof remote);
  printf("state %d rtt %s received %s %s %s:%d\n", info->tcpi_state, info->tcpi_rtt > 0 ? "yes" : "no", received(info),
         local, remote, ntohs(ends->dst_v4.sin_port));
}

static int get_info(int fd, struct mptcp_info *info) {
  socklen_t length = sizeof *info;
  return getsockopt(fd, IPPROTO_TCP, MPTCP_INFO, info, &length);
}

static void print_info(int fd) {
  struct mptcp_meta_info meta;
  struct tcp_info initial, subflows[SUBFLOWS];
  struct mptcp_sub_info ends[SUBFLOWS];
  struct mptcp_info info = {sizeof *subflows, sizeof subflows, sizeof meta, sizeof *ends, sizeof ends,
                            &meta,            &initial,        subflows,    ends};
  if (get_info(fd, &info) != 0)
    fail("MPTCP_INFO");
  int count = (int)(info.sub_len / info.tcp_info_len);
  printf("meta %u bytes, received %llu\n", info.meta_len, (unsigned long long)meta.mptcpi_bytes_received);
  printf("%d subflows\n", count);
  for (int i = 0; i < count; i++)
    print_subflow((struct tcp_info *)((char *)subflows + (size_t)i * info.tcp_info_len), &ends[i]);
  printf("initial state %d received %s\n", initial.tcpi_state, received(&initial));
}

static void print_room_for_one(int fd) {
  struct tcp_info subflow;
  struct mptcp_info info = {sizeof subflow, sizeof subflow, 0, 0, 0, NULL, NULL, &subflow, NULL};
  if (get_info(fd, &info) != 0)
    fail("MPTCP_INFO");
  printf("room for one: %u subflows\n", info.sub_len / info.tcp_info_len);
}

static void print_initial_of_closed(int fd, int flags) {
  struct tcp_info initial;
  struct mptcp_info info = {sizeof initial, 0, 0, 0, 0, NULL, &initial, NULL, NULL};
  if (setsockopt(fd, IPPROTO_TCP, MPTCP_INFO, &flags, sizeof flags) != 0)
    fail("flags");
  if (get_info(fd, &info) == 0)
    printf("initial when it is closed, flags %d: %s received %s\n", flags,
           initial.tcpi_state == 1 ? "established" : "ended", received(&initial));
  else
    printf("initial when it is closed, flags %d: %s\n", flags, errno == EINVAL ? "EINVAL" : strerror(errno));
}

/* Ints: whether MPTCP, and times in milliseconds and microseconds, of which some have bytes as letters have. */
static void print_as_linux(int protocol) {
  static const int numbers[] = {43, 44, 45}, values[] = {-1, 2, 5000, 0x6161, 200000};
  int fd = (socket)(AF_INET, SOCK_STREAM, protocol);
  if (fd < 0)
    fail("socket");
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    for (size_t j = 0; j < sizeof values / sizeof *values; j++) {
      int set = setsockopt(fd, IPPROTO_TCP, numbers[i], &values[j], sizeof values[j]);
      printf("%d %d set %d %s,", protocol, numbers[i], values[j], set == 0 ? "ok" : strerror(errno));
      int value = -1;
      socklen_t length = sizeof value;
      int got = getsockopt(fd, IPPROTO_TCP, numbers[i], &value, &length);
      printf(" is %d of %u bytes %s\n", value, length, got == 0 ? "ok" : strerror(errno));
    }
  close(fd);
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "linux") == 0) {
    close(socket(AF_INET, SOCK_STREAM, 0)); /* as any program begins */
    print_as_linux(0);
    print_as_linux(262);
    return 0;
  }
  if (argc != 5) {
    fprintf(stderr, "usage: %s HOST PORT LOCAL2 REMOTE2, or: linux\n", argv[0]);
    return 2;
  }
  struct sockaddr_in server = address_of(argv[1], atoi(argv[2]));
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0)
    fail("socket");
  print_int("enabled before", fd, MPTCP_ENABLED);
  set_name("scheduler", fd, MPTCP_SCHEDULER, "default");
  set_name("another scheduler", fd, MPTCP_SCHEDULER, "roundrobin");
  if (connect(fd, (struct sockaddr *)&server, sizeof server) != 0)
    fail("connect");
  print_int("enabled", fd, MPTCP_ENABLED);
  print_name("scheduler", fd, MPTCP_SCHEDULER);
  print_name("path manager", fd, MPTCP_PATH_MANAGER);
  set_name("scheduler now", fd, MPTCP_SCHEDULER, "default");

  static unsigned char content[CONTENT];
  send_all(fd, "echo\n", 5);
  send_all(fd, content, sizeof content);
  for (size_t got = 0; got < CONTENT;) {
    ssize_t more = recv(fd, content, sizeof content, 0);
    if (more <= 0)
      fail("recv");
    got += (size_t)more;
  }
  if (open_subflow(fd, address_of(argv[3], 0), address_of(argv[4], 0)) < 0)
    fail("open");
  free(when_established(fd, 2));
  print_info(fd);
  print_room_for_one(fd);
  int keep = MPTCP_INFO_FLAG_SAVE_MASTER;
  if (setsockopt(fd, IPPROTO_TCP, MPTCP_INFO, &keep, sizeof keep) != 0 || close_subflow(fd, 1) != 0)
    fail("close");
  print_initial_of_closed(fd, keep);
  print_initial_of_closed(fd, 0);
  print_int("Linux: is MPTCP", fd, 43); /* TCP_IS_MPTCP: an int, not a name */
  return 0;
}
