/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The conformance command in C: see ../../README.md for its contract. Public API only. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

enum { SLOTS = 1000, WORDS = 8 };

/* Descriptors; closed ones keep their number. */
static int slots[SLOTS];

/* Every command prints its whole answer, and so do these. */

void answer_null(void) { puts("{\"ok\": null}"); }

void answer_bytes(const void *bytes, size_t length) {
  printf("{\"ok\": \"");
  for (size_t i = 0; i < length; i++)
    printf("%02x", ((const unsigned char *)bytes)[i]);
  puts("\"}");
}

void answer_option(int as_int, const void *value, size_t length) {
  int integer;
  memcpy(&integer, value, sizeof integer);
  if (as_int)
    printf("{\"ok\": %d}\n", integer);
  else
    answer_bytes(value, length);
}

void answer_word(const char *word) { printf("{\"ok\": \"%s\"}\n", word); }

static void answer_error(const char *kind, int number, uint32_t subflow, const char *operation, int hint) {
  printf("{\"error\": {\"kind\": \"%s\", \"errno\": %d, \"subflow\": ", kind, number);
  if (subflow)
    printf("%u", subflow);
  else
    printf("null");
  printf(", \"operation\": \"%s\", \"hint\": %s}}\n", operation, hint ? "true" : "false");
}

void answer_failure(const struct mptcpapi_error *error) {
  answer_error(mptcpapi_error_name(error->kind), error->error, error->subflow, error->operation, error->hint[0]);
}

/* Of a system call of the program itself: the language's, not the library's. */
static void answer_errno(void) { answer_error("Os", errno, 0, "", 0); }

void answer_usage(const char *command) { answer_error("Usage", 0, 0, command, 0); }

const char *json_bool(int value) { return value ? "true" : "false"; }

int *slot(const char *word) {
  long number = word ? strtol(word, NULL, 10) : 0;
  return &slots[number > 0 && number < SLOTS ? number : 0];
}

/* An IPv4 or IPv6 address and a port; 0 where the text is neither. */
socklen_t address_of(const char *host, const char *port, struct sockaddr_storage *address) {
  struct sockaddr_in *v4 = (struct sockaddr_in *)address;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
  memset(address, 0, sizeof *address);
  if (!host || !port)
    return 0;
  if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)atoi(port));
    return sizeof *v4;
  }
  if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)atoi(port));
    return sizeof *v6;
  }
  return 0;
}

/* The library's socket, or -1 and the error is answered. */
static int new_socket(int family, int flags) {
  struct mptcpapi_error error = {.size = sizeof error};
  int fd = mptcpapi_socket_e(family, flags, &error);
  if (fd < 0)
    answer_failure(&error);
  return fd < 0 ? -1 : fd;
}

void answer_or_close(int failed, int fd, int *place) {
  if (failed) {
    answer_errno();
    close(fd);
    return;
  }
  *place = fd;
  answer_null();
}

static void command_version(char **words) {
  (void)words;
  answer_word(mptcpapi_version());
}

static void command_features(char **words) {
  struct mptcpapi_features found = {.size = sizeof found};
  struct mptcpapi_error error = {.size = sizeof error};
  (void)words;
  if (mptcpapi_features_e(&found, &error) < 0) {
    answer_failure(&error);
    return;
  }
  printf("{\"ok\": {\"mptcp\": %s, \"socket_errno\": %d, \"info\": %s, \"full_info\": %s, ", json_bool(found.mptcp),
         found.socket_errno, json_bool(found.info), json_bool(found.full_info));
  printf("\"detail\": %s, \"path_manager_known\": %s, \"net_admin\": %s, ", json_bool(found.detail),
         json_bool(found.path_manager_known), json_bool(found.net_admin));
  printf("\"subflow_options\": %s, ", json_bool(found.subflow_options));
  printf("\"agent\": %s, ", json_bool(found.agent));
  printf("\"path_manager\": \"%s\", \"hint\": %s}}\n", mptcpapi_path_manager_name(found.path_manager),
         json_bool(found.hint[0]));
}

/* C has no connect of the library's: this is what a program writes. */
int connect_within(int fd, const struct sockaddr_storage *address, socklen_t length, int milliseconds) {
  struct pollfd writable = {fd, POLLOUT, 0};
  int error = 0;
  socklen_t size = sizeof error;
  if (connect(fd, (const struct sockaddr *)address, length) == 0)
    return 0;
  if (errno != EINPROGRESS)
    return -1;
  switch (poll(&writable, 1, milliseconds)) {
  case -1: return -1;
  case 0: errno = ETIMEDOUT; return -1;
  }
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
    return -1;
  errno = error;
  return error ? -1 : 0;
}

void connect_with(char **words, int flags) {
  struct sockaddr_storage address;
  socklen_t length = address_of(words[2], words[3], &address);
  int fd;
  if (!length) {
    answer_usage("connect");
    return;
  }
  fd = new_socket(address.ss_family, SOCK_NONBLOCK | flags);
  if (fd < 0)
    return;
  answer_or_close(connect_within(fd, &address, length, 5000) < 0 || fcntl(fd, F_SETFL, 0) < 0, fd, slot(words[1]));
}

