/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A process that controls one connection, by its own right or through the agent, and clients of the agent.
 * agent SOCKET FD: reads lines and answers each with a line of numbers; times are nanoseconds.
 * backup COUNT, watch COUNT, drive COUNT LOCAL: through libmptcpapi;
 * hello CLIENTS MS, command CLIENTS MS, hold CLIENTS: messages to the agent at SOCKET. */
#include <arpa/inet.h>
#include <errno.h>
#include <mptcpapi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 20000, HELLO = 1, SET_BACKUP = 4, REPLY_SIZE = 128 };

/* As in core/src/codec/agent.rs. */
struct request {
  uint32_t magic;
  uint16_t version, operation;
  uint32_t sequence, interface;
  uint8_t local[16], remote[16];
  uint16_t local_port, remote_port;
  uint8_t address_id, backup, mapped, pad;
};
_Static_assert(sizeof(struct request) == 56, "the layout of the agent's messages");

static const char *path;
static int fd;
static uint64_t times[MOST];

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void check(int result, const char *what) {
  if (result < 0)
    errno = -result, die(what);
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void tell_times(int count) {
  for (int i = 0; i < count; i++)
    printf("%llu ", (unsigned long long)times[i]);
  printf("\n");
}

static struct mptcpapi_subflow first_subflow(void) {
  struct mptcpapi_subflow list[8] = {{.size = sizeof *list}};
  int count = mptcpapi_subflows(fd, list, 8, 0);
  check(count > 0 ? 0 : count < 0 ? count : -ENOENT, "subflows");
  return list[0];
}

static void run_backup(int count) {
  uint32_t id = first_subflow().id;
  for (int i = 0; i < count; i++) {
    uint64_t begin = now_ns();
    check(mptcpapi_subflow_set_backup(fd, id, i % 2), "backup");
    times[i] = now_ns() - begin;
  }
  tell_times(count);
}

static struct mptcpapi_monitor *new_monitor(void) {
  struct mptcpapi_monitor *monitor;
  check(mptcpapi_monitor_new(fd, 0, &monitor), "monitor");
  return monitor;
}

static void wait_closed(struct mptcpapi_monitor *monitor) {
  struct mptcpapi_event event = {.size = sizeof event};
  do
    check(mptcpapi_monitor_next(monitor, &event, -1), "next");
  while (event.kind != MPTCPAPI_EVENT_SUBFLOW_CLOSED);
}

/* The moments at which it heard of closed subflows. A line says that it listens. */
static void run_watch(int count) {
  struct mptcpapi_monitor *monitor = new_monitor();
  printf("0\n");
  fflush(stdout);
  for (int i = 0; i < count; i++) {
    wait_closed(monitor);
    times[i] = now_ns();
  }
  mptcpapi_monitor_free(monitor);
  tell_times(count);
}

/* The moments before it closed a subflow. */
static void run_drive(int count, const char *local) {
  struct mptcpapi_open open = {.size = sizeof open};
  struct sockaddr_in *address = (struct sockaddr_in *)&open.local;
  struct mptcpapi_monitor *monitor = new_monitor();
  uint32_t id;
  address->sin_family = AF_INET;
  inet_pton(AF_INET, local, &address->sin_addr);
  for (int i = 0; i < count; i++) {
    check(mptcpapi_subflow_open(fd, &open, &id), "open");
    usleep(300); /* who watches is asleep again */
    times[i] = now_ns();
    check(mptcpapi_subflow_close(fd, id, MPTCPAPI_CLOSE_FIN), "close");
    /* Else the kernel's worker, which ends the closed one, would hold up the next. */
    wait_closed(monitor);
  }
  mptcpapi_monitor_free(monitor);
  tell_times(count);
}

static int client(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int line = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  if (line < 0 || connect(line, (struct sockaddr *)&address, sizeof address) != 0)
    die("connect to the agent");
  return line;
}

static void ask(int line, struct request *request) {
  union {
    char bytes[CMSG_SPACE(sizeof fd)];
    struct cmsghdr align;
  } control = {0};
  struct iovec part = {request, sizeof *request};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (request->operation != HELLO) {
    control.align = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.align), &fd, sizeof fd);
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
  }
  request->sequence++;
  if (sendmsg(line, &message, MSG_NOSIGNAL) != sizeof *request)
    die("request");
}

