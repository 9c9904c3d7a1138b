// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/file.h"

#include <chrono>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/paths.h"
#include "test/support/workflow_text.h"

namespace cwasi::workflow {
namespace {

using test::kFullExample;
using test::MistakesIn;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Workflow Parsed(std::string_view text) {
  Mistakes mistakes;
  Workflow workflow = ParseWorkflow(text, mistakes);
  for (const Mistake& mistake : mistakes.Sorted()) ADD_FAILURE() << Format("w.yaml", mistake);
  return workflow;
}

std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

std::string Joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

// The example with line `number` (from 1) replaced.
std::string WithLine(std::size_t number, const std::string& line) {
  auto lines = Lines(kFullExample);
  lines.at(number - 1) = line;
  return Joined(lines);
}

// A key of the example: its line (from 1), where it begins, what follows its colon.
struct KeyLine {
  std::size_t line = 0;
  std::string indent;
  std::string key;
  std::string value;
};

std::vector<KeyLine> KeysOfTheExample() {
  std::vector<KeyLine> keys;
  const auto lines = Lines(kFullExample);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::size_t start = lines[i].find_first_not_of(' ');
    const std::size_t colon = lines[i].find(':');
    keys.push_back({.line = i + 1,
                    .indent = lines[i].substr(0, start),
                    .key = lines[i].substr(start, colon - start),
                    .value = lines[i].substr(colon + 1)});
  }
  return keys;
}

// Keys that the user chooses: another spelling is another name, found where it is used (or not).
const std::set<std::string> kFreeKeys = {"decode", "sheet",   "photos", "logo", "marks",
                                         "page",   "decoded", "width",  "note"};

TEST(FileTest, ReadsEveryKey) {
  const Workflow w = Parsed(kFullExample);
  EXPECT_EQ(w.name, "photos");
  ASSERT_THAT(w.functions, SizeIs(2));
  const Function& decode = w.functions[0];
  EXPECT_EQ(decode.name.text, "decode");
  EXPECT_EQ(decode.path.text, "decode.wasm");
  EXPECT_EQ(decode.embed, ipc::Embed::kAllow);
  EXPECT_EQ(decode.memory_limit_bytes, 1ULL << 30U);
  EXPECT_EQ(decode.timeout, std::chrono::seconds(30));
  EXPECT_EQ(decode.instances, ipc::Instances::kReused);
  EXPECT_EQ(decode.zero, ipc::Zero::kAlways);
  EXPECT_EQ(decode.modes, Modes::kBoth);
  EXPECT_TRUE(decode.IsShared());
  EXPECT_EQ(w.workers, 4U);
  const Function& sheet = w.functions[1];
  EXPECT_EQ(sheet.instances, ipc::Instances::kFresh);
  EXPECT_EQ(sheet.modes, Modes::kLocal);
  EXPECT_EQ(sheet.workers, 3U);
  EXPECT_FALSE(sheet.IsShared());

  ASSERT_THAT(w.inputs, SizeIs(3));
  EXPECT_EQ(w.inputs[0].kind, InputKind::kGlob);
  EXPECT_EQ(w.inputs[0].paths.at(0).text, "photos/*.jpg");
  EXPECT_EQ(w.inputs[1].kind, InputKind::kFile);
  EXPECT_FALSE(w.inputs[1].IsList());
  EXPECT_EQ(w.inputs[2].kind, InputKind::kFiles);
  ASSERT_THAT(w.inputs[2].paths, SizeIs(2));
  EXPECT_EQ(w.inputs[2].paths[1].text, "b.png");
}

TEST(FileTest, ReadsStepsAndOutputsAndWhatTheyName) {
  const Workflow w = Parsed(kFullExample);
  ASSERT_THAT(w.steps, SizeIs(2));
  const Step& decoded = w.steps[0];
  EXPECT_EQ(decoded.function, 0U);
  EXPECT_EQ(decoded.for_each, 0U);
  EXPECT_EQ(decoded.timeout, std::chrono::seconds(10));
  EXPECT_THAT(decoded.with, ElementsAre(ipc::Metadata{.key = "width", .value = "1600"},
                                        ipc::Metadata{.key = "note", .value = "a text"}));
  const Step& page = w.steps[1];
  EXPECT_EQ(page.function, 1U);
  EXPECT_FALSE(page.for_each.has_value());
  EXPECT_FALSE(page.timeout.has_value());
  ASSERT_THAT(page.needs, SizeIs(3));
  EXPECT_EQ(page.needs[0].source, (Source{.kind = Source::Kind::kStep, .index = 0}));
  EXPECT_EQ(page.needs[1].source, (Source{.kind = Source::Kind::kInput, .index = 1}));
  ASSERT_THAT(w.outputs, SizeIs(2));
  EXPECT_EQ(w.outputs[0].from.source, (Source{.kind = Source::Kind::kStep, .index = 1}));
  EXPECT_EQ(w.outputs[1].file.text, "out/{name}.rgb");
}

TEST(FileTest, FillsInWhatIsNotThere) {
  const Workflow w = Parsed("functions: {f: {path: f.wasm}}\nsteps: {s: {call: f}}\n");
  EXPECT_EQ(w.name, "");
  const Function& f = w.functions.at(0);
  EXPECT_EQ(f.embed, ipc::Embed::kDeny);
  EXPECT_EQ(f.memory_limit_bytes, 512ULL << 20U);
  EXPECT_EQ(f.timeout, std::chrono::seconds(60));
  EXPECT_EQ(f.instances, ipc::Instances::kReused);
  EXPECT_EQ(f.zero, ipc::Zero::kNever);
  EXPECT_EQ(f.modes, Modes::kBoth);
  EXPECT_FALSE(f.workers.has_value());
  EXPECT_FALSE(w.workers.has_value());
  EXPECT_THAT(w.steps.at(0).needs, IsEmpty());
}

TEST(FileTest, NamesKeyAndLineOfEveryMisspeltKey) {
  for (const KeyLine& at : KeysOfTheExample()) {
    if (kFreeKeys.contains(at.key)) continue;
    const std::string wrong = at.key + "x";
    const auto mistakes = MistakesIn(WithLine(at.line, at.indent + wrong + ":" + at.value));
    const std::string place =
        "w.yaml:" + std::to_string(at.line) + ":" + std::to_string(at.indent.size() + 1) + ": ";
    bool found = false;
    for (const std::string& mistake : mistakes) {
      found |= mistake.starts_with(place) &&
               mistake.ends_with(wrong + ": unknown key (did you mean " + at.key + "?)");
    }
    EXPECT_TRUE(found) << place << wrong << "\n" << Joined(mistakes);
  }
}

TEST(FileTest, NamesTheLineWhereAMisspeltNameIsUsed) {
  const struct {
    std::size_t line;
    std::string text;
    std::string expected;
  } cases[] = {
      {4, "  decodex:",
       "w.yaml:26:11: steps.decoded.call: there is no function \"decode\" (did you mean decodex?)"},
      {18, "  photosx:",
       "w.yaml:27:12: steps.decoded.needs: there is no input or step \"photos\" (did you mean "
       "photosx?)"},
      {20, "  logox:",
       "w.yaml:35:22: steps.page.needs: there is no input or step \"logo\" (did you mean logox?)"},
      {33, "  pagex:",
       "w.yaml:38:11: outputs.page.from: there is no input or step \"page\" (did you mean pagex?)"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(MistakesIn(WithLine(c.line, c.text)), ::testing::Contains(c.expected));
  }
}

// Whatever a key holds, it is told when it holds another kind of thing.
TEST(FileTest, NamesKeyAndLineOfEveryValueOfAnotherKind) {
  for (const KeyLine& at : KeysOfTheExample()) {
    const bool is_section = at.value.empty();
    for (const std::string other : {"text-instead", "[a-list]", "{a: map}", "[]", "{}", ""}) {
      const bool is_text = other.find_first_of("[{") == std::string::npos;
      // Text where text belongs is not another kind, and `with` takes empty text and an empty map.
      if (is_text && !is_section && (!other.empty() || kFreeKeys.contains(at.key))) continue;
      if (at.key == "with" && other[0] == '{') continue;
      if (at.key == "needs" && other[0] == '[') continue;
      if (at.key == "files" && other == "[a-list]") continue;
      auto lines = Lines(kFullExample);
      lines[at.line - 1] = at.indent + at.key + ": " + other;
      // What stood below a section goes with it.
      while (lines.size() > at.line && lines[at.line].starts_with(at.indent + " ")) {
        lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(at.line));
      }
      const auto mistakes = MistakesIn(Joined(lines));
      // A section of free names takes any map; that its names are gone is told where they are used.
      const bool takes_maps = at.indent.empty() && is_section && other[0] == '{';
      const std::string place = "w.yaml:" + std::to_string(at.line) + ":";
      bool found = false;
      for (const std::string& mistake : mistakes) {
        found |= mistake.starts_with(place) && mistake.find(at.key) != std::string::npos;
      }
      if (at.key == "outputs" && other == "{}") continue;
      EXPECT_TRUE(takes_maps ? !mistakes.empty() : found)
          << at.line << ": " << lines[at.line - 1] << "\n"
          << Joined(mistakes);
    }
  }
}

TEST(FileTest, ModesAndNumbersOfWorkersAreChecked) {
  EXPECT_THAT(
      MistakesIn(R"(workers: 0
functions:
  a: {path: f.wasm, modes: [embedded]}
  b: {path: f.wasm, embed: allow, modes: [lokal]}
  c: {path: f.wasm, embed: allow, modes: [local, local]}
  d: {path: f.wasm, embed: allow, modes: []}
  e: {path: f.wasm, embed: allow, workers: 2}
  f: {path: f.wasm, embed: allow, modes: local, workers: 1025}
  g: {path: f.wasm, embed: allow, modes: [local], workers: two}
steps:
  s: {call: a}
)"),
      ElementsAre(
          "w.yaml:1:10: workers: \"0\" is no number from 1 to 1024",
          "w.yaml:3:28: functions.a.modes: has embedded, which needs embed: allow",
          "w.yaml:4:43: functions.b.modes: must be embedded or local, is \"lokal\" (did you mean "
          "local?)",
          "w.yaml:5:50: functions.c.modes: names a mode twice",
          "w.yaml:6:42: functions.d.modes: the list is empty",
          "w.yaml:7:44: functions.e.workers: is for functions in workers of their own (modes: "
          "[local] or embed: deny); this one shares workers, whose number the file's own key "
          "workers says",
          "w.yaml:8:58: functions.f.workers: \"1025\" is no number from 1 to 1024",
          "w.yaml:9:60: functions.g.workers: \"two\" is no number from 1 to 1024"));
}

TEST(FileTest, ReadsTheModesOfSingleEdges) {
  const Workflow w = Parsed(R"(
functions:
  f: {path: f.wasm, embed: allow, calls: {g: {modes: [local]}, f: {modes: embedded}}}
  g: {path: g.wasm, embed: allow}
  h: {path: h.wasm, embed: allow}
steps:
  a: {call: f}
  b: {call: f, needs: {from: a, modes: [embedded]}}
  c: {call: g, needs: [{from: a, modes: [local]}, b, {from: a2}]}
  a2: {call: h}
)");
  ASSERT_THAT(w.functions.at(0).calls, SizeIs(2));
  EXPECT_EQ(w.functions[0].calls[0].function, 1U);
  EXPECT_EQ(w.functions[0].calls[0].modes, Modes::kLocal);
  EXPECT_EQ(w.functions[0].calls[1].function, 0U);
  EXPECT_EQ(w.functions[0].calls[1].modes, Modes::kEmbedded);
  EXPECT_EQ(w.steps.at(1).needs.at(0).modes, Modes::kEmbedded);
  ASSERT_THAT(w.steps.at(2).needs, SizeIs(3));
  EXPECT_EQ(w.steps[2].needs[0].modes, Modes::kLocal);
  EXPECT_EQ(w.steps[2].needs[1].modes, Modes::kBoth);
  EXPECT_EQ(w.steps[2].needs[2].source.index, 3U);
  EXPECT_NE(w.functions[0].share, w.functions[1].share);
  EXPECT_EQ(w.functions[0].share, w.functions[2].share);
}

TEST(FileTest, ModesOfSingleEdgesAreChecked) {
  EXPECT_THAT(
      MistakesIn(R"(functions:
  f: {path: f.wasm, embed: allow, calls: {g: {modes: [lokal]}, h: {}, i: local}}
  g: {path: g.wasm, embed: allow, calls: [f]}
inputs:
  in: {file: x}
steps:
  a: {call: f}
  b: {call: g, needs: [{from: a, mode: local}, {modes: local}, [a], {from: in, modes: local}]}
)"),
      ElementsAre(
          "w.yaml:2:55: functions.f.calls.g.modes: must be embedded or local, is \"lokal\" (did "
          "you mean local?)",
          "w.yaml:2:64: functions.f.calls: there is no function \"h\"",
          "w.yaml:2:67: functions.f.calls.h: lacks the key modes, which is required",
          "w.yaml:2:74: functions.f.calls.i: must be a map, is text",
          "w.yaml:3:42: functions.g.calls: must be a map, is a list",
          "w.yaml:8:34: steps.b.needs[0].mode: unknown key (did you mean modes?)",
          "w.yaml:8:48: steps.b.needs[1]: lacks the key from, which is required",
          "w.yaml:8:64: steps.b.needs[2]: must be a name or a map with from, is a list",
          "w.yaml:8:76: steps.b.needs.in: has modes, and it is an input: those are read where "
          "they are used"));
}

TEST(FileTest, TellsAllMistakesAtOnce) {
  EXPECT_THAT(
      MistakesIn(R"(name: two words
functions:
  f:
    path: f.wasm
    embed: alow
    memory: 512MB
    timeout: 30
  g: {memory: 5GiB, path: "", instances: new, zero: yes}
inputs:
  photos: {glob: "*.jpg", file: a.jpg}
  none: {}
steps:
  resized: {call: f, needs: photos, for_eahc: photos}
  f g: {call: h}
  loose: {needs: [resized, resized, gone], for_each: photo, timeout: 0s}
outputs:
  o: {from: photos}
  p: {from: loose, file: "out/{nam}.png"}
extra: 1
)"),
      ElementsAre(
          "w.yaml:1:7: name: \"two words\" is no name: 1 to 64 letters, digits, hyphens or "
          "underscores",
          "w.yaml:5:12: functions.f.embed: must be allow or deny, is \"alow\" (did you mean "
          "allow?)",
          "w.yaml:6:13: functions.f.memory: \"512MB\" is no amount of memory (as 65536, "
          "64KiB, 512MiB, 4GiB)",
          "w.yaml:7:14: functions.f.timeout: \"30\" is no time (as 500us, 20ms, 30s, 5m, "
          "1h)",
          "w.yaml:8:15: functions.g.memory: \"5GiB\" is not from 64KiB to 4GiB",
          "w.yaml:8:27: functions.g.path: has no value",
          "w.yaml:8:42: functions.g.instances: must be reused or fresh, is \"new\"",
          "w.yaml:8:53: functions.g.zero: must be always or never, is \"yes\"",
          "w.yaml:10:11: inputs.photos: must have one of glob, file and files",
          "w.yaml:11:9: inputs.none: must have one of glob, file and files",
          "w.yaml:13:37: steps.resized.for_eahc: unknown key (did you mean for_each?)",
          "w.yaml:14:3: steps.f g: a name has 1 to 64 letters, digits, hyphens or "
          "underscores",
          "w.yaml:14:15: steps.f g.call: there is no function \"h\"",
          "w.yaml:15:10: steps.loose: lacks the key call, which is required",
          "w.yaml:15:28: steps.loose.needs: \"resized\" is there twice",
          "w.yaml:15:37: steps.loose.needs: there is no input or step \"gone\" (did you "
          "mean none?)",
          "w.yaml:15:54: steps.loose.for_each: \"photo\" is not among the needs",
          "w.yaml:15:70: steps.loose.timeout: \"0s\" is no time to run in; it must be over "
          "0",
          "w.yaml:17:6: outputs.o: lacks the key file, which is required",
          "w.yaml:18:26: outputs.p.file: {nam} means nothing; there are {name} and {index}",
          "w.yaml:19:1: extra: unknown key"));
}

// Steps and outputs below a head that is right.
std::vector<std::string> MistakesBelow(std::string_view rest) {
  return MistakesIn(
      "functions: {f: {path: f.wasm}}\n"
      "inputs: {one: {file: a}, many: {glob: \"*\"}}\n" +
      std::string(rest));
}

TEST(FileTest, NamesEveryStepOfACircle) {
  EXPECT_THAT(MistakesBelow("steps:\n  a: {call: f, needs: c}\n  b: {call: f, needs: [one, a]}\n"
                            "  c: {call: f, needs: b}\n"),
              ElementsAre("w.yaml:5:29: steps.b.needs: needs its own result in the end: a -> c -> "
                          "b -> a"));
  EXPECT_THAT(MistakesBelow("steps: {a: {call: f, needs: a}}\n"),
              ElementsAre("w.yaml:3:29: steps.a.needs: needs its own result in the end: a -> a"));
}

TEST(FileTest, ADiamondIsNotACircle) {
  EXPECT_THAT(MistakesBelow("steps:\n  d: {call: f, needs: [b, c]}\n  b: {call: f, needs: a}\n"
                            "  c: {call: f, needs: a}\n  a: {call: f, needs: one}\n"),
              IsEmpty());
}

TEST(FileTest, ForEachTakesListsOnly) {
  EXPECT_THAT(MistakesBelow("steps: {a: {call: f, needs: one, for_each: one}}\n"),
              ElementsAre("w.yaml:3:44: steps.a.for_each: \"one\" is one value, not a list"));
  EXPECT_THAT(MistakesBelow("steps:\n  a: {call: f, needs: many}\n"
                            "  b: {call: f, needs: a, for_each: a}\n"),
              ElementsAre("w.yaml:5:36: steps.b.for_each: \"a\" is one value, not a list: that "
                          "step has no for_each"));
  EXPECT_THAT(MistakesBelow("steps:\n  a: {call: f, needs: many, for_each: many}\n"
                            "  b: {call: f, needs: [one, a], for_each: a}\n"),
              IsEmpty());
}

TEST(FileTest, AMisspeltNeedIsNotASecondMistakeOfForEach) {
  EXPECT_THAT(MistakesBelow("steps: {a: {call: f, needs: mamy, for_each: many}}\n"),
              ElementsAre("w.yaml:3:29: steps.a.needs: there is no input or step \"mamy\" (did "
                          "you mean many?)"));
}

TEST(FileTest, AListNeedsAPatternAndOneValueHasNoIndex) {
  const std::string steps = "steps: {a: {call: f, needs: many, for_each: many}, b: {call: f}}\n";
  EXPECT_THAT(MistakesBelow(steps + "outputs: {x: {from: a, file: x.png}}\n"),
              ElementsAre("w.yaml:4:30: outputs.x.file: \"a\" is a list, so the file needs {name} "
                          "or {index} in its path"));
  EXPECT_THAT(MistakesBelow(steps + "outputs: {x: {from: b, file: \"{index}\"}}\n"),
              ElementsAre("w.yaml:4:30: outputs.x.file: \"b\" is one value, which has no {index}"));
  EXPECT_THAT(MistakesBelow(steps + "outputs: {x: {from: many, file: \"{index}.x\"}, y: {from: b, "
                                    "file: \"{name}\"}}\n"),
              IsEmpty());
}

TEST(FileTest, ANameIsAnInputOrAStep) {
  EXPECT_THAT(MistakesBelow("steps: {one: {call: f}}\n"),
              ElementsAre("w.yaml:3:9: steps.one: there is an input of this name"));
}

TEST(FileTest, KeepsTheRuntimesMetadataKeysForItself) {
  EXPECT_THAT(MistakesBelow("steps: {a: {call: f, with: {cwasi.mode: x}}}\n"),
              ElementsAre(HasSubstr("w.yaml:3:29: steps.a.with.cwasi.mode: ")));
  EXPECT_THAT(MistakesBelow("steps: {a: {call: f, with: {k: " + std::string(4097, 'v') + "}}}\n"),
              ElementsAre(HasSubstr("w.yaml:3:32: steps.a.with.k: ")));
}

TEST(FileTest, AllowsNamesOf64BytesAndNoMore) {
  const auto with_step = [](std::size_t length) {
    return MistakesBelow("steps: {" + std::string(length, 'a') + ": {call: f}}\n");
  };
  EXPECT_THAT(with_step(64), IsEmpty());
  EXPECT_THAT(with_step(65), SizeIs(1));
}

TEST(FileTest, TakesTenThousandStepsAndNoMore) {
  const auto with_chain = [](std::size_t length) {
    // Each needs the next, so that the search for circles goes all the way down.
    std::string steps = "steps:\n";
    for (std::size_t i = 0; i < length; ++i) {
      const std::string need = i + 1 < length ? "s" + std::to_string(i + 1) : "one";
      steps += "  s" + std::to_string(i) + ": {call: f, needs: " + need + "}\n";
    }
    return MistakesBelow(steps);
  };
  EXPECT_THAT(with_chain(kMaxSteps), IsEmpty());
  EXPECT_THAT(with_chain(kMaxSteps + 1), ElementsAre(HasSubstr("more than 10,000 steps")));
}

TEST(FileTest, ManyMistakesStayQuickToTell) {
  std::string steps = "steps:\n";
  for (int i = 0; i < 9'000; ++i) {
    steps += "  s" + std::to_string(i) + ": {call: g, needs: [t" + std::to_string(i) + "]}\n";
  }
  EXPECT_THAT(MistakesBelow(steps), SizeIs(Mistakes::kMaxShown + 1));
}

TEST(FileTest, MissesTheFirstStepInEveryCutBeforeIt) {
  for (std::size_t length = 0; length < kFullExample.size(); ++length) {
    Mistakes mistakes;
    static_cast<void>(ParseWorkflow(kFullExample.substr(0, length), mistakes));
    // Until the first step calls something a required key is missing; later cuts may be whole.
    if (length < kFullExample.find("decode\n    needs")) {
      EXPECT_FALSE(mistakes.IsEmpty()) << length;
    }
  }
}

TEST(WorkflowFileTest, TheDocumentsExampleIsRight) {
  std::ifstream file(test::SourceFolder() / "docs/workflow-file.md");
  ASSERT_TRUE(file.is_open());
  const std::string document{std::istreambuf_iterator<char>(file), {}};
  constexpr std::string_view kFence = "```yaml\n";
  const std::size_t start = document.find(kFence);
  ASSERT_NE(start, std::string::npos);
  const std::string_view rest = std::string_view(document).substr(start + kFence.size());
  Mistakes mistakes;
  const Workflow workflow = ParseWorkflow(rest.substr(0, rest.find("```")), mistakes);
  for (const Mistake& mistake : mistakes.Sorted()) ADD_FAILURE() << Format("doc", mistake);
  EXPECT_THAT(workflow.steps, SizeIs(2));
}

}  // namespace
}  // namespace cwasi::workflow
