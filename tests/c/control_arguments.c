/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Control, monitors and path watches: wrong sizes, NULL, unknown flags, descriptors that are no connection. */

#include <fcntl.h>
#include <limits.h>

#include "test.h"

/* The sizes of the first release. Programs built against it will be there for ever: these numbers never change. */
enum { FIRST_OPEN = 288, FIRST_EVENT = 736, FIRST_PATH_EVENT = 160 };

static const uint32_t wrong_sizes[] = {0, 3, 4, 159, 4097, 0xAAAAAAAA, 0xFFFFFFFF};
#define WRONG_SIZES (sizeof wrong_sizes / sizeof *wrong_sizes)

/* The kernel's path manager runs the connections of this test: what passes the checks of arguments ends with this. */
#define PASSED (-EACCES)

static struct mptcpapi_open nothing_wanted(void) {
  struct mptcpapi_open open;
  memset(&open, 0, sizeof open);
  open.size = sizeof open;
  return open;
}

static void refuses_open(int fd, const struct mptcpapi_open *open, int number) {
  SIZED(struct mptcpapi_error, error);
  uint32_t id = 77;
  EQUAL(mptcpapi_subflow_open(fd, open, &id), -number);
  EQUAL(mptcpapi_subflow_open_e(fd, open, NULL, &error), -number);
  EQUAL(id, 77);
  EQUAL(error.kind, MPTCPAPI_ERROR_OS);
  EQUAL(error.error, number);
  CHECK(error.hint[0] && strcmp(error.operation, "open_subflow") == 0);
}

static void sizes_of_open(int fd) {
  struct { struct mptcpapi_open now; unsigned char later[7]; } newer;
  struct mptcpapi_open open = nothing_wanted();
  unsigned char odd[sizeof open + 1];
  CHECK(sizeof open > FIRST_OPEN);
  EQUAL(mptcpapi_subflow_open(fd, NULL, NULL), PASSED);
  EQUAL(mptcpapi_subflow_open(fd, &open, NULL), PASSED);
  /* An old program has nothing behind the first release's fields that could be meant. */
  open.size = FIRST_OPEN;
  memset((char *)&open + FIRST_OPEN, POISON, sizeof open - FIRST_OPEN);
  EQUAL(mptcpapi_subflow_open(fd, &open, NULL), PASSED);
  open = nothing_wanted();
  for (size_t i = 0; i < WRONG_SIZES; i++) {
    open.size = wrong_sizes[i];
    refuses_open(fd, &open, EINVAL);
  }
  open.size = FIRST_OPEN - 1;
  refuses_open(fd, &open, EINVAL);
  memset(&newer, 0, sizeof newer);
  newer.now.size = sizeof newer;
  EQUAL(mptcpapi_subflow_open(fd, &newer.now, NULL), PASSED);
  newer.later[6] = 1;
  refuses_open(fd, &newer.now, E2BIG);
  /* At an odd address, the fields are where they are. */
  open = nothing_wanted();
  memcpy(odd + 1, &open, sizeof open);
  EQUAL(mptcpapi_subflow_open(fd, (struct mptcpapi_open *)(odd + 1), NULL), PASSED);
  open.remote.ss_family = AF_UNIX;
  memcpy(odd + 1, &open, sizeof open);
  refuses_open(fd, (struct mptcpapi_open *)(odd + 1), EINVAL);
}

static void fields_of_open(int fd) {
  struct mptcpapi_open open = nothing_wanted();
  int closed = dup(fd);
  CHECK(closed >= 0 && close(closed) == 0);
  open.local.ss_family = AF_UNIX;
  refuses_open(fd, &open, EINVAL);
  open.local.ss_family = 0xAAAA;
  refuses_open(fd, &open, EINVAL);
  open = nothing_wanted();
  memset(open.interface, 'x', sizeof open.interface);
  refuses_open(fd, &open, EINVAL);
  memset(open.interface, 0, sizeof open.interface);
  open.interface[0] = (char)0xFF;
  refuses_open(fd, &open, EINVAL);
  open = nothing_wanted();
  open.cancel_fd = closed;
  refuses_open(fd, &open, EINVAL);
  open.cancel_fd = INT_MAX;
  refuses_open(fd, &open, EINVAL);
  open.cancel_fd = -1;
  EQUAL(mptcpapi_subflow_open(fd, &open, NULL), PASSED);
  open.cancel_fd = INT_MIN;
  EQUAL(mptcpapi_subflow_open(fd, &open, NULL), PASSED);
}

