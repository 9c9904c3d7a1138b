// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Against the real cwasi-host.

#include "host/zygote.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ipc/control_socket.h"
#include "os/unix_socket.h"
#include "test/support/loop_fixture.h"
#include "test/support/paths.h"
#include "test/support/proc_self.h"

namespace cwasi::host {
namespace {

using namespace std::chrono_literals;

class ZygoteTest : public test::LoopFixture {
 protected:
  void Start() {
    auto zygote = Zygote::Start(*loop_, test::BinFolder() / "cwasi-host",
                                [this](const Error& error) { death_ = error; });
    ASSERT_TRUE(zygote) << zygote.error().message;
    zygote_ = std::move(*zygote);
  }
  // A worker whose control socket is `control_`.
  void Fork(ipc::WorkerId id) {
    auto control = os::CreatePacketPair();
    auto introductions = os::CreatePacketPair();
    control_ = std::move(control->first);
    introductions_ = std::move(introductions->first);
    end_.reset();
    forked_.reset();
    zygote_->Fork(
        id, std::move(control->second), std::move(introductions->second),
        [this](Result<pid_t> forked) { forked_ = std::move(forked); },
        [this](const os::ProcessEnd& end) { end_ = end; });
  }
  bool ForkAndWait(ipc::WorkerId id) {
    Fork(id);
    return RunUntil([&] { return forked_.has_value(); }) && forked_->has_value();
  }
  // Also one that has ended and was not reaped.
  static bool HasChildren() { return ::waitpid(-1, nullptr, WNOHANG) != -1; }

  std::unique_ptr<Zygote> zygote_;
  std::optional<Error> death_;
  std::optional<Result<pid_t>> forked_;
  std::optional<os::ProcessEnd> end_;
  UniqueFd control_;
  UniqueFd introductions_;
};

TEST_F(ZygoteTest, ForksAWorkerThatEndsWithItsSocket) {
  Start();
  ASSERT_TRUE(ForkAndWait(1));
  EXPECT_GE(zygote_->PidFd(1), 0);
  EXPECT_NE(forked_->value(), zygote_->Pid());
  EXPECT_EQ(::kill(forked_->value(), 0), 0);
  control_.Reset();
  ASSERT_TRUE(RunUntil([&] { return end_.has_value(); }));
  EXPECT_FALSE(end_->by_signal);
  EXPECT_EQ(end_->code, 0);
  EXPECT_EQ(zygote_->PidFd(1), -1);
  EXPECT_EQ(::kill(forked_->value(), 0), -1) << "it has not been reaped";
}

TEST_F(ZygoteTest, SaysWhatIsAroundItsWorkers) {
  Start();
  // Without a filter it would not have started, and cgroups are not for a run.
  EXPECT_THAT(zygote_->Sandbox(), testing::StartsWith("sandboxed by seccomp"));
  EXPECT_THAT(zygote_->Sandbox(), testing::HasSubstr("not here: "));
  EXPECT_THAT(zygote_->Sandbox(), testing::HasSubstr("cgroups (left out: "));
}

TEST_F(ZygoteTest, TellsHowAWorkerEnded) {
  Start();
  ASSERT_TRUE(ForkAndWait(1));
  zygote_->Kill(1);
  ASSERT_TRUE(RunUntil([&] { return end_.has_value(); }));
  EXPECT_TRUE(end_->by_signal);
  EXPECT_EQ(end_->code, SIGKILL);
}

TEST_F(ZygoteTest, AWorkerHoldsItsOwnSocketsAndNoneOfOthers) {
  Start();
  ASSERT_TRUE(ForkAndWait(1));
  const UniqueFd first = std::move(control_);
  const UniqueFd first_introductions = std::move(introductions_);
  ASSERT_TRUE(ForkAndWait(2));
  const pid_t second = forked_->value();
  ipc::ControlClient client(std::move(control_));
  ASSERT_TRUE(client.Call(ipc::Hello{}, -1, DeadlineAfter(Now(), 10s))) << "it is not born";
  ASSERT_TRUE(client.Call(ipc::Configure{.worker_id = 2, .payload_budget_bytes = 1U << 30U}, -1,
                          DeadlineAfter(Now(), 10s)));
  std::size_t descriptors = 0;
  std::size_t sockets = 0;
  std::size_t of_proc = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(second) + "/fd")) {
    ++descriptors;
    std::error_code ignored;
    const auto target = std::filesystem::read_symlink(entry.path(), ignored).string();
    if (target.starts_with("socket:")) ++sockets;
    if (target.ends_with("/pagemap") || target.ends_with("/loadavg")) ++of_proc;
  }
  EXPECT_EQ(sockets, 2U);
  EXPECT_EQ(of_proc, 2U);
  EXPECT_EQ(descriptors, 9U) << "with what it stands on and its watcher's own two";
}

TEST_F(ZygoteTest, StopEndsItsWorkersAndLeavesNothing) {
  {
    Start();  // The first has libc open what it keeps.
    zygote_.reset();
  }
  const std::size_t before = test::CountDescriptors();
  Start();
  std::vector<pid_t> workers;
  std::vector<UniqueFd> sockets;
  for (ipc::WorkerId id = 1; id <= 5; ++id) {
    ASSERT_TRUE(ForkAndWait(id));
    workers.push_back(forked_->value());
    sockets.push_back(std::move(control_));
    sockets.push_back(std::move(introductions_));
  }
  Fork(6);  // Under way.
  const auto end = zygote_->Stop(10s);
  EXPECT_FALSE(end.by_signal);
  EXPECT_EQ(end.code, 0);
  for (const pid_t pid : workers) EXPECT_EQ(::kill(pid, 0), -1) << "a worker is left";
  EXPECT_FALSE(HasChildren());
  sockets.clear();
  control_.Reset();
  introductions_.Reset();
  zygote_.reset();
  EXPECT_EQ(test::CountDescriptors(), before);
}

