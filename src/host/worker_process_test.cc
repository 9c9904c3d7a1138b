// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Against the real cwasi-host, which is stopped and killed under it.

#include "host/worker_process.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <variant>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/interrupt.h"
#include "test/support/paths.h"
#include "test/support/proc_self.h"

namespace cwasi::host {
namespace {

using namespace std::chrono_literals;

class WorkerProcessTest : public testing::Test {
 protected:
  static Result<WorkerProcess> Start() {
    return WorkerProcess::Start(test::BinFolder() / "cwasi-host");
  }
};

TEST_F(WorkerProcessTest, GreetsServesAndEndsWhenAsked) {
  auto worker = Start();
  ASSERT_TRUE(worker) << worker.error().message;
  EXPECT_EQ(worker->Hello().pid, static_cast<std::uint32_t>(worker->Pid()));
  EXPECT_EQ(worker->Hello().page_bytes, 4096U);
  ASSERT_TRUE(worker->Do(ipc::Configure{.payload_budget_bytes = 1U << 30U}, -1, 5s));
  const auto report = worker->Call(ipc::GetReport{}, -1, 5s);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(std::holds_alternative<ipc::ReportReply>(*report));
  const auto end = worker->Stop(5s);
  EXPECT_FALSE(end.by_signal);
  EXPECT_EQ(end.code, 0);
}

TEST_F(WorkerProcessTest, SaysHowAProgramEndedThatIsNoWorker) {
  const auto worker = WorkerProcess::Start("/bin/false");
  ASSERT_FALSE(worker);
  EXPECT_EQ(worker.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(worker.error().message, testing::HasSubstr("exited with code 1"));
}

TEST_F(WorkerProcessTest, NamesAProgramThatIsNotThere) {
  const auto worker = WorkerProcess::Start("/nowhere/cwasi-host");
  ASSERT_FALSE(worker);
  EXPECT_EQ(worker.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(worker.error().message, testing::HasSubstr("/nowhere/cwasi-host"));
}

TEST_F(WorkerProcessTest, AWorkerThatWasKilledIsUnavailable) {
  auto worker = Start();
  ASSERT_TRUE(worker);
  ASSERT_EQ(::kill(worker->Pid(), SIGKILL), 0);
  const auto answer = worker->Call(ipc::GetReport{}, -1, 5s);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(answer.error().message, testing::HasSubstr("killed by signal 9"));
  ASSERT_TRUE(worker->End().has_value());
  EXPECT_TRUE(worker->End()->by_signal);
}

TEST_F(WorkerProcessTest, AWorkerThatDoesNotAnswerIsKilled) {
  auto worker = Start();
  ASSERT_TRUE(worker);
  ASSERT_EQ(::kill(worker->Pid(), SIGSTOP), 0);
  int status = 0;  // The signal is on its way: wait until it has stopped.
  ASSERT_EQ(::waitpid(worker->Pid(), &status, WUNTRACED), worker->Pid());
  ASSERT_TRUE(WIFSTOPPED(status));
  const MonotonicNs start = Now();
  const auto answer = worker->Call(ipc::GetReport{}, -1, 50ms);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_LT(Now() - start, 10'000'000'000);
  EXPECT_EQ(::waitpid(worker->Pid(), nullptr, WNOHANG), -1) << "it has not been reaped";
}

TEST_F(WorkerProcessTest, LeavesNothingBehind) {
  ASSERT_TRUE(Start());  // The first has libc open what it keeps.
  const std::size_t before = test::CountDescriptors();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Start());
  EXPECT_EQ(test::CountDescriptors(), before);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

// What a signal does is said once a process, so each test is a process.
class InterruptScopeTest : public WorkerProcessTest {
 protected:
  // 0: the worker was ended by the signal.
  static int EndsWorker(int signal, bool before_attach) {
    auto worker = Start();
    if (!worker) return 1;
    InterruptScope interrupts;
    if (before_attach) ::raise(signal);
    interrupts.Attach(worker->PidFd());
    if (!before_attach) ::raise(signal);
    if (InterruptScope::Received() != signal) return 2;
    const auto answer = worker->Call(ipc::GetReport{}, -1, 5s);
    if (answer || answer.error().code != ErrorCode::kUnavailable) return 3;
    return worker->End() && worker->End()->by_signal && worker->End()->code == SIGKILL ? 0 : 4;
  }
};

TEST_F(InterruptScopeTest, ASignalEndsTheWorkerAndNotUs) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP})
    EXPECT_EXIT(::_exit(EndsWorker(signal, false)), testing::ExitedWithCode(0), "");
}

TEST_F(InterruptScopeTest, ASignalThatCameBeforeTheWorkerEndsItToo) {
  EXPECT_EXIT(::_exit(EndsWorker(SIGINT, true)), testing::ExitedWithCode(0), "");
}

TEST_F(InterruptScopeTest, PutsTheFormerHandlingBack) {
  EXPECT_EXIT(
      {
        {
          const InterruptScope interrupts;
        }
        ::raise(SIGTERM);
      },
      testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace cwasi::host
