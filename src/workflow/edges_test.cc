// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/edges.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cwasi::workflow {
namespace {

ipc::EdgeReport Edge(const std::string& caller, const std::string& callee,
                     CallMode mode = CallMode::kEmbedded) {
  ipc::EdgeReport edge;
  edge.caller = caller;
  edge.callee = callee;
  edge.mode = mode;
  edge.calls = 2;
  edge.payload_bytes = 30;
  edge.copies = 4;
  edge.copied_bytes = 50;
  edge.moved = 6;
  edge.hand_over = {{.index = 1, .count = 2}, {.index = 7, .count = 1}};
  return edge;
}

TEST(EdgeSumTest, AddsCountsAndBucketsOfTheSameEdge) {
  EdgeSum sum;
  sum.Add({Edge("a", "b")});
  auto other = Edge("a", "b");
  other.hand_over = {{.index = 7, .count = 10}, {.index = 9, .count = 1}};
  sum.Add({other});
  const auto edges = sum.Sorted({});
  ASSERT_EQ(edges.size(), 1U);
  EXPECT_EQ(edges[0].calls, 4U);
  EXPECT_EQ(edges[0].payload_bytes, 60U);
  EXPECT_EQ(edges[0].copies, 8U);
  EXPECT_EQ(edges[0].copied_bytes, 100U);
  EXPECT_EQ(edges[0].moved, 12U);
  EXPECT_EQ(edges[0].hand_over,
            (std::vector<ipc::HistogramBucket>{
                {.index = 1, .count = 2}, {.index = 7, .count = 11}, {.index = 9, .count = 1}}));
}

TEST(EdgeSumTest, KeepsModesApart) {
  EdgeSum sum;
  sum.Add({Edge("a", "b"), Edge("a", "b", CallMode::kLocal)});
  sum.Add({Edge("a", "b", CallMode::kLocal)});
  const auto edges = sum.Sorted({});
  ASSERT_EQ(edges.size(), 2U);
  EXPECT_EQ(edges[0].mode, CallMode::kEmbedded);
  EXPECT_EQ(edges[0].calls, 2U);
  EXPECT_EQ(edges[1].mode, CallMode::kLocal);
  EXPECT_EQ(edges[1].calls, 4U);
}

TEST(EdgeSumTest, IsInTheOrderOfTheStepsWithCallsBetweenFunctionsLast) {
  EdgeSum sum;
  sum.Add({Edge("x", "function"), Edge("z", "first"), Edge("a", "second"), Edge("b", "first")});
  std::vector<std::string> order;
  for (const auto& edge : sum.Sorted({"first", "second"})) order.push_back(edge.caller);
  EXPECT_THAT(order, testing::ElementsAre("b", "z", "a", "x"));
}

}  // namespace
}  // namespace cwasi::workflow
