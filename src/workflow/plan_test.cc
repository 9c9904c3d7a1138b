// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/plan.h"

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/workflow_text.h"
#include "workflow/file.h"

namespace cwasi::workflow {
namespace {

using test::Formatted;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::string_view kHead =
    "functions: {f: {path: f.wasm}}\n"
    "inputs: {p: {glob: \"*.jpg\"}, q: {glob: \"*.png\"}, one: {file: one.x}}\n";

// The plan of `rest` below kHead, with these items; no file is needed.
class PlanTest : public ::testing::Test {
 protected:
  void Build(std::string_view rest, const std::vector<std::string>& p = {"a", "b"},
             const std::vector<std::string>& q = {"x"}) {
    Mistakes mistakes;
    workflow_ = ParseWorkflow(std::string(kHead) + std::string(rest), mistakes);
    ASSERT_THAT(Formatted(mistakes.Sorted()), IsEmpty());
    files_ = {.folder = "w", .output_folder = "w", .modules = {"w/f.wasm"}, .inputs = {{}, {}, {}}};
    for (const auto& name : p)
      files_.inputs[0].push_back({.name = name, .path = "w/" + name + ".jpg"});
    for (const auto& name : q)
      files_.inputs[1].push_back({.name = name, .path = "w/" + name + ".png"});
    files_.inputs[2].push_back({.name = "one", .path = "w/one.x"});
    Mistakes found;
    plan_ = BuildPlan(workflow_, files_, found);
    mistakes_ = Formatted(found.Sorted());
  }

  // "read a", "step[a](a> b) = c": '>' marks a part that is moved.
  std::vector<std::string> Run() {
    std::vector<std::string> lines;
    for (const Action& action : plan_.actions) {
      switch (action.kind) {
        case Action::Kind::kRead:
          lines.push_back("read " + Named(plan_.reads[action.index].value));
          break;
        case Action::Kind::kCall:
          lines.push_back(Call(plan_.tasks[action.index]));
          break;
        case Action::Kind::kWrite:
          lines.push_back("write " + Named(plan_.writes[action.index].value) + " to " +
                          plan_.writes[action.index].path.native());
          break;
        case Action::Kind::kDrop:
          lines.push_back("drop " + Named(action.index));
          break;
      }
    }
    return lines;
  }
  std::string Named(ValueId value) { return plan_.values.at(value).name; }
  std::string Call(const Task& task) {
    const Step& step = workflow_.steps.at(task.step);
    std::string line = step.name.text;
    if (step.IsList()) line += "[" + std::to_string(task.item) + "]";
    line += "(";
    for (const Use& part : task.parts) {
      if (&part != task.parts.data()) line += " ";
      line += Named(part.value) + (part.pass == ipc::Pass::kMove ? ">" : "");
    }
    return line + ") = " + Named(task.result);
  }

