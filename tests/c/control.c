/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The subflows of a connection in the application's hand, and its events, in a lab without endpoints. */

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "test.h"

/* The server accepts eight further subflows, and may count one for a while after its end. */
enum { ROUNDS = 6, FIRST_PATH_EVENT = 160, LONG = 20000 };

static void lab(const char *command) {
  EQUAL(system(command), 0);
}

static void echo(int fd) {
  char answer[4];
  CHECK(write(fd, "abcd", 4) == 4);
  for (int i = 0; i < 4; i++)
    CHECK(read(fd, &answer[i], 1) == 1);
  CHECK(memcmp(answer, "abcd", 4) == 0);
}

static int connect_app(void) {
  struct sockaddr_in address = ipv4(getenv("LAB_SERVER_1"), atoi(getenv("LAB_PORT")));
  int fd = mptcpapi_socket(AF_INET, MPTCPAPI_CONTROL_APP);
  CHECK(fd >= 0);
  CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
  CHECK(write(fd, "echo\n", 5) == 5);
  echo(fd);
  return fd;
}

static int is_path(const struct sockaddr_storage *local, const char *variable) {
  struct sockaddr_in wanted = ipv4(getenv(variable), 0);
  return local->ss_family == AF_INET && ((const struct sockaddr_in *)local)->sin_addr.s_addr == wanted.sin_addr.s_addr;
}

static struct mptcpapi_open from_path_2(void) {
  struct sockaddr_in local = ipv4(getenv("LAB_CLIENT_2"), 0);
  struct mptcpapi_open open;
  memset(&open, 0, sizeof open);
  open.size = sizeof open;
  open.timeout_ms = LONG;
  memcpy(&open.local, &local, sizeof local);
  return open;
}

static uint32_t opened(int fd) {
  struct mptcpapi_open open = from_path_2();
  uint32_t id = 0;
  EQUAL(mptcpapi_subflow_open(fd, &open, &id), 0);
  CHECK(id > 1);
  return id;
}

static struct mptcpapi_subflow detail(int fd, uint32_t id) {
  struct mptcpapi_subflow list[4];
  int count;
  list[0].size = sizeof *list;
  count = mptcpapi_subflows(fd, list, 4, MPTCPAPI_DETAIL);
  for (int i = 0; i < count; i++)
    if (list[i].id == id)
      return list[i];
  FAIL("no subflow %u among %d", id, count);
}

static struct mptcpapi_monitor *monitor_of(int fd) {
  struct mptcpapi_monitor *monitor;
  EQUAL(mptcpapi_monitor_new(fd, 0, &monitor), 0);
  EQUAL(mptcpapi_monitor_source(monitor), MPTCPAPI_SOURCE_NETLINK);
  return monitor;
}

/* The next event must be this one. */
static struct mptcpapi_event next_is(struct mptcpapi_monitor *monitor, uint32_t kind, uint32_t subflow) {
  struct pollfd readable = {mptcpapi_monitor_fd(monitor), POLLIN, 0};
  SIZED(struct mptcpapi_event, event);
  EQUAL(poll(&readable, 1, LONG), 1);
  EQUAL(mptcpapi_monitor_next(monitor, &event, LONG), 1);
  EQUAL(event.kind, kind);
  EQUAL(event.subflow, subflow);
  EQUAL(event.polled, 0);
  EQUAL(event.reserved, 0);
  CHECK(is_path(&event.local, "LAB_CLIENT_2"));
  EQUAL(event.last.id, kind == MPTCPAPI_EVENT_SUBFLOW_CLOSED ? subflow : 0);
  return event;
}

static void no_more(struct mptcpapi_monitor *monitor) {
  SIZED(struct mptcpapi_event, event);
  EQUAL(mptcpapi_monitor_next(monitor, &event, 0), 0);
  CHECK(all_are((char *)&event + 4, sizeof event - 4, POISON));
}

