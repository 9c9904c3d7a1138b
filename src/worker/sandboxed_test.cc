// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What a worker reads in /proc, in the whole sandbox, where there is none.

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/check.h"
#include "base/unique_fd.h"
#include "buf/page_mover.h"
#include "buf/page_scan.h"
#include "buf/units.h"
#include "ipc/wait_set.h"
#include "os/mapping.h"
#include "os/memfd.h"
#include "test/support/confined.h"

namespace cwasi::worker {
namespace {

using test::Describe;
using test::Outcome;
using test::SayTo;
using test::User;

class SandboxedTest : public test::AsUserTest {
 protected:
  // What `act` says in a worker, after both stages.
  static Outcome InSandbox(User user, const std::function<std::string(sandbox::Entered)>& act) {
    return test::InZygote(user, {}, [&](sandbox::Confinement& confinement, int out) {
      auto child = confinement.Fork({});
      CHECK(child.has_value());
      if (child->pid == 0) {
        auto entered = confinement.Enter(std::move(*child), std::array{out, STDERR_FILENO});
        CHECK(entered.has_value());
        SayTo(out, act(std::move(*entered)));
        ::_exit(0);
      }
      CHECK(test::Reap(child->pid) == 0);
    });
  }
};
INSTANTIATE_TEST_SUITE_P(As, SandboxedTest, testing::Values(User::kRoot, User::kOrdinary),
                         [](const auto& user) { return test::NameOf(user.param); });

// How many of three written pages of a view `scanner` finds, or that it does not know.
std::string ScanThreePages(buf::PageScanner scanner) {
  constexpr std::size_t kBytes = buf::kUnitBytes;
  const UniqueFd file = std::move(*os::CreateSealedMemfd("viewed", kBytes));
  const auto view = std::move(*os::Mapping::Reserve(kBytes, buf::kUnitBytes));
  CHECK(buf::MapCopyOnWrite(view.Base(), kBytes, file.Get()).has_value());
  for (const std::size_t page : {0U, 7U, 300U}) view.Base()[page * buf::kPageBytes] = std::byte{1};
  const auto found = scanner.DropPrivatePages(view.Base(), kBytes);
  CHECK(view.Base()[7 * buf::kPageBytes] == std::byte{0});
  return found ? std::to_string(*found) : "unknown";
}

TEST_P(SandboxedTest, TheWrittenPagesOfAViewAreFound) {
  const std::string outside = ScanThreePages(buf::PageScanner());
  if (outside == "unknown") GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN";
  ASSERT_EQ(outside, "3");
  const auto outcome = InSandbox(GetParam(), [](sandbox::Entered entered) {
    return ScanThreePages(buf::PageScanner(std::move(entered.pagemap)));
  });
  EXPECT_EQ(outcome.said, "3") << Describe(outcome);
}

// Whether a wait would spin on a machine of two CPUs, with eight threads that want to run.
std::string SpinsInACrowd(UniqueFd loadavg) {
  ipc::SpinPolicy policy(2);
  policy.SetLoadavg(std::move(loadavg));
  std::atomic<int> running = 0;
  std::atomic<bool> stop = false;
  std::vector<std::thread> crowd;
  crowd.reserve(8);
  for (int i = 0; i < 8; ++i)
    crowd.emplace_back([&] {
      ++running;
      while (!stop) {
      }
    });
  while (running < 8) std::this_thread::yield();
  bool spins = true;
  for (int i = 1; i <= 50 && spins; ++i)
    spins = policy.Limit(i * ipc::SpinPolicy::kSampleEveryNs) > 0;
  stop = true;
  for (std::thread& thread : crowd) thread.join();
  return spins ? "spins" : "sleeps";
}

TEST_P(SandboxedTest, AWaitDoesNotSpinInACrowd) {
  const auto outcome = InSandbox(GetParam(), [](sandbox::Entered entered) {
    // By itself it cannot know.
    return SpinsInACrowd({}) + " " + SpinsInACrowd(std::move(entered.loadavg));
  });
  EXPECT_EQ(outcome.said, "spins sleeps") << Describe(outcome);
}

}  // namespace
}  // namespace cwasi::worker
