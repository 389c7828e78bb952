/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One monitor of very many connections.
 * watch COUNT: makes them, over the loopback interface, and says "ready". Then it reads lines:
 *   watch     watches all; answers with what that has allocated and by how much the process has grown, in bytes
 *   idle MS   waits in the monitor; answers with processor time in ns and how often it was woken
 *   read      reads what is queued, by the monitor and by hand: how many events, ns of processor time for each of both
 * watch noise: events of a connection that nobody watches: reads lines with their number, answers "done". */
#include <errno.h>
#include <malloc.h>
#include <mptcpapi.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "netlink.h"

static uint64_t processor_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static size_t allocated(void) {
  struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

static size_t resident(void) {
  unsigned long size, pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file || fscanf(file, "%lu %lu", &size, &pages) != 2)
    die("/proc/self/statm");
  fclose(file);
  return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static long sleeps(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nvcsw;
}

/* A child takes the far ends and says one byte on each. It ends with this process. */
static struct sockaddr_in far_end(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 262);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4096) != 0 ||
      getsockname(listener, (struct sockaddr *)&address, &length) != 0)
    die("listen");
  pid_t parent = getpid();
  if (fork() == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (getppid() == parent) {
      int fd = accept(listener, NULL, NULL);
      if (fd < 0 || send(fd, ".", 1, 0) != 1)
        die("accept");
    }
    _exit(0);
  }
  close(listener);
  return address;
}

/* Data flows both ways: established on both sides, and no event of it is left to come. */
static int connection_to(const struct sockaddr_in *address) {
  char byte;
  int fd = socket(AF_INET, SOCK_STREAM, 262);
  if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 || send(fd, ".", 1, 0) != 1 ||
      recv(fd, &byte, 1, 0) != 1)
    die("connect");
  return fd;
}

static void noise(void) {
  char line[32], info[96];
  struct sockaddr_in to = far_end(), from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct event gone;
  socklen_t length = sizeof info;
  uint32_t token;
  int fd = connection_to(&to), commands = netlink_open();
  if (getsockopt(fd, 284, 1, info, &length) != 0)
    die("MPTCP_INFO");
  memcpy(&token, info + 12, sizeof token);
  find_family(commands);
  /* Nobody listens there: each attempt ends at once, and its end is an event. */
  to.sin_port = htons(9);
  printf("ready\n");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
    /* A new one each time: one that overflowed meanwhile would lose what comes now. */
    int events = events_open();
    for (int count = atoi(line); count > 0; count--) {
      command(commands, SUBFLOW_CREATE, token, &from, 77, &to);
      wait_event(events, EVENT_SUB_CLOSED, token, &gone);
    }
    close(events);
    printf("done\n");
    fflush(stdout);
  }
}

static int next(struct mptcpapi_monitor *monitor, int timeout_ms) {
  struct mptcpapi_event event = {.size = sizeof event};
  int told = mptcpapi_monitor_next(monitor, &event, timeout_ms);
  if (told > 0)
    fprintf(stderr, "unexpected event: %s\n", mptcpapi_event_name(event.kind)), exit(1);
  if (told < 0)
    errno = -told, die("next");
  return told;
}

static void idle(struct mptcpapi_monitor *monitor, int milliseconds) {
  uint64_t before = processor_ns();
  long slept = sleeps();
  next(monitor, milliseconds);
  printf("%llu %ld\n", (unsigned long long)(processor_ns() - before), sleeps() - slept);
}

/* The same events, by the monitor and by a socket of our own. */
static void read_queued(struct mptcpapi_monitor *monitor, int events) {
  char buffer[4096];
  struct event event;
  uint64_t count = 0, before = processor_ns();
  next(monitor, 0);
  uint64_t between = processor_ns();
  for (ssize_t length; (length = recv(events, buffer, sizeof buffer, MSG_DONTWAIT)) >= 0;)
    count += (uint64_t)parse_event(buffer, length, &event);
  if (errno != EAGAIN)
    die("events");
  uint64_t after = processor_ns(), of = count ? count : 1;
  printf("%llu %llu %llu\n", (unsigned long long)count, (unsigned long long)((between - before) / of),
         (unsigned long long)((after - between) / of));
}

/* What the library has once is made by the first connection, which is not counted. */
static struct mptcpapi_monitor *watch(const int *fds, int count) {
  struct mptcpapi_monitor *monitor;
  int error = mptcpapi_monitor_new(fds[0], 0, &monitor);
  if (error)
    errno = -error, die("monitor");
  size_t bytes = allocated(), pages = resident();
  for (int i = 1; i < count && error == 0; i++)
    error = mptcpapi_monitor_add(monitor, fds[i], NULL);
  if (error)
    errno = -error, die("add");
  printf("%zu %zu\n", allocated() - bytes, resident() - pages);
  return monitor;
}

int main(int argc, char **argv) {
  char line[32];
  struct mptcpapi_monitor *monitor = NULL;
  int own = -1, milliseconds, count = argc == 2 ? atoi(argv[1]) : 0;
  if (argc == 2 && !strcmp(argv[1], "noise"))
    return noise(), 0;
  if (count < 1)
    return 2;
  struct rlimit limit = {.rlim_cur = (rlim_t)count + 100, .rlim_max = (rlim_t)count + 100};
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
    die("descriptors");
  struct sockaddr_in address = far_end();
  int *fds = calloc((size_t)count, sizeof *fds);
  for (int i = 0; i < count; i++)
    fds[i] = connection_to(&address);
  printf("ready\n");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
    if (!strncmp(line, "watch", 5)) {
      monitor = watch(fds, count);
      find_family(own = netlink_open());
      close(own);
      own = events_open();
    } else if (sscanf(line, "idle %d", &milliseconds) == 1)
      idle(monitor, milliseconds);
    else if (!strncmp(line, "read", 4))
      read_queued(monitor, own);
    fflush(stdout);
  }
  return 0;
}