static void open_and_close(void) {
  SIZED(struct mptcpapi_info, info);
  SIZED(struct mptcpapi_error, error);
  int fd = connect_app();
  struct mptcpapi_monitor *monitor = monitor_of(fd);
  struct mptcpapi_event event;
  struct mptcpapi_subflow subflow;
  uint32_t id = opened(fd);
  EQUAL(mptcpapi_info(fd, &info), 0);
  EQUAL(info.subflows, 2);
  event = next_is(monitor, MPTCPAPI_EVENT_SUBFLOW_ESTABLISHED, id);
  EQUAL(event.token, info.token);
  subflow = detail(fd, id);
  CHECK(is_path(&subflow.local, "LAB_CLIENT_2"));
  CHECK(memcmp(&subflow.local, &event.local, sizeof subflow.local) == 0);
  EQUAL(subflow.backup, 0);
  EQUAL(mptcpapi_subflow_set_backup(fd, id, 1), 0);
  EQUAL(detail(fd, id).backup, 1);
  EQUAL(mptcpapi_subflow_set_backup(fd, id, 0), 0);
  EQUAL(detail(fd, id).backup, 0);
  EQUAL(mptcpapi_subflow_set_backup_e(fd, 999, 1, &error), -ENOENT);
  EQUAL(error.kind, MPTCPAPI_ERROR_NO_SUCH_SUBFLOW);
  EQUAL(error.subflow, 999);
  EQUAL(mptcpapi_subflow_close(fd, id, MPTCPAPI_CLOSE_FIN), 0);
  event = next_is(monitor, MPTCPAPI_EVENT_SUBFLOW_CLOSED, id);
  EQUAL(event.last.size, sizeof event.last);
  EQUAL(mptcpapi_subflow_close(fd, id, MPTCPAPI_CLOSE_FIN), -ENOENT);
  EQUAL(mptcpapi_subflows(fd, NULL, 0, 0), 1);
  echo(fd);
  no_more(monitor);
  mptcpapi_monitor_free(monitor);
  close(fd);
}

static void reset_and_abandon(void) {
  int fd = connect_app();
  struct mptcpapi_monitor *monitor = monitor_of(fd);
  struct mptcpapi_open open;
  struct mptcpapi_subflow subflow;
  uint32_t id;
  memset(&open, 0, sizeof open);
  open.size = sizeof open;
  open.backup = 1;
  memcpy(open.interface, "path2", sizeof "path2");
  EQUAL(mptcpapi_subflow_open(fd, &open, &id), 0);
  subflow = detail(fd, id);
  EQUAL(subflow.backup, 1);
  CHECK(strcmp(subflow.interface, "path2") == 0);
  next_is(monitor, MPTCPAPI_EVENT_SUBFLOW_ESTABLISHED, id);
  EQUAL(mptcpapi_subflow_close(fd, id, MPTCPAPI_CLOSE_RESET), 0);
  next_is(monitor, MPTCPAPI_EVENT_SUBFLOW_CLOSED, id);
  EQUAL(mptcpapi_subflows(fd, NULL, 0, 0), 1);
  mptcpapi_monitor_free(monitor);
  id = opened(fd);
  EQUAL(mptcpapi_subflow_abandon(fd, 1), 0);
  EQUAL(mptcpapi_subflows(fd, NULL, 0, 0), 1);
  subflow = detail(fd, id);
  CHECK(is_path(&subflow.local, "LAB_CLIENT_2"));
  EQUAL(mptcpapi_subflow_abandon(fd, 1), -ENOENT);
  echo(fd);
  close(fd);
}

static void announce_and_withdraw(void) {
  struct sockaddr_in address = ipv4(getenv("LAB_CLIENT_2"), 0);
  SIZED(struct mptcpapi_error, error);
  int fd = connect_app();
  uint8_t id = 0, again = 0;
  EQUAL(mptcpapi_announce(fd, (struct sockaddr *)&address, sizeof address, &id), 0);
  CHECK(id != 0);
  EQUAL(mptcpapi_announce_e(fd, (struct sockaddr *)&address, sizeof address, &again, &error), 0);
  EQUAL(again, id);
  EQUAL(error.kind, MPTCPAPI_ERROR_NONE);
  EQUAL(mptcpapi_withdraw(fd, id), 0);
  EQUAL(mptcpapi_withdraw_e(fd, 200, &error), -ENOENT);
  CHECK(error.kernel_message[0] && strcmp(error.operation, "withdraw") == 0);
  echo(fd);
  close(fd);
}

static void *call_off(void *cancel) {
  nap();
  CHECK(eventfd_write(*(int *)cancel, 1) == 0);
  return NULL;
}

