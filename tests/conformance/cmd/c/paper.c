/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The conformance command in C: the paper's options. */

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <mptcpapi_paper.h>

#include "command.h"

/* All calls here but one are one call; a failure is answered at once. */
static int get(int fd, int name, void *value, socklen_t *length) {
  struct mptcpapi_error error = {.size = sizeof error};
  if (mptcpapi_getsockopt_e(fd, IPPROTO_TCP, name, value, length, &error) == 0)
    return 1;
  answer_failure(&error);
  return 0;
}

static int number(const char *word) { return word ? (int)strtol(word, NULL, 10) : 0; }

static int has(char **words, int count) {
  for (int i = 0; i <= count; i++)
    if (!words[i])
      return 0;
  return 1;
}

static void command_paperids(char **words) {
  union {
    struct mptcp_sub_ids list;
    unsigned char bytes[64];
  } reply;
  socklen_t length = sizeof reply;
  if (!get(*slot(words[1]), MPTCP_GET_SUB_IDS, &reply, &length))
    return;
  printf("{\"ok\": [");
  for (int i = 0; i < reply.list.sub_count; i++) {
    const struct mptcp_sub_status *status = &reply.list.sub_status[i];
    printf("%s{\"id\": %u, \"slave\": %s, \"fully_established\": %s, ", i ? ", " : "", status->id,
           json_bool(status->slave_sk), json_bool(status->fully_established));
    printf("\"attached\": %s, \"low_prio\": %s, \"pre_established\": %s}", json_bool(status->attached),
           json_bool(status->low_prio), json_bool(status->pre_established));
  }
  puts("]}");
}

static void command_papertuple(char **words) {
  unsigned char reply[1 + 2 * sizeof(struct sockaddr_in6)] = {(unsigned char)number(words[2])};
  struct sockaddr_storage local = {0}, remote = {0};
  socklen_t length = sizeof reply;
  if (!get(*slot(words[1]), MPTCP_GET_SUB_TUPLE, reply, &length))
    return;
  memcpy(&local, reply + 1, (length - 1) / 2);
  memcpy(&remote, reply + 1 + (length - 1) / 2, (length - 1) / 2);
  printf("{\"ok\": {");
  print_address("local", &local);
  print_address("remote", &remote);
  printf("\"id\": %u}}\n", reply[0]);
}

/* Both of one length; an address that is left out is any. */
static size_t put_addresses(unsigned char *bytes, struct sockaddr_storage *local, struct sockaddr_storage *remote) {
  int is_v6 = local->ss_family == AF_INET6 || remote->ss_family == AF_INET6;
  size_t size = is_v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
  memcpy(bytes, local, size);
  memcpy(bytes + size, remote, size);
  return 2 * size;
}

static void command_paperopen(char **words) {
  unsigned char request[2 + 2 * sizeof(struct sockaddr_in6)] = {0};
  struct sockaddr_storage local = {0}, remote = {0};
  socklen_t length;
  for (char **word = words + 2; *word; word++) {
    if (!strcmp(*word, "low_prio=1"))
      request[1] = 1;
    else if (strncmp(*word, "local=", 6) ? strncmp(*word, "remote=", 7) || !parse_address(*word + 7, &remote)
                                         : !parse_address(*word + 6, &local)) {
      answer_usage(*word);
      return;
    }
  }
  length = 2 + (socklen_t)put_addresses(request + 2, &local, &remote);
  if (get(*slot(words[1]), MPTCP_OPEN_SUB_TUPLE, request, &length))
    printf("{\"ok\": %u}\n", request[0]);
}

static void command_paperclose(char **words) {
  struct mptcp_close_sub_id request = {(unsigned char)number(words[2])};
  socklen_t length = sizeof request;
  if (get(*slot(words[1]), MPTCP_CLOSE_SUB_ID, &request, &length))
    answer_null();
}

static void command_papergetopt(char **words) {
  char value[8192] = {0};
  int as_int = words[5] && !strcmp(words[5], "int");
  unsigned length = as_int ? sizeof(int) : (unsigned)number(words[5]);
  struct mptcp_sub_getsockopt request = {(unsigned char)number(words[2]), number(words[3]), 0, value, &length};
  socklen_t size = sizeof request;
  if (!has(words, 5)) {
    answer_usage("papergetopt");
    return;
  }
  request.optname = number(words[4]);
  if (!get(*slot(words[1]), MPTCP_SUB_GETSOCKOPT, &request, &size))
    return;
  answer_option(as_int, value, length);
}

static void command_papersetopt(char **words) {
  struct mptcpapi_option option = {.size = sizeof option};
  struct mptcpapi_error error = {.size = sizeof error};
  struct mptcp_sub_setsockopt request;
  begin_options();
  if (!has(words, 5) || !parse_value(words[5], &option)) {
    answer_usage("papersetopt");
    return;
  }
  request.id = (unsigned char)number(words[2]);
  request.level = number(words[3]);
  request.optname = number(words[4]);
  request.optval = (char *)option.value;
  request.optlen = option.length;
  if (mptcpapi_setsockopt_e(*slot(words[1]), IPPROTO_TCP, MPTCP_SUB_SETSOCKOPT, &request, sizeof request, &error) < 0)
    answer_failure(&error);
  else
    answer_null();
}

static void command_paperbytes(char **words) {
  struct mptcpapi_option option = {.size = sizeof option};
  char request[4096] = "bytes:", *bytes = request + strlen(request);
  socklen_t length;
  begin_options();
  snprintf(bytes, sizeof request - strlen(request), "%s", words[2] && words[3] ? words[3] : "");
  if (!has(words, 2) || !parse_value(request, &option)) {
    answer_usage("paperbytes");
    return;
  }
  memcpy(request, option.value, length = option.length);
  if (get(*slot(words[1]), number(words[2]), request, &length))
    answer_bytes(request, length);
}

static const struct command commands[] = {
    {"paperids", command_paperids},       {"papertuple", command_papertuple},   {"paperopen", command_paperopen},
    {"paperclose", command_paperclose},   {"papergetopt", command_papergetopt}, {"papersetopt", command_papersetopt},
    {"paperbytes", command_paperbytes},
};

int run_paper(char **words) { return run_one(commands, sizeof commands / sizeof *commands, words); }
