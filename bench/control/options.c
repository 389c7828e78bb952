/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Options of one subflow: by hand, or with -DOURS through libmptcpapi.
 * options FD: reads lines and answers each with nanoseconds of one call, the mean of COUNT:
 *   order                   the subflows as the kernel walks over them; by hand only
 *   set SUBFLOW COUNT       one option of one subflow
 *   get SUBFLOW COUNT
 *   many COUNT              ten options of each of the subflows 1 to 4
 *   walk COUNT              of a subflow that is not there, so all sockets are walked over; by hand only
 * options hold COUNT: COUNT TCP sockets, half of them accepted, until the input ends. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/resource.h>

#include "../../bpf/request.h"
#include "netlink.h"
#ifdef OURS
#include <mptcpapi.h>
#endif

enum { SUBFLOWS = 4, OPTIONS = 10, MOST = SUBFLOWS * OPTIONS, NOT_THERE = 99999 };
/* They do not disturb, and any TCP socket has them. */
static const struct {
  int level, name, value;
} options[OPTIONS] = {
    {IPPROTO_TCP, TCP_USER_TIMEOUT, 60000}, {IPPROTO_TCP, TCP_KEEPIDLE, 100}, {IPPROTO_TCP, TCP_KEEPINTVL, 10},
    {IPPROTO_TCP, TCP_KEEPCNT, 5},          {IPPROTO_TCP, TCP_SYNCNT, 5},     {IPPROTO_TCP, TCP_NOTSENT_LOWAT, 100000},
    {IPPROTO_TCP, TCP_NODELAY, 1},          {IPPROTO_IP, IP_TOS, 0x20},       {SOL_SOCKET, SO_PRIORITY, 3},
    {SOL_SOCKET, SO_KEEPALIVE, 1},
};
static int fd;

#ifdef OURS
static void check(int error) {
  if (error < 0)
    errno = -error, die("options");
}

static void set(uint32_t subflow) {
  check(mptcpapi_subflow_setsockopt(fd, subflow, options[0].level, options[0].name, &options[0].value, sizeof(int)));
}

static void get(uint32_t subflow) {
  int value;
  socklen_t length = sizeof value;
  check(mptcpapi_subflow_getsockopt(fd, subflow, options[0].level, options[0].name, &value, &length));
}

static void many(void) {
  struct mptcpapi_option wanted[MOST];
  for (int i = 0; i < MOST; i++)
    wanted[i] = (struct mptcpapi_option){
        .size = sizeof *wanted,
        .subflow = (uint32_t)(1 + i / OPTIONS),
        .level = options[i % OPTIONS].level,
        .name = options[i % OPTIONS].name,
        .value = &options[i % OPTIONS].value,
        .length = sizeof(int),
    };
  if (mptcpapi_subflow_setsockopts(fd, wanted, MOST) != MOST)
    die("not all were set");
}
#else
static union {
  struct {
    struct mptcpapi_request head;
    struct mptcpapi_entry entries[MOST];
  } request;
  struct mptcpapi_reply replies[MOST];
} buffer;

static void fill(int place, uint32_t subflow, u16 operation, int option) {
  struct mptcpapi_entry *entry = &buffer.request.entries[place];
  *entry = (struct mptcpapi_entry){
      .subflow = subflow,
      .level = options[option].level,
      .name = options[option].name,
      .operation = operation,
      .length = operation == MPTCPAPI_REQUEST_GET ? MPTCPAPI_REQUEST_VALUE : sizeof(int),
  };
  memcpy(entry->value, &options[option].value, sizeof(int));
}

/* How many were answered. */
static int ask(int count) {
  buffer.request.head = (struct mptcpapi_request){.version = MPTCPAPI_REQUEST_VERSION, .fd = fd, .count = (u32)count};
  int pin = open("/sys/fs/bpf/mptcpapi/subflow_option_v1", O_RDONLY | O_CLOEXEC);
  ssize_t length = read(pin, &buffer, (size_t)count * sizeof *buffer.replies);
  if (pin < 0 || length < 0)
    die("subflow_option");
  close(pin);
  for (int i = 0; i < length / (ssize_t)sizeof *buffer.replies; i++)
    if (buffer.replies[i].result < 0)
      errno = -buffer.replies[i].result, die("option");
  return (int)(length / (ssize_t)sizeof *buffer.replies);
}

static void expect(int found, int wanted) {
  if (found != wanted)
    fprintf(stderr, "%d answers of %d\n", found, wanted), exit(1);
}

static void set(uint32_t subflow) {
  fill(0, subflow, MPTCPAPI_REQUEST_SET, 0);
  expect(ask(1), 1);
}

static void get(uint32_t subflow) {
  fill(0, subflow, MPTCPAPI_REQUEST_GET, 0);
  expect(ask(1), 1);
}

static void many(void) {
  for (int i = 0; i < MOST; i++)
    fill(i, (uint32_t)(1 + i / OPTIONS), MPTCPAPI_REQUEST_SET, i % OPTIONS);
  expect(ask(MOST), MOST);
}

static void walk(void) {
  fill(0, NOT_THERE, MPTCPAPI_REQUEST_GET, 0);
  expect(ask(1), 0);
}

static void order(void) {
  for (int i = 0; i < SUBFLOWS; i++)
    fill(i, (uint32_t)(1 + i), MPTCPAPI_REQUEST_GET, 0);
  expect(ask(SUBFLOWS), SUBFLOWS);
  for (int i = 0; i < SUBFLOWS; i++)
    printf("%u ", 1 + buffer.replies[i].index);
  printf("\n");
}
#endif

static void hold(int count) {
  struct rlimit limit = {.rlim_cur = (rlim_t)count + 100, .rlim_max = (rlim_t)count + 100};
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
      listen(listener, 16) != 0 || getsockname(listener, (struct sockaddr *)&address, &length) != 0)
    die("listen");
  for (int i = 0; i < count / 2; i++) {
    int made = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(made, (struct sockaddr *)&address, sizeof address) != 0 || accept(listener, NULL, NULL) < 0)
      die("connect");
  }
  close(listener);
  printf("%d\n", count);
  fflush(stdout);
  getchar();
}

int main(int argc, char **argv) {
  char line[64], what[16];
  unsigned numbers[2];
  if (argc == 3 && !strcmp(argv[1], "hold"))
    return hold(atoi(argv[2])), 0;
  if (argc != 2)
    return 2;
  fd = atoi(argv[1]);
  while (fgets(line, sizeof line, stdin)) {
    int words = sscanf(line, "%15s %u %u", what, &numbers[0], &numbers[1]);
    uint32_t subflow = numbers[0];
    unsigned count = numbers[words > 2];
    uint64_t begin = now_ns();
    if (words == 3 && !strcmp(what, "set"))
      for (unsigned i = 0; i < count; i++)
        set(subflow);
    else if (words == 3 && !strcmp(what, "get"))
      for (unsigned i = 0; i < count; i++)
        get(subflow);
    else if (words == 2 && !strcmp(what, "many"))
      for (unsigned i = 0; i < count; i++)
        many();
#ifndef OURS
    else if (words == 2 && !strcmp(what, "walk"))
      for (unsigned i = 0; i < count; i++)
        walk();
    else if (!strcmp(what, "order")) {
      order();
      fflush(stdout);
      continue;
    }
#endif
    else
      return 2;
    printf("%llu\n", (unsigned long long)((now_ns() - begin) / count));
    fflush(stdout);
  }
  return 0;
}
