/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Every option of the paper once, on one connection with two paths: steps HOST PORT LOCAL2 REMOTE2 */
#include "calls.h"

static void get_int(int fd, int id, int level, int name, const char *what) {
  int value = -1;
  unsigned int length = sizeof value;
  if (get_option(fd, id, level, name, &value, &length) != 0)
    fail(what);
  printf("%s %d is %d of %u bytes\n", what, id, value, length);
}

static void set_int(int fd, int id, int level, int name, int value, const char *what) {
  if (set_option(fd, id, level, name, &value, sizeof value) != 0)
    fail(what);
  printf("%s %d set\n", what, id);
}

static void print_info(int fd, int id) {
  struct tcp_info info;
  unsigned int length = sizeof info;
  memset(&info, 0, sizeof info);
  if (get_option(fd, id, IPPROTO_TCP, TCP_INFO, &info, &length) != 0)
    fail("TCP_INFO");
  printf("info %d state %d rtt %s mss %s\n", id, info.tcpi_state, info.tcpi_rtt > 0 ? "yes" : "no",
         info.tcpi_snd_mss > 0 ? "yes" : "no");
}

/* Until somebody has looked at the kernel's own tables. */
static void look(void) {
  char answer[16];
  printf("look\n");
  if (fgets(answer, sizeof answer, stdin) == NULL)
    fail("nobody has looked");
}

int main(int argc, char **argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: %s HOST PORT LOCAL2 REMOTE2\n", argv[0]);
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  int fd = connect_to(argv[1], atoi(argv[2]));
  wait_established(fd, 1);
  print_list(fd);
  if (print_tuple(fd, 1) != 0)
    fail("tuple 1");
  int second = open_subflow(fd, address_of(argv[3], 0), address_of(argv[4], 0));
  if (second < 0)
    fail("open");
  printf("open %d\n", second);
  print_list(fd);

  send_all(fd, "echo\n", 5);
  exchange(fd, 1);
  wait_established(fd, 2);
  if (print_tuple(fd, second) != 0)
    fail("tuple 2");

  get_int(fd, second, IPPROTO_IP, IP_TOS, "tos");
  set_int(fd, second, IPPROTO_IP, IP_TOS, 0xb8, "tos");
  get_int(fd, second, IPPROTO_IP, IP_TOS, "tos");
  get_int(fd, 1, IPPROTO_IP, IP_TOS, "tos");
  set_int(fd, second, IPPROTO_TCP, TCP_USER_TIMEOUT, 12345, "user_timeout");
  get_int(fd, second, IPPROTO_TCP, TCP_USER_TIMEOUT, "user_timeout");
  get_int(fd, 1, IPPROTO_TCP, TCP_USER_TIMEOUT, "user_timeout");
  print_info(fd, 1);
  print_info(fd, second);

  look();
  if (close_subflow(fd, 1) != 0)
    fail("close");
  printf("close 1\n");
  print_list(fd);
  exchange(fd, 2);
  print_list(fd);
  look();
  return close(fd);
}
