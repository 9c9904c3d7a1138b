// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What root can run, an ordinary user can run too, with the same result. As root the same workflow
// is run by both; as an ordinary user there is only one to run it.

#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/integration/program.h"
#include "test/support/paths.h"
#include "test/support/temp_dir.h"

namespace cwasi {
namespace {

using testing::HasSubstr;

constexpr uid_t kNobody = 65534;

// Two functions in processes of their own, and a value of several units between them.
constexpr const char* kWorkflow = R"(
functions:
  act: { path: act.wasm, modes: [local] }
  sum: { path: sum.wasm, modes: [local] }
inputs:
  in: { file: in.bin }
steps:
  first: { call: act, needs: in, with: { do: echo } }
  total: { call: sum, needs: first }
outputs:
  first: { from: first, file: out/first.bin }
  total: { from: total, file: out/total.bin }
)";

class UserTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be two users";
  }
  // A folder with the programs, since the build's may not be readable by others, and the workflow.
  UserTest() {
    for (const char* program : {"cwasi", "cwasi-host"})
      std::filesystem::copy_file(test::BinFolder() / program, programs_.Path() / program);
    std::filesystem::permissions(programs_.Path(), std::filesystem::perms(0755));
    for (const test::RunFolder* folder : {&roots_, &users_}) {
      folder->AddGuest("act");
      folder->AddGuest("sum");
      std::string in(9'000'000, '\0');
      for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<char>(i * 131 + (i >> 9U));
      folder->Write("in.bin", in);
      folder->Write("workflow.yaml", kWorkflow);
    }
    std::filesystem::permissions(users_.Path(), std::filesystem::perms(0777));
  }
  [[nodiscard]] test::ProgramEnd AsUser(const std::vector<std::string>& arguments) const {
    return test::Program(users_.Path(), arguments,
                         {.program = programs_.Path() / "cwasi",
                          .user = kNobody,
                          .environment = {"HOME=" + users_.Path().string(), "PATH=/usr/bin:/bin"}})
        .Wait();
  }
  test::TempDir programs_;
  test::RunFolder roots_;
  test::RunFolder users_;
};

TEST_F(UserTest, LocalModeGivesTheSameBytesAsRootGets) {
  const auto root = roots_.Run({"run", "workflow.yaml"});
  ASSERT_EQ(root.code, 0) << root.err;
  const auto user = AsUser({"run", "workflow.yaml"});
  ASSERT_EQ(user.code, 0) << user.err;
  for (const auto* end : {&root, &user}) {
    EXPECT_THAT(end->out, testing::ContainsRegex("first +total +local +1 "));
    EXPECT_THAT(end->out, testing::ContainsRegex("\nsandboxed by seccomp"));
  }
  ASSERT_EQ(roots_.Read("out/first.bin").size(), 9'000'000U);
  ASSERT_EQ(roots_.Read("out/total.bin").size(), 8U);
  for (const char* name : {"out/first.bin", "out/total.bin"})
    EXPECT_EQ(roots_.Read(name), users_.Read(name)) << name;
}

TEST_F(UserTest, DoctorNeedsNoRoot) {
  const auto end = AsUser({"doctor"});
  EXPECT_EQ(end.code, 0) << end.out << end.err;
  EXPECT_THAT(end.out, HasSubstr("as an ordinary user"));
  EXPECT_THAT(end.out, HasSubstr("Everything needed is there."));
}

}  // namespace
}  // namespace cwasi
