/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Compiles beside the kernel's and libc's headers: no name is taken twice. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <linux/mptcp.h>
#include <mptcpapi.h>
#include <mptcpapi.h>

int main(void) {
  struct mptcp_info kernel;
  struct mptcpapi_info ours;
  ours.size = sizeof ours;
  return sizeof kernel > 0 && mptcpapi_info(-1, &ours) < 0 ? 0 : 1;
}
