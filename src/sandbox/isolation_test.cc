// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What each layer keeps away without the filter above it, which ends a process at its first try.

#include "sandbox/isolation.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <string>

#include <gtest/gtest.h>

#include "sandbox/clone.h"
#include "sandbox/landlock.h"
#include "test/support/confined.h"

namespace cwasi::sandbox {
namespace {

using test::InChild;
using test::SayTo;
using test::User;

class IsolationTest : public test::AsUserTest {};
INSTANTIATE_TEST_SUITE_P(As, IsolationTest, testing::Values(User::kRoot, User::kOrdinary),
                         [](const auto& user) { return test::NameOf(user.param); });

std::string Tried(long result) {
  return (result >= 0 ? "ok" : std::to_string(errno)) + " ";
}

TEST_P(IsolationTest, ThereAreNoFilesAndNoNetwork) {
  const auto outcome = InChild(GetParam(), [](int out) {
    const int folder_before = ::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const auto isolation = IsolateProcess();
    CHECK(isolation.has_value());
    if (isolation->kind == IsolationKind::kNone) {
      SayTo(out, "none: " + isolation->why_not);
      return;
    }
    std::string said = Tried(::open("/etc/passwd", O_RDONLY));
    said += Tried(::open("/proc/self/status", O_RDONLY));
    said += Tried(::open("/../etc/passwd", O_RDONLY));
    said += Tried(::open("/new", O_CREAT | O_WRONLY, 0600));
    said += Tried(::mkdir("/new", 0700));
    sockaddr_in localhost{};
    localhost.sin_family = AF_INET;
    localhost.sin_port = htons(22);
    localhost.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    said += Tried(::connect(::socket(AF_INET, SOCK_STREAM, 0),
                            reinterpret_cast<sockaddr*>(&localhost), sizeof localhost));
    std::array<char, 64> host{};
    CHECK(::gethostname(host.data(), host.size()) == 0);
    said += host.data();
    // A folder that was open before is a way out: that is why Enter closes what is not kept.
    said += " " + Tried(::openat(folder_before, "etc/passwd", O_RDONLY));
    SayTo(out, said);
  });
  if (outcome.said.rfind("none", 0) == 0) GTEST_SKIP() << outcome.said;
  const auto code = [](int error) { return std::to_string(error) + " "; };
  EXPECT_EQ(outcome.said, code(ENOENT) + code(ENOENT) + code(ENOENT) + code(EROFS) + code(EROFS) +
                              code(ENETUNREACH) + "cwasi ok ");
}

TEST_P(IsolationTest, AProcessInAPidNamespaceSeesNoOther) {
  const auto outcome = InChild(GetParam(), [](int out) {
    const auto isolation = IsolateProcess();
    CHECK(isolation.has_value());
    if (!isolation->pid_namespaces) {
      SayTo(out, "none: " + isolation->why_not);
      return;
    }
    const pid_t outside = ::getpid();
    auto child = CloneProcess({.flags = CLONE_NEWPID});
    CHECK(child.has_value());
    if (child->pid == 0) {
      std::string said = std::to_string(::getpid()) + " " + std::to_string(::getppid()) + " ";
      said += Tried(::kill(outside, 0));
      said += Tried(::ptrace(PTRACE_SEIZE, outside, nullptr, nullptr));
      // glibc's own idea of who this is: raise() sends to it.
      std::signal(SIGUSR1, [](int) {});
      said += Tried(-::raise(SIGUSR1));
      SayTo(out, said);
      ::_exit(0);
    }
    test::Reap(child->pid);
  });
  if (outcome.said.rfind("none", 0) == 0) GTEST_SKIP() << outcome.said;
  const std::string gone = std::to_string(ESRCH) + " ";
  EXPECT_EQ(outcome.said, "1 0 " + gone + gone + "ok ");
}

TEST_P(IsolationTest, LandlockKeepsFilesSignalsAndOtherProcessesAway) {
  const int version = LandlockVersion();
  if (version == 0) GTEST_SKIP() << "no Landlock here";
  const auto outcome = InChild(GetParam(), [&](int out) {
    std::array<int, 2> hold{};
    CHECK(::pipe(hold.data()) == 0);
    const pid_t sibling = ::fork();
    if (sibling == 0) {
      ::close(hold[1]);
      char byte = 0;
      [[maybe_unused]] const auto ended = ::read(hold[0], &byte, 1);
      ::_exit(0);
    }
    const auto ruleset = CreateDenyAllRuleset(version);
    CHECK(ruleset.has_value());
    CHECK(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(EnterRuleset(ruleset->Get()));
    std::string said = Tried(::open("/etc/passwd", O_RDONLY));
    said += Tried(::open("/tmp", O_RDONLY | O_DIRECTORY));
    said += Tried(::open("/tmp/cwasi-new", O_CREAT | O_WRONLY, 0600));
    said += Tried(::open(("/proc/" + std::to_string(sibling) + "/mem").c_str(), O_RDWR));
    said += Tried(::ptrace(PTRACE_SEIZE, sibling, nullptr, nullptr));
    char here = 0;
    const iovec mine{.iov_base = &here, .iov_len = 1};
    said += Tried(::process_vm_readv(sibling, &mine, 1, &mine, 1, 0));
    if (version >= kLandlockScopesSignals) said += Tried(::kill(sibling, SIGTERM));
    SayTo(out, said);
    ::close(hold[1]);
  });
  std::string expected;
  for (const int error : {EACCES, EACCES, EACCES, EACCES, EPERM, EPERM})
    expected += std::to_string(error) + " ";
  if (version >= kLandlockScopesSignals) expected += std::to_string(EPERM) + " ";
  EXPECT_EQ(outcome.said, expected);
}

}  // namespace
}  // namespace cwasi::sandbox
