// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/edge_stats.h"

#include <gtest/gtest.h>

namespace cwasi::worker {
namespace {

TEST(EdgeTableTest, KeepsOneEntryPerPair) {
  EdgeTable table;
  EdgeStats& first = table.Of({"a", "b"});
  table.Of({"b", "a"}).calls = 7;
  EXPECT_EQ(&table.Of({"a", "b"}), &first);
  EXPECT_EQ(table.All().size(), 2U);
}

}  // namespace
}  // namespace cwasi::worker
