/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Compiles alone, as C and as C++: the header needs nothing before it. */
#include <mptcpapi.h>

int main(void) {
  struct mptcpapi_info info = {sizeof(struct mptcpapi_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0, 0}};
  return mptcpapi_info(-1, &info) < 0 ? 0 : 1;
}