static void answered(int line) {
  char reply[REPLY_SIZE];
  int32_t error;
  if (recv(line, reply, sizeof reply, 0) != REPLY_SIZE)
    die("reply");
  memcpy(&error, reply + 12, sizeof error);
  check(-error, "what the agent did");
}

static struct request request_of(uint16_t operation) {
  struct request request = {.magic = 0x4d505461, .version = 1, .operation = operation};
  if (operation == SET_BACKUP) {
    struct mptcpapi_subflow subflow = first_subflow();
    struct sockaddr_in *local = (struct sockaddr_in *)&subflow.local, *remote = (struct sockaddr_in *)&subflow.remote;
    memset(request.local + 10, 0xff, 2), memcpy(request.local + 12, &local->sin_addr, 4);
    memset(request.remote + 10, 0xff, 2), memcpy(request.remote + 12, &remote->sin_addr, 4);
    request.local_port = ntohs(local->sin_port);
    request.remote_port = ntohs(remote->sin_port);
  }
  return request;
}

/* Each client has one request under way; how many were answered, in how long. */
static void run_requests(uint16_t operation, int clients, int milliseconds) {
  struct request request = request_of(operation);
  struct epoll_event ready[128];
  int lines[128], poll = epoll_create1(EPOLL_CLOEXEC);
  uint64_t count = 0, begin, end;
  if (clients > 128)
    errno = E2BIG, die("clients");
  for (int i = 0; i < clients; i++) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = lines[i] = client()};
    epoll_ctl(poll, EPOLL_CTL_ADD, lines[i], &event);
  }
  begin = now_ns();
  end = begin + (uint64_t)milliseconds * 1000000u;
  for (int i = 0; i < clients; i++)
    ask(lines[i], &request);
  while (now_ns() < end) {
    if (clients == 1) {
      answered(lines[0]), ask(lines[0], &request), count++;
      continue;
    }
    int number = epoll_wait(poll, ready, 128, -1);
    for (int i = 0; i < number; i++)
      answered(ready[i].data.fd), ask(ready[i].data.fd, &request), count++;
  }
  end = now_ns();
  for (int i = 0; i < clients; i++)
    answered(lines[i]), close(lines[i]);
  close(poll);
  printf("%llu %llu\n", (unsigned long long)count, (unsigned long long)(end - begin));
}

/* They are held until this process ends. */
static void run_hold(int clients) {
  struct rlimit limit;
  struct request request = request_of(HELLO);
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  for (int i = 0; i < clients; i++) {
    int line = client();
    ask(line, &request);
    answered(line);
  }
  printf("%d\n", clients);
}

int main(int argc, char **argv) {
  char line[64], local[32];
  int count, milliseconds;
  if (argc != 3)
    return 2;
  path = argv[1];
  fd = atoi(argv[2]);
  while (fgets(line, sizeof line, stdin)) {
    if (sscanf(line, "backup %d", &count) == 1)
      run_backup(count < MOST ? count : MOST);
    else if (sscanf(line, "watch %d", &count) == 1)
      run_watch(count < MOST ? count : MOST);
    else if (sscanf(line, "drive %d %31s", &count, local) == 2)
      run_drive(count < MOST ? count : MOST, local);
    else if (sscanf(line, "hello %d %d", &count, &milliseconds) == 2)
      run_requests(HELLO, count, milliseconds);
    else if (sscanf(line, "command %d %d", &count, &milliseconds) == 2)
      run_requests(SET_BACKUP, count, milliseconds);
    else if (sscanf(line, "hold %d", &count) == 1)
      run_hold(count);
    fflush(stdout);
  }
  return 0;
}
