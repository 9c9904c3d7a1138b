// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/mistakes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cwasi::workflow {
namespace {

using ::testing::HasSubstr;

std::string Suggested(std::string_view wrong, const std::vector<std::string_view>& candidates) {
  Mistakes mistakes;
  mistakes.AddMisspelt({.line = 1, .column = 1}, "", "", wrong, candidates);
  return mistakes.Sorted().front().what;
}

TEST(MistakesTest, FormatsPlaceKeyAndText) {
  EXPECT_EQ(Format("w.yaml", {.mark = {.line = 12, .column = 5}, .where = "steps.a", .what = "no"}),
            "w.yaml:12:5: steps.a: no");
  EXPECT_EQ(Format("w.yaml", {.mark = {}, .where = "", .what = "no"}), "w.yaml: no");
}

TEST(MistakesTest, ComeInTheOrderOfTheFile) {
  Mistakes mistakes;
  EXPECT_TRUE(mistakes.IsEmpty());
  mistakes.Add({.line = 3, .column = 1}, "", "third");
  mistakes.Add({.line = 1, .column = 9}, "", "second");
  mistakes.Add({.line = 1, .column = 2}, "", "first");
  const auto sorted = mistakes.Sorted();
  ASSERT_EQ(sorted.size(), 3U);
  EXPECT_EQ(sorted[0].what, "first");
  EXPECT_EQ(sorted[2].what, "third");
}

TEST(MistakesTest, AreBoundedAndSayThatThereAreMore) {
  Mistakes mistakes;
  for (std::size_t i = 0; i < 10 * Mistakes::kMaxShown; ++i) {
    mistakes.Add({.line = i + 1, .column = 1}, "", "wrong");
  }
  const auto sorted = mistakes.Sorted();
  ASSERT_EQ(sorted.size(), Mistakes::kMaxShown + 1);
  EXPECT_THAT(sorted.back().what, HasSubstr("more mistakes"));
}

TEST(MistakesTest, SuggestWhatWasMeant) {
  EXPECT_EQ(Suggested("for_eahc", {"call", "for_each", "with"}), " (did you mean for_each?)");
  EXPECT_EQ(Suggested("cal", {"call", "needs"}), " (did you mean call?)");
  EXPECT_EQ(Suggested("nedes", {"call", "needs"}), " (did you mean needs?)");
  EXPECT_EQ(Suggested("thumbz", {"thumbs", "thumb"}), " (did you mean thumbs?)");
}

TEST(MistakesTest, SuggestNothingThatIsFarAway) {
  EXPECT_EQ(Suggested("xyz", {"call", "needs"}), "");
  EXPECT_EQ(Suggested("a", {"b"}), "");
  EXPECT_EQ(Suggested("", {"a"}), "");
  EXPECT_EQ(Suggested(std::string(1000, 'x'), {"x"}), "");
}

TEST(ShownTest, TakesControlCharactersOut) {
  EXPECT_EQ(Shown("a\x1b[31m\n\x7f"), "a?[31m??");
  EXPECT_EQ(Shown("gr\xc3\xbcn"), "gr\xc3\xbcn");
}

TEST(ShownTest, CutsBetweenCharacters) {
  EXPECT_EQ(Shown(std::string(80, 'a')), std::string(80, 'a'));
  EXPECT_EQ(Shown(std::string(81, 'a')), std::string(80, 'a') + "...");
  EXPECT_EQ(Shown(std::string(79, 'a') + "\xc3\xbc" + "b"), std::string(79, 'a') + "...");
}

}  // namespace
}  // namespace cwasi::workflow
