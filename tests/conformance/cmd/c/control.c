/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The conformance command in C: control of subflows, events and paths. */

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

enum { SLOTS = 1000 };

static struct mptcpapi_monitor *monitors[SLOTS];
static struct mptcpapi_path_watch *watches[SLOTS];

static long number(const char *word) { return word ? strtol(word, NULL, 10) : 0; }

static size_t place(const char *word) {
  long index = number(word);
  return index > 0 && index < SLOTS ? (size_t)index : 0;
}

static void answer(int result, const struct mptcpapi_error *error) {
  if (result < 0)
    answer_failure(error);
  else
    answer_null();
}

int parse_address(const char *text, struct sockaddr_storage *address) {
  char host[INET6_ADDRSTRLEN] = "";
  const char *port = NULL;
  const char *last = strrchr(text, ':');
  if (*text == '[' && strchr(text, ']')) {
    snprintf(host, sizeof host, "%.*s", (int)(strchr(text, ']') - text - 1), text + 1);
    port = last + 1;
  } else if (last && strchr(text, ':') == last) {
    snprintf(host, sizeof host, "%.*s", (int)(last - text), text);
    port = last + 1;
  } else {
    snprintf(host, sizeof host, "%s", text);
  }
  return address_of(host, port ? port : "0", address) != 0;
}

static void command_connectapp(char **words) { connect_with(words, MPTCPAPI_CONTROL_APP); }

/* One NAME=VALUE of `open`; 0 where it is unknown. */
static int set_open(struct mptcpapi_open *open, struct mptcpapi_option *options, char *word) {
  char *value = strchr(word, '=');
  if (!value++)
    return 0;
  if (!strncmp(word, "local=", 6))
    return parse_address(value, &open->local);
  if (!strncmp(word, "remote=", 7))
    return parse_address(value, &open->remote);
  if (!strncmp(word, "option=", 7)) {
    open->options = options;
    return parse_option(value, &options[open->option_count++]);
  }
  if (!strncmp(word, "timeout=", 8))
    open->timeout_ms = (uint32_t)(strtod(value, NULL) * 1000);
  else if (!strncmp(word, "backup=", 7))
    open->backup = *value == '1';
  else if (!strncmp(word, "interface=", 10))
    snprintf(open->interface, sizeof open->interface, "%s", value);
  else
    return 0;
  return 1;
}

/* Answers with the listed subflow of this id. */
static void answer_subflow(int fd, uint32_t id) {
  static struct mptcpapi_subflow subflows[256];
  struct mptcpapi_error error = {.size = sizeof error};
  int count;
  subflows[0].size = sizeof *subflows;
  count = mptcpapi_subflows_e(fd, subflows, 256, 0, &error);
  if (count < 0) {
    answer_failure(&error);
    return;
  }
  for (int i = 0; i < count && i < 256; i++) {
    if (subflows[i].id == id) {
      printf("{\"ok\": ");
      print_subflow(&subflows[i]);
      puts("}");
      return;
    }
  }
  puts("{\"ok\": null}");
}

static void command_open(char **words) {
  struct mptcpapi_open open = {.size = sizeof open};
  struct mptcpapi_error error = {.size = sizeof error};
  struct mptcpapi_option options[8] = {{.size = sizeof *options}};
  uint32_t id = 0;
  begin_options();
  for (char **word = words + 2; *word; word++) {
    if (!set_open(&open, options, *word)) {
      answer_usage(*word);
      return;
    }
  }
  if (mptcpapi_subflow_open_e(*slot(words[1]), &open, &id, &error) < 0)
    answer_failure(&error);
  else
    answer_subflow(*slot(words[1]), id);
}

static void close_with(char **words, int how) {
  struct mptcpapi_error error = {.size = sizeof error};
  answer(mptcpapi_subflow_close_e(*slot(words[1]), (uint32_t)number(words[2]), how, &error), &error);
}

static void command_closesubflow(char **words) { close_with(words, MPTCPAPI_CLOSE_FIN); }

static void command_resetsubflow(char **words) { close_with(words, MPTCPAPI_CLOSE_RESET); }

static void command_abandon(char **words) {
  struct mptcpapi_error error = {.size = sizeof error};
  answer(mptcpapi_subflow_abandon_e(*slot(words[1]), (uint32_t)number(words[2]), &error), &error);
}

static void command_backup(char **words) {
  struct mptcpapi_error error = {.size = sizeof error};
  int on = (int)number(words[2] ? words[3] : NULL);
  answer(mptcpapi_subflow_set_backup_e(*slot(words[1]), (uint32_t)number(words[2]), on, &error), &error);
}

static void command_announce(char **words) {
  struct mptcpapi_error error = {.size = sizeof error};
  struct sockaddr_storage address;
  uint8_t id = 0;
  if (!words[2] || !parse_address(words[2], &address))
    answer_usage("announce");
  else if (mptcpapi_announce_e(*slot(words[1]), (struct sockaddr *)&address, sizeof address, &id, &error) < 0)
    answer_failure(&error);
  else
    printf("{\"ok\": %u}\n", id);
}

