// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The detail listing by hand: MPTCP_FULL_INFO, then one exact sock_diag look-up per subflow. All requests go into one
 * send on a netlink socket that stays open; the answers are fetched with one recvmmsg.
 */
#include "subflow.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

/* Inside INET_DIAG_ULP_INFO; distributions' headers lack the names. */
enum { ULP_MPTCP = 3, ULP_FLAGS = 8, ULP_ID_REMOTE = 9, ULP_ID_LOCAL = 10 };
enum { FLAG_BACKUP_REMOTE = 1 << 4, FLAG_BACKUP_LOCAL = 1 << 5, FLAG_FULLY_ESTABLISHED = 1 << 6 };
enum { DIAG_ULP_INFO = 19, REPLY_SIZE = 1024 };

struct request {
  struct nlmsghdr head;
  struct inet_diag_req_v2 body;
};

static int diag = -1;
static uint32_t sequence;
static struct request requests[MAX_SUBFLOWS];
static _Alignas(8) char replies[MAX_SUBFLOWS][REPLY_SIZE];
static struct iovec vectors[MAX_SUBFLOWS];
static struct mmsghdr messages[MAX_SUBFLOWS];

static int open_diag(void)
{
  const int on = 1;
  diag = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (diag < 0)
    return -errno;
  setsockopt(diag, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  setsockopt(diag, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  for (int i = 0; i < MAX_SUBFLOWS; i++) {
    vectors[i] = (struct iovec){.iov_base = replies[i], .iov_len = REPLY_SIZE};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    requests[i].head = (struct nlmsghdr){
        .nlmsg_len = sizeof requests[i], .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST};
    requests[i].body.sdiag_protocol = IPPROTO_TCP;
    requests[i].body.idiag_ext = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_CONG - 1) | 1 << (INET_DIAG_TOS - 1) |
                                 1 << (INET_DIAG_TCLASS - 1);
    requests[i].body.idiag_states = ~(1u << 10);
    requests[i].body.id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
    requests[i].body.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  }
  return 0;
}

static void ask(struct request *request, const struct subflow *subflow)
{
  struct inet_diag_sockid *id = &request->body.id;
  request->head.nlmsg_seq = ++sequence;
  request->body.sdiag_family = subflow->local.any.sa_family;
  if (subflow->local.any.sa_family == AF_INET) {
    id->idiag_sport = subflow->local.v4.sin_port;
    id->idiag_dport = subflow->remote.v4.sin_port;
    id->idiag_src[0] = subflow->local.v4.sin_addr.s_addr;
    id->idiag_dst[0] = subflow->remote.v4.sin_addr.s_addr;
  } else {
    id->idiag_sport = subflow->local.v6.sin6_port;
    id->idiag_dport = subflow->remote.v6.sin6_port;
    memcpy(id->idiag_src, &subflow->local.v6.sin6_addr, 16);
    memcpy(id->idiag_dst, &subflow->remote.v6.sin6_addr, 16);
  }
}

/* Calls `use` for each attribute in the bytes. */
static void attributes(const char *bytes, int length, struct subflow *to,
                       void (*use)(int kind, const char *value, int length, struct subflow *to))
{
  while (length >= NLA_HDRLEN) {
    const struct nlattr *attribute = (const void *)bytes;
    if (attribute->nla_len < NLA_HDRLEN || attribute->nla_len > length)
      return;
    use(attribute->nla_type & NLA_TYPE_MASK, bytes + NLA_HDRLEN, attribute->nla_len - NLA_HDRLEN, to);
    bytes += NLA_ALIGN(attribute->nla_len);
    length -= NLA_ALIGN(attribute->nla_len);
  }
}

static void use_mptcp(int kind, const char *value, int length, struct subflow *to)
{
  uint32_t flags;
  if (kind == ULP_FLAGS && length >= 4) {
    memcpy(&flags, value, 4);
    to->backup = (flags & FLAG_BACKUP_LOCAL) != 0;
    to->backup_by_peer = (flags & FLAG_BACKUP_REMOTE) != 0;
    to->fully_established = (flags & FLAG_FULLY_ESTABLISHED) != 0;
  } else if (kind == ULP_ID_LOCAL && length >= 1) {
    to->local_id = (uint8_t)value[0];
  } else if (kind == ULP_ID_REMOTE && length >= 1) {
    to->remote_id = (uint8_t)value[0];
  }
}

static void use_ulp(int kind, const char *value, int length, struct subflow *to)
{
  if (kind == ULP_MPTCP)
    attributes(value, length, to, use_mptcp);
}

static void use_diag(int kind, const char *value, int length, struct subflow *to)
{
  const int v4 = to->local.any.sa_family == AF_INET || IN6_IS_ADDR_V4MAPPED(&to->local.v6.sin6_addr);
  if (kind == INET_DIAG_CONG)
    memcpy(to->congestion, value, length < 16 ? length : 15);
  else if (kind == (v4 ? INET_DIAG_TOS : INET_DIAG_TCLASS) && length >= 1)
    to->tos = (uint8_t)value[0];
  else if (kind == DIAG_ULP_INFO)
    attributes(value, length, to, use_ulp);
}

/* Whether the answer is about this subflow: its port's listening socket may have answered for it. */
static int is_same(const struct inet_diag_msg *answer, const struct request *request)
{
  return memcmp(&answer->id, &request->body.id, offsetof(struct inet_diag_sockid, idiag_if)) == 0;
}

static int use_reply(const char *reply, int length, uint32_t first, struct subflow *array, int count)
{
  const struct nlmsghdr *head = (const void *)reply;
  const uint32_t index = head->nlmsg_seq - first;
  if (!NLMSG_OK(head, (unsigned)length) || index >= (uint32_t)count)
    return 0;
  if (head->nlmsg_type == NLMSG_ERROR) {
    const struct nlmsgerr *error = NLMSG_DATA(head);
    return error->error == -ENOENT ? 1 : error->error;
  }
  const struct inet_diag_msg *answer = NLMSG_DATA(head);
  struct subflow *to = &array[index];
  if (!is_same(answer, &requests[index]))
    return 1;
  memset(to->congestion, 0, sizeof to->congestion);
  to->interface[0] = 0;
  if (answer->id.idiag_if)
    if_indextoname(answer->id.idiag_if, to->interface);
  const int at = NLMSG_LENGTH(sizeof *answer);
  attributes(reply + at, (int)head->nlmsg_len - at, to, use_diag);
  to->detailed = 1;
  return 1;
}

int list_subflows_detail(int fd, struct subflow *array, int capacity)
{
  const int live = list_subflows(fd, array, capacity);
  const int count = live < capacity ? live : capacity;
  int status = diag < 0 ? open_diag() : 0;
  if (live <= 0 || status < 0)
    return live <= 0 ? live : status;
  const uint32_t first = sequence + 1;
  for (int i = 0; i < count; i++)
    ask(&requests[i], &array[i]);
  if (send(diag, requests, count * sizeof requests[0], 0) < 0)
    return -errno;
  for (int answered = 0; answered < count;) {
    const int received = recvmmsg(diag, messages, count - answered, MSG_DONTWAIT, NULL);
    if (received < 0)
      return -errno;
    for (int i = 0; i < received; i++) {
      status = use_reply(replies[i], (int)messages[i].msg_len, first, array, count);
      if (status < 0)
        return status;
      answered += status;
    }
  }
  /* Those without an answer have died in between. */
  int kept = 0;
  for (int i = 0; i < count; i++)
    if (array[i].detailed)
      array[kept++] = array[i];
  return kept;
}