static void command_connect(char **words) { connect_with(words, 0); }

static void command_socket(char **words) {
  int fd = new_socket(words[2] && *words[2] == '6' ? AF_INET6 : AF_INET, 0);
  if (fd >= 0)
    answer_or_close(0, fd, slot(words[1]));
}

static void command_begin(char **words) {
  struct sockaddr_storage address;
  socklen_t length = address_of(words[2], words[3], &address);
  int fd;
  if (!length) {
    answer_usage("begin");
    return;
  }
  fd = new_socket(address.ss_family, SOCK_NONBLOCK);
  if (fd < 0)
    return;
  answer_or_close(connect(fd, (struct sockaddr *)&address, length) < 0 && errno != EINPROGRESS, fd, slot(words[1]));
}

static void command_listen(char **words) {
  struct sockaddr_storage address;
  socklen_t length = address_of(words[2], words[3], &address);
  int fd, on = 1;
  if (!length) {
    answer_usage("listen");
    return;
  }
  fd = new_socket(address.ss_family, 0);
  if (fd < 0)
    return;
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
      bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 64) < 0 ||
      getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
    answer_errno();
    close(fd);
    return;
  }
  *slot(words[1]) = fd;
  /* The port is at the same place in both kinds of address. */
  printf("{\"ok\": %u}\n", ntohs(((struct sockaddr_in *)&address)->sin_port));
}

static void command_accept(char **words) {
  int fd = accept(*slot(words[1]), NULL, NULL);
  if (fd < 0)
    answer_errno();
  else
    answer_or_close(0, fd, slot(words[2]));
}

static void send_all(int fd, const char *bytes, size_t left) {
  while (left > 0) {
    ssize_t sent = send(fd, bytes, left, MSG_NOSIGNAL);
    if (sent < 0) {
      answer_errno();
      return;
    }
    bytes += sent;
    left -= (size_t)sent;
  }
  answer_null();
}

static void command_send(char **words) {
  if (words[2])
    send_all(*slot(words[1]), words[2], strlen(words[2]));
  else
    answer_usage("send");
}

static void command_sendzeros(char **words) {
  size_t count = words[2] ? strtoul(words[2], NULL, 10) : 0;
  char *zeros = calloc(count ? count : 1, 1);
  if (!zeros) {
    answer_errno();
    return;
  }
  send_all(*slot(words[1]), zeros, count);
  free(zeros);
}

static void command_recv(char **words) {
  size_t count = words[2] ? strtoul(words[2], NULL, 10) : 0, length = 0;
  char *text = calloc(count + 1, 1);
  ssize_t received = 1;
  while (text && length < count && received > 0) {
    received = recv(*slot(words[1]), text + length, count - length, 0);
    length += received > 0 ? (size_t)received : 0;
  }
  if (!text || received < 0)
    answer_errno();
  else
    answer_word(text);
  free(text);
}

static void command_shutdown(char **words) {
  if (shutdown(*slot(words[1]), SHUT_WR) < 0)
    answer_errno();
  else
    answer_null();
}

static void command_close(char **words) {
  if (close(*slot(words[1])) < 0)
    answer_errno();
  else
    answer_null();
}

static int make(const char *kind) {
  int pair[2];
  if (!strcmp(kind, "file"))
    return open("/dev/null", O_RDWR | O_CLOEXEC);
  if (!strcmp(kind, "udp"))
    return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (!strcmp(kind, "tcp"))
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (!strcmp(kind, "unix"))
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ? -1 : pair[0];
  errno = EINVAL;
  return -1;
}

static void command_make(char **words) {
  int fd = make(words[2] ? words[2] : "");
  if (fd < 0)
    answer_errno();
  else
    answer_or_close(0, fd, slot(words[1]));
}

static void command_status(char **words) {
  struct mptcpapi_error error = {.size = sizeof error};
  int status = mptcpapi_status_e(*slot(words[1]), &error);
  if (status < 0)
    answer_failure(&error);
  else
    answer_word(mptcpapi_status_name(status));
}

static void command_info(char **words) {
  struct mptcpapi_info info = {.size = sizeof info};
  struct mptcpapi_error error = {.size = sizeof error};
  if (mptcpapi_info_e(*slot(words[1]), &info, &error) < 0) {
    answer_failure(&error);
    return;
  }
  printf("{\"ok\": {\"token\": %u, \"subflows\": %u, \"bytes_sent\": %llu, \"bytes_received\": %llu, ", info.token,
         info.subflows, (unsigned long long)info.bytes_sent, (unsigned long long)info.bytes_received);
  printf("\"bytes_acked\": %llu, \"bytes_retrans\": %llu, \"retransmits\": %u, \"fallback\": %s, ",
         (unsigned long long)info.bytes_acked, (unsigned long long)info.bytes_retrans, info.retransmits,
         json_bool(info.fallback));
  printf("\"server_side\": %s, \"path_manager\": \"%s\"}}\n",
         info.server_side < 0 ? "null" : json_bool(info.server_side), mptcpapi_path_manager_name(info.path_manager));
}