static void command_withdraw(char **words) {
  struct mptcpapi_error error = {.size = sizeof error};
  answer(mptcpapi_withdraw_e(*slot(words[1]), (uint8_t)number(words[2]), &error), &error);
}

static void command_monitor(char **words) {
  struct mptcpapi_error error = {.size = sizeof error};
  struct mptcpapi_monitor **mine = &monitors[place(words[1])];
  mptcpapi_monitor_free(*mine);
  *mine = NULL;
  answer(mptcpapi_monitor_new_e(*slot(words[1]), 0, mine, &error), &error);
}

static void command_monitoradd(char **words) {
  struct mptcpapi_error error = {.size = sizeof error};
  uint32_t token = 0;
  if (mptcpapi_monitor_add_e(monitors[place(words[1])], *slot(words[2]), &token, &error) < 0)
    answer_failure(&error);
  else
    printf("{\"ok\": %u}\n", token);
}

static void command_monitorremove(char **words) {
  mptcpapi_monitor_remove(monitors[place(words[1])], (uint32_t)strtoul(words[2] ? words[2] : "0", NULL, 10));
  answer_null();
}

static void command_source(char **words) {
  answer_word(mptcpapi_source_name(mptcpapi_monitor_source(monitors[place(words[1])])));
}

static void print_optional_address(const char *name, const struct sockaddr_storage *address) {
  if (address->ss_family)
    print_address(name, address);
  else
    printf("\"%s\": null, ", name);
}

static void print_subflow_id(uint32_t id) { print_id("subflow", id ? (int)id : -1); }

static void print_event(const struct mptcpapi_event *event) {
  printf("{\"ok\": {\"kind\": \"%s\", \"token\": %u, ", mptcpapi_event_name(event->kind), event->token);
  print_subflow_id(event->subflow);
  print_optional_address("local", &event->local);
  print_optional_address("remote", &event->remote);
  printf("\"errno\": %d, ", event->error);
  print_id("reset_reason", event->reset_reason);
  print_id("address_id", event->address_id);
  printf("\"backup\": %s, \"polled\": %s, \"last\": ", event->backup < 0 ? "null" : json_bool(event->backup),
         json_bool(event->polled));
  if (event->last.id)
    print_subflow(&event->last);
  else
    printf("null");
  puts("}}");
}

static void command_event(char **words) {
  struct mptcpapi_event event = {.size = sizeof event};
  struct mptcpapi_error error = {.size = sizeof error};
  int told = mptcpapi_monitor_next_e(monitors[place(words[1])], &event, (int)number(words[2]), &error);
  if (told < 0)
    answer_failure(&error);
  else if (told == 0)
    answer_null();
  else
    print_event(&event);
}

static void command_pathwatch(char **words) {
  struct mptcpapi_error error = {.size = sizeof error};
  struct mptcpapi_path_watch **mine = &watches[place(words[1])];
  int flags = words[2] && number(words[3]) ? MPTCPAPI_EXPECT_DATA : 0;
  mptcpapi_path_watch_free(*mine);
  *mine = NULL;
  answer(mptcpapi_path_watch_new_e(*slot(words[1]), (int)number(words[2]), flags, mine, &error), &error);
}

static void command_pathevent(char **words) {
  struct mptcpapi_path_event event = {.size = sizeof event};
  struct mptcpapi_error error = {.size = sizeof error};
  char text[INET6_ADDRSTRLEN] = "";
  int told = mptcpapi_path_watch_next_e(watches[place(words[1])], &event, (int)number(words[2]), &error);
  if (told < 0) {
    answer_failure(&error);
    return;
  }
  if (told == 0) {
    answer_null();
    return;
  }
  printf("{\"ok\": {\"kind\": \"%s\", ", mptcpapi_path_event_name(event.kind));
  print_subflow_id(event.subflow);
  if (event.local.ss_family == AF_INET)
    inet_ntop(AF_INET, &((struct sockaddr_in *)&event.local)->sin_addr, text, sizeof text);
  else if (event.local.ss_family == AF_INET6)
    inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&event.local)->sin6_addr, text, sizeof text);
  printf(*text ? "\"local\": \"%s\", " : "\"local\": null, ", text);
  printf(*event.interface ? "\"interface\": \"%s\"}}\n" : "\"interface\": null}}\n", event.interface);
}

static const struct command commands[] = {
    {"connectapp", command_connectapp},     {"open", command_open},
    {"closesubflow", command_closesubflow}, {"resetsubflow", command_resetsubflow},
    {"abandon", command_abandon},           {"backup", command_backup},
    {"announce", command_announce},         {"withdraw", command_withdraw},
    {"monitor", command_monitor},           {"monitoradd", command_monitoradd},
    {"monitorremove", command_monitorremove}, {"source", command_source},
    {"event", command_event},               {"pathwatch", command_pathwatch},
    {"pathevent", command_pathevent},
};

int run_control(char **words) { return run_one(commands, sizeof commands / sizeof *commands, words); }