static void how_of_close(int fd) {
  SIZED(struct mptcpapi_error, error);
  EQUAL(mptcpapi_subflow_close(fd, 1, -1), -EINVAL);
  EQUAL(mptcpapi_subflow_close(fd, 1, 2), -EINVAL);
  EQUAL(mptcpapi_subflow_close_e(fd, 1, INT_MAX, &error), -EINVAL);
  CHECK(strstr(error.hint, "MPTCPAPI_CLOSE_FIN"));
  EQUAL(mptcpapi_subflow_close_e(fd, 99, MPTCPAPI_CLOSE_RESET, &error), -ENOENT);
  EQUAL(error.kind, MPTCPAPI_ERROR_NO_SUCH_SUBFLOW);
  EQUAL(error.subflow, 99);
  EQUAL(mptcpapi_subflow_close(fd, UINT32_MAX, MPTCPAPI_CLOSE_FIN), -ENOENT);
  EQUAL(mptcpapi_subflow_close(fd, 0, MPTCPAPI_CLOSE_FIN), -ENOENT);
  EQUAL(mptcpapi_subflows(fd, NULL, 0, 0), 1);
}

/* Memory of exactly `length` bytes, so that valgrind sees a read beyond. */
static int announce(int fd, int family, socklen_t length) {
  struct sockaddr_in6 address;
  void *exact = malloc(length ? length : 1);
  uint8_t id = 77;
  int result;
  memset(&address, 0, sizeof address);
  address.sin6_family = (sa_family_t)family;
  CHECK(exact);
  memcpy(exact, &address, length);
  result = mptcpapi_announce(fd, exact, length, &id);
  EQUAL(id, 77);
  free(exact);
  return result;
}

static void addresses_of_announce(int fd) {
  SIZED(struct mptcpapi_error, error);
  EQUAL(mptcpapi_announce(fd, NULL, 16, NULL), -EFAULT);
  EQUAL(mptcpapi_announce_e(fd, NULL, 0, NULL, &error), -EFAULT);
  EQUAL(error.error, EFAULT);
  for (socklen_t length = 0; length < sizeof(struct sockaddr_in); length++)
    EQUAL(announce(fd, AF_INET, length), -EINVAL);
  for (socklen_t length = 0; length < sizeof(struct sockaddr_in6); length++)
    EQUAL(announce(fd, AF_INET6, length), -EINVAL);
  EQUAL(announce(fd, AF_UNIX, sizeof(struct sockaddr_in6)), -EINVAL);
  EQUAL(announce(fd, 0, sizeof(struct sockaddr_in6)), -EINVAL);
  EQUAL(announce(fd, AF_INET, sizeof(struct sockaddr_in)), PASSED);
  EQUAL(announce(fd, AF_INET6, sizeof(struct sockaddr_in6)), PASSED);
}

static void null_monitors(int fd) {
  SIZED(struct mptcpapi_event, event);
  SIZED(struct mptcpapi_path_event, path_event);
  SIZED(struct mptcpapi_error, error);
  EQUAL(mptcpapi_monitor_new(fd, 0, NULL), -EFAULT);
  EQUAL(mptcpapi_monitor_new_e(fd, 0, NULL, &error), -EFAULT);
  EQUAL(error.error, EFAULT);
  EQUAL(mptcpapi_monitor_add(NULL, fd, NULL), -EFAULT);
  EQUAL(mptcpapi_monitor_add_e(NULL, fd, NULL, NULL), -EFAULT);
  EQUAL(mptcpapi_monitor_remove(NULL, 1), -EFAULT);
  EQUAL(mptcpapi_monitor_source(NULL), -EFAULT);
  EQUAL(mptcpapi_monitor_fd(NULL), -EFAULT);
  EQUAL(mptcpapi_monitor_next(NULL, &event, 0), -EFAULT);
  EQUAL(mptcpapi_monitor_next_e(NULL, NULL, 0, &error), -EFAULT);
  EQUAL(mptcpapi_path_watch_new(fd, 0, 0, NULL), -EFAULT);
  EQUAL(mptcpapi_path_watch_new_e(fd, 0, 0, NULL, NULL), -EFAULT);
  EQUAL(mptcpapi_path_watch_fd(NULL), -EFAULT);
  EQUAL(mptcpapi_path_watch_next(NULL, &path_event, 0), -EFAULT);
  EQUAL(mptcpapi_path_watch_next_e(NULL, &path_event, 0, &error), -EFAULT);
  mptcpapi_monitor_free(NULL);
  mptcpapi_path_watch_free(NULL);
  CHECK(all_are((char *)&event + 4, sizeof event - 4, POISON));
  CHECK(all_are((char *)&path_event + 4, sizeof path_event - 4, POISON));
}

