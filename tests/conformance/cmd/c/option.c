/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The conformance command in C: options of one subflow. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

/* Values of the options of one command, one behind the other. */
static char values[4096];
static size_t used;

void begin_options(void) { used = 0; }

int parse_value(const char *word, struct mptcpapi_option *option) {
  char *place = values + used;
  size_t length = 0;
  if (strlen(word) > sizeof values - used)
    return 0;
  if (!strncmp(word, "int:", 4)) {
    int number = (int)strtol(word + 4, NULL, 10);
    memcpy(place, &number, length = sizeof number);
  } else if (!strncmp(word, "str:", 4)) {
    memcpy(place, word + 4, length = strlen(word + 4));
  } else if (!strncmp(word, "bytes:", 6)) {
    unsigned byte;
    for (const char *digits = word + 6; sscanf(digits, "%2x", &byte) == 1; digits += 2)
      place[length++] = (char)byte;
  } else {
    return 0;
  }
  option->value = place;
  option->length = (socklen_t)length;
  used += length;
  return 1;
}

int parse_option(char *word, struct mptcpapi_option *option) {
  char *name = strchr(word, ','), *value = name ? strchr(name + 1, ',') : NULL;
  option->size = sizeof *option;
  option->level = (int)strtol(word, NULL, 10);
  if (!value)
    return 0;
  option->name = (int)strtol(name + 1, NULL, 10);
  return parse_value(value + 1, option);
}

static void answer(int result, const struct mptcpapi_error *error) {
  if (result < 0)
    answer_failure(error);
  else
    answer_null();
}

static int has(char **words, int count) {
  for (int i = 0; i <= count; i++)
    if (!words[i])
      return 0;
  return 1;
}

static uint32_t id_of(const char *word) { return (uint32_t)strtoul(word, NULL, 10); }

static int number(const char *word) { return (int)strtol(word, NULL, 10); }

static void command_getopt(char **words) {
  struct mptcpapi_error error = {.size = sizeof error};
  unsigned char value[8192] = {0};
  int as_int;
  socklen_t length;
  if (!has(words, 5)) {
    answer_usage("getopt");
    return;
  }
  as_int = !strcmp(words[5], "int");
  length = as_int ? sizeof(int) : (socklen_t)number(words[5]);
  if (mptcpapi_subflow_getsockopt_e(*slot(words[1]), id_of(words[2]), number(words[3]), number(words[4]), value,
                                    &length, &error) < 0) {
    answer_failure(&error);
    return;
  }
  answer_option(as_int, value, length);
}

static void command_setopt(char **words) {
  struct mptcpapi_error error = {.size = sizeof error};
  struct mptcpapi_option option = {.size = sizeof option};
  begin_options();
  if (!has(words, 5) || !parse_value(words[5], &option))
    answer_usage("setopt");
  else
    answer(mptcpapi_subflow_setsockopt_e(*slot(words[1]), id_of(words[2]), number(words[3]), number(words[4]),
                                         option.value, option.length, &error),
           &error);
}

static void command_setopts(char **words) {
  struct mptcpapi_error error = {.size = sizeof error};
  struct mptcpapi_option options[8] = {{.size = sizeof *options}};
  size_t count = 0;
  begin_options();
  for (char **word = words + 2; *word; word++, count++) {
    char *rest = strchr(*word, ',');
    options[count].subflow = id_of(*word);
    if (!rest || !parse_option(rest + 1, &options[count])) {
      answer_usage("setopts");
      return;
    }
  }
  if (mptcpapi_subflow_setsockopts_e(*slot(words[1]), options, count, &error) < 0) {
    answer_failure(&error);
    return;
  }
  printf("{\"ok\": [");
  for (size_t i = 0; i < count; i++) {
    printf(i ? ", " : "");
    if (options[i].error)
      printf("{\"kind\": \"%s\", \"errno\": %d, \"subflow\": %u}", mptcpapi_error_name(options[i].kind),
             options[i].error, options[i].subflow);
    else
      printf("null");
  }
  puts("]}");
}

static void command_setconn(char **words) {
  struct mptcpapi_error error = {.size = sizeof error};
  struct mptcpapi_option option = {.size = sizeof option};
  begin_options();
  if (!has(words, 4) || !parse_value(words[4], &option))
    answer_usage("setconn");
  else
    answer(mptcpapi_set_option_e(*slot(words[1]), number(words[2]), number(words[3]), option.value, option.length,
                                 &error),
           &error);
}

static const struct command commands[] = {
    {"getopt", command_getopt},
    {"setopt", command_setopt},
    {"setopts", command_setopts},
    {"setconn", command_setconn},
};

int run_option(char **words) { return run_one(commands, sizeof commands / sizeof *commands, words); }