  Workflow workflow_;
  Files files_;
  Plan plan_;
  std::vector<std::string> mistakes_;
};

TEST_F(PlanTest, FinishesOneItemBeforeItBeginsTheNext) {
  Build(
      "steps:\n"
      "  small: {call: f, needs: p, for_each: p}\n"
      "  grey: {call: f, needs: small, for_each: small}\n"
      "  sheet: {call: f, needs: grey}\n"
      "outputs: {o: {from: sheet, file: out.png}}\n");
  EXPECT_THAT(Run(), ElementsAre("read a", "small[0](a>) = a", "grey[0](a>) = a", "read b",
                                 "small[1](b>) = b", "grey[1](b>) = b", "sheet(a> b>) = sheet",
                                 "write sheet to w/out.png", "drop sheet"));
  EXPECT_EQ(plan_.moved_parts, 6U);
  EXPECT_EQ(plan_.copied_parts, 0U);
  EXPECT_EQ(plan_.peak_values, 3U);
}

TEST_F(PlanTest, CopiesAllButTheLastUse) {
  Build(
      "steps:\n"
      "  left: {call: f, needs: one}\n"
      "  right: {call: f, needs: one}\n"
      "  both: {call: f, needs: [left, one, right]}\n");
  EXPECT_THAT(Run(), ElementsAre("read one", "left(one) = left", "right(one) = right",
                                 "both(left> one> right>) = both", "drop both"));
  EXPECT_EQ(plan_.copied_parts, 2U);
  EXPECT_EQ(plan_.moved_parts, 3U);
}

TEST_F(PlanTest, GivesOtherNeedsWholeToEachCall) {
  Build("steps: {s: {call: f, needs: [one, p, q], for_each: p}}\n", {"a", "b"}, {"x", "y"});
  EXPECT_THAT(Run(), ElementsAre("read one", "read a", "read x", "read y", "s[0](one a> x y) = a",
                                 "drop a", "read b", "s[1](one> b> x> y>) = b", "drop b"));
}

TEST_F(PlanTest, WritesAnOutputBeforeItsValueIsMovedOn) {
  Build(
      "steps:\n  s: {call: f, needs: p, for_each: p}\n  t: {call: f, needs: s}\n"
      "outputs: {o: {from: s, file: \"out/{index}-{name}\"}}\n");
  EXPECT_THAT(Run(), ElementsAre("read a", "s[0](a>) = a", "write a to w/out/0-a", "read b",
                                 "s[1](b>) = b", "write b to w/out/1-b", "t(a> b>) = t", "drop t"));
}

TEST_F(PlanTest, ReadsOnlyInputsThatSomebodyUses) {
  Build("steps: {s: {call: f}}\noutputs: {o: {from: one, file: copy}}\n");
  EXPECT_THAT(Run(),
              ElementsAre("s() = s", "drop s", "read one", "write one to w/copy", "drop one"));
  ASSERT_THAT(plan_.reads, SizeIs(1));
  EXPECT_EQ(workflow_.inputs.at(plan_.reads[0].input).name.text, "one");
}

TEST_F(PlanTest, TakesTheSameItemThroughAllStepsThatNeedIt) {
  Build("steps:\n  s: {call: f, needs: p, for_each: p}\n  t: {call: f, needs: p, for_each: p}\n");
  EXPECT_THAT(Run(), ElementsAre("read a", "s[0](a) = a", "drop a", "t[0](a>) = a", "drop a",
                                 "read b", "s[1](b) = b", "drop b", "t[1](b>) = b", "drop b"));
}

TEST_F(PlanTest, NamesResultsByTheirItemOrTheirStep) {
  Build(
      "steps:\n  s: {call: f, needs: p, for_each: p}\n"
      "  t: {call: f, needs: [one, s], for_each: s}\n  u: {call: f, needs: t}\n");
  std::vector<std::string> names;
  for (const Task& task : plan_.tasks) names.push_back(Named(task.result));
  EXPECT_THAT(names, ElementsAre("a", "b", "a", "b", "u"));
}

TEST_F(PlanTest, AListOfOneStaysAList) {
  Build(
      "steps: {s: {call: f, needs: q, for_each: q}}\noutputs: {o: {from: s, file: \"{name}\"}}\n");
  EXPECT_THAT(Run(), ElementsAre("read x", "s[0](x>) = x", "write x to w/x", "drop x"));
}

TEST_F(PlanTest, RefusesTwoItemsThatGoToOneFile) {
  Build(
      "steps: {s: {call: f, needs: p, for_each: p}}\noutputs: {o: {from: s, file: \"o/{name}\"}}\n",
      {"a", "b", "a", "b"});
  EXPECT_THAT(
      mistakes_,
      ElementsAre("w.yaml:4:30: outputs.o.file: two items are named \"a\", so both would go "
                  "to w/o/a; use {index}"));
}

TEST_F(PlanTest, RefusesTwoOutputsThatGoToOneFile) {
  Build(
      "steps: {s: {call: f}, t: {call: f}}\n"
      "outputs:\n  o: {from: s, file: out/x}\n  r: {from: t, file: out/../out//x}\n");
  EXPECT_THAT(mistakes_,
              ElementsAre("w.yaml:6:22: outputs.r.file: would go to w/out/x as outputs.o does"));
}

TEST_F(PlanTest, RefusesToOverwriteWhatTheWorkflowReads) {
  Build(
      "steps: {s: {call: f, needs: p, for_each: p}, t: {call: f}}\n"
      "outputs:\n  o: {from: s, file: \"{name}.jpg\"}\n  m: {from: t, file: f.wasm}\n");
  EXPECT_THAT(mistakes_, ElementsAre("w.yaml:5:22: outputs.o.file: would overwrite w/a.jpg, which "
                                     "the workflow reads",
                                     "w.yaml:6:22: outputs.m.file: would overwrite w/f.wasm, which "
                                     "the workflow reads"));
}

TEST_F(PlanTest, RefusesAFileThatIsAlsoAFolder) {
  Build(
      "steps: {s: {call: f}, t: {call: f}}\n"
      "outputs: {o: {from: s, file: x/y/z}, r: {from: t, file: x}}\n");
  EXPECT_THAT(mistakes_, ElementsAre(HasSubstr("outputs.r.file: w/x is also the folder of "
                                               "outputs.o")));
  Build("steps: {s: {call: f}}\noutputs: {o: {from: s, file: a.jpg/z}}\n");
  EXPECT_THAT(mistakes_, ElementsAre(HasSubstr("outputs.o.file: w/a.jpg is a file that the "
                                               "workflow reads")));
}

TEST_F(PlanTest, RefusesANameThatIsNoFilesName) {
  const std::string rest =
      "steps: {s: {call: f, needs: p, for_each: p}}\noutputs: {o: {from: s, file: "
      "\"out/{name}\"}}\n";
  for (const std::string name : {".", ".."}) {
    Build(rest, {name});
    EXPECT_THAT(mistakes_, ElementsAre(HasSubstr("which is no file's name"))) << name;
  }
  Build("steps: {s: {call: f}}\noutputs: {o: {from: s, file: \"out/..\"}}\n");
  EXPECT_THAT(mistakes_, ElementsAre(HasSubstr("is a folder")));
}

TEST_F(PlanTest, RefusesMoreThanItCouldHold) {
  const std::vector<std::string> many(40'000, "n");
  Build("steps: {s: {call: f, needs: [p, q]}}\n", many, many);
  EXPECT_THAT(mistakes_, ElementsAre("w.yaml:3:9: steps.s.needs: one call would get 80000 parts; "
                                     "65,536 is the most"));
  Build("steps: {s: {call: f, needs: [p, q], for_each: p}}\n", many, many);
  EXPECT_THAT(mistakes_, ElementsAre(HasSubstr("parts in all")));
  std::string steps = "steps:\n";
  for (int i = 0; i < 26; ++i) {
    steps += "  s" + std::to_string(i) + ": {call: f, needs: p, for_each: p}\n";
  }
  Build(steps, many);
  EXPECT_THAT(mistakes_, ElementsAre(HasSubstr("1040000 calls")));
}

TEST_F(PlanTest, KeepsFewValuesOfAWideWorkflowAlive) {
  const std::vector<std::string> many(5'000, "n");
  Build(
      "steps:\n  a: {call: f, needs: p, for_each: p}\n  b: {call: f, needs: a, for_each: a}\n"
      "  c: {call: f, needs: b, for_each: b}\noutputs: {o: {from: c, file: \"{index}\"}}\n",
      many);
  EXPECT_EQ(plan_.peak_values, 2U);
  EXPECT_THAT(plan_.tasks, SizeIs(15'000));
}

// Whatever the workflow: calls come after what they need, and every value made ends exactly once.
TEST_F(PlanTest, IsSoundForWorkflowsMadeAtRandom) {
  std::mt19937 random(1);
  const auto below = [&random](std::size_t n) {
    return std::uniform_int_distribution<std::size_t>(0, n - 1)(random);
  };
  for (int round = 0; round < 300; ++round) {
    std::string text = "steps:\n";
    std::vector<std::string> sources = {"p", "q", "one"};
    std::set<std::string> lists = {"p", "q"};
    const std::size_t steps = 1 + below(7);
    for (std::size_t s = 0; s < steps; ++s) {
      std::vector<std::string> needs = sources;
      std::ranges::shuffle(needs, random);
      needs.resize(1 + below(std::min<std::size_t>(needs.size(), 3)));
      const std::string name = "s" + std::to_string(s);
      text += "  " + name + ": {call: f, needs: [";
      for (const auto& need : needs) text += need + ",";
      text += "]";
      if (lists.contains(needs[0]) && below(2) == 0) {
        text += ", for_each: " + needs[0];
        lists.insert(name);
      }
      text += "}\n";
      sources.push_back(name);
    }
    const std::string out = sources[below(sources.size())];
    text += "outputs: {o: {from: " + out + ", file: \"out/{name}\"}}\n";
    Build(text, {"a", "b", "c"}, {"x", "y"});
    ASSERT_THAT(mistakes_, IsEmpty()) << text;

    std::vector<int> alive(plan_.values.size(), 0);  // 0 not made, 1 alive, 2 gone.
    std::size_t calls = 0;
    std::size_t writes = 0;
    const auto made = [&](ValueId value) {
      ASSERT_EQ(alive[value], 0) << "made twice\n" << text;
      alive[value] = 1;
    };
    const auto gone = [&](ValueId value) {
      ASSERT_EQ(alive[value], 1) << "not there\n" << text;
      alive[value] = 2;
    };
    for (const Action& action : plan_.actions) {
      if (action.kind == Action::Kind::kRead) made(plan_.reads[action.index].value);
      if (action.kind == Action::Kind::kDrop) gone(action.index);
      if (action.kind == Action::Kind::kWrite) {
        ++writes;
        ASSERT_EQ(alive[plan_.writes[action.index].value], 1) << text;
      }
      if (action.kind != Action::Kind::kCall) continue;
      ++calls;
      for (const Use& part : plan_.tasks[action.index].parts) {
        ASSERT_EQ(alive[part.value], 1) << text;
        if (part.pass == ipc::Pass::kMove) gone(part.value);
      }
      made(plan_.tasks[action.index].result);
    }
    EXPECT_EQ(calls, plan_.tasks.size());
    EXPECT_EQ(writes, plan_.writes.size());
    EXPECT_EQ(std::ranges::count(alive, 1), 0) << "left over\n" << text;
  }
}

TEST_F(PlanTest, IsTheSameEachTime) {
  const std::string rest =
      "steps:\n  s: {call: f, needs: p, for_each: p}\n  t: {call: f, needs: [s, one]}\n";
  Build(rest);
  const auto first = Run();
  Build(rest);
  EXPECT_EQ(Run(), first);
}

}  // namespace
}  // namespace cwasi::workflow
