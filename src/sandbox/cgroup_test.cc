// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "sandbox/cgroup.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "test/support/cgroups.h"
#include "test/support/confined.h"

namespace cwasi::sandbox {
namespace {

class CgroupTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto tree = CgroupTree::Create();
    if (!tree) GTEST_SKIP() << tree.error().message;
  }
};

std::string ReadText(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string text;
  std::getline(file, text);
  return text;
}

TEST_F(CgroupTest, AWorkersLimitsAreWritten) {
  auto tree = CgroupTree::Create();
  ASSERT_TRUE(tree) << tree.error().message;
  EXPECT_TRUE(tree->LimitsMemory() || tree->LimitsTasks());
  auto worker = tree->CreateWorker();
  ASSERT_TRUE(worker) << worker.error().message;
  ASSERT_TRUE(worker->Limit({.memory_bytes = std::uint64_t{64} << 20, .tasks = 5}));
  std::vector<std::string> found;
  for (const std::string& subtree : test::CgroupsOf(::getpid())) {
    const auto group = std::filesystem::path(subtree) / "worker-1";
    for (const char* name : {"memory.limit_in_bytes", "memory.max", "pids.max"})
      if (std::filesystem::exists(group / name)) found.push_back(ReadText(group / name));
  }
  std::sort(found.begin(), found.end());
  EXPECT_EQ(found, (std::vector<std::string>{"5", "67108864"}));
}

TEST_F(CgroupTest, EverythingIsRemovedAtTheEnd) {
  {
    auto tree = CgroupTree::Create();
    ASSERT_TRUE(tree);
    EXPECT_GT(test::CgroupsOf(::getpid()).size(), 0U);
    std::vector<WorkerCgroup> workers;
    for (int i = 0; i < 10; ++i) {
      auto worker = tree->CreateWorker();
      ASSERT_TRUE(worker);
      workers.push_back(std::move(*worker));
    }
  }
  EXPECT_EQ(test::CgroupsOf(::getpid()), std::vector<std::string>());
}

TEST_F(CgroupTest, WhatAKilledOwnerLeftIsRemovedAndWhatLivesIsNot) {
  auto living = CgroupTree::Create();
  ASSERT_TRUE(living);
  const auto mine = test::CgroupsOf(::getpid());
  const auto killed = test::InChild(test::User::kRoot, [](int out) {
    auto tree = CgroupTree::Create();
    CHECK(tree.has_value());
    const auto worker = tree->CreateWorker();
    CHECK(worker.has_value());
    CHECK(!test::CgroupsOf(::getpid()).empty());
    test::SayTo(out, std::to_string(::getpid()));
    ::kill(::getpid(), SIGKILL);
  });
  ASSERT_TRUE(killed.KilledBy(SIGKILL)) << test::Describe(killed);
  CgroupTree::RemoveAbandoned();
  EXPECT_EQ(test::CgroupsOf(std::stoi(killed.said)), std::vector<std::string>());
  EXPECT_EQ(test::CgroupsOf(::getpid()), mine);
}

}  // namespace
}  // namespace cwasi::sandbox