static void unknown_flags(int fd) {
  struct mptcpapi_monitor *monitor = NULL;
  struct mptcpapi_path_watch *watch = NULL;
  for (int bit = 0; bit < 31; bit++) {
    EQUAL(mptcpapi_monitor_new(fd, 1 << bit, &monitor), -EINVAL);
    if (1 << bit != MPTCPAPI_EXPECT_DATA)
      EQUAL(mptcpapi_path_watch_new(fd, 0, 1 << bit, &watch), -EINVAL);
  }
  EQUAL(mptcpapi_monitor_new(fd, -1, &monitor), -EINVAL);
  EQUAL(mptcpapi_path_watch_new(fd, 0, -1, &watch), -EINVAL);
  CHECK(!monitor && !watch);
}

static void sizes_of_events(int fd) {
  struct mptcpapi_monitor *monitor;
  struct mptcpapi_path_watch *watch;
  SIZED(struct mptcpapi_event, event);
  SIZED(struct mptcpapi_path_event, path_event);
  EQUAL(mptcpapi_monitor_new(fd, 0, &monitor), 0);
  EQUAL(mptcpapi_path_watch_new(fd, 0, 0, &watch), 0);
  for (size_t i = 0; i < WRONG_SIZES; i++) {
    event.size = path_event.size = wrong_sizes[i];
    EQUAL(mptcpapi_monitor_next(monitor, &event, 0), -EINVAL);
    EQUAL(mptcpapi_path_watch_next(watch, &path_event, 0), -EINVAL);
  }
  event.size = FIRST_EVENT - 1;
  EQUAL(mptcpapi_monitor_next(monitor, &event, 0), -EINVAL);
  EQUAL(mptcpapi_monitor_next(monitor, NULL, 0), -EFAULT);
  EQUAL(mptcpapi_path_watch_next(watch, NULL, 0), -EFAULT);
  event.size = FIRST_EVENT;
  path_event.size = FIRST_PATH_EVENT;
  EQUAL(mptcpapi_monitor_next(monitor, &event, 0), 0);
  EQUAL(mptcpapi_path_watch_next(watch, &path_event, 0), 0);
  CHECK(all_are((char *)&event + 4, sizeof event - 4, POISON));
  CHECK(all_are((char *)&path_event + 4, sizeof path_event - 4, POISON));
  EQUAL(mptcpapi_monitor_remove(monitor, 0), 0);
  EQUAL(mptcpapi_monitor_remove(monitor, UINT32_MAX), 0);
  mptcpapi_monitor_free(monitor);
  mptcpapi_path_watch_free(watch);
}

/* Its only subflow is reset; a wrong size does not eat the event. Answers where the event was written. */
static void an_event_into(void *memory, uint32_t size) {
  struct mptcpapi_monitor *monitor;
  uint32_t wrong[2] = {FIRST_EVENT - 1, POISON};
  int ends[2];
  connected(ends);
  EQUAL(mptcpapi_monitor_new(ends[0], 0, &monitor), 0);
  EQUAL(mptcpapi_subflow_close(ends[0], 1, MPTCPAPI_CLOSE_RESET), 0);
  EQUAL(mptcpapi_monitor_next(monitor, (struct mptcpapi_event *)wrong, 5000), -EINVAL);
  memcpy(memory, &size, sizeof size);
  EQUAL(mptcpapi_monitor_next(monitor, memory, 5000), 1);
  mptcpapi_monitor_free(monitor);
  close(ends[0]);
  close(ends[1]);
}

static void events_of_an_old_and_a_newer_caller(void) {
  _Alignas(8) unsigned char memory[FIRST_EVENT + 64];
  struct mptcpapi_event event;
  memset(memory, POISON, sizeof memory);
  an_event_into(memory, FIRST_EVENT);
  CHECK(all_are(memory + FIRST_EVENT, 64, POISON));
  memcpy(&event, memory, FIRST_EVENT);
  EQUAL(event.size, FIRST_EVENT);
  EQUAL(event.kind, MPTCPAPI_EVENT_SUBFLOW_CLOSED);
  EQUAL(event.subflow, 1);
  memset(memory, POISON, sizeof memory);
  an_event_into(memory, FIRST_EVENT + 9);
  CHECK(all_are(memory + FIRST_EVENT, 9, 0));
  CHECK(all_are(memory + FIRST_EVENT + 9, 55, POISON));
  memcpy(&event, memory, FIRST_EVENT);
  EQUAL(event.size, FIRST_EVENT + 9);
  EQUAL(event.kind, MPTCPAPI_EVENT_SUBFLOW_CLOSED);
  EQUAL(event.last.id, 1);
  EQUAL(event.last.size, sizeof event.last);
}