/* Nothing answers on the cut path: the open ends by the cancellation, or by the deadline. */
static void opens_that_fail(void) {
  SIZED(struct mptcpapi_error, error);
  struct mptcpapi_open open = from_path_2();
  struct sockaddr_in nobody = ipv4(getenv("LAB_SERVER_2"), 9);
  pthread_t thread;
  int fd = connect_app();
  uint32_t id = 77;
  open.cancel_fd = eventfd(0, EFD_CLOEXEC);
  CHECK(open.cancel_fd > 0);
  memcpy(&open.remote, &nobody, sizeof nobody);
  EQUAL(mptcpapi_subflow_open_e(fd, &open, &id, &error), -ECONNREFUSED);
  EQUAL(error.kind, MPTCPAPI_ERROR_REFUSED);
  memset(&open.remote, 0, sizeof open.remote);
  lab("lab cut 2");
  CHECK(pthread_create(&thread, NULL, call_off, &open.cancel_fd) == 0);
  EQUAL(mptcpapi_subflow_open_e(fd, &open, &id, &error), -ECANCELED);
  EQUAL(error.kind, MPTCPAPI_ERROR_OS);
  CHECK(pthread_join(thread, NULL) == 0);
  close(open.cancel_fd);
  open.cancel_fd = 0;
  open.timeout_ms = 50;
  EQUAL(mptcpapi_subflow_open_e(fd, &open, &id, &error), -ETIMEDOUT);
  EQUAL(error.kind, MPTCPAPI_ERROR_TIMED_OUT);
  EQUAL(id, 77);
  lab("lab heal 2");
  EQUAL(mptcpapi_subflows(fd, NULL, 0, 0), 1);
  opened(fd);
  EQUAL(mptcpapi_subflows(fd, NULL, 0, 0), 2);
  close(fd);
}

struct shared {
  struct mptcpapi_monitor *monitor;
  atomic_int established, closed, other;
};

static void count(struct shared *shared, int timeout_ms) {
  SIZED(struct mptcpapi_event, event);
  int got = mptcpapi_monitor_next(shared->monitor, &event, timeout_ms);
  if (got == 0)
    return;
  EQUAL(got, 1);
  if (event.kind == MPTCPAPI_EVENT_SUBFLOW_ESTABLISHED)
    shared->established++;
  else if (event.kind == MPTCPAPI_EVENT_SUBFLOW_CLOSED)
    shared->closed++;
  else
    shared->other++;
}

static void *listen_to_all(void *argument) {
  struct shared *shared = argument;
  for (int i = 0; i < LONG && shared->established + shared->closed + shared->other < 2 * ROUNDS; i++)
    count(shared, 10);
  return NULL;
}

/* Two threads at one monitor share its events; a second monitor of the same connection has them all too. */
static void in_threads(void) {
  struct shared shared = {0}, second = {0};
  pthread_t threads[2];
  int fd = connect_app();
  shared.monitor = monitor_of(fd);
  second.monitor = monitor_of(fd);
  for (int i = 0; i < 2; i++)
    CHECK(pthread_create(&threads[i], NULL, listen_to_all, &shared) == 0);
  for (int i = 0; i < ROUNDS; i++)
    EQUAL(mptcpapi_subflow_close(fd, opened(fd), i % 2 ? MPTCPAPI_CLOSE_FIN : MPTCPAPI_CLOSE_RESET), 0);
  for (int i = 0; i < 2; i++)
    CHECK(pthread_join(threads[i], NULL) == 0);
  listen_to_all(&second);
  EQUAL(shared.established, ROUNDS);
  EQUAL(shared.closed, ROUNDS);
  EQUAL(second.established, ROUNDS);
  EQUAL(second.closed, ROUNDS);
  no_more(shared.monitor);
  no_more(second.monitor);
  mptcpapi_monitor_free(shared.monitor);
  mptcpapi_monitor_free(second.monitor);
  close(fd);
}

static void open_and_close_here(int fd, struct mptcpapi_monitor *monitor) {
  uint32_t id = opened(fd);
  next_is(monitor, MPTCPAPI_EVENT_SUBFLOW_ESTABLISHED, id);
  EQUAL(mptcpapi_subflow_close(fd, id, MPTCPAPI_CLOSE_FIN), 0);
  next_is(monitor, MPTCPAPI_EVENT_SUBFLOW_CLOSED, id);
  no_more(monitor);
}

/* The child's copy of the parent's monitor: kept in view, as it is no leak. */
static struct mptcpapi_monitor *volatile of_parent;

/* A child has its own calls and its own monitor; the parent's goes on, and tells what the child did. */
static void after_a_fork(void) {
  int fd = connect_app(), status;
  struct mptcpapi_monitor *monitor = monitor_of(fd);
  pid_t child;
  open_and_close_here(fd, monitor);
  of_parent = monitor;
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    struct mptcpapi_monitor *own = monitor_of(fd);
    open_and_close_here(fd, own);
    mptcpapi_monitor_free(own);
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  EQUAL(WEXITSTATUS(status), 0);
  /* The child's subflow was gone again when the parent looked: it has no id. */
  for (int i = 0; i < 2; i++) {
    SIZED(struct mptcpapi_event, event);
    EQUAL(mptcpapi_monitor_next(monitor, &event, LONG), 1);
    EQUAL(event.kind, i ? MPTCPAPI_EVENT_SUBFLOW_CLOSED : MPTCPAPI_EVENT_SUBFLOW_ESTABLISHED);
    EQUAL(event.subflow, 0);
  }
  open_and_close_here(fd, monitor);
  of_parent = NULL;
  mptcpapi_monitor_free(monitor);
  close(fd);
}

