// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Against the real cwasi-host. The groups have no functions: starting is what is looked at.

#include "workflow/workers.h"

#include <signal.h>

#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/loop_fixture.h"
#include "test/support/paths.h"

namespace cwasi::workflow {
namespace {

using namespace std::chrono_literals;

class WorkersTest : public test::LoopFixture {
 protected:
  void SetUp() override {
    placement_.groups = {{.functions = {}, .workers = 4}};
    workers_ = std::make_unique<Workers>(
        *loop_, loaded_, placement_, modules_,
        Workers::Options{.host_program = test::BinFolder() / "cwasi-host",
                         .payload = ipc::PayloadPolicy::kAuto,
                         .payload_budget_bytes = 1U << 30U},
        Workers::Events{
            .up = [this](ipc::WorkerId id, std::uint32_t) { up_.insert(id); },
            .start_failed = [this](std::uint32_t, const Error& error) { failed_ = error.message; },
            .lost =
                [this](ipc::WorkerId id) {
                  up_.erase(id);
                  return may_be_lost_;
                },
            .need = [](std::uint32_t, ipc::WantedWorker) { return false; },
            .failed = [this](const std::string&, const Error& error) { failed_ = error.message; }});
    const auto started = workers_->StartZygote();
    ASSERT_TRUE(started) << started.error().message;
  }
  [[nodiscard]] bool WaitForUp(std::size_t count) {
    return RunUntil([&] { return up_.size() == count || failed_; }) && !failed_;
  }
  void KillOne() {
    const ipc::WorkerId id = *up_.begin();
    ASSERT_EQ(::kill(workers_->Find(id)->Pid(), SIGKILL), 0);
    ASSERT_TRUE(RunUntil([&] { return !up_.contains(id); }));
  }

  Loaded loaded_;
  Placement placement_;
  std::vector<UniqueFd> modules_;
  std::set<ipc::WorkerId> up_;
  bool may_be_lost_ = true;
  std::optional<std::string> failed_;
  std::unique_ptr<Workers> workers_;
};

TEST_F(WorkersTest, StartsThemAndTellsWhatTheMachineCan) {
  for (int i = 0; i < 3; ++i) workers_->Start(0);
  ASSERT_TRUE(WaitForUp(3)) << *failed_;
  EXPECT_THAT(workers_->Live(), testing::ElementsAre(1, 2, 3));
  ASSERT_TRUE(workers_->Machine());
  EXPECT_EQ(workers_->Machine()->page_bytes, 4096U);
  workers_->Shutdown(10s);
  EXPECT_TRUE(workers_->Live().empty());
}

TEST_F(WorkersTest, OneThatHadNothingToLoseIsReplacedUnderANewName) {
  workers_->Start(0);
  ASSERT_TRUE(WaitForUp(1));
  KillOne();
  const MonotonicNs killed = Now();
  workers_->Start(0);
  ASSERT_TRUE(WaitForUp(1)) << *failed_;
  EXPECT_EQ(*up_.begin(), 2U);
  EXPECT_GE(Now() - killed, 9'000'000) << "it was started again at once";
  EXPECT_EQ(workers_->Started(), 2U);
}

TEST_F(WorkersTest, OneThatTheRunNeedsEndsIt) {
  workers_->Start(0);
  ASSERT_TRUE(WaitForUp(1));
  may_be_lost_ = false;
  KillOne();
  ASSERT_TRUE(failed_);
  EXPECT_THAT(*failed_, testing::HasSubstr("killed by signal 9"));
}

TEST_F(WorkersTest, AZygoteThatIsKilledEndsTheRun) {
  workers_->Start(0);
  ASSERT_TRUE(WaitForUp(1));
  may_be_lost_ = true;
  // The zygote is the worker's parent, until it is gone.
  std::ifstream stat("/proc/" + std::to_string(workers_->Find(1)->Pid()) + "/stat");
  std::string skip;
  pid_t zygote = 0;
  stat >> skip >> skip >> skip >> zygote;
  ASSERT_EQ(::kill(zygote, SIGKILL), 0);
  ASSERT_TRUE(RunUntil([&] { return failed_.has_value(); }));
  EXPECT_THAT(*failed_, testing::HasSubstr("zygote"));
}

}  // namespace
}  // namespace cwasi::workflow
