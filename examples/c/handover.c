/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A download that survives its path: handover HOST PORT SECOND_LOCAL SECOND_REMOTE BYTES [alone]
 *
 * When the path of the connection fails, a subflow is opened over another one and the dead one is left. With `alone`,
 * what the kernel does by itself. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <mptcpapi.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sha256.h"

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static void fail(const char *what, int error) {
  fprintf(stderr, "%s: %s\n", what, strerror(error));
  exit(1);
}

/* Moves the connection from a subflow whose path failed to the second path. */
static void move(int fd, uint32_t dead, const char *local, const char *remote) {
  struct mptcpapi_open open = {.size = sizeof open};
  struct sockaddr_in *from = (struct sockaddr_in *)&open.local, *to = (struct sockaddr_in *)&open.remote;
  double noticed = now_ms();
  uint32_t id = 0;
  int result;
  from->sin_family = to->sin_family = AF_INET;
  inet_pton(AF_INET, local, &from->sin_addr);
  inet_pton(AF_INET, remote, &to->sin_addr);
  /* Make, then break: the peer is told on the new path to leave the old one. */
  if ((result = mptcpapi_subflow_open(fd, &open, &id)) < 0)
    fail("open", -result);
  fprintf(stderr, "subflow %u opened after %.1f ms\n", id, now_ms() - noticed);
  if ((result = mptcpapi_subflow_abandon(fd, dead)) < 0)
    fail("abandon", -result);
  fprintf(stderr, "subflow %u left after %.1f ms\n", dead, now_ms() - noticed);
}

int main(int argc, char **argv) {
  struct sockaddr_in server = {.sin_family = AF_INET};
  struct mptcpapi_path_watch *paths = NULL;
  struct sha256 hash;
  static unsigned char buffer[65536];
  char order[64], hex[65];
  const char *noticed = NULL;
  double last = 0, gap = 0;
  unsigned long long total = 0;
  int alone = argc == 7 && !strcmp(argv[6], "alone"), fd, result;
  if (argc < 6 || inet_pton(AF_INET, argv[1], &server.sin_addr) != 1)
    return fprintf(stderr, "usage: handover HOST PORT SECOND_LOCAL SECOND_REMOTE BYTES [alone]\n"), 2;
  server.sin_port = htons((uint16_t)atoi(argv[2]));

  fd = mptcpapi_socket(AF_INET, alone ? 0 : MPTCPAPI_CONTROL_APP);
  if (fd < 0)
    fail("socket", -fd);
  if (connect(fd, (struct sockaddr *)&server, sizeof server) != 0)
    fail("connect", errno);
  snprintf(order, sizeof order, "source %s\n", argv[5]);
  if (write(fd, order, strlen(order)) < 0)
    fail("write", errno);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  if (!alone && (result = mptcpapi_path_watch_new(fd, 50, MPTCPAPI_EXPECT_DATA, &paths)) < 0)
    fail("path watch", -result);

  sha256_begin(&hash);
  for (;;) {
    struct pollfd wait[2] = {{fd, POLLIN, 0}, {paths ? mptcpapi_path_watch_fd(paths) : -1, POLLIN, 0}};
    struct mptcpapi_path_event event = {.size = sizeof event};
    ssize_t count;
    if (poll(wait, 2, -1) < 0)
      fail("poll", errno);
    while (paths && mptcpapi_path_watch_next(paths, &event, 0) == 1) {
      if (noticed || !event.subflow || event.kind == MPTCPAPI_PATH_EVENT_RESUMED)
        continue;
      noticed = mptcpapi_path_event_name(event.kind);
      fprintf(stderr, "subflow %u: %s\n", event.subflow, noticed);
      move(fd, event.subflow, argv[3], argv[4]);
    }
    count = read(fd, buffer, sizeof buffer);
    if (count < 0 && errno == EAGAIN)
      continue;
    if (count < 0)
      fail("read", errno);
    if (count == 0)
      break;
    if (last > 0 && now_ms() - last > gap)
      gap = now_ms() - last;
    last = now_ms();
    sha256_add(&hash, buffer, (size_t)count);
    total += (unsigned long long)count;
  }
  sha256_end(&hash, hex);
  result = mptcpapi_subflows(fd, NULL, 0, 0);
  mptcpapi_path_watch_free(paths);
  printf("{\"bytes\": %llu, \"sha256\": \"%s\", \"longest_gap_ms\": %.1f, \"noticed\": %s%s%s, "
         "\"subflows_at_the_end\": %d}\n",
         total, hex, gap, noticed ? "\"" : "", noticed ? noticed : "null", noticed ? "\"" : "", result < 0 ? 0 : result);
  return close(fd);
}
