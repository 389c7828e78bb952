// SPDX-License-Identifier: MIT OR Apache-2.0
/* The hand-written C code as a measured program. */
#include "../program.h"
#include "subflow.h"

#include <arpa/inet.h>

static struct subflow memory[MAX_SUBFLOWS];
/* What the last call filled. */
static struct subflow *subflows = memory;
static int last_count = 1;

static int list(int fd)
{
  subflows = memory;
  return list_subflows(fd, subflows, MAX_SUBFLOWS);
}

/* An array of the right size for each answer, as long as the last one was. */
static int list_new(int fd)
{
  if (subflows != memory)
    free(subflows);
  subflows = malloc(last_count * sizeof *subflows);
  if (!subflows)
    return -1;
  const int count = list_subflows(fd, subflows, last_count);
  if (count > last_count) {
    last_count = count;
    return list_new(fd);
  }
  return last_count = count;
}

static int detail(int fd)
{
  subflows = memory;
  return list_subflows_detail(fd, subflows, MAX_SUBFLOWS);
}

static void show_address(const union address *address)
{
  char text[INET6_ADDRSTRLEN];
  if (address->any.sa_family == AF_INET)
    printf("%s:%u,", inet_ntop(AF_INET, &address->v4.sin_addr, text, sizeof text), ntohs(address->v4.sin_port));
  else
    printf("[%s]:%u,", inet_ntop(AF_INET6, &address->v6.sin6_addr, text, sizeof text), ntohs(address->v6.sin6_port));
}

static void show(int count)
{
  for (const struct subflow *s = subflows; s < subflows + count; s++) {
    printf("%u,", s->id);
    show_address(&s->local);
    show_address(&s->remote);
    printf("%s,%u,%u,%u,%u,", s->state == 1 ? "established" : "another state", s->rtt_us, s->rttvar_us, s->snd_cwnd, s->mss);
    printf("%llu,%llu,%llu,%llu,", (unsigned long long)s->bytes_sent, (unsigned long long)s->bytes_acked,
           (unsigned long long)s->bytes_received, (unsigned long long)s->bytes_retrans);
    printf("%u,%u,%llu,%u", s->retransmits, s->unacked, (unsigned long long)s->delivery_rate, s->initial);
    if (s->detailed)
      printf(",%u,%u,%u,%u,%u,%s,%u,%s", s->backup, s->backup_by_peer, s->local_id, s->remote_id, s->fully_established,
             s->congestion, s->tos, s->interface);
    printf(" ");
  }
}

int main(void)
{
  static const struct work works[] = {{"list", list, show}, {"list_new", list_new, show}, {"detail", detail, show}, {NULL, NULL, NULL}};
  return serve(works);
}