/* The number of a watched connection is closed, then another file's, then another connection's. */
static void next_after_close(void) {
  struct mptcpapi_monitor *monitor;
  struct mptcpapi_path_watch *watch;
  SIZED(struct mptcpapi_event, event);
  SIZED(struct mptcpapi_path_event, path_event);
  uint32_t token, other_token;
  int ends[2], other[2], number;
  connected(ends);
  connected(other);
  number = ends[0];
  EQUAL(mptcpapi_monitor_new(number, 0, &monitor), 0);
  EQUAL(mptcpapi_monitor_add(monitor, number, &token), 0);
  EQUAL(mptcpapi_path_watch_new(number, 10, MPTCPAPI_EXPECT_DATA, &watch), 0);
  close(number);
  do
    EQUAL(mptcpapi_monitor_next(monitor, &event, 5000), 1);
  while (event.kind != MPTCPAPI_EVENT_CLOSED);
  EQUAL(event.token, token);
  EQUAL(mptcpapi_path_watch_next(watch, &path_event, 5000), 1);
  EQUAL(path_event.kind, MPTCPAPI_PATH_EVENT_CLOSED);
  EQUAL(open("/dev/null", O_RDONLY | O_CLOEXEC), number);
  EQUAL(mptcpapi_monitor_next(monitor, &event, 30), 0);
  EQUAL(mptcpapi_path_watch_next(watch, &path_event, 30), 0);
  EQUAL(dup2(other[0], number), number);
  EQUAL(mptcpapi_monitor_next(monitor, &event, 30), 0);
  EQUAL(mptcpapi_path_watch_next(watch, &path_event, 30), 0);
  /* The monitor is as good as new. */
  EQUAL(mptcpapi_monitor_add(monitor, number, &other_token), 0);
  CHECK(other_token != token);
  EQUAL(mptcpapi_monitor_remove(monitor, other_token), 0);
  mptcpapi_monitor_free(monitor);
  mptcpapi_path_watch_free(watch);
  close(number);
  close(ends[1]);
  close(other[0]);
  close(other[1]);
}

/* On a descriptor that is no connection: `number` from what needs one, `subflow` from what looks for a subflow. */
static void every_call_fails(struct mptcpapi_monitor *good, int fd, int number, int subflow, uint32_t kind) {
  struct sockaddr_in address = ipv4("127.0.0.1", 0);
  struct mptcpapi_open open = nothing_wanted();
  struct mptcpapi_monitor *monitor = NULL;
  struct mptcpapi_path_watch *watch = NULL;
  SIZED(struct mptcpapi_error, error);
  uint32_t token = 77;
  EQUAL(mptcpapi_subflow_open_e(fd, &open, NULL, &error), -number);
  EQUAL(error.kind, kind);
  EQUAL(mptcpapi_subflow_open(fd, NULL, NULL), -number);
  EQUAL(mptcpapi_subflow_close(fd, 1, MPTCPAPI_CLOSE_FIN), -subflow);
  EQUAL(mptcpapi_subflow_close(fd, 1, MPTCPAPI_CLOSE_RESET), -subflow);
  EQUAL(mptcpapi_subflow_abandon(fd, 1), -subflow);
  EQUAL(mptcpapi_subflow_abandon_e(fd, 1, NULL), -subflow);
  EQUAL(mptcpapi_subflow_set_backup(fd, 1, 1), -subflow);
  EQUAL(mptcpapi_subflow_set_backup_e(fd, 1, 0, &error), -subflow);
  CHECK(strcmp(error.operation, "set_backup") == 0 && error.message[0]);
  EQUAL(mptcpapi_announce_e(fd, (struct sockaddr *)&address, sizeof address, NULL, &error), -number);
  EQUAL(error.kind, kind);
  EQUAL(mptcpapi_withdraw_e(fd, 1, &error), -number);
  EQUAL(error.kind, kind);
  EQUAL(mptcpapi_withdraw(fd, 0), -number);
  EQUAL(mptcpapi_monitor_new_e(fd, 0, &monitor, &error), -number);
  EQUAL(error.kind, kind);
  EQUAL(mptcpapi_monitor_add_e(good, fd, &token, &error), -number);
  EQUAL(error.kind, kind);
  EQUAL(mptcpapi_path_watch_new_e(fd, -1, 0, &watch, &error), -number);
  EQUAL(error.kind, kind);
  CHECK(!monitor && !watch && token == 77);
}

