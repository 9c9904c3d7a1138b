// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// `cwasi doctor`, as a user sees it.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/check.h"
#include "test/integration/program.h"
#include "test/support/paths.h"
#include "test/support/temp_dir.h"

namespace cwasi {
namespace {

struct End {
  int code = -1;
  std::string out;
};
// With a shell, to set the environment and, as root, the user.
End Shell(const std::string& command) {
  std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "re");
  CHECK(pipe != nullptr);
  End end;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) end.out += static_cast<char>(c);
  const int status = ::pclose(pipe);
  end.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return end;
}

std::string Cwasi() {
  return (test::BinFolder() / "cwasi").string();
}

TEST(DoctorTest, SaysWhatWorksHere) {
  const test::RunFolder folder;
  const auto end = folder.Run({"doctor"});
  EXPECT_EQ(end.code, 0) << end.out << end.err;
  EXPECT_EQ(end.err, "");
  // Which of them hold is the machine's; that each is told is ours.
  std::string expected =
      "cwasi [0-9.]+ on Linux [^ ]+, [0-9]+ CPUs, as (root|an ordinary user)\n\n";
  for (const char* name :
       {"system calls", "no files, no network", "own process numbers", "Landlock",
        "unprivileged user", "memory limit", "limit of threads", "worker", "moving payloads",
        "local mode", "memory mappings", "cache of modules"})
    expected += std::string(" *(yes|no|-)  ") + name + " +[^ ].*\n( +-> .+\n)?";
  expected += "\nEverything needed is there\\.\n";
  EXPECT_TRUE(std::regex_match(end.out, std::regex(expected))) << end.out;
}

TEST(DoctorTest, ACacheThatCannotBeUsedIsAFailureWithAdvice) {
  const auto end = Shell("CWASI_CACHE_DIR=/dev/null/nowhere " + Cwasi() + " doctor");
  EXPECT_EQ(end.code, 1) << end.out;
  EXPECT_TRUE(
      std::regex_search(end.out, std::regex("  NO  cache of modules .*\n +-> set CWASI_CACHE_DIR")))
      << end.out;
  EXPECT_NE(end.out.find("Something needed is missing"), std::string::npos) << end.out;
}

TEST(DoctorTest, AMissingWorkerProgramIsAFailureWithAdvice) {
  const test::TempDir folder;
  std::filesystem::copy_file(Cwasi(), folder.Path() / "cwasi");
  const auto end = Shell("CWASI_CACHE_DIR=" + (folder.Path() / "cache").string() + " " +
                         (folder.Path() / "cwasi").string() + " doctor");
  EXPECT_EQ(end.code, 1) << end.out;
  EXPECT_TRUE(
      std::regex_search(end.out, std::regex("  NO  worker .*\n +-> install cwasi-host beside")))
      << end.out;
}

}  // namespace
}  // namespace cwasi
