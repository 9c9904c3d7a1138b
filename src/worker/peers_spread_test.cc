// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Calls that run beside each other spread over the workers of their function. `cwasi` is a socket
// in this test, the workers are processes.

#include <signal.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "test/support/peer_process.h"
#include "test/support/script.h"
#include "worker/peers.h"

namespace cwasi::worker {
namespace {

using namespace std::chrono_literals;
using test::Given;
using test::Op;
using test::Scratch;
using test::Script;

MonotonicNs In(std::chrono::nanoseconds time) {
  return DeadlineAfter(Now(), time);
}

constexpr std::uint32_t kFunction = 1000;
constexpr std::uint32_t kRequestBytes = 32;

// A worker of the function, until its caller is gone; ends with 1 if nobody has called.
class Callee {
 public:
  Callee()
      : sockets_(test::Pair()), process_([this] {
          sockets_.first.Reset();
          test::PeerHarness worker;
          worker.Load("echo", "f", kFunction);
          ASSERT_TRUE(worker.Peers().Meet(
              {.role = ipc::PeerRole::kCallee, .worker = 1, .functions = {kFunction}},
              std::move(sockets_.second)));
          worker.ServeAll();
          EXPECT_GT(worker.worker.Get().Payloads().Copies().copies, 0U) << "nobody called it";
        }) {
    sockets_.second.Reset();
  }
  UniqueFd TakeCallersEnd() { return std::move(sockets_.first); }
  // While it is stopped it is busy: it has calls and answers none.
  void Stop() const { process_.Signal(SIGSTOP); }
  void Continue() const { process_.Signal(SIGCONT); }
  int Wait() { return process_.Wait(); }

 private:
  os::SocketPair sockets_;
  test::PeerProcess process_;
};

// Starts `calls` calls, then waits for each.
struct Spread {
  explicit Spread(std::uint32_t calls) {
    const auto function = script.AddFind("f");
    for (std::uint32_t i = 0; i < calls; ++i) {
      script.Add(Op::kFill, {Scratch(0), kRequestBytes, 10 + i});
      statuses.push_back(script.Add(
          Op::kStart, {Given(function), Scratch(0), kRequestBytes, 0U, Scratch(1000 + 4 * i)}));
    }
    for (std::uint32_t i = 0; i < calls; ++i) {
      script.Add(Op::kStore, {Scratch(2000), Scratch(4000)});
      script.Add(Op::kStore, {Scratch(2004), 100U});
      statuses.push_back(
          script.Add(Op::kWait, {Scratch(1000 + 4 * i), 1U, 0U, Scratch(2000), Scratch(3000)}));
      const auto data = script.Add(Op::kLoad, {Scratch(2000)});
      same.push_back(script.Add(Op::kCheck, {Given(data), kRequestBytes, 10 + i}));
    }
  }
  void Run(test::PeerHarness& worker) const {
    const auto steps = worker.worker.Run(worker.worker.Get().Find("caller")->Id(), script);
    for (const auto step : statuses) EXPECT_EQ(steps[step], 0U);
    for (const auto step : same) EXPECT_EQ(steps[step], 1U);
  }
  Script script;
  std::vector<std::uint32_t> statuses;
  std::vector<std::uint32_t> same;
};

TEST(PeersSpreadTest, CallsBesideEachOtherGoToAsManyWorkersAsThereMayBe) {
  std::array<Callee, 2> callees;
  auto sockets = test::Pair();
  ipc::IntroductionSocket cwasi(std::move(sockets.second));
  std::vector<ipc::WantedWorker> wanted;
  const auto answer = [&](ipc::WorkerId worker, UniqueFd socket) {
    const auto incoming = cwasi.Receive(In(20s));
    ASSERT_TRUE(incoming && std::holds_alternative<ipc::Want>(incoming->message));
    const auto& want = std::get<ipc::Want>(incoming->message);
    wanted.push_back(want.worker);
    ipc::Peer peer{.token = want.token, .worker = worker, .functions = {kFunction}};
    std::vector<int> fds;
    // Any descriptor stands for its pidfd: this worker does not use it.
    if (socket.IsOpen())
      fds = {socket.Get(), cwasi.Fd()};
    else
      peer.channel = ipc::PeerChannel::kExisting;
    ASSERT_TRUE(cwasi.Send(peer, fds, In(5s)));
  };
  {
    test::PeerHarness worker;
    ASSERT_TRUE(worker.Peers().Use(ipc::IntroductionSocket(std::move(sockets.first))));
    worker.Peers().SetSpreading({.patience = 20s, .pause = 60s});
    worker.Load("script", "caller", 10);
    ASSERT_TRUE(worker.Peers().Declare({kFunction, "f", 20s}));
    for (const Callee& callee : callees) callee.Stop();
    std::thread thread([&] {
      answer(7, callees[0].TakeCallersEnd());
      answer(8, callees[1].TakeCallersEnd());
      // There are two: who wants a third goes on with one of these.
      answer(7, {});
      for (const Callee& callee : callees) callee.Continue();
    });
    Spread(6).Run(worker);
    thread.join();
    using enum ipc::WantedWorker;
    EXPECT_EQ(wanted, (std::vector{kAny, kAnother, kAnother}));
    EXPECT_EQ(worker.Peers().Links(), 2U);
    // Now nobody is asked: those that are there do, for a while.
    Spread(6).Run(worker);
    EXPECT_FALSE(cwasi.Receive(Now()));
  }
  for (Callee& callee : callees) EXPECT_EQ(callee.Wait(), 0);
}

TEST(PeersSpreadTest, WhoGetsNoOtherWorkerGoesOnWithTheOneThereIs) {
  std::array<Callee, 1> callees;
  auto sockets = test::Pair();
  ipc::IntroductionSocket cwasi(std::move(sockets.second));
  {
    test::PeerHarness worker;
    ASSERT_TRUE(worker.Peers().Use(ipc::IntroductionSocket(std::move(sockets.first))));
    worker.Peers().SetSpreading({.patience = 50ms, .pause = 60s});
    worker.Load("script", "caller", 10);
    ASSERT_TRUE(worker.Peers().Declare({kFunction, "f", 20s}));
    ASSERT_TRUE(
        worker.Peers().Meet({.worker = 7, .functions = {kFunction}}, callees[0].TakeCallersEnd()));
    callees[0].Stop();
    std::uint64_t token = 0;
    std::thread thread([&] {
      // The want is not answered in time.
      const auto want = cwasi.Receive(In(20s));
      callees[0].Continue();
      ASSERT_TRUE(want && std::holds_alternative<ipc::Want>(want->message));
      token = std::get<ipc::Want>(want->message).token;
    });
    Spread(4).Run(worker);
    thread.join();
    EXPECT_FALSE(cwasi.Receive(Now())) << "asked once";
    // Refused, too late: nothing comes of it.
    ASSERT_TRUE(cwasi.Send(
        ipc::Refused{.token = token, .call_class = CallClass::kUnavailable, .text = "no"}, {},
        In(5s)));
    Spread(4).Run(worker);
  }
  EXPECT_EQ(callees[0].Wait(), 0);
}

}  // namespace
}  // namespace cwasi::worker
