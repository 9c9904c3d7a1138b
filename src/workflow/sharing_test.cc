// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/sharing.h"

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/workflow_text.h"

namespace cwasi::workflow {
namespace {

using test::MistakesIn;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::string_view kOneStep = "steps:\n  s: {call: a}\n";

// A function of the file that may be embedded and calls as `calls` says.
std::string Line(std::string_view name, std::string_view calls = "",
                 std::string_view more = "embed: allow") {
  return "  " + std::string(name) + ": {path: f.wasm, " + std::string(more) + ", calls: {" +
         std::string(calls) + "}}\n";
}

std::string File(std::initializer_list<std::string> functions, std::string_view steps = kOneStep) {
  std::string text = "functions:\n";
  for (const std::string& function : functions) text += function;
  return text + std::string(steps);
}

std::vector<std::uint32_t> SharesOf(const std::string& text) {
  Mistakes mistakes;
  const Workflow workflow = ParseWorkflow(text, mistakes);
  EXPECT_THAT(test::Formatted(mistakes.Sorted()), IsEmpty());
  std::vector<std::uint32_t> shares;
  for (const Function& function : workflow.functions) shares.push_back(function.share);
  return shares;
}

TEST(SharingTest, WithoutRulesAllShare) {
  EXPECT_THAT(SharesOf(File({Line("a"), Line("b"), Line("c")})), ElementsAre(0, 0, 0));
}

TEST(SharingTest, TheEndsOfALocalEdgeAreKeptApartAndNobodyElse) {
  EXPECT_THAT(SharesOf(File({Line("a", "c: {modes: local}"), Line("b"), Line("c"), Line("d")})),
              ElementsAre(0, 0, 1, 0));
}

TEST(SharingTest, ATriangleOfLocalEdgesTakesThreeGroups) {
  EXPECT_THAT(SharesOf(File({Line("a", "b: {modes: local}, c: {modes: local}"),
                             Line("b", "c: {modes: local}"), Line("c"), Line("d")})),
              ElementsAre(0, 1, 2, 0));
}

TEST(SharingTest, AnEmbeddedEdgeTakesItsOtherEndAlong) {
  EXPECT_THAT(SharesOf(File({Line("a", "b: {modes: local}"), Line("b", "c: {modes: embedded}"),
                             Line("c"), Line("d", "c: {modes: [embedded, local]}")})),
              ElementsAre(0, 1, 1, 0));
}

TEST(SharingTest, StepsKeepTheirFunctionsApartOrTogether) {
  EXPECT_THAT(SharesOf(File({Line("a"), Line("b"), Line("c")}, R"(steps:
  x: {call: a}
  y: {call: b, needs: {from: x, modes: local}}
  z: {call: c, needs: {from: y, modes: embedded}}
)")),
              ElementsAre(0, 1, 1));
}

TEST(SharingTest, WhoCannotBeCalledFromElsewhereStaysWithTheOthers) {
  const std::string only_embedded = "embed: allow, modes: embedded";
  EXPECT_THAT(SharesOf(File({Line("a"), Line("b", "a: {modes: local}", only_embedded), Line("c")})),
              ElementsAre(1, 0, 0));
  EXPECT_THAT(
      MistakesIn(File({Line("a", "", only_embedded), Line("b", "", only_embedded)}, R"(steps:
  x: {call: a}
  y: {call: b, needs: {from: x, modes: local}}
)")),
      ElementsAre("w.yaml:6:30: steps.y.needs.x: is only local, and \"a\" and \"b\" have "
                  "modes: [embedded]"));
}

TEST(SharingTest, FunctionsWithWorkersOfTheirOwnAreApartAnyway) {
  EXPECT_THAT(SharesOf(File({Line("a", "b: {modes: local}"), Line("b", "", "modes: local")})),
              ElementsAre(0, 0));
}

TEST(SharingTest, EdgesThatContradictEachOtherAreTold) {
  EXPECT_THAT(MistakesIn(File({Line("a", "b: {modes: embedded}, c: {modes: local}"),
                               Line("b", "c: {modes: embedded}"), Line("c")})),
              ElementsAre("w.yaml:2:65: functions.a.calls.c: is only local, and other edges keep "
                          "\"a\" and \"c\" in the same workers"));
}

TEST(SharingTest, EdgesThatContradictTheirFunctionsAreTold) {
  EXPECT_THAT(
      MistakesIn(
          File({Line("a", "b: {modes: embedded}, c: {modes: local}, a: {modes: local}"),
                Line("b", "", "embed: deny"), Line("c", "", "embed: allow, modes: embedded")},
               R"(steps:
  x: {call: a}
  y: {call: b, needs: {from: x, modes: embedded}}
  z: {call: a, needs: {from: x, modes: local}}
)")),
      ElementsAre(
          "w.yaml:2:43: functions.a.calls.b: is only embedded, and \"b\" has workers of its own "
          "(embed: deny or modes: [local])",
          "w.yaml:2:65: functions.a.calls.c: is only local, and \"c\" has modes: [embedded]",
          "w.yaml:2:84: functions.a.calls.a: is only local: a call of itself never is",
          "w.yaml:7:30: steps.y.needs.x: is only embedded, and \"b\" has workers of its own "
          "(embed: "
          "deny or modes: [local])",
          "w.yaml:8:30: steps.z.needs.x: is only local, and both steps call \"a\": that takes two "
          "functions (of one path, if you like)"));
}

}  // namespace
}  // namespace cwasi::workflow
