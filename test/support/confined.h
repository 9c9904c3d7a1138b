// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Runs code in the whole sandbox: a process that plays the zygote, as root or as an ordinary user,
// and a worker in it. What the worker has to say comes back as text.

#pragma once

#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "base/check.h"
#include "base/unique_fd.h"
#include "sandbox/confinement.h"

namespace cwasi::test {

enum class User { kRoot, kOrdinary };
inline constexpr uid_t kOrdinaryUid = 64217;  // Nobody's.

// gtest's name of a parameter.
inline std::string NameOf(User user) {
  return user == User::kRoot ? "Root" : "Ordinary";
}

// Tests that run once as each user.
class AsUserTest : public testing::TestWithParam<User> {
 protected:
  void SetUp() override {
    if (GetParam() == User::kRoot && ::geteuid() != 0) GTEST_SKIP() << "needs root";
  }
};

inline bool Holds(const sandbox::Confinement& confinement, const std::string& name) {
  const auto& facts = confinement.Facts();
  return std::any_of(facts.begin(), facts.end(), [&](const sandbox::Fact& fact) {
    return fact.name == name && fact.state == sandbox::FactState::kHolds;
  });
}

struct Outcome {
  int status = 0;  // As of waitpid.
  std::string said;
  [[nodiscard]] bool Exited(int code) const {
    return WIFEXITED(status) && WEXITSTATUS(status) == code;
  }
  [[nodiscard]] bool KilledBy(int signal) const {
    return WIFSIGNALED(status) && WTERMSIG(status) == signal;
  }
};

inline std::string Describe(const Outcome& outcome) {
  return "status " + std::to_string(outcome.status) + ", said: " + outcome.said;
}

inline int Reap(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

inline std::string ReadAll(int fd) {
  std::string text;
  std::array<char, 4096> part{};
  for (;;) {
    const ssize_t got = ::read(fd, part.data(), part.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(part.data(), static_cast<std::size_t>(got));
  }
}

inline void SayTo(int fd, const std::string& text) {
  CHECK(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

// Runs `body` in a child of its own, as `user`, with a pipe's writing end.
inline Outcome InChild(User user, const std::function<void(int out)>& body) {
  std::array<int, 2> ends{};
  CHECK(::pipe2(ends.data(), O_CLOEXEC) == 0);
  const UniqueFd in(ends[0]);
  UniqueFd out(ends[1]);
  const pid_t child = ::fork();
  CHECK(child >= 0);
  if (child == 0) {
    if (user == User::kOrdinary && ::geteuid() == 0) {
      CHECK(::setgroups(0, nullptr) == 0 &&
            ::setresgid(kOrdinaryUid, kOrdinaryUid, kOrdinaryUid) == 0 &&
            ::setresuid(kOrdinaryUid, kOrdinaryUid, kOrdinaryUid) == 0);
      // As after exec; else /proc/self belongs to root.
      CHECK(::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0);
    }
    body(out.Get());
    ::_exit(0);
  }
  out.Reset();
  Outcome outcome;
  outcome.said = ReadAll(in.Get());
  outcome.status = Reap(child);
  return outcome;
}

// What the zygote does with its confinement; `out` is where workers and it may write.
inline Outcome InZygote(User user, const sandbox::Confinement::Options& options,
                        const std::function<void(sandbox::Confinement&, int out)>& body) {
  return InChild(user, [&](int out) {
    auto confinement = sandbox::Confinement::Prepare(options);
    if (!confinement) {
      SayTo(out, "prepare: " + confinement.error().message);
      ::_exit(99);
    }
    body(*confinement, out);
  });
}

// Forks a worker that enters the sandbox, runs `act` and ends with 0.
inline sandbox::ConfinedProcess StartWorker(sandbox::Confinement& confinement, int out,
                                            const sandbox::WorkerLimits& limits,
                                            const std::function<void(int out)>& act) {
  auto child = confinement.Fork(limits);
  if (!child) {
    SayTo(out, "fork: " + child.error().message);
    ::_exit(98);
  }
  if (child->pid != 0) return std::move(*child);
  const auto entered = confinement.Enter(std::move(*child), std::array{out, STDERR_FILENO});
  if (!entered) {
    SayTo(out, "enter: " + entered.error().message);
    ::_exit(97);
  }
  act(out);
  ::_exit(0);
}

// One worker; its end is the outcome's.
inline Outcome RunConfined(User user, const sandbox::WorkerLimits& limits,
                           const std::function<void(int out)>& act,
                           const sandbox::Confinement::Options& options = {}) {
  Outcome worker;
  std::array<int, 2> ends{};
  CHECK(::pipe2(ends.data(), O_CLOEXEC) == 0);
  const UniqueFd in(ends[0]);
  UniqueFd status_out(ends[1]);
  const Outcome zygote = InZygote(user, options, [&](sandbox::Confinement& confinement, int out) {
    const auto child = StartWorker(confinement, out, limits, act);
    const int status = Reap(child.pid);
    CHECK(::write(status_out.Get(), &status, sizeof status) == sizeof status);
  });
  status_out.Reset();
  worker.said = zygote.said;
  if (::read(in.Get(), &worker.status, sizeof worker.status) != sizeof worker.status)
    worker.status = zygote.status;
  return worker;
}

}  // namespace cwasi::test
