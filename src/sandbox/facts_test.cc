// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "sandbox/facts.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "sandbox/landlock.h"
#include "test/support/confined.h"
#include "test/support/proc_self.h"

namespace cwasi::sandbox {
namespace {

bool Holds(const std::vector<Fact>& facts, const std::string& name) {
  return std::any_of(facts.begin(), facts.end(), [&](const Fact& fact) {
    return fact.name == name && fact.state == FactState::kHolds;
  });
}

TEST(FactsTest, MeasuringChangesNothingHere) {
  const auto root = std::filesystem::read_symlink("/proc/self/ns/mnt");
  const auto descriptors = test::CountDescriptors();
  const auto facts = MeasureFacts();
  ASSERT_TRUE(facts) << facts.error().message;
  EXPECT_GE(facts->size(), 7U);
  EXPECT_TRUE(Holds(*facts, "system calls"));
  EXPECT_EQ(Holds(*facts, "Landlock"), LandlockVersion() > 0);
  for (const Fact& fact : *facts) EXPECT_FALSE(fact.why.empty()) << fact.name;
  EXPECT_EQ(std::filesystem::read_symlink("/proc/self/ns/mnt"), root);
  EXPECT_EQ(test::CountDescriptors(), descriptors);
}

TEST(FactsTest, TellsWhatAnOrdinaryUserLacks) {
  const auto outcome = test::InChild(test::User::kOrdinary, [](int out) {
    const auto facts = MeasureFacts();
    test::SayTo(out, facts ? Summarize(*facts) : facts.error().message);
  });
  // A cgroup that an ordinary user may divide is rare, and none is divided in a test's.
  EXPECT_TRUE(outcome.said == "all of it" || outcome.said.rfind("without ", 0) == 0)
      << outcome.said;
}

TEST(FactsTest, AFailureIsAnErrorAndNotAHang) {
  const auto outcome = test::InChild(test::User::kOrdinary, [](int out) {
    // The prober cannot open its pipes.
    const rlimit none{.rlim_cur = 5, .rlim_max = 5};
    CHECK(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    const auto facts = MeasureFacts();
    test::SayTo(out, facts ? "measured" : "failed");
  });
  EXPECT_EQ(outcome.said, "failed");
}

TEST(FactsTest, TheSummaryNamesWhatDoesNotHold) {
  std::vector<Fact> facts = {
      {.name = "one", .state = FactState::kHolds, .why = "", .advice = ""},
      {.name = "two", .state = FactState::kNotApplicable, .why = "", .advice = ""}};
  EXPECT_EQ(Summarize(facts), "all of it");
  facts[0].state = FactState::kDoesNotHold;
  facts.push_back(facts[0]);
  facts[2].name = "three";
  EXPECT_EQ(Summarize(facts), "without one, three");
}

TEST(FactsTest, TheMeansAreNamedOnceAndTheMissingOnesWithTheReason) {
  const auto fact = [](const char* means, FactState state, const char* why) {
    return Fact{.name = "n", .means = means, .state = state, .why = why, .advice = ""};
  };
  std::vector<Fact> facts = {fact("seccomp", FactState::kHolds, ""),
                             fact("namespaces", FactState::kHolds, ""),
                             fact("namespaces", FactState::kHolds, "")};
  EXPECT_EQ(SummarizeMeans(facts), "sandboxed by seccomp, namespaces");
  facts.push_back(fact("cgroups", FactState::kDoesNotHold, "no group"));
  facts.push_back(fact("cgroups", FactState::kDoesNotHold, "no group"));
  facts.push_back(fact("Landlock", FactState::kDoesNotHold, "Linux 5.13"));
  EXPECT_EQ(SummarizeMeans(facts),
            "sandboxed by seccomp, namespaces; not here: cgroups (no group), Landlock (Linux "
            "5.13)");
  facts.push_back(fact("cgroups", FactState::kHolds, "version 2"));
  EXPECT_EQ(SummarizeMeans(facts),
            "sandboxed by seccomp, namespaces, cgroups; not here: Landlock (Linux 5.13)");
  EXPECT_EQ(SummarizeMeans({}), "not sandboxed");
}

TEST(FactsTest, EachMeasuredFactNamesItsMeans) {
  const auto facts = MeasureFacts();
  ASSERT_TRUE(facts) << facts.error().message;
  for (const Fact& fact : *facts) EXPECT_FALSE(fact.means.empty()) << fact.name;
  EXPECT_EQ(SummarizeMeans(*facts).rfind("sandboxed by seccomp", 0), 0U) << SummarizeMeans(*facts);
}

}  // namespace
}  // namespace cwasi::sandbox
