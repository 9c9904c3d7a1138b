// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Whole runs of the real programs: what a user gets, also when a function goes wrong.

#include <regex>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "test/integration/program.h"

namespace cwasi {
namespace {

using test::ProgramEnd;
using test::RunFolder;

std::string Bytes(std::size_t count, unsigned seed) {
  std::string bytes(count, '\0');
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<char>(seed + i * 31 + (i >> 10U));
  return bytes;
}

// One step that acts as told.
std::string Act(const std::string& what, const std::string& more = "") {
  return "functions:\n  act: { path: act.wasm, embed: allow" + more +
         " }\ninputs:\n  in: { file: in.bin }\nsteps:\n  s: { call: act, needs: in, with: { do: " +
         what + " } }\noutputs:\n  o: { from: s, file: out.bin }\n";
}

class RunTest : public testing::Test {
 protected:
  RunTest() {
    folder_.AddGuest("act");
    folder_.Write("in.bin", Bytes(5'000'000, 1));
  }
  void ExpectFailed(const ProgramEnd& end, const std::string& words) {
    EXPECT_FALSE(end.by_signal);
    EXPECT_EQ(end.code, 1) << end.err;
    EXPECT_NE(end.err.find(words), std::string::npos) << end.err;
    EXPECT_EQ(folder_.Files(), (std::vector<std::string>{"act.wasm", "in.bin", "workflow.yaml"}));
  }
  RunFolder folder_;
};

TEST_F(RunTest, HandsFilesThroughStepsWithoutACopy) {
  folder_.AddGuest("echo");
  const std::vector<std::size_t> sizes = {0, 1, 3000, (2U << 20U) - 1, (2U << 20U) + 1, 30'000'000};
  for (const std::size_t size : sizes)
    folder_.Write("item" + std::to_string(size) + ".bin", Bytes(size, 9));
  const auto end = folder_.RunWorkflow(R"(
functions:
  echo: { path: echo.wasm, embed: allow }
inputs:
  items: { glob: "item*.bin" }
steps:
  first: { call: echo, needs: items, for_each: items }
  second: { call: echo, needs: first, for_each: first }
outputs:
  copies: { from: second, file: "out/{name}" }
)");
  ASSERT_EQ(end.code, 0) << end.err;
  for (const std::size_t size : sizes)
    EXPECT_EQ(folder_.Read("out/item" + std::to_string(size)), Bytes(size, 9)) << size;
  // Three of six are above any crossover; those are moved.
  const std::regex edge(
      R"(first +second +embedded +6 +[0-9.]+ MiB +[0-9.]+ [nu]s +[0-9.]+ [num]s +3 +4 +[0-9.]+ KiB)");
  if (end.out.find("cannot move") == std::string::npos) {
    EXPECT_TRUE(std::regex_search(end.out, edge)) << end.out;
  }
}

TEST_F(RunTest, CopyingGivesTheSameResult) {
  folder_.Write("workflow.yaml", Act("echo"));
  const auto end = folder_.Run({"run", "workflow.yaml", "--payload", "copy"});
  ASSERT_EQ(end.code, 0) << end.err;
  EXPECT_EQ(folder_.Read("out.bin"), Bytes(5'000'000, 1));
  EXPECT_NE(end.out.find("payloads are copied, as asked for"), std::string::npos) << end.out;
}

TEST_F(RunTest, TheTableEndsWithWhatIsAroundTheWorkers) {
  const auto end = folder_.RunWorkflow(Act("echo"));
  ASSERT_EQ(end.code, 0) << end.err;
  EXPECT_TRUE(std::regex_search(
      end.out, std::regex("1 worker; calls .*\nsandboxed by seccomp, .*; not here: .*cgroups "
                          "\\(left out: .*\\)\nwrote ")))
      << end.out;
}

TEST_F(RunTest, AnEmptyOutputIsRemarkedOn) {
  const auto silent = folder_.RunWorkflow(Act("print"));
  ASSERT_EQ(silent.code, 0) << silent.err;
  EXPECT_EQ(folder_.Read("out.bin"), "");
  EXPECT_NE(silent.err.find("out.bin is empty: its function responded with nothing"),
            std::string::npos)
      << silent.err;
  const auto spoke = folder_.RunWorkflow(Act("echo"));
  EXPECT_EQ(spoke.err.find("is empty"), std::string::npos) << spoke.err;
}

TEST_F(RunTest, ATrapShowsItsReasonAndTheGuestsFrames) {
  const auto end = folder_.RunWorkflow(Act("trap"));
  ExpectFailed(end, "step s (function act): guest_trap");
  EXPECT_NE(end.err.find("unreachable"), std::string::npos) << end.err;
  EXPECT_NE(end.err.find("at trap_in_here"), std::string::npos) << end.err;
  EXPECT_NE(end.err.find("at cwasi_handle"), std::string::npos) << end.err;
}

TEST_F(RunTest, EachBadEndOfAFunctionHasItsClass) {
  ExpectFailed(folder_.RunWorkflow(Act("exit")), "guest_error 3");
  ExpectFailed(folder_.RunWorkflow(Act("fail")), "guest_error 42");
  ExpectFailed(folder_.RunWorkflow(Act("recurse")), "guest_trap");
  ExpectFailed(folder_.RunWorkflow(Act("large")), "guest_error 4");
  ExpectFailed(folder_.RunWorkflow(Act("loop", ", timeout: 50ms")), "timeout");
  const auto bulk = folder_.RunWorkflow(Act("bulk", ", timeout: 50ms, memory: 3GiB"));
  ExpectFailed(bulk, "timeout");
  EXPECT_NE(bulk.err.find("its worker was ended"), std::string::npos) << bulk.err;
}

TEST_F(RunTest, GrowingForEverStopsAtTheLimitAndTheRunGoesOn) {
  const auto end = folder_.RunWorkflow(Act("grow", ", memory: 64MiB"));
  EXPECT_EQ(end.code, 0) << end.err;
}

TEST_F(RunTest, ARemarkNamesAStepThatWorksForNobody) {
  folder_.AddGuest("echo");
  const auto end = folder_.RunWorkflow(R"(
functions:
  echo: { path: echo.wasm, embed: allow }
inputs:
  in: { file: in.bin }
steps:
  used: { call: echo, needs: in }
  forgotten: { call: echo, needs: in }
outputs:
  out: { from: used, file: out.bin }
)");
  EXPECT_EQ(end.code, 0) << end.err;
  EXPECT_NE(end.err.find("workflow.yaml:8:3: steps.forgotten: remark: nobody takes its result"),
            std::string::npos)
      << end.err;
  EXPECT_EQ(end.err.find("steps.used"), std::string::npos) << end.err;
}

TEST_F(RunTest, AFunctionThatGotAnEmptyResultIsNotBlamedAlone) {
  folder_.AddGuest("echo");
  folder_.Write("nothing.bin", "");
  const auto end = folder_.RunWorkflow(R"(
functions:
  echo: { path: echo.wasm, embed: allow }
  act: { path: act.wasm, embed: allow }
inputs:
  in: { file: nothing.bin }
steps:
  empty: { call: echo, needs: in }
  s: { call: act, needs: empty, with: { do: fail } }
outputs:
  out: { from: s, file: out.bin }
)");
  EXPECT_EQ(end.code, 1);
  EXPECT_NE(end.err.find("step s (function act): guest_error"), std::string::npos) << end.err;
  EXPECT_NE(end.err.find("part 0, from empty, is empty"), std::string::npos) << end.err;
}

TEST_F(RunTest, PrintsWhatGuestsPrintUnderTheirName) {
  const auto end = folder_.RunWorkflow(Act("print"));
  EXPECT_EQ(end.code, 0) << end.err;
  EXPECT_NE(end.err.find("[act] printed by a guest\n"), std::string::npos) << end.err;
}

TEST_F(RunTest, ModulesThatCannotRunAreRefusedWithTheReason) {
  struct Case {
    std::string content;
    const char* words;
  };
  const std::string good = folder_.Read("act.wasm");
  const std::string component = std::string("\0asm\x0d\0\x01\0", 8);
  for (const Case& c :
       {Case{"#!/bin/sh\necho hello\n", "not WebAssembly"}, Case{"", "is empty"},
        Case{good.substr(0, good.size() / 2), "act.wasm"}, Case{component, "component"}}) {
    folder_.Write("act.wasm", c.content);
    const auto end = folder_.RunWorkflow(Act("echo"));
    EXPECT_EQ(end.code, 1) << end.err;
    EXPECT_NE(end.err.find(c.words), std::string::npos) << c.words << ": " << end.err;
  }
  std::filesystem::remove(folder_.Path() / "act.wasm");
  for (const auto& [guest, words] : std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"missing_imports", {"env", "alpha", "beta", "respond"}},
           {"calls", {"no handler", "cwasi_handle(i32, i32) -> i32"}},
           {"handler_start_traps", {"guest_trap", "unreachable"}}}) {
    folder_.AddGuest(guest);
    std::filesystem::rename(folder_.Path() / (guest + ".wasm"), folder_.Path() / "act.wasm");
    const auto end = folder_.RunWorkflow(Act("echo"));
    EXPECT_EQ(end.code, 1) << guest;
    for (const auto& word : words)
      EXPECT_NE(end.err.find(word), std::string::npos) << guest << ": " << word << ": " << end.err;
  }
}

