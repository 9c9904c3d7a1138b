// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Many functions in workers of their own; bench/functions_bench.cc does the same with a thousand.

#include <sys/wait.h>

#include <cerrno>
#include <vector>

#include <gtest/gtest.h>

#include "test/integration/program.h"
#include "test/support/many_functions.h"
#include "test/support/proc_self.h"

namespace cwasi {
namespace {

TEST(FunctionsTest, SixtyOfTwentyModulesAnswerAndLeaveNothing) {
  constexpr std::size_t kFunctions = 60;
  constexpr std::size_t kModules = 20;
  // The first has libc open what it keeps.
  {
    test::ManyFunctions one(1, 1);
  }
  const std::size_t descriptors = test::CountDescriptors();
  std::vector<pid_t> processes;
  {
    test::ManyFunctions many(kFunctions, kModules);
    EXPECT_EQ(many.StartAll().size(), kFunctions);
    processes = many.Processes();
    EXPECT_EQ(processes.size(), kFunctions + 1);
    for (const pid_t pid : processes) EXPECT_TRUE(test::ProcessExists(pid)) << pid;
    // Each answer is checked there; the second time no module has to be looked at.
    EXPECT_EQ(many.CallEach().size(), kFunctions);
    EXPECT_EQ(many.CallEach().size(), kFunctions);
    many.EndAll();
  }
  for (const pid_t pid : processes) EXPECT_FALSE(test::ProcessExists(pid)) << pid;
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
  EXPECT_EQ(errno, ECHILD);
  EXPECT_EQ(test::CountDescriptors(), descriptors);
}

}  // namespace
}  // namespace cwasi
