/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A connection over two paths of the lab. */

#include "test.h"

static int connect_to_peer(const char *host, int port, int flags) {
  struct sockaddr_in address = ipv4(host, port);
  char byte;
  int fd = mptcpapi_socket(AF_INET, flags);
  CHECK(fd >= 0);
  CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
  CHECK(write(fd, "echo\n1234", 9) == 9);
  for (int i = 0; i < 4; i++)
    CHECK(read(fd, &byte, 1) == 1 && byte == '1' + i);
  return fd;
}

static int wait_for(int fd, int count) {
  int found = 0;
  for (int i = 0; i < 500; i++) {
    found = mptcpapi_subflows(fd, NULL, 0, 0);
    CHECK(found >= 0);
    if (found == count)
      return found;
    nap();
  }
  return found;
}

static const char *host(const struct sockaddr_storage *address, char text[INET_ADDRSTRLEN]) {
  EQUAL(address->ss_family, AF_INET);
  return inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text, INET_ADDRSTRLEN);
}

/* What cannot change between two listings must be the same in both. */
static void same_subflow(const struct mptcpapi_subflow *plain, const struct mptcpapi_subflow *detail) {
  EQUAL(plain->id, detail->id);
  EQUAL(plain->state, detail->state);
  EQUAL(plain->mss, detail->mss);
  EQUAL(plain->initial, detail->initial);
  EQUAL(plain->bytes_sent, detail->bytes_sent);
  EQUAL(plain->bytes_received, detail->bytes_received);
  EQUAL(plain->retransmits, detail->retransmits);
  CHECK(memcmp(&plain->local, &detail->local, sizeof plain->local) == 0);
  CHECK(memcmp(&plain->remote, &detail->remote, sizeof plain->remote) == 0);
}

static void no_detail(const struct mptcpapi_subflow *subflow) {
  EQUAL(subflow->flags, 0);
  EQUAL(subflow->local_id, -1);
  EQUAL(subflow->remote_id, -1);
  EQUAL(subflow->backup + subflow->backup_by_peer + subflow->fully_established + subflow->tos, 0);
  CHECK(all_are(subflow->reserved, sizeof subflow->reserved, 0));
  CHECK(all_are(subflow->congestion, sizeof subflow->congestion, 0));
  CHECK(all_are(subflow->interface, sizeof subflow->interface, 0));
}

static void listings(int fd) {
  struct mptcpapi_subflow plain[3], detail[3], first[2];
  char text[INET_ADDRSTRLEN];
  memset(plain, POISON, sizeof plain);
  memset(detail, POISON, sizeof detail);
  memset(first, POISON, sizeof first);
  plain[0].size = detail[0].size = first[0].size = sizeof *plain;
  EQUAL(mptcpapi_subflows(fd, plain, 3, 0), 2);
  EQUAL(mptcpapi_subflows(fd, detail, 3, MPTCPAPI_DETAIL), 2);
  for (int i = 0; i < 2; i++) {
    same_subflow(&plain[i], &detail[i]);
    no_detail(&plain[i]);
    EQUAL(plain[i].size, sizeof *plain);
    EQUAL(plain[i].initial, i == 0);
    CHECK(plain[i].mss > 500 && plain[i].snd_cwnd > 0 && plain[i].rtt_us > 0);
    CHECK(strcmp(mptcpapi_state_name(plain[i].state), "established") == 0);
    CHECK(strcmp(host(&plain[i].local, text), getenv(i ? "LAB_CLIENT_2" : "LAB_CLIENT_1")) == 0);
    EQUAL(detail[i].flags, MPTCPAPI_DETAIL);
    CHECK(detail[i].local_id >= 0 && detail[i].remote_id >= 0);
    EQUAL(detail[i].backup, 0);
    CHECK(detail[i].congestion[0]);
    CHECK(detail[i].interface[0] == 0);
  }
  EQUAL(plain[0].id, 1);
  CHECK(plain[1].id > 1);
  EQUAL(detail[0].local_id, 0);
  CHECK(detail[1].local_id != 0);
  EQUAL(detail[0].fully_established, 1);
  CHECK(all_are(&plain[2], sizeof plain[2], POISON));
  /* Room for one: the oldest, and the truth about how many there are. */
  EQUAL(mptcpapi_subflows(fd, first, 1, 0), 2);
  same_subflow(&first[0], &plain[0]);
  CHECK(all_are(&first[1], sizeof first[1], POISON));
  EQUAL(mptcpapi_subflows(fd, first, 1, MPTCPAPI_DETAIL), 2);
  same_subflow(&first[0], &plain[0]);
  CHECK(all_are(&first[1], sizeof first[1], POISON));
}

/* In the lab the tests have the privilege. The connection has the path manager that was asked for, the next one again
   that of the network namespace (which info sees). */
static void control_by_the_application(const char *host, int port) {
  SIZED(struct mptcpapi_info, info);
  int fd = connect_to_peer(host, port, MPTCPAPI_CONTROL_APP);
  EQUAL(mptcpapi_info(fd, &info), 0);
  EQUAL(info.path_manager, MPTCPAPI_PATH_MANAGER_USERSPACE);
  close(fd);
}

static void info(int fd) {
  SIZED(struct mptcpapi_info, info);
  SIZED(struct mptcpapi_error, error);
  EQUAL(mptcpapi_info_e(fd, &info, &error), 0);
  EQUAL(error.kind, MPTCPAPI_ERROR_NONE);
  CHECK(info.token != 0);
  EQUAL(info.subflows, 2);
  EQUAL(info.bytes_sent, 9);
  EQUAL(info.bytes_received, 4);
  EQUAL(info.fallback, 0);
  EQUAL(info.server_side, 0);
  EQUAL(info.path_manager, MPTCPAPI_PATH_MANAGER_KERNEL);
  CHECK(all_are(info.reserved, sizeof info.reserved, 0));
}

int main(void) {
  const char *server = getenv("LAB_SERVER_1"), *port = getenv("LAB_PORT");
  int fd;
  if (!server || !port)
    return skip("needs the lab with a peer and endpoints");
  control_by_the_application(server, atoi(port));
  fd = connect_to_peer(server, atoi(port), 0);
  EQUAL(wait_for(fd, 2), 2);
  listings(fd);
  info(fd);
  close(fd);
  return 0;
}