TEST_F(ZygoteTest, WhenItIsKilledAllWorkersAreGone) {
  Start();
  ASSERT_TRUE(ForkAndWait(1));
  const pid_t worker = forked_->value();
  ASSERT_EQ(::kill(zygote_->Pid(), SIGKILL), 0);
  ASSERT_TRUE(RunUntil([&] { return death_.has_value(); }));
  EXPECT_EQ(death_->code, ErrorCode::kUnavailable);
  EXPECT_THAT(death_->message, testing::HasSubstr("killed by signal 9"));
  EXPECT_EQ(::kill(worker, 0), -1) << "a worker is left";
  EXPECT_FALSE(HasChildren());
}

// Between a fork and the word of it nobody but the kernel knows the worker.
TEST_F(ZygoteTest, WhenItIsKilledWhileItForksNoWorkerIsLeft) {
  constexpr ipc::WorkerId kForks = 40;
  for (int round = 0; round < 10; ++round) {
    death_.reset();
    Start();
    for (ipc::WorkerId id = 1; id <= kForks; ++id) Fork(id);
    const MonotonicNs then = DeadlineAfter(Now(), std::chrono::milliseconds(round));
    while (Now() < then) {
    }
    ASSERT_EQ(::kill(zygote_->Pid(), SIGKILL), 0);
    ASSERT_TRUE(RunUntil([&] { return death_.has_value(); }));
    EXPECT_FALSE(HasChildren()) << "round " << round;
  }
}

TEST_F(ZygoteTest, AStoppedZygoteIsEndedWithItsWorkers) {
  Start();
  ASSERT_TRUE(ForkAndWait(1));
  const pid_t worker = forked_->value();
  ASSERT_EQ(::kill(zygote_->Pid(), SIGSTOP), 0);
  const auto end = zygote_->Stop(50ms);
  EXPECT_TRUE(end.by_signal);
  EXPECT_EQ(::kill(worker, 0), -1) << "a worker is left";
  EXPECT_FALSE(HasChildren());
}

TEST_F(ZygoteTest, SaysHowAProgramEndedThatIsNoZygote) {
  const auto zygote = Zygote::Start(*loop_, "/bin/false", [](const Error&) {});
  ASSERT_FALSE(zygote);
  EXPECT_EQ(zygote.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(zygote.error().message, testing::HasSubstr("exited with code 1"));
}

TEST_F(ZygoteTest, NamesAProgramThatIsNotThere) {
  const auto zygote = Zygote::Start(*loop_, "/nowhere/cwasi-host", [](const Error&) {});
  ASSERT_FALSE(zygote);
  EXPECT_EQ(zygote.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(zygote.error().message, testing::HasSubstr("/nowhere/cwasi-host"));
}

TEST_F(ZygoteTest, AThousandAskedForAtOnceAllCome) {
  constexpr std::size_t kWorkers = 1000;
  Start();
  std::vector<UniqueFd> sockets;
  std::size_t forked = 0;
  std::size_t ended = 0;
  for (ipc::WorkerId id = 1; id <= kWorkers; ++id) {
    auto control = os::CreatePacketPair();
    auto introductions = os::CreatePacketPair();
    sockets.push_back(std::move(control->first));
    sockets.push_back(std::move(introductions->first));
    zygote_->Fork(
        id, std::move(control->second), std::move(introductions->second),
        [&](Result<pid_t> pid) { forked += pid ? 1U : 0U; },
        [&](const os::ProcessEnd& end) { ended += !end.by_signal && end.code == 0 ? 1U : 0U; });
  }
  EXPECT_TRUE(RunUntil([&] { return forked == kWorkers || death_; }));
  EXPECT_FALSE(death_) << death_->message;
  EXPECT_EQ(forked, kWorkers);
  sockets.clear();
  EXPECT_TRUE(RunUntil([&] { return ended == kWorkers; })) << ended;
}

TEST_F(ZygoteTest, AThousandWorkersOneAfterTheOtherLeaveNothing) {
  Start();
  ASSERT_TRUE(ForkAndWait(1));
  control_.Reset();
  ASSERT_TRUE(RunUntil([&] { return end_.has_value(); }));
  const auto zygotes = [&] {
    const std::filesystem::directory_iterator fds("/proc/" + std::to_string(zygote_->Pid()) +
                                                  "/fd");
    return std::distance(begin(fds), end(fds));
  };
  introductions_.Reset();
  const std::size_t before = test::CountDescriptors();
  const auto zygotes_before = zygotes();
  for (ipc::WorkerId id = 2; id <= 1001; ++id) {
    Fork(id);
    control_.Reset();  // It ends as soon as it looks at its socket.
    ASSERT_TRUE(RunUntil([&] { return end_.has_value(); })) << id;
    ASSERT_EQ(end_->code, 0) << id;
    introductions_.Reset();
  }
  EXPECT_EQ(test::CountDescriptors(), before);
  EXPECT_EQ(zygotes(), zygotes_before);
}

}  // namespace
}  // namespace cwasi::host
