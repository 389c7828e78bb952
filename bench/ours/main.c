// SPDX-License-Identifier: MIT OR Apache-2.0
/* The same work through libmptcpapi. */
#include "../program.h"

#include <arpa/inet.h>
#include <mptcpapi.h>
#include <netinet/in.h>

enum { MAX_SUBFLOWS = 64 };

static struct mptcpapi_subflow subflows[MAX_SUBFLOWS] = {{.size = sizeof subflows[0]}};

static int list(int fd)
{
  return mptcpapi_subflows(fd, subflows, MAX_SUBFLOWS, 0);
}

static int detail(int fd)
{
  return mptcpapi_subflows(fd, subflows, MAX_SUBFLOWS, MPTCPAPI_DETAIL);
}

static void show_address(const struct sockaddr_storage *address)
{
  char text[INET6_ADDRSTRLEN];
  if (address->ss_family == AF_INET) {
    const struct sockaddr_in *v4 = (const void *)address;
    printf("%s:%u,", inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text), ntohs(v4->sin_port));
  } else {
    const struct sockaddr_in6 *v6 = (const void *)address;
    printf("[%s]:%u,", inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text), ntohs(v6->sin6_port));
  }
}

static void show(int count)
{
  for (const struct mptcpapi_subflow *s = subflows; s < subflows + count; s++) {
    printf("%u,", s->id);
    show_address(&s->local);
    show_address(&s->remote);
    printf("%s,%u,%u,%u,%u,", mptcpapi_state_name(s->state), s->rtt_us, s->rttvar_us, s->snd_cwnd, s->mss);
    printf("%llu,%llu,%llu,%llu,", (unsigned long long)s->bytes_sent, (unsigned long long)s->bytes_acked,
           (unsigned long long)s->bytes_received, (unsigned long long)s->bytes_retrans);
    printf("%u,%u,%llu,%u", s->retransmits, s->unacked, (unsigned long long)s->delivery_rate, s->initial);
    if (s->flags & MPTCPAPI_DETAIL)
      printf(",%u,%u,%d,%d,%u,%s,%u,%s", s->backup, s->backup_by_peer, s->local_id, s->remote_id, s->fully_established,
             s->congestion, s->tos, s->interface);
    printf(" ");
  }
}

int main(void)
{
  static const struct work works[] = {{"list", list, show}, {"detail", detail, show}, {NULL, NULL, NULL}};
  return serve(works);
}
