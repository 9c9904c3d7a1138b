// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "os/memfd.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include <gtest/gtest.h>

namespace cwasi::os {
namespace {

TEST(MemfdTest, HasItsSizeForEver) {
  auto fd = CreateSealedMemfd("cwasi-test", 8192);
  ASSERT_TRUE(fd) << fd.error().message;
  struct stat status{};
  ASSERT_EQ(::fstat(fd->Get(), &status), 0);
  EXPECT_EQ(status.st_size, 8192);
  EXPECT_EQ(::ftruncate(fd->Get(), 4096), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(fd->Get(), 12288), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(::fcntl(fd->Get(), F_GETFD) & FD_CLOEXEC, 0);
}

}  // namespace
}  // namespace cwasi::os
