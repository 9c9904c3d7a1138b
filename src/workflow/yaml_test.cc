// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/yaml.h"

#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cwasi::workflow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

struct Outcome {
  bool has_tree = false;
  Node root;
  std::vector<std::string> mistakes;
};

Outcome Parse(std::string_view text) {
  Mistakes mistakes;
  auto root = ParseYaml(text, mistakes);
  Outcome outcome;
  outcome.has_tree = root.has_value();
  if (root) outcome.root = *std::move(root);
  for (const Mistake& mistake : mistakes.Sorted()) {
    outcome.mistakes.push_back(Format("f", mistake));
  }
  return outcome;
}

std::string Repeat(std::string_view text, std::size_t times) {
  std::string all;
  for (std::size_t i = 0; i < times; ++i) all += text;
  return all;
}

TEST(YamlTest, RemembersKindTextQuotesAndPlace) {
  const Outcome outcome = Parse("a: 1\nlist:\n  - x\n  - \"y z\"\n");
  ASSERT_THAT(outcome.mistakes, IsEmpty());
  ASSERT_THAT(outcome.root.entries, SizeIs(2));
  const MapEntry& a = outcome.root.entries[0];
  EXPECT_EQ(a.key, "a");
  EXPECT_EQ(a.key_mark, (Mark{1, 1}));
  EXPECT_EQ(a.value.mark, (Mark{1, 4}));
  EXPECT_EQ(a.value.text, "1");
  const Node& list = outcome.root.entries[1].value;
  ASSERT_EQ(list.kind, NodeKind::kList);
  ASSERT_THAT(list.items, SizeIs(2));
  EXPECT_FALSE(list.items[0].quoted);
  EXPECT_EQ(list.items[1].text, "y z");
  EXPECT_TRUE(list.items[1].quoted);
  EXPECT_EQ(list.items[1].mark, (Mark{4, 5}));
}

TEST(YamlTest, CountsColumnsInCharacters) {
  const Outcome outcome = Parse("{\"\xc3\xa4\xc3\xa4\": 1, b: 2}\n");
  ASSERT_THAT(outcome.root.entries, SizeIs(2));
  EXPECT_EQ(outcome.root.entries[1].key_mark, (Mark{1, 11}));
}

TEST(YamlTest, PassesOverAByteOrderMark) {
  const Outcome outcome = Parse(
      "\xef\xbb\xbf"
      "a: 1\n");
  ASSERT_THAT(outcome.mistakes, IsEmpty());
  EXPECT_EQ(outcome.root.entries.at(0).key, "a");
}

TEST(YamlTest, KeepsTheFirstOfTwoEqualKeysAndNamesTheSecond) {
  const Outcome outcome = Parse("steps:\n  a: 1\n  b: 2\n  a: 3\n");
  EXPECT_THAT(outcome.mistakes, ElementsAre("f:4:3: steps.a: this key was there before"));
  ASSERT_TRUE(outcome.has_tree);
  const Node& steps = outcome.root.entries.at(0).value;
  ASSERT_THAT(steps.entries, SizeIs(2));
  EXPECT_EQ(steps.entries[0].value.text, "1");
}

TEST(YamlTest, RefusesAnchorsAliasesAndTags) {
  for (const std::string_view text :
       {"a: &x 1\n", "a: *x\n", "a: !!str 1\n", "a: &x [1]\n", "a: &x {b: 1}\n", "*x : 1\n"}) {
    const Outcome outcome = Parse(text);
    EXPECT_FALSE(outcome.has_tree) << text;
    EXPECT_THAT(outcome.mistakes, ElementsAre(HasSubstr("f:1:"))) << text;
  }
}

TEST(YamlTest, RefusesALaughAtOnce) {
  std::string text = "a0: &a0 [x]\n";
  for (int i = 1; i < 30; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": [" + last + "," + last + "]\n";
  }
  EXPECT_FALSE(Parse(text).has_tree);
}

TEST(YamlTest, SaysWhereItIsNotYaml) {
  const Outcome outcome = Parse("a: 1\nb: [1, 2\nc: 3\n");
  EXPECT_FALSE(outcome.has_tree);
  EXPECT_THAT(outcome.mistakes, ElementsAre(HasSubstr("f:3:2: b: not YAML: ")));
  EXPECT_THAT(Parse("a:\n\tb: 1\n").mistakes, ElementsAre(HasSubstr("f:2:1: a: not YAML: ")));
}

TEST(YamlTest, RefusesAnEmptyFileAndASecondDocument) {
  for (const std::string_view text : {"", "\n\n", "# nothing\n"}) {
    const Outcome outcome = Parse(text);
    EXPECT_FALSE(outcome.has_tree);
    EXPECT_THAT(outcome.mistakes, ElementsAre("f:1:1: the file is empty"));
  }
  const Outcome two = Parse("a: 1\n---\nb: 2\n");
  EXPECT_FALSE(two.has_tree);
  EXPECT_THAT(two.mistakes, ElementsAre(HasSubstr("f:2:1: a second document")));
}

TEST(YamlTest, RefusesBytesThatAreNotText) {
  for (const std::string_view text :
       {std::string_view("a: \xff\n"), std::string_view("a: \xc3("),
        std::string_view("a\0: 1\n", 6), std::string_view("a: \x01\n"),
        std::string_view("\xff\xfe"
                         "a\0",
                         4),
        std::string_view("a: \"x\\0y\"\n")}) {
    const Outcome outcome = Parse(text);
    EXPECT_FALSE(outcome.has_tree) << text;
    EXPECT_THAT(outcome.mistakes, SizeIs(1)) << text;
  }
}

TEST(YamlTest, RefusesAKeyThatIsNotText) {
  EXPECT_THAT(Parse("[a, b]: 1\n").mistakes, ElementsAre(HasSubstr("a key must be text")));
  EXPECT_THAT(Parse("? {a: 1}\n: 1\n").mistakes, ElementsAre(HasSubstr("a key must be text")));
}

TEST(YamlTest, TakesWhatIsAtABoundAndRefusesOneMore) {
  EXPECT_TRUE(Parse(Repeat("[", kMaxYamlDepth) + Repeat("]", kMaxYamlDepth)).has_tree);
  EXPECT_THAT(Parse(Repeat("[", kMaxYamlDepth + 1)).mistakes,
              ElementsAre(HasSubstr("nested more than 64 deep")));
  EXPECT_TRUE(Parse("[" + Repeat("a,", kMaxYamlNodes - 1) + "]").has_tree);
  EXPECT_THAT(Parse("[" + Repeat("a,", kMaxYamlNodes) + "]").mistakes,
              ElementsAre(HasSubstr("more than 200,000 values")));
  const std::string comment(kMaxFileBytes - 3, '#');
  EXPECT_TRUE(Parse("a\n" + comment + "\n").has_tree);
  EXPECT_THAT(Parse("a\n" + comment + "#\n").mistakes, ElementsAre("f: longer than 1 MiB"));
}

TEST(YamlTest, IsNotSlowedDownByOpenBraces) {
  // Each could begin a key, which the scanner has to keep in mind.
  EXPECT_FALSE(Parse(Repeat("{", 1'000'000)).has_tree);
  EXPECT_FALSE(Parse(Repeat("? ", 500'000)).has_tree);
  EXPECT_FALSE(Parse(Repeat("- ", 500'000)).has_tree);
}

}  // namespace
}  // namespace cwasi::workflow
