/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A measured program in C: its name for each kind of work, and the work itself, are given by the file
 * that includes this one. It reads lines "WORK FD CALLS" and answers each with "NANOSECONDS RESULT":
 * the time of all CALLS together, and what the last one returned. "show WORK FD" prints what the work
 * reads, so that the orchestrator can see that all programs do the same.
 */
#ifndef BENCH_PROGRAM_H
#define BENCH_PROGRAM_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct work {
  const char *name;
  /* Returns how many subflows there were; a negative number is an error. */
  int (*once)(int fd);
  /* Prints what the last call read, in one line. */
  void (*show)(int count);
};

static long long now_ns(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void answer(const struct work *work, int fd, long calls)
{
  int count = 0;
  /* The caches have forgotten us while other programs ran. */
  for (long call = 0; call < calls / 8 + 1; call++)
    count = work->once(fd);
  const long long start = now_ns();
  for (long call = 0; call < calls; call++)
    count = work->once(fd);
  printf("%lld %d\n", now_ns() - start, count);
}

static const struct work *find_work(const struct work *works, const char *name)
{
  while (works->name && strcmp(works->name, name) != 0)
    works++;
  if (!works->name) {
    fprintf(stderr, "unknown work %s\n", name);
    exit(2);
  }
  return works;
}

static int serve(const struct work *works)
{
  char name[32];
  int fd;
  long calls;
  while (scanf("%31s", name) == 1) {
    if (strcmp(name, "show") == 0) {
      if (scanf("%31s %d", name, &fd) != 2)
        return 2;
      const struct work *work = find_work(works, name);
      work->show(work->once(fd));
      printf("\n");
    } else {
      if (scanf("%d %ld", &fd, &calls) != 2)
        return 2;
      answer(find_work(works, name), fd, calls);
    }
    fflush(stdout);
  }
  return 0;
}

#endif