TEST_F(RunTest, WorkflowsWithMistakesRunNothing) {
  const auto misspelt =
      folder_.RunWorkflow(std::regex_replace(Act("echo"), std::regex("needs"), "neeeds"));
  EXPECT_EQ(misspelt.code, 2);
  EXPECT_NE(misspelt.err.find("workflow.yaml:6:"), std::string::npos) << misspelt.err;
  EXPECT_NE(misspelt.err.find("did you mean needs"), std::string::npos) << misspelt.err;
  EXPECT_EQ(folder_.Run({"run", "no-such.yaml"}).code, 2);
  EXPECT_EQ(folder_.Run({"run"}).code, 2);
  EXPECT_EQ(folder_.Run({"fly"}).code, 2);
}

TEST_F(RunTest, AnOutputThatCannotBeWrittenIsKnownBeforeAnythingRuns) {
  auto yaml = Act("trap");
  for (const char* path : {"in.bin/out.bin", "/proc/cwasi/out.bin"}) {
    const auto end = folder_.RunWorkflow(std::regex_replace(yaml, std::regex("out\\.bin"), path));
    EXPECT_NE(end.code, 0);
    EXPECT_NE(end.err.find("outputs.o.file"), std::string::npos) << end.err;
    EXPECT_EQ(end.err.find("guest_trap"), std::string::npos) << "it ran: " << end.err;
  }
}

TEST_F(RunTest, CompileSaysWhatIsCachedAndWritesAFile) {
  ASSERT_EQ(folder_.Run({"compile", "act.wasm"}).code, 0);
  const auto again = folder_.Run({"compile", "act.wasm"});
  EXPECT_NE(again.out.find("cached"), std::string::npos) << again.out;
  ASSERT_EQ(folder_.Run({"compile", "act.wasm", "-o", "act.cwasm"}).code, 0);
  EXPECT_GT(folder_.Read("act.cwasm").size(), 1000U);
  EXPECT_EQ(folder_.Run({"compile", "act.wasm", "in.bin", "-o", "x"}).code, 2);
  EXPECT_EQ(folder_.Run({"compile", "in.bin"}).code, 1);
}

}  // namespace
}  // namespace cwasi
