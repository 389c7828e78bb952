/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the two files of the conformance command share. */
#ifndef COMMAND_H
#define COMMAND_H

#include <mptcpapi.h>

struct command {
  const char *name;
  void (*run)(char **words);
};

/* Runs the command that words[0] names; 0 where the table has none. */
int run_one(const struct command *commands, size_t count, char **words);
int run_control(char **words);
int run_option(char **words);
int run_paper(char **words);
/* IP, IP:PORT or [IP]:PORT; 0 where the text is none of them. */
int parse_address(const char *text, struct sockaddr_storage *address);
/* LEVEL,NAME,VALUE or only VALUE into an option, whose value stays here until the next command; 0 where it is none. */
int parse_option(char *word, struct mptcpapi_option *option);
int parse_value(const char *word, struct mptcpapi_option *option);
void begin_options(void);

int *slot(const char *word);
socklen_t address_of(const char *host, const char *port, struct sockaddr_storage *address);
void connect_with(char **words, int flags);

void answer_null(void);
void answer_word(const char *word);
void answer_bytes(const void *bytes, size_t length);
/* An option's value, of at least four bytes of memory. */
void answer_option(int as_int, const void *value, size_t length);
void answer_failure(const struct mptcpapi_error *error);
void answer_usage(const char *command);
const char *json_bool(int value);
void print_address(const char *name, const struct sockaddr_storage *address);
void print_id(const char *name, int id);
void print_subflow(const struct mptcpapi_subflow *subflow);

#endif