static void a_link_goes_down_and_up(void) {
  struct { struct mptcpapi_path_event now; unsigned char later[9]; } newer;
  _Alignas(8) unsigned char memory[FIRST_PATH_EVENT + 8];
  const uint32_t first = FIRST_PATH_EVENT;
  struct mptcpapi_path_event old;
  struct mptcpapi_path_watch *watch;
  struct pollfd readable = {-1, POLLIN, 0};
  int fd = connect_app();
  uint32_t id = opened(fd);
  EQUAL(mptcpapi_path_watch_new(fd, 0, 0, &watch), 0);
  readable.fd = mptcpapi_path_watch_fd(watch);
  memset(&newer, POISON, sizeof newer);
  newer.now.size = sizeof newer;
  EQUAL(mptcpapi_path_watch_next(watch, &newer.now, 0), 0);
  lab("lab link 2 down");
  EQUAL(poll(&readable, 1, LONG), 1);
  EQUAL(mptcpapi_path_watch_next(watch, &newer.now, LONG), 1);
  EQUAL(newer.now.kind, MPTCPAPI_PATH_EVENT_LINK_DOWN);
  EQUAL(newer.now.subflow, id);
  CHECK(is_path(&newer.now.local, "LAB_CLIENT_2") && strcmp(newer.now.interface, "path2") == 0);
  CHECK(all_are(newer.later, sizeof newer.later, 0));
  EQUAL(mptcpapi_subflow_abandon(fd, id), 0);
  EQUAL(mptcpapi_subflows(fd, NULL, 0, 0), 1);
  lab("lab link 2 up");
  memset(memory, POISON, sizeof memory);
  memcpy(memory, &first, sizeof first);
  EQUAL(mptcpapi_path_watch_next(watch, (struct mptcpapi_path_event *)memory, LONG), 1);
  CHECK(all_are(memory + FIRST_PATH_EVENT, 8, POISON));
  memcpy(&old, memory, FIRST_PATH_EVENT);
  EQUAL(old.kind, MPTCPAPI_PATH_EVENT_LINK_UP);
  EQUAL(old.subflow, 0);
  CHECK(strcmp(old.interface, "path2") == 0);
  mptcpapi_path_watch_free(watch);
  echo(fd);
  close(fd);
}

/* How many descriptors there are; every one from `first` on must be close-on-exec. */
static int descriptors(int first) {
  DIR *directory = opendir("/proc/self/fd");
  struct dirent *entry;
  int found = 0;
  CHECK(directory);
  while ((entry = readdir(directory))) {
    int fd = atoi(entry->d_name), flags = fcntl(fd, F_GETFD);
    /* Valgrind's own are listed, but cannot be asked. */
    if (entry->d_name[0] == '.' || flags == -1)
      continue;
    found++;
    CHECK(fd < first || flags == FD_CLOEXEC);
  }
  closedir(directory);
  return found;
}

static void nothing_stays_open(void) {
  int before = descriptors(INT32_MAX), first = dup(0), fd = connect_app();
  struct mptcpapi_monitor *monitor = monitor_of(fd);
  struct mptcpapi_path_watch *watch;
  CHECK(first >= 0 && close(first) == 0);
  EQUAL(mptcpapi_path_watch_new(fd, -1, 0, &watch), 0);
  CHECK(descriptors(first) > before + 2);
  mptcpapi_monitor_free(monitor);
  mptcpapi_path_watch_free(watch);
  close(fd);
  EQUAL(descriptors(first), before);
}

static void all(void) {
  open_and_close();
  reset_and_abandon();
  announce_and_withdraw();
  opens_that_fail();
  in_threads();
  after_a_fork();
  a_link_goes_down_and_up();
}

int main(void) {
  int once;
  if (!getenv("MPTCPAPI_LAB") || !getenv("LAB_PORT"))
    return skip("needs the lab with a peer, without endpoints");
  all();
  /* What the library keeps for later calls is there now. */
  once = descriptors(INT32_MAX);
  all();
  EQUAL(descriptors(INT32_MAX), once);
  nothing_stays_open();
  return 0;
}
