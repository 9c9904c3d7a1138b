// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Against the real cwasi-host, which is stopped and killed under it.

#include "host/worker_process.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/loop_fixture.h"
#include "test/support/paths.h"

namespace cwasi::host {
namespace {

using namespace std::chrono_literals;
using Answer = std::optional<Result<ipc::ResponseBody>>;

class WorkerProcessTest : public test::LoopFixture {
 protected:
  void SetUp() override {
    auto zygote = Zygote::Start(*loop_, test::BinFolder() / "cwasi-host", [](const Error&) {});
    ASSERT_TRUE(zygote) << zygote.error().message;
    zygote_ = std::move(*zygote);
    StartWorker(1);
  }
  void StartWorker(ipc::WorkerId id) {
    gone_.reset();
    auto worker =
        WorkerProcess::Start(*loop_, *zygote_, id, [this](const Error& error) { gone_ = error; });
    ASSERT_TRUE(worker) << worker.error().message;
    worker_ = std::move(*worker);
  }
  void Ask(ipc::RequestBody body, std::chrono::nanoseconds timeout, Answer& answer) {
    worker_->Ask(std::move(body), {}, timeout,
                 [&answer](Result<ipc::ResponseBody> got) { answer = std::move(got); });
  }
  Result<ipc::ResponseBody> Call(ipc::RequestBody body, std::chrono::nanoseconds timeout = 10s) {
    Answer answer;
    Ask(std::move(body), timeout, answer);
    EXPECT_TRUE(RunUntil([&] { return answer.has_value(); }));
    return std::move(*answer);
  }
  void Ready() {
    ASSERT_TRUE(Call(ipc::Hello{}));
    ASSERT_TRUE(Call(ipc::Configure{.worker_id = 1, .payload_budget_bytes = 1U << 30U}));
  }
  // Sends the signal and waits until it has taken effect.
  void StopWorker() const {
    ASSERT_EQ(::kill(worker_->Pid(), SIGSTOP), 0);
    for (std::string state; state != "T";) {
      std::ifstream stat("/proc/" + std::to_string(worker_->Pid()) + "/stat");
      std::string skip;
      stat >> skip >> skip >> state;
    }
  }
  std::unique_ptr<Zygote> zygote_;
  std::unique_ptr<WorkerProcess> worker_;
  std::optional<Error> gone_;
};

TEST_F(WorkerProcessTest, GreetsServesAndEndsWhenAsked) {
  const auto hello = Call(ipc::Hello{});
  ASSERT_TRUE(hello) << hello.error().message;
  const auto& reply = std::get<ipc::HelloReply>(*hello);
  // 1 where the sandbox gives it a pid namespace of its own.
  EXPECT_TRUE(reply.pid == 1 || reply.pid == static_cast<std::uint32_t>(worker_->Pid()));
  EXPECT_EQ(reply.page_bytes, 4096U);
  ASSERT_TRUE(Call(ipc::Configure{.worker_id = 1, .payload_budget_bytes = 1U << 30U}));
  const auto report = Call(ipc::GetReport{});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(std::holds_alternative<ipc::ReportReply>(*report));
  EXPECT_TRUE(Call(ipc::Shutdown{}));
  ASSERT_TRUE(RunUntil([&] { return gone_.has_value(); }));
  ASSERT_TRUE(worker_->End());
  EXPECT_FALSE(worker_->End()->by_signal);
  EXPECT_EQ(worker_->End()->code, 0);
}

TEST_F(WorkerProcessTest, AnswersComeInOrderHoweverManyAreAsked) {
  Ready();
  std::vector<int> order;
  constexpr int kMany = 300;
  for (int i = 0; i < kMany; ++i)
    worker_->Ask(ipc::Drop{.value_id = static_cast<std::uint64_t>(i)}, {}, 10s,
                 [&order, i](Result<ipc::ResponseBody> answer) {
                   ASSERT_TRUE(answer);
                   EXPECT_TRUE(std::holds_alternative<Error>(*answer));
                   order.push_back(i);
                 });
  EXPECT_EQ(worker_->Outstanding(), static_cast<std::size_t>(kMany));
  ASSERT_TRUE(RunUntil([&] { return order.size() == kMany; }));
  for (int i = 0; i < kMany; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST_F(WorkerProcessTest, LongRequestsDoNotBlockWhileTheWorkerDoesNotRead) {
  Ready();
  StopWorker();
  ipc::Invoke invoke;
  invoke.function_id = 77;
  for (int i = 0; i < 3000; ++i)
    invoke.parts.push_back({.value_id = static_cast<std::uint64_t>(i), .name = "a part's name"});
  int answered = 0;
  for (int i = 0; i < 20; ++i)
    worker_->Ask(invoke, {}, 30s, [&](const Result<ipc::ResponseBody>& answer) {
      EXPECT_TRUE(answer);
      ++answered;
    });
  EXPECT_EQ(answered, 0);
  ASSERT_EQ(::kill(worker_->Pid(), SIGCONT), 0);
  EXPECT_TRUE(RunUntil([&] { return answered == 20; }));
}

TEST_F(WorkerProcessTest, AWorkerThatWasKilledFailsWhatWasAsked) {
  Ready();
  StopWorker();
  std::vector<Answer> answers(3);
  for (auto& answer : answers) Ask(ipc::GetReport{}, 10s, answer);
  ASSERT_EQ(::kill(worker_->Pid(), SIGKILL), 0);
  ASSERT_TRUE(RunUntil([&] { return gone_.has_value(); }));
  for (const auto& answer : answers) {
    ASSERT_TRUE(answer);
    ASSERT_FALSE(*answer);
    EXPECT_EQ(answer->error().code, ErrorCode::kUnavailable);
    EXPECT_THAT(answer->error().message, testing::HasSubstr("killed by signal 9"));
  }
  ASSERT_TRUE(worker_->End());
  EXPECT_TRUE(worker_->End()->by_signal);
}

TEST_F(WorkerProcessTest, AnIdleWorkersEndIsNoticed) {
  Ready();
  ASSERT_EQ(::kill(worker_->Pid(), SIGKILL), 0);
  EXPECT_TRUE(RunUntil([&] { return gone_.has_value(); }));
}

TEST_F(WorkerProcessTest, AWorkerThatDoesNotAnswerIsKilled) {
  Ready();
  StopWorker();
  const pid_t pid = worker_->Pid();
  const auto answer = Call(ipc::GetReport{}, 50ms);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(::kill(pid, 0), -1) << "it has not been reaped";
}

TEST_F(WorkerProcessTest, ARequestOutOfLimitsIsNotSentAndHarmsNothing) {
  Ready();
  const auto bad = Call(ipc::LoadFunction{.id = 1, .name = ""});
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(Call(ipc::GetReport{}));
}

TEST_F(WorkerProcessTest, DestructionEndsTheWorker) {
  Ready();
  const pid_t pid = worker_->Pid();
  worker_.reset();
  StartWorker(2);
  ASSERT_TRUE(Call(ipc::Hello{}));
  EXPECT_TRUE(RunUntil([&] {
    static_cast<void>(Call(ipc::Drop{}));  // Gives the zygote a turn.
    return ::kill(pid, 0) == -1;
  }));
}

}  // namespace
}  // namespace cwasi::host
