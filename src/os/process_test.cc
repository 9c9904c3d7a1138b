// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "os/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>

#include <gtest/gtest.h>

#include "test/support/proc_self.h"

namespace cwasi::os {
namespace {

using namespace std::chrono_literals;

Result<ChildProcess> Shell(const std::string& script, int passed_fd = -1) {
  return ChildProcess::Start({.path = "/bin/sh",
                              .arguments = {"-c", script},
                              .passed_fd = passed_fd,
                              .environment = {"ONLY=this"}});
}
MonotonicNs Soon() {
  return DeadlineAfter(Now(), 30s);
}

TEST(ChildProcessTest, TellsHowItsChildEnded) {
  auto exited = Shell("exit 7");
  ASSERT_TRUE(exited) << exited.error().message;
  const auto end = exited->Wait(Soon());
  ASSERT_TRUE(end);
  EXPECT_EQ(Describe(*end), "exited with code 7");
  EXPECT_EQ(exited->Wait(Soon())->code, 7) << "asking again is fine";
  auto killed = Shell("kill -9 $$");
  ASSERT_TRUE(killed);
  EXPECT_EQ(Describe(*killed->Wait(Soon())), "killed by signal 9 (Killed)");
}

TEST(ChildProcessTest, ADeadlinePassesWhileItRuns) {
  auto child = Shell("read line < /dev/zero");
  ASSERT_TRUE(child);
  EXPECT_FALSE(child->Wait(DeadlineAfter(Now(), 20ms)));
  child->Kill();
  EXPECT_TRUE(child->Wait(Soon())->by_signal);
}

TEST(ChildProcessTest, PassesOneDescriptorAndNoOthersAndItsOwnEnvironment) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const UniqueFd mine(ends[0]);
  const UniqueFd theirs(ends[1]);
  const UniqueFd leaked(::dup(ends[0]));  // Without CLOEXEC.
  auto child = Shell("echo $(ls /proc/self/fd | tr '\\n' ' ') $(env | grep -v -e PWD -e '^_=') >&3",
                     theirs.Get());
  ASSERT_TRUE(child) << child.error().message;
  ASSERT_TRUE(child->Wait(Soon()));
  std::array<char, 200> text{};
  const ssize_t n = ::read(mine.Get(), text.data(), text.size());
  // ls itself has opened one more to list them.
  EXPECT_EQ(std::string(text.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0))),
            "0 1 2 3 4 ONLY=this\n");
}

TEST(ChildProcessTest, SaysWhyAProgramCannotBeStarted) {
  const std::size_t descriptors = test::CountDescriptors();
  const auto missing =
      ChildProcess::Start({.path = "/no/such/program", .arguments = {}, .environment = {}});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  const auto no_program =
      ChildProcess::Start({.path = "/etc/passwd", .arguments = {}, .environment = {}});
  ASSERT_FALSE(no_program);
  EXPECT_EQ(no_program.error().code, ErrorCode::kPermissionDenied);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a zombie is left";
  EXPECT_EQ(errno, ECHILD);
  EXPECT_EQ(test::CountDescriptors(), descriptors);
}

TEST(ChildProcessTest, AChildNeverOutlivesItsOwner) {
  const std::size_t descriptors = test::CountDescriptors();
  pid_t pid = 0;
  {
    auto child = Shell("read line < /dev/zero");
    ASSERT_TRUE(child);
    pid = child->Pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(test::CountDescriptors(), descriptors);
}

TEST(ChildProcessTest, AChildDiesWithItsParent) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), 0), 0);
  const pid_t parent = ::fork();
  if (parent == 0) {
    auto child = Shell("read line < /dev/zero", ends[1]);
    ::close(ends[1]);
    ::kill(::getpid(), SIGKILL);
  }
  ::close(ends[1]);
  ::waitpid(parent, nullptr, 0);
  char byte = 0;
  // The end of the pipe comes when the grandchild, the last to hold it, is gone.
  EXPECT_EQ(::read(ends[0], &byte, 1), 0);
  ::close(ends[0]);
}

}  // namespace
}  // namespace cwasi::os
