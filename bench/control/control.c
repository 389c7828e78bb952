/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Opens, closes and watches subflows of one connection: by hand, or with -DOURS through libmptcpapi.
 * control SERVER PORT LOCAL: reads lines "open COUNT", "latency COUNT", "storm COUNT" and answers with nanoseconds. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "netlink.h"
#ifdef OURS
#include <mptcpapi.h>
#endif

enum { MOST = 20000 };
static int fd, commands, events;
static uint32_t token;
static struct sockaddr_in local, remote;

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static uint64_t median(uint64_t *values, int count) {
  qsort(values, (size_t)count, sizeof *values, compare);
  return values[count / 2];
}

static void by_hand_create(void) {
  int error = command(commands, SUBFLOW_CREATE, token, &local, 77, &remote);
  if (error)
    errno = error, die("create");
}

static void by_hand_destroy(const struct event *event) {
  int error = command(commands, SUBFLOW_DESTROY, token, &event->local, -1, &event->remote);
  if (error)
    errno = error, die("destroy");
}

static void run_open(int count) {
  static uint64_t opens[MOST], closes[MOST];
  for (int i = 0; i < count; i++) {
    struct event gone;
    uint64_t begin = now_ns();
#ifdef OURS
    struct mptcpapi_open open = {.size = sizeof open};
    uint32_t id;
    memcpy(&open.local, &local, sizeof local);
    int error = mptcpapi_subflow_open(fd, &open, &id);
    uint64_t opened = now_ns();
    if (error)
      errno = -error, die("open");
    error = mptcpapi_subflow_close(fd, id, MPTCPAPI_CLOSE_FIN);
    uint64_t closed = now_ns();
    if (error)
      errno = -error, die("close");
#else
    struct event event;
    by_hand_create();
    wait_event(events, EVENT_SUB_ESTABLISHED, token, &event);
    uint64_t opened = now_ns();
    by_hand_destroy(&event);
    uint64_t closed = now_ns();
#endif
    /* Else the kernel's worker, which ends the closed one, would hold up the next. */
    wait_event(events, EVENT_SUB_CLOSED, token, &gone);
    opens[i] = opened - begin;
    closes[i] = closed - opened;
  }
  printf("%llu %llu\n", (unsigned long long)median(opens, count), (unsigned long long)median(closes, count));
}

/* A child opens and closes by hand; the moments before each close are shared. */
static pid_t drive(int count, int pause_us, uint64_t *moments) {
  pid_t child = fork();
  if (child)
    return child;
  int own = events_open();
  commands = netlink_open();
  for (int i = 0; i < count; i++) {
    struct event event, gone;
    by_hand_create();
    wait_event(own, EVENT_SUB_ESTABLISHED, token, &event);
    if (pause_us)
      usleep((useconds_t)pause_us);
    __atomic_store_n(&moments[i], now_ns(), __ATOMIC_SEQ_CST);
    by_hand_destroy(&event);
    wait_event(own, EVENT_SUB_CLOSED, token, &gone);
  }
  _exit(0);
}

struct watcher {
#ifdef OURS
  struct mptcpapi_monitor *monitor;
#endif
  int unused;
};

static void watch(struct watcher *watcher) {
#ifdef OURS
  int error = mptcpapi_monitor_new(fd, 0, &watcher->monitor);
  if (error)
    errno = -error, die("monitor");
#else
  (void)watcher;
  close(events);
  events = events_open();
#endif
}

/* The kind of the next event of the connection: 1 established, 2 closed, 0 other; -1 when none is there. */
static int next_event(struct watcher *watcher, int wait) {
#ifdef OURS
  struct mptcpapi_event event = {.size = sizeof event};
  int told = mptcpapi_monitor_next(watcher->monitor, &event, wait ? -1 : 0);
  if (told <= 0)
    return -1;
  return event.kind == MPTCPAPI_EVENT_SUBFLOW_ESTABLISHED ? 1 : event.kind == MPTCPAPI_EVENT_SUBFLOW_CLOSED ? 2 : 0;
#else
  char buffer[4096];
  struct event event;
  (void)watcher;
  ssize_t length = recv(events, buffer, sizeof buffer, wait ? 0 : MSG_DONTWAIT);
  if (length < 0)
    return errno == EAGAIN ? -1 : 0;
  if (!parse_event(buffer, length, &event) || event.token != token)
    return 0;
  return event.kind == EVENT_SUB_ESTABLISHED ? 1 : event.kind == EVENT_SUB_CLOSED ? 2 : 0;
#endif
}

static void unwatch(struct watcher *watcher) {
#ifdef OURS
  mptcpapi_monitor_free(watcher->monitor);
#else
  (void)watcher;
#endif
}

static void run_latency(int count) {
  static uint64_t delays[MOST];
  uint64_t *moments = mmap(NULL, MOST * sizeof *moments, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  struct watcher watcher;
  watch(&watcher);
  pid_t child = drive(count, 300, moments);
  for (int i = 0; i < count;) {
    if (next_event(&watcher, 1) != 2)
      continue;
    uint64_t now = now_ns();
    delays[i] = now - __atomic_load_n(&moments[i], __ATOMIC_SEQ_CST);
    i++;
  }
  waitpid(child, NULL, 0);
  unwatch(&watcher);
  munmap(moments, MOST * sizeof *moments);
  printf("%llu\n", (unsigned long long)median(delays, count));
}

/* All events are queued before the first is read. */
static void run_storm(int count) {
  uint64_t *moments = mmap(NULL, MOST * sizeof *moments, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  struct watcher watcher;
  watch(&watcher);
  waitpid(drive(count, 0, moments), NULL, 0);
  int told = 0, kind;
  uint64_t begin = now_ns();
  while ((kind = next_event(&watcher, 0)) >= 0)
    told += kind > 0;
  uint64_t end = now_ns();
  unwatch(&watcher);
  munmap(moments, MOST * sizeof *moments);
  if (told != 2 * count)
    fprintf(stderr, "%d events of %d\n", told, 2 * count);
  printf("%llu\n", (unsigned long long)((end - begin) / (uint64_t)(told ? told : 1)));
}

int main(int argc, char **argv) {
  char line[64], byte, info[96];
  socklen_t length = sizeof info;
  int count;
  if (argc != 4)
    return 2;
  remote.sin_family = local.sin_family = AF_INET;
  remote.sin_port = htons((uint16_t)atoi(argv[2]));
  inet_pton(AF_INET, argv[1], &remote.sin_addr);
  inet_pton(AF_INET, argv[3], &local.sin_addr);
  fd = socket(AF_INET, SOCK_STREAM, 262);
  if (connect(fd, (struct sockaddr *)&remote, sizeof remote) != 0 || write(fd, "hold\n", 5) != 5 || read(fd, &byte, 1) != 1)
    die("connect");
  if (getsockopt(fd, 284, 1, info, &length) != 0)
    die("MPTCP_INFO");
  memcpy(&token, info + 12, sizeof token);
  commands = netlink_open();
  find_family(commands);
  events = events_open();
  while (fgets(line, sizeof line, stdin)) {
    if (sscanf(line, "open %d", &count) == 1)
      run_open(count);
    else if (sscanf(line, "latency %d", &count) == 1)
      run_latency(count);
    else if (sscanf(line, "storm %d", &count) == 1)
      run_storm(count);
    fflush(stdout);
  }
  return 0;
}
