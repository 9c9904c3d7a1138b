// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Workers seen from outside: by the kernel, by others of their user, at their limits, at the end.

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "sandbox/confinement.h"
#include "sandbox/landlock.h"
#include "test/support/cgroups.h"
#include "test/support/confined.h"
#include "test/support/proc_self.h"

namespace cwasi::sandbox {
namespace {

using test::Describe;
using test::Holds;
using test::InZygote;
using test::SayTo;
using test::StartWorker;
using test::User;

class ConfinementOutsideTest : public test::AsUserTest {};
INSTANTIATE_TEST_SUITE_P(As, ConfinementOutsideTest, testing::Values(User::kRoot, User::kOrdinary),
                         [](const auto& user) { return test::NameOf(user.param); });

// What the kernel tells the test, outside of all, about a worker that waits.
std::map<std::string, std::string> StatusOf(const std::string& pid) {
  std::map<std::string, std::string> fields;
  std::ifstream status("/proc/" + pid + "/status");
  for (std::string line; std::getline(status, line);) {
    const auto colon = line.find(':');
    const auto value = line.find_first_not_of(" \t", colon + 1);
    if (value != std::string::npos) fields[line.substr(0, colon)] = line.substr(value);
  }
  return fields;
}
std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}
std::size_t EntriesOf(const std::string& folder) {
  std::error_code error;
  const std::filesystem::directory_iterator entries(folder, error);
  EXPECT_FALSE(error) << folder << ": " << error.message();
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

TEST_P(ConfinementOutsideTest, SeenFromOutsideAWorkerHasNothing) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may look at a worker";
  const UniqueFd secret(::open("/etc/passwd", O_RDONLY));  // NOLINT: to be inherited.
  std::array<int, 2> hold{};
  ASSERT_EQ(::pipe(hold.data()), 0);
  std::array<int, 2> told{};
  ASSERT_EQ(::pipe(told.data()), 0);
  const pid_t helper = ::fork();
  if (helper == 0) {
    ::close(hold[1]);
    const std::array<gid_t, 2> groups{4, 27};
    CHECK(::setgroups(groups.size(), groups.data()) == 0);
    InZygote(GetParam(), {}, [&](Confinement& confinement, int) {
      if (!Holds(confinement, "no files, no network")) {
        SayTo(told[1], Summarize(confinement.Facts()) + "\n\n");
        return;
      }
      auto child = confinement.Fork({});
      CHECK(child.has_value());
      if (child->pid == 0) {
        const auto entered = confinement.Enter(std::move(*child), std::array{hold[0], told[1]});
        CHECK(entered.has_value());
        SayTo(told[1], "ready\n");
        char byte = 0;
        [[maybe_unused]] const auto ended = ::read(hold[0], &byte, 1);
        ::_exit(0);
      }
      SayTo(told[1],
            std::to_string(child->pid) +
                (Holds(confinement, "own process numbers") ? "\n" : " shares process numbers\n"));
      test::Reap(child->pid);
    });
    ::_exit(0);
  }
  ::close(told[1]);
  std::string said;
  char c = 0;
  while (std::count(said.begin(), said.end(), '\n') < 2 && ::read(told[0], &c, 1) == 1) said += c;
  ASSERT_EQ(std::count(said.begin(), said.end(), '\n'), 2) << said;
  if (said.rfind("without ", 0) == 0) {
    test::Reap(helper);
    GTEST_SKIP() << said;
  }
  const auto digits = said.find_first_of("0123456789");
  const std::string pid = std::to_string(std::stoi(said.substr(digits)));
  auto status = StatusOf(pid);
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
    EXPECT_EQ(status[set], "0000000000000000") << set;
  EXPECT_EQ(status["NoNewPrivs"], "1");
  EXPECT_EQ(status["Seccomp"], "2");
  const std::string uid = std::to_string(GetParam() == User::kRoot ? 65534 : test::kOrdinaryUid);
  EXPECT_EQ(status["Uid"], uid + "\t" + uid + "\t" + uid + "\t" + uid);
  EXPECT_EQ(status["Gid"], uid + "\t" + uid + "\t" + uid + "\t" + uid);
  EXPECT_EQ(status["Groups"], "");
  const std::string proc = "/proc/" + pid;
  EXPECT_EQ(EntriesOf(proc + "/root/"), 0U);
  const std::string mounts = ReadText(proc + "/mountinfo");
  EXPECT_EQ(std::count(mounts.begin(), mounts.end(), '\n'), 1) << mounts;
  EXPECT_NE(mounts.find(" / / ro,nosuid,nodev,noexec"), std::string::npos) << mounts;
  // Two kept, the pagemap and the load.
  EXPECT_EQ(EntriesOf(proc + "/fd"), 4U);
  // What lay there is overwritten, not only forgotten.
  EXPECT_EQ(ReadText(proc + "/environ").find_first_not_of('\0'), std::string::npos);
  const std::string interfaces = ReadText(proc + "/net/dev");
  EXPECT_EQ(std::count(interfaces.begin(), interfaces.end(), ':'), 1) << interfaces;
  std::vector<const char*> namespaces{"mnt", "net", "ipc", "uts"};
  if (said.find("shares process numbers") == std::string::npos) {
    namespaces.push_back("pid");
    EXPECT_EQ(status["NSpid"].substr(status["NSpid"].size() - 2), "\t1") << status["NSpid"];
  }
  for (const char* name : namespaces)
    EXPECT_NE(std::filesystem::read_symlink(proc + "/ns/" + name),
              std::filesystem::read_symlink(std::string("/proc/self/ns/") + name))
        << name;
  const std::string limits = ReadText(proc + "/limits");
  EXPECT_NE(limits.find("Max core file size        0                    0 "), std::string::npos)
      << limits;
  EXPECT_NE(limits.find("Max data size             unlimited            unlimited"),
            std::string::npos)
      << limits;
  EXPECT_NE(limits.find("Max address space         unlimited            unlimited"),
            std::string::npos)
      << limits;
  EXPECT_TRUE(std::regex_search(limits, std::regex("Max open files +[0-9]{1,4} +[0-9]{1,4} ")))
      << limits;
  // Not dumpable: /proc/PID is root's, and so is what would attach.
  struct stat owner{};
  EXPECT_EQ(::stat((proc + "/mem").c_str(), &owner), 0);
  EXPECT_EQ(owner.st_uid, 0U);
  ::close(hold[0]);
  ::close(hold[1]);
  EXPECT_EQ(test::Reap(helper), 0);
  ::close(told[0]);
}

TEST_P(ConfinementOutsideTest, AnotherProcessOfTheSameUserCannotReadOrTraceAWorker) {
  const auto outcome = InZygote(GetParam(), {}, [](Confinement& confinement, int out) {
    std::array<int, 2> hold{};
    CHECK(::pipe(hold.data()) == 0);
    std::array<int, 2> ready{};
    CHECK(::pipe(ready.data()) == 0);
    auto victim = confinement.Fork({});
    CHECK(victim.has_value());
    if (victim->pid == 0) {
      CHECK(confinement.Enter(std::move(*victim), std::array{hold[0], ready[1]}));
      SayTo(ready[1], "x");
      char byte = 0;
      [[maybe_unused]] const auto ended = ::read(hold[0], &byte, 1);
      ::_exit(0);
    }
    ::close(hold[0]);
    char byte = 0;
    CHECK(::read(ready[0], &byte, 1) == 1);
    // The attacker has the worker's user and no filter.
    const pid_t attacker = ::fork();
    if (attacker == 0) {
      if (::geteuid() == 0)
        CHECK(::setresgid(65534, 65534, 65534) == 0 && ::setresuid(65534, 65534, 65534) == 0);
      // An ordinary user's zygote is root in its user namespace; a worker is not.
      std::array<std::uint32_t, 8> header{0x20080522, 0};
      std::array<std::uint32_t, 8> none{};
      CHECK(::syscall(SYS_capset, header.data(), none.data()) == 0);
      const bool traced = ::ptrace(PTRACE_SEIZE, victim->pid, nullptr, nullptr) == 0;
      char here = 0;
      const iovec mine{.iov_base = &here, .iov_len = 1};
      const iovec its{.iov_base = &here, .iov_len = 1};
      const bool read = ::process_vm_readv(victim->pid, &mine, 1, &its, 1, 0) == 1;
      SayTo(out,
            std::string("traced ") + (traced ? "yes" : "no") + " read " + (read ? "yes" : "no"));
      ::_exit(0);
    }
    test::Reap(attacker);
    ::close(hold[1]);
    CHECK(test::Reap(victim->pid) == 0);
  });
  EXPECT_EQ(outcome.said, "traced no read no") << Describe(outcome);
}

// The one way to see in a whole sandbox that Landlock is on: the filter does not look at the
// address of a sendmsg.
TEST_P(ConfinementOutsideTest, ASocketThatWasKeptReachesNoAbstractAddress) {
  if (LandlockVersion() < kLandlockScopesSignals) GTEST_SKIP() << "Landlock before version 6";
  const auto outcome = InZygote(GetParam(), {}, [](Confinement& confinement, int out) {
    const UniqueFd server(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const UniqueFd client(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, "here", 4);
    constexpr socklen_t kBytes = offsetof(sockaddr_un, sun_path) + 5;
    CHECK(::bind(server.Get(), reinterpret_cast<const sockaddr*>(&address), kBytes) == 0);
    char byte = 'x';
    iovec data{.iov_base = &byte, .iov_len = 1};
    msghdr message{};
    message.msg_name = &address;
    message.msg_namelen = kBytes;
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    CHECK(::sendmsg(client.Get(), &message, 0) == 1);
    // On the kept standard error, since nothing else is.
    CHECK(::dup2(client.Get(), STDERR_FILENO) == STDERR_FILENO);
    const auto worker = StartWorker(confinement, out, {}, [&](int fd) {
      SayTo(fd, ::sendmsg(STDERR_FILENO, &message, 0) == 1 ? "sent" : std::to_string(errno));
    });
    CHECK(test::Reap(worker.pid) == 0);
  });
  EXPECT_EQ(outcome.said, std::to_string(EPERM)) << Describe(outcome);
}

TEST_P(ConfinementOutsideTest, ALimitOfThreadsHolds) {
  const auto outcome = InZygote(GetParam(), {}, [](Confinement& confinement, int out) {
    if (!Holds(confinement, "limit of threads")) {
      SayTo(out, "not limited");
      return;
    }
    // Not before the zygote has left for the next worker's group. On the kept standard error, since
    // nothing else is.
    std::array<int, 2> go{};
    CHECK(::pipe(go.data()) == 0 && ::dup2(go[0], STDERR_FILENO) == STDERR_FILENO);
    const auto worker = StartWorker(confinement, out, {.tasks = 4}, [](int fd) {
      char byte = 0;
      CHECK(::read(STDERR_FILENO, &byte, 1) == 1);
      std::vector<std::thread> threads;
      std::atomic<bool> stop = false;
      try {
        for (int i = 0; i < 20; ++i)
          threads.emplace_back([&] {
            while (!stop) std::this_thread::yield();
          });
      } catch (const std::system_error&) {
      }
      stop = true;
      for (std::thread& thread : threads) thread.join();
      SayTo(fd, std::to_string(threads.size()) + " threads");
    });
    SayTo(go[1], "x");
    test::Reap(worker.pid);
  });
  if (outcome.said == "not limited") GTEST_SKIP() << "no cgroup here";
#if defined(__SANITIZE_THREAD__)
  // It has threads of its own, more or fewer.
  EXPECT_LE(std::stoi(outcome.said), 4) << Describe(outcome);
#else
  EXPECT_EQ(outcome.said, "3 threads") << Describe(outcome);
#endif
}

TEST_P(ConfinementOutsideTest, AWorkerBeyondItsMemoryIsKilled) {
  const auto outcome = InZygote(GetParam(), {}, [](Confinement& confinement, int out) {
    if (!Holds(confinement, "memory limit")) {
      SayTo(out, "not limited");
      return;
    }
    constexpr std::size_t kMiB = std::size_t{1} << 20;
    for (const std::size_t bytes : {16 * kMiB, 128 * kMiB}) {
      const auto worker = StartWorker(confinement, out, {.memory_bytes = 64 * kMiB}, [&](int) {
        // A segment's pages count too.
        const UniqueFd segment(::memfd_create("segment", MFD_CLOEXEC));
        CHECK(::ftruncate(segment.Get(), static_cast<off_t>(bytes)) == 0);
        auto* memory = static_cast<char*>(
            ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, segment.Get(), 0));
        CHECK(memory != MAP_FAILED);
        for (std::size_t i = 0; i < bytes; i += 4096) memory[i] = 1;
      });
      SayTo(out, std::to_string(test::Reap(worker.pid)) + " ");
    }
  });
  if (outcome.said == "not limited") GTEST_SKIP() << "no cgroup here";
  EXPECT_EQ(outcome.said, "0 " + std::to_string(SIGKILL) + " ") << Describe(outcome);
}

TEST_P(ConfinementOutsideTest, TheParentsDeathSignalSurvives) {
  const auto outcome = InZygote(GetParam(), {}, [](Confinement& confinement, int out) {
    std::array<int, 2> ready{};
    CHECK(::pipe(ready.data()) == 0);
    const pid_t parent = ::fork();
    if (parent == 0) {
      auto child = confinement.Fork({});
      CHECK(child.has_value());
      if (child->pid == 0) {
        CHECK(::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
        CHECK(confinement.Enter(std::move(*child), std::array{ready[1]}));
        SayTo(ready[1], "x");
        ::poll(nullptr, 0, 60'000);  // Only if the test fails.
        ::_exit(0);
      }
      ::close(ready[1]);
      char byte = 0;
      CHECK(::read(ready[0], &byte, 1) == 1);
      ::_exit(0);
    }
    ::close(ready[1]);
    test::Reap(parent);
    // The pipe's end comes when the worker, which nobody else would end, is gone.
    pollfd end{.fd = ready[0], .events = POLLIN, .revents = 0};
    SayTo(out, ::poll(&end, 1, 30'000) == 1 ? "gone" : "alive");
  });
  EXPECT_EQ(outcome.said, "gone");
}

TEST_P(ConfinementOutsideTest, NothingIsLeft) {
  const std::string mounts_before = ReadText("/proc/self/mountinfo");
  const auto descriptors_before = test::CountDescriptors();
  for (int round = 0; round < 3; ++round) {
    const auto outcome = InZygote(GetParam(), {}, [](Confinement& confinement, int out) {
      std::vector<ConfinedProcess> workers;
      for (int i = 0; i < 5; ++i)
        workers.push_back(StartWorker(confinement, out, {.memory_bytes = std::uint64_t{1} << 30},
                                      [](int) { ::poll(nullptr, 0, -1); }));
      for (const ConfinedProcess& worker : workers) CHECK(::kill(worker.pid, SIGKILL) == 0);
      for (const ConfinedProcess& worker : workers) test::Reap(worker.pid);
      workers.clear();
      {
        const Confinement ended = std::move(confinement);
      }
      SayTo(out, std::to_string(::getpid()));
    });
    EXPECT_TRUE(outcome.Exited(0)) << Describe(outcome);
    EXPECT_EQ(test::CgroupsOf(std::stoi(outcome.said)), std::vector<std::string>());
  }
  EXPECT_EQ(ReadText("/proc/self/mountinfo"), mounts_before);
  EXPECT_EQ(test::CountDescriptors(), descriptors_before);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

}  // namespace
}  // namespace cwasi::sandbox
