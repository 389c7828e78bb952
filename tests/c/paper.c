/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the paper's options do by mptcpapi_getsockopt and mptcpapi_setsockopt. Wrong requests: paper_arguments.c. */

#include <netinet/tcp.h>

#define MPTCPAPI_PAPER_STOCK
#include "paper.h"

enum { FIRST = 0x06, SECOND = 0x07, LOW_PRIO = 0x08, WANTED = 0x05, LONG_INFO = 1000 };

static void open_list_and_close(void) {
  int fd = connect_app();
  unsigned char pairs[62], reply[100], zeros[16] = {0};
  socklen_t filled;
  struct sockaddr_in ends[2], peer = ipv4(getenv("LAB_SERVER_2"), atoi(getenv("LAB_PORT")));
  EQUAL(listed(fd, pairs), 1);
  CHECK(pairs[0] == 1 && pairs[1] == FIRST);
  EQUAL(opened(fd, 0, 0), 2);
  EQUAL(opened(fd, 1, 1), 3);
  EQUAL(opened(fd, 1, 0), 4);
  until_established(fd, 4);
  EQUAL(listed(fd, pairs), 4);
  CHECK(memcmp(pairs, "\4\7\3\xf\2\7\1\6", 8) == 0);
  /* No room for less than all. */
  for (socklen_t room = 0; room < 10; room++)
    EQUAL(fails(fd, MPTCP_GET_SUB_IDS, "", 0, room), EINVAL);
  EQUAL(get(fd, MPTCP_GET_SUB_IDS, "", 0, 10, reply, &filled), 0);
  EQUAL(filled, 10);
  /* Its addresses, and not a byte more. */
  for (socklen_t room = 1; room < TUPLE; room++)
    EQUAL(fails(fd, MPTCP_GET_SUB_TUPLE, "\2", 1, room), EINVAL);
  EQUAL(get(fd, MPTCP_GET_SUB_TUPLE, "\2", 1, sizeof reply, reply, &filled), 0);
  EQUAL(filled, TUPLE);
  EQUAL(reply[0], 2);
  CHECK(all_are(reply + TUPLE, sizeof reply - TUPLE, POISON));
  memcpy(ends, reply + 1, sizeof ends);
  EQUAL(ends[0].sin_family, AF_INET);
  EQUAL(ends[0].sin_addr.s_addr, ipv4(getenv("LAB_CLIENT_2"), 0).sin_addr.s_addr);
  CHECK(ends[0].sin_port != 0);
  CHECK(memcmp(&ends[1], &peer, sizeof peer) == 0);
  CHECK(memcmp(ends[0].sin_zero, zeros, sizeof ends[0].sin_zero) == 0);
  /* The implementation's length, the draft's, and any other but none. */
  EQUAL(fails(fd, MPTCP_CLOSE_SUB_ID, "", 0, 0), EINVAL);
  EQUAL(get(fd, MPTCP_CLOSE_SUB_ID, "\2", 1, 1, reply, &filled), 0);
  EQUAL(filled, 1);
  EQUAL(get(fd, MPTCP_CLOSE_SUB_ID, "\3\0\0\0\2\0\0\0", 8, 8, reply, &filled), 0);
  EQUAL(get(fd, MPTCP_CLOSE_SUB_ID, "\1", 1, 100, reply, &filled), 0);
  EQUAL(fails(fd, MPTCP_CLOSE_SUB_ID, "\1", 1, 1), EINVAL);
  EQUAL(fails(fd, MPTCP_GET_SUB_TUPLE, "\2", 1, TUPLE), EINVAL);
  EQUAL(listed(fd, pairs), 1);
  EQUAL(pairs[0], 4);
  /* Upwards, not the lowest that is free. */
  EQUAL(opened(fd, 0, 0), 5);
  close(fd);
}

static void before_any_data(void) {
  int fd = connected_to_port(0, MPTCPAPI_CONTROL_APP);
  unsigned char pairs[62], reply[TUPLE];
  socklen_t filled;
  EQUAL(opened(fd, 1, 1), 2);
  EQUAL(listed(fd, pairs), 2);
  CHECK(pairs[0] == 2 && pairs[1] == (WANTED | LOW_PRIO) && pairs[2] == 1 && pairs[3] == FIRST);
  EQUAL(get(fd, MPTCP_GET_SUB_TUPLE, "\2", 1, TUPLE, reply, &filled), 0);
  EQUAL(get(fd, MPTCP_CLOSE_SUB_ID, "\1", 1, 1, reply, &filled), 0);
  EQUAL(listed(fd, pairs), 1);
  talk(fd);
  until_established(fd, 1);
  EQUAL(listed(fd, pairs), 1);
  CHECK(pairs[0] == 2 && pairs[1] == (SECOND | LOW_PRIO));
  close(fd);
}

