/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A network namespace where MPTCP is switched off: a plain TCP socket, and the reason. Run in a lab of its own. */

#include "test.h"

int main(void) {
  SIZED(struct mptcpapi_error, error);
  SIZED(struct mptcpapi_features, features);
  FILE *setting;
  int fd;
  if (!getenv("MPTCPAPI_LAB"))
    return skip("changes a setting of the network namespace: only in the lab");
  setting = fopen("/proc/sys/net/mptcp/enabled", "w");
  CHECK(setting && fputs("0", setting) >= 0 && fclose(setting) == 0);
  fd = mptcpapi_socket_e(AF_INET, 0, &error);
  CHECK(fd >= 0);
  EQUAL(mptcpapi_status(fd), MPTCPAPI_STATUS_TCP);
  EQUAL(error.kind, MPTCPAPI_ERROR_OS);
  EQUAL(error.error, ENOPROTOOPT);
  CHECK(strcmp(error.operation, "socket") == 0 && strstr(error.hint, "net.mptcp.enabled"));
  close(fd);
  EQUAL(mptcpapi_features(&features), 0);
  EQUAL(features.mptcp, 0);
  EQUAL(features.socket_errno, ENOPROTOOPT);
  CHECK(strcmp(features.hint, error.hint) == 0);
  return 0;
}
