/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Two threads at one connection; a fork, after which child and parent ask at once. */

#include <pthread.h>
#include <sys/wait.h>

#include "test.h"

enum { ROUNDS = 300 };

static uint16_t local_port(const struct mptcpapi_subflow *subflow) {
  return ntohs(((const struct sockaddr_in *)&subflow->local)->sin_port);
}

/* The listing of one connection must never show what was asked about another one. */
static void *list_often(void *argument) {
  int fd = *(int *)argument;
  struct sockaddr_in own;
  socklen_t length = sizeof own;
  CHECK(getsockname(fd, (struct sockaddr *)&own, &length) == 0);
  for (int i = 0; i < ROUNDS; i++) {
    SIZED(struct mptcpapi_subflow, subflow);
    SIZED(struct mptcpapi_info, info);
    SIZED(struct mptcpapi_error, error);
    EQUAL(mptcpapi_subflows_e(fd, &subflow, 1, MPTCPAPI_DETAIL, &error), 1);
    EQUAL(subflow.flags, MPTCPAPI_DETAIL);
    EQUAL(local_port(&subflow), ntohs(own.sin_port));
    CHECK(subflow.congestion[0]);
    EQUAL(mptcpapi_subflows(fd, &subflow, 1, 0), 1);
    EQUAL(subflow.flags, 0);
    EQUAL(mptcpapi_info(fd, &info), 0);
    EQUAL(info.subflows, 1);
    EQUAL(mptcpapi_status(fd), MPTCPAPI_STATUS_MPTCP);
  }
  return NULL;
}

static void in_threads(int first, int second) {
  pthread_t threads[3];
  int fds[3] = {first, first, second};
  for (int i = 0; i < 3; i++)
    CHECK(pthread_create(&threads[i], NULL, list_often, &fds[i]) == 0);
  for (int i = 0; i < 3; i++)
    CHECK(pthread_join(threads[i], NULL) == 0);
}

/* The netlink socket of the parent must not be the child's: each would read the other's answers. */
static void in_parent_and_child(int first, int second) {
  int status;
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    list_often(&second);
    exit(0);
  }
  list_often(&first);
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  EQUAL(WEXITSTATUS(status), 0);
}

int main(void) {
  int one[2], other[2];
  connected(one);
  connected(other);
  in_threads(one[0], other[1]);
  in_parent_and_child(one[0], one[1]);
  in_parent_and_child(one[0], one[0]);
  for (int i = 0; i < 2; i++) {
    close(one[i]);
    close(other[i]);
  }
  return 0;
}