static int sub_get(int fd, unsigned char id, int level, int name, void *value, unsigned *length) {
  struct mptcp_sub_getsockopt request = {id, level, name, value, length};
  socklen_t size = sizeof request;
  int error = get_at(fd, MPTCP_SUB_GETSOCKOPT, &request, &size);
  EQUAL(size, sizeof request);
  return error;
}

static int sub_set(int fd, unsigned char id, int level, int name, const void *value, unsigned length) {
  struct mptcp_sub_setsockopt request = {id, level, name, (char *)value, length};
  return set_at(fd, MPTCP_SUB_SETSOCKOPT, &request, sizeof request);
}

static int tos_of(int fd, unsigned char id) {
  int tos = -1;
  unsigned length = sizeof tos;
  EQUAL(sub_get(fd, id, IPPROTO_IP, IP_TOS, &tos, &length), 0);
  EQUAL(length, sizeof tos);
  return tos;
}

static void options_are_read(int fd) {
  unsigned char value[232], info[LONG_INFO] = {0}, beginning[8] = {0};
  unsigned length = sizeof value;
  /* Programs pass any length. */
  memset(value, POISON, sizeof value);
  EQUAL(sub_get(fd, 2, IPPROTO_IP, IP_TOS, value, &length), 0);
  EQUAL(length, sizeof(int));
  CHECK(all_are(value, length, 0) && all_are(value + length, sizeof value - length, POISON));
  length = 1;
  EQUAL(sub_get(fd, 2, IPPROTO_TCP, TCP_CONGESTION, value, &length), 0);
  CHECK(length == 1 && value[0] == 'r' && value[1] == 0);
  length = sizeof info;
  EQUAL(sub_get(fd, 2, IPPROTO_TCP, TCP_INFO, info, &length), 0);
  CHECK(length >= 200 && length < sizeof info);
  EQUAL(info[0], 1);
  length = sizeof beginning;
  EQUAL(sub_get(fd, 2, IPPROTO_TCP, TCP_INFO, beginning, &length), 0);
  CHECK(length == sizeof beginning && memcmp(beginning, info, 4) == 0);
  /* Did not work with the paper's kernel. */
  length = sizeof(int);
  EQUAL(sub_get(fd, 2, SOL_SOCKET, SO_SNDBUF, value, &length), 0);
  EQUAL(length, sizeof(int));
  EQUAL(sub_get(fd, 3, IPPROTO_IP, IP_TOS, value, &length), EINVAL);
  EQUAL(sub_get(fd, 2, IPPROTO_TCP, 9999, value, &length), ENOPROTOOPT);
}

static void options_are_set(int fd) {
  int tos = 0x28, timeout = 7000;
  unsigned length = sizeof timeout;
  EQUAL(sub_set(fd, 2, IPPROTO_IP, IP_TOS, &tos, sizeof tos), 0);
  EQUAL(tos_of(fd, 1), 0);
  EQUAL(tos_of(fd, 2), 0x28);
  EQUAL(sub_set(fd, 1, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout), 0);
  timeout = -1;
  EQUAL(sub_get(fd, 1, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, &length), 0);
  EQUAL(timeout, 7000);
  EQUAL(sub_set(fd, 2, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5), 0);
  EQUAL(sub_set(fd, 2, IPPROTO_TCP, TCP_CONGESTION, "nothere", 7), ENOENT);
  EQUAL(sub_set(fd, 2, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, 3), EINVAL);
  EQUAL(sub_set(fd, 3, IPPROTO_IP, IP_TOS, &tos, sizeof tos), EINVAL);
}

/* One that waits for data has the value as soon as it is there. */
static void options_set_before_any_data(void) {
  int fd = connected_to_port(0, MPTCPAPI_CONTROL_APP), tos = 0x48;
  EQUAL(opened(fd, 0, 0), 2);
  EQUAL(sub_set(fd, 2, IPPROTO_IP, IP_TOS, &tos, sizeof tos), 0);
  EQUAL(tos_of(fd, 2), 0x48);
  talk(fd);
  until_established(fd, 2);
  EQUAL(tos_of(fd, 2), 0x48);
  EQUAL(tos_of(fd, 1), 0);
  close(fd);
}

