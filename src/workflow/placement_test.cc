// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cwasi::workflow {
namespace {

using testing::ElementsAre;

Function Of(ipc::Embed embed, Modes modes = Modes::kBoth,
            std::optional<std::uint32_t> workers = std::nullopt) {
  Function function;
  function.embed = embed;
  function.modes = modes;
  function.workers = workers;
  return function;
}

TEST(PlacementTest, SharedFunctionsHaveOneGroupOthersOneEach) {
  Workflow workflow;
  workflow.functions = {Of(ipc::Embed::kDeny), Of(ipc::Embed::kAllow),
                        Of(ipc::Embed::kAllow, Modes::kLocal), Of(ipc::Embed::kAllow),
                        Of(ipc::Embed::kAllow, Modes::kEmbedded)};
  const Placement placement = Place(workflow, 3);
  ASSERT_EQ(placement.groups.size(), 3U);
  EXPECT_THAT(placement.group_of, ElementsAre(0, 1, 2, 1, 1));
  EXPECT_THAT(placement.groups[0].functions, ElementsAre(0));
  EXPECT_THAT(placement.groups[1].functions, ElementsAre(1, 3, 4));
  EXPECT_THAT(placement.groups[2].functions, ElementsAre(2));
  for (const Group& group : placement.groups) EXPECT_EQ(group.workers, 3U);
}

TEST(PlacementTest, SharedFunctionsThatAreKeptApartHaveGroupsOfTheirOwn) {
  Workflow workflow;
  workflow.functions.assign(5, Of(ipc::Embed::kAllow));
  workflow.functions[2] = Of(ipc::Embed::kDeny);
  workflow.functions[1].share = 1;
  workflow.functions[4].share = 1;
  EXPECT_THAT(Place(workflow, 2).group_of, ElementsAre(0, 1, 2, 0, 1));
}

TEST(PlacementTest, TheFilesNumberOfWorkersCountsAndAFunctionsOwnMore) {
  Workflow workflow;
  workflow.workers = 5;
  workflow.functions = {Of(ipc::Embed::kAllow), Of(ipc::Embed::kDeny),
                        Of(ipc::Embed::kDeny, Modes::kBoth, 7)};
  const Placement placement = Place(workflow, 2);
  EXPECT_EQ(placement.groups[0].workers, 5U);
  EXPECT_EQ(placement.groups[1].workers, 5U);
  EXPECT_EQ(placement.groups[2].workers, 7U);
}

TEST(PlacementTest, AWorkflowWithoutFunctionsHasAWorkerForItsFiles) {
  EXPECT_EQ(Place(Workflow{}, 4).groups.size(), 1U);
}

TEST(PlacementTest, ThereIsACpu) {
  EXPECT_GE(CountCpus(), 1U);
  EXPECT_LE(CountCpus(), kMaxWorkers);
}

}  // namespace
}  // namespace cwasi::workflow
