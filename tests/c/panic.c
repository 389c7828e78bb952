/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Linked with panic.rs in the place of the library: a caught panic is an error, in any thread, and the process goes on. */

#include <pthread.h>

#include "test.h"

static void *panic_often(void *unused) {
  for (int i = 0; i < 20; i++)
    EQUAL(mptcpapi_status(i), -EIO);
  return unused;
}

int main(void) {
  pthread_t threads[2];
  for (int i = 0; i < 2; i++)
    CHECK(pthread_create(&threads[i], NULL, panic_often, NULL) == 0);
  panic_often(NULL);
  for (int i = 0; i < 2; i++)
    CHECK(pthread_join(threads[i], NULL) == 0);
  puts("goes on");
  return 0;
}