/* Names and lengths of theirs, and with the same numbers those of this kernel. */
static void stock_options(int fd) {
  struct tcp_info initial, subflows[3];
  struct mptcp_meta_info meta;
  struct mptcp_sub_info addresses[3];
  struct mptcp_info info = {.tcp_info_len = sizeof initial, .sub_len = sizeof subflows, .meta_len = sizeof meta,
    .sub_info_len = sizeof *addresses, .total_sub_info_len = sizeof addresses, .meta_info = &meta, .initial = &initial,
    .subflows = subflows, .subflow_info = addresses};
  char name[16] = "";
  int number = -1, fresh = mptcpapi_socket(AF_INET, 0);
  socklen_t length = sizeof info;
  CHECK(fresh >= 0);
  memset(&initial, 0, sizeof initial);
  memset(subflows, 0, sizeof subflows);
  memset(&meta, 0, sizeof meta);
  memset(addresses, 0, sizeof addresses);
  EQUAL(mptcpapi_stock_options(0), 0);
  CHECK(get_at(fd, MPTCP_INFO, &info, &length) != 0);
  EQUAL(mptcpapi_stock_options(1), 0);
  EQUAL(mptcpapi_stock_options(7), 1);
  length = sizeof info;
  EQUAL(get_at(fd, MPTCP_INFO, &info, &length), 0);
  EQUAL(length, sizeof info);
  EQUAL(info.meta_len, sizeof meta);
  CHECK(info.tcp_info_len > 0 && info.tcp_info_len <= sizeof initial);
  EQUAL(info.sub_len, 2 * info.tcp_info_len);
  EQUAL(info.total_sub_info_len, 2 * sizeof *addresses);
  CHECK(meta.mptcpi_state == 1 && meta.mptcpi_bytes_acked >= 9 && meta.mptcpi_bytes_received >= 4);
  CHECK(initial.tcpi_state == 1 && subflows[0].tcpi_state == 1);
  /* Newest first. */
  EQUAL(addresses[0].src_v4.sin_addr.s_addr, ipv4(getenv("LAB_CLIENT_2"), 0).sin_addr.s_addr);
  EQUAL(addresses[1].src_v4.sin_addr.s_addr, ipv4(getenv("LAB_CLIENT_1"), 0).sin_addr.s_addr);
  EQUAL(addresses[1].dst_v4.sin_port, htons((uint16_t)atoi(getenv("LAB_PORT"))));
  info.initial = (struct tcp_info *)1;
  EQUAL(get_at(fd, MPTCP_INFO, &info, &length), EFAULT);
  length = sizeof number;
  EQUAL(get_at(fd, MPTCP_ENABLED, &number, &length), 0);
  EQUAL(number, 1);
  length = sizeof name;
  EQUAL(get_at(fd, MPTCP_SCHEDULER, name, &length), 0);
  EQUAL(length, sizeof name);
  EQUAL(strcmp(name, "default"), 0);
  EQUAL(set_at(fd, MPTCP_ENABLED, &number, sizeof number), EPERM);
  EQUAL(set_at(fresh, MPTCP_ENABLED, &number, sizeof number), 0);
  EQUAL(set_at(fresh, MPTCP_PATH_MANAGER, "default", 7), 0);
  EQUAL(set_at(fresh, MPTCP_PATH_MANAGER, "fullmesh", 8), ENOENT);
  number = MPTCP_INFO_FLAG_SAVE_MASTER;
  EQUAL(set_at(fd, MPTCP_INFO, &number, sizeof number), 0);
  /* Still this kernel's: whether it is MPTCP. */
  length = sizeof number;
  EQUAL(get_at(fd, 43, &number, &length), 0);
  EQUAL(number, 1);
  EQUAL(mptcpapi_stock_options(0), 1);
  length = sizeof info;
  CHECK(get_at(fd, MPTCP_INFO, &info, &length) != 0);
  close(fresh);
}

int main(void) {
  int fd, loaded, tos = 0x28;
  if (!getenv("MPTCPAPI_LAB") || !getenv("LAB_PORT"))
    return skip("needs the lab with a peer, without endpoints");
  open_list_and_close();
  before_any_data();
  fd = connect_app();
  EQUAL(opened(fd, 0, 0), 2);
  until_established(fd, 2);
  options_are_read(fd);
  stock_options(fd);
  EQUAL(sub_set(fd, 2, IPPROTO_IP, IP_TOS, &tos, sizeof tos), ENOPROTOOPT);
  EQUAL(tos_of(fd, 2), 0);
  loaded = system("lab load-bpf");
  if (loaded == 0) {
    options_are_set(fd);
    options_set_before_any_data();
    EQUAL(system("lab unload-bpf"), 0);
  }
  close(fd);
  return loaded == 0 ? 0 : skip("the BPF program cannot be loaded here");
}
