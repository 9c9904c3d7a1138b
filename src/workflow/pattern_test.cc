// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/pattern.h"

#include <gtest/gtest.h>

namespace cwasi::workflow {
namespace {

std::string Expanded(std::string_view pattern, std::string_view name, std::size_t index,
                     std::size_t count) {
  const auto parsed = ParsePattern(pattern);
  EXPECT_TRUE(parsed) << pattern;
  return parsed ? parsed->Expand(name, index, count) : "";
}

TEST(PatternTest, PutsNameAndIndexIn) {
  EXPECT_EQ(Expanded("out/{name}.png", "coast", 0, 1), "out/coast.png");
  EXPECT_EQ(Expanded("{index}-{name}{index}", "a", 2, 3), "2-a2");
  EXPECT_EQ(Expanded("plain", "a", 0, 1), "plain");
}

TEST(PatternTest, PadsTheIndexSoThatNamesSortAsItemsDo) {
  EXPECT_EQ(Expanded("{index}", "", 7, 10), "7");
  EXPECT_EQ(Expanded("{index}", "", 7, 11), "07");
  EXPECT_EQ(Expanded("{index}", "", 10, 11), "10");
  EXPECT_EQ(Expanded("{index}", "", 3, 65'536), "00003");
}

TEST(PatternTest, DoesNotExpandWhatANameContains) {
  EXPECT_EQ(Expanded("{name}", "{index}", 5, 6), "{index}");
}

TEST(PatternTest, TellsWhatItHas) {
  const auto both = ParsePattern("{name}{index}");
  const auto none = ParsePattern("name/index");
  ASSERT_TRUE(both && none);
  EXPECT_TRUE(both->HasName() && both->HasIndex());
  EXPECT_FALSE(none->HasName() || none->HasIndex());
}

TEST(PatternTest, RefusesOtherBraces) {
  for (const char* text :
       {"{", "}", "a{name", "name}", "{}", "{Name}", "{{name}}", "{name}}", "out/"}) {
    const auto parsed = ParsePattern(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace cwasi::workflow
