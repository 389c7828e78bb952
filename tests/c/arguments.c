/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Wrong sizes, NULL, arrays of zero and one, unknown flags; callers older and newer than the library. */

#include "test.h"

/* The sizes of the first release. Programs built against it will be there for ever: these numbers never change. */
enum { FIRST_SUBFLOW = 384, FIRST_INFO = 56, FIRST_FEATURES = 148, FIRST_ERROR = 880 };

static const uint32_t wrong_sizes[] = {0, 3, 4, 55, 4097, 0xAAAAAAAA, 0xFFFFFFFF};
#define WRONG_SIZES (sizeof wrong_sizes / sizeof *wrong_sizes)

static void wrong_sizes_are_einval(int fd) {
  for (size_t i = 0; i < WRONG_SIZES; i++) {
    SIZED(struct mptcpapi_subflow, subflow);
    SIZED(struct mptcpapi_info, info);
    SIZED(struct mptcpapi_features, features);
    SIZED(struct mptcpapi_error, error);
    subflow.size = info.size = features.size = error.size = wrong_sizes[i];
    EQUAL(mptcpapi_subflows(fd, &subflow, 1, 0), -EINVAL);
    EQUAL(mptcpapi_subflows(fd, &subflow, 1, MPTCPAPI_DETAIL), -EINVAL);
    EQUAL(mptcpapi_info(fd, &info), -EINVAL);
    EQUAL(mptcpapi_features(&features), -EINVAL);
    EQUAL(mptcpapi_status_e(fd, &error), -EINVAL);
    EQUAL(mptcpapi_socket_e(AF_INET, 0, &error), -EINVAL);
    CHECK(all_are((char *)&subflow + 4, sizeof subflow - 4, POISON));
    CHECK(all_are((char *)&info + 4, sizeof info - 4, POISON));
    CHECK(all_are((char *)&features + 4, sizeof features - 4, POISON));
    CHECK(all_are((char *)&error + 4, sizeof error - 4, POISON));
  }
}

static void one_byte_too_small_is_einval(int fd) {
  SIZED(struct mptcpapi_subflow, subflow);
  SIZED(struct mptcpapi_info, info);
  SIZED(struct mptcpapi_features, features);
  SIZED(struct mptcpapi_error, error);
  subflow.size = FIRST_SUBFLOW - 1;
  info.size = FIRST_INFO - 1;
  features.size = FIRST_FEATURES - 1;
  error.size = FIRST_ERROR - 1;
  EQUAL(mptcpapi_subflows(fd, &subflow, 1, 0), -EINVAL);
  EQUAL(mptcpapi_info(fd, &info), -EINVAL);
  EQUAL(mptcpapi_features(&features), -EINVAL);
  EQUAL(mptcpapi_status_e(fd, &error), -EINVAL);
}

static void null_is_efault(int fd) {
  SIZED(struct mptcpapi_error, error);
  EQUAL(mptcpapi_subflows(fd, NULL, 1, 0), -EFAULT);
  EQUAL(mptcpapi_subflows(fd, NULL, SIZE_MAX, MPTCPAPI_DETAIL), -EFAULT);
  EQUAL(mptcpapi_info(fd, NULL), -EFAULT);
  EQUAL(mptcpapi_features(NULL), -EFAULT);
  EQUAL(mptcpapi_info_e(fd, NULL, &error), -EFAULT);
  EQUAL(error.kind, MPTCPAPI_ERROR_OS);
  EQUAL(error.error, EFAULT);
  CHECK(strcmp(error.operation, "info") == 0 && error.hint[0] && strstr(error.message, error.hint));
  EQUAL(mptcpapi_info_e(fd, NULL, NULL), -EFAULT);
  EQUAL(mptcpapi_status_e(fd, NULL), MPTCPAPI_STATUS_MPTCP);
  EQUAL(mptcpapi_features_e(NULL, NULL), -EFAULT);
}

static void capacity_bounds_what_is_written(int fd) {
  struct mptcpapi_subflow two[2];
  EQUAL(mptcpapi_subflows(fd, NULL, 0, 0), 1);
  EQUAL(mptcpapi_subflows(fd, NULL, 0, MPTCPAPI_DETAIL), 1);
  memset(two, POISON, sizeof two);
  EQUAL(mptcpapi_subflows(fd, two, 0, 0), 1);
  CHECK(all_are(two, sizeof two, POISON));
  two[0].size = sizeof *two;
  EQUAL(mptcpapi_subflows(fd, two, 1, 0), 1);
  EQUAL(two[0].id, 1);
  EQUAL(two[0].size, sizeof *two);
  CHECK(all_are(&two[1], sizeof *two, POISON));
  /* A capacity beyond all reason asks for no memory. */
  EQUAL(mptcpapi_subflows(fd, two, SIZE_MAX, 0), 1);
  EQUAL(mptcpapi_subflows(fd, two, SIZE_MAX, MPTCPAPI_DETAIL), 1);
  CHECK(all_are(&two[1], sizeof *two, POISON));
}

static void unknown_flags_are_einval(int fd) {
  SIZED(struct mptcpapi_subflow, subflow);
  for (int bit = 1; bit < 31; bit++)
    EQUAL(mptcpapi_subflows(fd, &subflow, 1, 1 << bit), -EINVAL);
  EQUAL(mptcpapi_subflows(fd, &subflow, 1, -1), -EINVAL);
  CHECK(all_are((char *)&subflow + 4, sizeof subflow - 4, POISON));
  EQUAL(mptcpapi_socket(AF_INET, 2), -EINVAL);
  EQUAL(mptcpapi_socket(AF_INET, -1), -EINVAL);
  EQUAL(mptcpapi_socket(AF_UNIX, 0), -EAFNOSUPPORT);
  EQUAL(mptcpapi_socket(-1, 0), -EAFNOSUPPORT);
}