static void descriptors_that_are_no_connection(int connection) {
  struct mptcpapi_monitor *good;
  struct sockaddr_in address;
  int file = open("/dev/null", O_RDWR), udp = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0);
  int fresh = mptcpapi_socket(AF_INET6, 0), listening = listener(&address);
  /* A high number, which nothing that the monitor opens will have. */
  int closed = fcntl(file, F_DUPFD_CLOEXEC, 500);
  const int no_descriptors[] = {closed, -1, -100, INT_MIN, INT_MAX};
  CHECK(closed >= 0 && close(closed) == 0);
  EQUAL(mptcpapi_monitor_new(connection, 0, &good), 0);
  for (size_t i = 0; i < sizeof no_descriptors / sizeof *no_descriptors; i++)
    every_call_fails(good, no_descriptors[i], EBADF, EBADF, MPTCPAPI_ERROR_OS);
  every_call_fails(good, file, ENOTSOCK, ENOTSOCK, MPTCPAPI_ERROR_OS);
  every_call_fails(good, udp, EOPNOTSUPP, EOPNOTSUPP, MPTCPAPI_ERROR_NOT_MPTCP);
  every_call_fails(good, tcp, EOPNOTSUPP, EOPNOTSUPP, MPTCPAPI_ERROR_NOT_MPTCP);
  every_call_fails(good, fresh, ENOTCONN, ENOENT, MPTCPAPI_ERROR_NOT_READY);
  every_call_fails(good, listening, ENOTCONN, ENOENT, MPTCPAPI_ERROR_NOT_READY);
  mptcpapi_monitor_free(good);
  close(file);
  close(udp);
  close(tcp);
  close(fresh);
  close(listening);
}

static void names_of_all_numbers(void) {
  CHECK(strcmp(mptcpapi_event_name(MPTCPAPI_EVENT_ESTABLISHED), "established") == 0);
  CHECK(strcmp(mptcpapi_event_name(MPTCPAPI_EVENT_RESYNCED), "resynced") == 0);
  CHECK(strcmp(mptcpapi_event_name(0), "unknown") == 0);
  CHECK(strcmp(mptcpapi_event_name(MPTCPAPI_EVENT_RESYNCED + 1), "unknown") == 0);
  CHECK(strcmp(mptcpapi_path_event_name(MPTCPAPI_PATH_EVENT_LINK_DOWN), "link_down") == 0);
  CHECK(strcmp(mptcpapi_path_event_name(MPTCPAPI_PATH_EVENT_RESUMED), "resumed") == 0);
  CHECK(strcmp(mptcpapi_path_event_name(MPTCPAPI_PATH_EVENT_CLOSED), "closed") == 0);
  CHECK(strcmp(mptcpapi_path_event_name(UINT32_MAX), "unknown") == 0);
  CHECK(strcmp(mptcpapi_source_name(MPTCPAPI_SOURCE_NETLINK), "netlink") == 0);
  CHECK(strcmp(mptcpapi_source_name(MPTCPAPI_SOURCE_POLLING), "polling") == 0);
  CHECK(strcmp(mptcpapi_source_name(-EFAULT), "unknown") == 0);
}

int main(void) {
  int ends[2];
  if (!getenv("MPTCPAPI_LAB"))
    return skip("expects the privilege, and the kernel's path manager: only in the lab");
  connected(ends);
  sizes_of_open(ends[0]);
  fields_of_open(ends[0]);
  how_of_close(ends[0]);
  addresses_of_announce(ends[0]);
  null_monitors(ends[0]);
  unknown_flags(ends[0]);
  sizes_of_events(ends[0]);
  events_of_an_old_and_a_newer_caller();
  next_after_close();
  descriptors_that_are_no_connection(ends[0]);
  names_of_all_numbers();
  EQUAL(mptcpapi_subflows(ends[0], NULL, 0, 0), 1);
  close(ends[0]);
  close(ends[1]);
  return 0;
}
