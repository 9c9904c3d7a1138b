// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "sandbox/cgroup_paths.h"

#include <gtest/gtest.h>

namespace cwasi::sandbox {
namespace {

constexpr std::string_view kHybridMounts =
    "20 1 0:4 / /proc rw,relatime - proc proc rw\n"
    "31 20 0:27 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
    "32 20 0:28 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
    "33 20 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

TEST(CgroupPathsTest, FindsTheHierarchiesOfVersionOne) {
  const auto places = FindCgroups("8:pids:/\n4:memory:/a/b\n3:cpuset:/\n0::/\n", kHybridMounts);
  ASSERT_EQ(places.size(), 3U);
  EXPECT_EQ(places[0].mount + places[0].path, "/sys/fs/cgroup/pids/");
  EXPECT_TRUE(places[0].pids && !places[0].memory && places[0].version == 1);
  EXPECT_EQ(places[1].mount + places[1].path, "/sys/fs/cgroup/memory/a/b");
  EXPECT_TRUE(places[1].memory && !places[1].pids);
  EXPECT_EQ(places[2].version, 2);
}

TEST(CgroupPathsTest, FindsVersionTwo) {
  const auto places = FindCgroups("0::/user.slice/a.scope\n",
                                  "30 20 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - "
                                  "cgroup2 cgroup2 rw,nsdelegate\n");
  ASSERT_EQ(places.size(), 1U);
  EXPECT_EQ(places[0].mount + places[0].path, "/sys/fs/cgroup/user.slice/a.scope");
}

TEST(CgroupPathsTest, ControllersMayBeMountedTogetherOrInPart) {
  const auto together =
      FindCgroups("4:memory,pids:/x\n", "31 20 0:27 / /cg rw - cgroup cgroup rw,memory,pids\n");
  ASSERT_EQ(together.size(), 1U);
  EXPECT_TRUE(together[0].memory && together[0].pids);
  const auto part = FindCgroups("4:memory:/docker/1/x\n",
                                "31 20 0:27 /docker/1 /cg rw - cgroup cgroup rw,memory\n");
  ASSERT_EQ(part.size(), 1U);
  EXPECT_EQ(part[0].path, "/x");
  EXPECT_TRUE(FindCgroups("4:memory:/docker/11\n",
                          "31 20 0:27 /docker/1 /cg rw - cgroup cgroup rw,memory\n")
                  .empty());
}

TEST(CgroupPathsTest, NonsenseIsNothing) {
  EXPECT_TRUE(FindCgroups("", "").empty());
  EXPECT_TRUE(FindCgroups("memory\n::\n:\n4:memory\n", kHybridMounts).empty() ||
              FindCgroups("memory\n::\n:\n4:memory\n", kHybridMounts)[0].version == 2);
  EXPECT_TRUE(FindCgroups("4:memory:/\n", "- \n31 - cgroup\n 1 2 3 4 5 - cgroup\n").empty());
}

}  // namespace
}  // namespace cwasi::sandbox