/* A program of the first release: its structs have the sizes of then, with its own memory right behind. */
static void an_old_caller_is_served(int fd) {
  _Alignas(8) unsigned char memory[2 * FIRST_ERROR];
  const uint32_t sizes[] = {FIRST_SUBFLOW, FIRST_INFO, FIRST_FEATURES, FIRST_ERROR};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    memset(memory, POISON, sizeof memory);
    memcpy(memory, &sizes[i], sizeof sizes[i]);
    switch (sizes[i]) {
    case FIRST_SUBFLOW: EQUAL(mptcpapi_subflows(fd, (struct mptcpapi_subflow *)memory, 1, 0), 1); break;
    case FIRST_INFO: EQUAL(mptcpapi_info(fd, (struct mptcpapi_info *)memory), 0); break;
    case FIRST_FEATURES: EQUAL(mptcpapi_features((struct mptcpapi_features *)memory), 0); break;
    default: EQUAL(mptcpapi_status_e(-1, (struct mptcpapi_error *)memory), -EBADF); break;
    }
    CHECK(memcmp(memory, &sizes[i], sizeof sizes[i]) == 0);
    CHECK(!all_are(memory + 4, sizes[i] - 4, POISON));
    CHECK(all_are(memory + sizes[i], sizeof memory - sizes[i], POISON));
  }
}

/* A program built against a later release, whose structs have more at their end. */
static void a_newer_caller_sees_zeros(int fd) {
  struct { struct mptcpapi_subflow now; uint64_t later[3]; } subflows[2];
  struct { struct mptcpapi_info now; unsigned char later[5]; } info;
  struct { struct mptcpapi_features now; uint32_t later; } features;
  struct { struct mptcpapi_error now; char later[100]; } error;
  memset(subflows, POISON, sizeof subflows);
  memset(&info, POISON, sizeof info);
  memset(&features, POISON, sizeof features);
  memset(&error, POISON, sizeof error);
  subflows[0].now.size = sizeof *subflows;
  info.now.size = sizeof info;
  features.now.size = sizeof features;
  error.now.size = sizeof error;
  EQUAL(mptcpapi_subflows_e(fd, &subflows[0].now, 2, 0, &error.now), 1);
  EQUAL(subflows[0].now.id, 1);
  EQUAL(subflows[0].now.size, sizeof *subflows);
  CHECK(all_are(subflows[0].later, sizeof subflows[0].later, 0));
  CHECK(all_are(&subflows[1], sizeof subflows[1], POISON));
  EQUAL(error.now.kind, MPTCPAPI_ERROR_NONE);
  CHECK(error.now.message[0] == 0);
  CHECK(all_are(error.later, sizeof error.later, 0));
  EQUAL(mptcpapi_info(fd, &info.now), 0);
  CHECK(info.now.token != 0);
  CHECK(all_are(info.later, sizeof info.later, 0));
  EQUAL(mptcpapi_features(&features.now), 0);
  EQUAL(features.now.mptcp, 1);
  CHECK(all_are(&features.later, sizeof features.later, 0));
}

static void names_of_all_numbers(void) {
  CHECK(strcmp(mptcpapi_version(), MPTCPAPI_VERSION) == 0);
  CHECK(strcmp(mptcpapi_status_name(MPTCPAPI_STATUS_UNCONNECTED), "unconnected") == 0);
  CHECK(strcmp(mptcpapi_status_name(MPTCPAPI_STATUS_TCP), "tcp") == 0);
  CHECK(strcmp(mptcpapi_status_name(-EBADF), "unknown") == 0);
  CHECK(strcmp(mptcpapi_status_name(MPTCPAPI_STATUS_TCP + 1), "unknown") == 0);
  CHECK(strcmp(mptcpapi_state_name(1), "established") == 0);
  CHECK(strcmp(mptcpapi_state_name(12), "new_syn_recv") == 0);
  CHECK(strcmp(mptcpapi_state_name(0), "unknown") == 0);
  CHECK(strcmp(mptcpapi_state_name(UINT32_MAX), "unknown") == 0);
  CHECK(strcmp(mptcpapi_path_manager_name(MPTCPAPI_PATH_MANAGER_USERSPACE), "userspace") == 0);
  CHECK(strcmp(mptcpapi_path_manager_name(99), "unknown") == 0);
  CHECK(strcmp(mptcpapi_error_name(MPTCPAPI_ERROR_NONE), "None") == 0);
  CHECK(strcmp(mptcpapi_error_name(MPTCPAPI_ERROR_NOT_MPTCP), "NotMptcp") == 0);
  CHECK(strcmp(mptcpapi_error_name(MPTCPAPI_ERROR_OS), "Os") == 0);
  CHECK(strcmp(mptcpapi_error_name(MPTCPAPI_ERROR_OS + 1), "unknown") == 0);
}

int main(void) {
  int ends[2];
  connected(ends);
  wrong_sizes_are_einval(ends[0]);
  one_byte_too_small_is_einval(ends[0]);
  null_is_efault(ends[0]);
  capacity_bounds_what_is_written(ends[0]);
  unknown_flags_are_einval(ends[0]);
  an_old_caller_is_served(ends[0]);
  a_newer_caller_sees_zeros(ends[0]);
  names_of_all_numbers();
  close(ends[0]);
  close(ends[1]);
  return 0;
}