void print_address(const char *name, const struct sockaddr_storage *address) {
  char text[INET6_ADDRSTRLEN] = "";
  const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
  const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
  if (address->ss_family == AF_INET)
    inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
  else
    inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
  printf(address->ss_family == AF_INET ? "\"%s\": \"%s:%u\", " : "\"%s\": \"[%s]:%u\", ", name, text, ntohs(v4->sin_port));
}

void print_id(const char *name, int id) {
  if (id < 0)
    printf("\"%s\": null, ", name);
  else
    printf("\"%s\": %d, ", name, id);
}

static void print_detail(const struct mptcpapi_subflow *subflow) {
  /* Without the right to see them, the ids tell that the other words of MPTCP are unknown too. */
  int known = subflow->local_id >= 0;
  printf("\"backup\": %s, ", known ? json_bool(subflow->backup) : "null");
  printf("\"backup_by_peer\": %s, ", known ? json_bool(subflow->backup_by_peer) : "null");
  printf("\"fully_established\": %s, ", known ? json_bool(subflow->fully_established) : "null");
  print_id("local_id", subflow->local_id);
  print_id("remote_id", subflow->remote_id);
  if (!(subflow->flags & MPTCPAPI_DETAIL)) {
    printf("\"congestion\": null, \"tos\": null, \"interface\": null");
    return;
  }
  printf("\"congestion\": \"%s\", \"tos\": %u, ", subflow->congestion, subflow->tos);
  printf(*subflow->interface ? "\"interface\": \"%s\"" : "\"interface\": null", subflow->interface);
}

void print_subflow(const struct mptcpapi_subflow *subflow) {
  printf("{\"id\": %u, ", subflow->id);
  print_address("local", &subflow->local);
  print_address("remote", &subflow->remote);
  printf("\"state\": \"%s\", \"rtt_us\": %u, \"rttvar_us\": %u, \"snd_cwnd\": %u, \"mss\": %u, ",
         mptcpapi_state_name(subflow->state), subflow->rtt_us, subflow->rttvar_us, subflow->snd_cwnd, subflow->mss);
  printf("\"bytes_sent\": %llu, \"bytes_acked\": %llu, ", (unsigned long long)subflow->bytes_sent,
         (unsigned long long)subflow->bytes_acked);
  printf("\"bytes_received\": %llu, \"bytes_retrans\": %llu, ", (unsigned long long)subflow->bytes_received,
         (unsigned long long)subflow->bytes_retrans);
  printf("\"retransmits\": %u, \"unacked\": %u, \"delivery_rate\": %llu, \"last_ack_ms\": %u, \"initial\": %s, ",
         subflow->retransmits, subflow->unacked, (unsigned long long)subflow->delivery_rate, subflow->last_ack_ms,
         json_bool(subflow->initial));
  print_detail(subflow);
  putchar('}');
}

static void list(int fd, int flags) {
  static struct mptcpapi_subflow subflows[256];
  struct mptcpapi_error error = {.size = sizeof error};
  int count;
  subflows[0].size = sizeof *subflows;
  count = mptcpapi_subflows_e(fd, subflows, 256, flags, &error);
  if (count < 0) {
    answer_failure(&error);
    return;
  }
  printf("{\"ok\": [");
  for (int i = 0; i < count && i < 256; i++) {
    printf(i ? ", " : "");
    print_subflow(&subflows[i]);
  }
  puts("]}");
}

static void command_subflows(char **words) { list(*slot(words[1]), 0); }

static void command_detail(char **words) { list(*slot(words[1]), MPTCPAPI_DETAIL); }

static const struct command commands[] = {
    {"version", command_version},     {"features", command_features}, {"connect", command_connect},
    {"socket", command_socket},       {"begin", command_begin},       {"listen", command_listen},
    {"accept", command_accept},       {"send", command_send},         {"sendzeros", command_sendzeros},
    {"recv", command_recv},           {"shutdown", command_shutdown}, {"close", command_close},
    {"make", command_make},           {"status", command_status},     {"info", command_info},
    {"subflows", command_subflows},   {"detail", command_detail},
};

int run_one(const struct command *commands, size_t count, char **words) {
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(words[0], commands[i].name)) {
      commands[i].run(words);
      return 1;
    }
  }
  return 0;
}

static void run(char *line) {
  char *words[WORDS + 1] = {NULL};
  int count = 0;
  for (char *word = strtok(line, " \t\r\n"); word && count < WORDS; word = strtok(NULL, " \t\r\n"))
    words[count++] = word;
  if (count == 0 || (!run_one(commands, sizeof commands / sizeof *commands, words) && !run_control(words) &&
                     !run_option(words) && !run_paper(words)))
    answer_usage(count > 0 ? words[0] : "");
}

int main(void) {
  static char line[1 << 16];
  for (int i = 0; i < SLOTS; i++)
    slots[i] = -1;
  setvbuf(stdout, NULL, _IOFBF, 1 << 16);
  while (fgets(line, sizeof line, stdin)) {
    run(line);
    fflush(stdout);
  }
  return 0;
}
