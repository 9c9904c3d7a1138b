// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The workers are sockets in this test.

#include "host/introducer.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "os/unix_socket.h"
#include "test/support/loop_fixture.h"
#include "test/support/proc_self.h"

namespace cwasi::host {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

class IntroducerTest : public test::LoopFixture {
 protected:
  IntroducerTest()
      : pidfd_(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0))),
        introducer_(*loop_,
                    {.may_call = [this](const auto&, auto f) { return !denied_.contains(f); },
                     .start_worker =
                         [this](std::uint32_t function, ipc::WantedWorker worker) {
                           (worker == ipc::WantedWorker::kAnother ? another_asked_for_ : asked_for_)
                               .push_back(function);
                           return starts_;
                         },
                     .broken = [this](ipc::WorkerId id,
                                      const Error& error) { broken_.emplace(id, error); }}) {}
  ~IntroducerTest() override {
    for (const auto& [id, socket] : workers_) introducer_.Remove(id);
  }

  void Add(ipc::WorkerId id, std::vector<std::uint32_t> functions, std::uint32_t domain = 0) {
    auto pair = os::CreatePacketPair();
    workers_[id] = ipc::IntroductionSocket(std::move(pair->second));
    ASSERT_TRUE(introducer_.Add({.id = id,
                                 .trust_domain = domain,
                                 .functions = std::move(functions),
                                 .pidfd = pidfd_.Get()},
                                std::move(pair->first)));
  }
  void Want(ipc::WorkerId id, std::uint64_t token, std::uint32_t function,
            ipc::WantedWorker worker = ipc::WantedWorker::kAny) {
    ASSERT_TRUE(workers_[id].Send(
        ipc::Want{.token = token, .function_id = function, .worker = worker}, {}, Now()));
    loop_->RunOnce(Now());
  }
  std::optional<ipc::IntroductionSocket::Incoming> Got(ipc::WorkerId id) {
    auto incoming = workers_[id].Receive(Now());
    if (!incoming) return std::nullopt;
    return std::move(*incoming);
  }
  std::optional<ipc::Peer> GotPeer(ipc::WorkerId id) {
    const auto got = Got(id);
    if (!got || !std::holds_alternative<ipc::Peer>(got->message)) return std::nullopt;
    return std::get<ipc::Peer>(got->message);
  }
  std::optional<ipc::Refused> GotRefusal(ipc::WorkerId id) {
    const auto got = Got(id);
    if (!got || !std::holds_alternative<ipc::Refused>(got->message)) return std::nullopt;
    return std::get<ipc::Refused>(got->message);
  }

  UniqueFd pidfd_;
  std::set<std::uint32_t> denied_;
  std::vector<std::uint32_t> asked_for_;
  std::vector<std::uint32_t> another_asked_for_;
  bool starts_ = false;
  std::map<ipc::WorkerId, Error> broken_;
  std::map<ipc::WorkerId, ipc::IntroductionSocket> workers_;
  Introducer introducer_;
};

TEST_F(IntroducerTest, LetsTwoWorkersMeetOverASocketOfTheirOwn) {
  Add(1, {5});
  Add(2, {6, 7});
  Want(1, 33, 6);
  auto callee = Got(2);
  auto caller = Got(1);
  ASSERT_TRUE(callee && caller);
  const auto to_caller = std::get<ipc::Peer>(caller->message);
  const auto to_callee = std::get<ipc::Peer>(callee->message);
  EXPECT_EQ(to_caller.token, 33U);
  EXPECT_EQ(to_caller.role, ipc::PeerRole::kCaller);
  EXPECT_EQ(to_caller.worker, 2U);
  EXPECT_THAT(to_caller.functions, ElementsAre(6, 7));
  EXPECT_EQ(to_callee.token, 0U);
  EXPECT_EQ(to_callee.role, ipc::PeerRole::kCallee);
  EXPECT_EQ(to_callee.worker, 1U);
  EXPECT_EQ(to_callee.relation, ipc::Relation::kSameDomain);
  const std::array hello = {std::byte{42}};
  ASSERT_TRUE(os::SendPacket(caller->socket.Get(), hello, {}, Now()));
  std::array<std::byte, 8> buffer{};
  EXPECT_TRUE(os::ReceivePacket(callee->socket.Get(), buffer, 0, Now()));
  caller->socket.Reset();
  EXPECT_FALSE(os::ReceivePacket(callee->socket.Get(), buffer, 0, DeadlineAfter(Now(), 10s)))
      << "cwasi holds an end";
}

TEST_F(IntroducerTest, APairMeetsOnceInEachDirection) {
  Add(1, {5});
  Add(2, {6, 7});
  Want(1, 1, 6);
  ASSERT_TRUE(GotPeer(1));
  ASSERT_TRUE(GotPeer(2));
  Want(1, 2, 7);
  const auto again = GotPeer(1);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->token, 2U);
  EXPECT_EQ(again->channel, ipc::PeerChannel::kExisting);
  EXPECT_FALSE(Got(2));
  ASSERT_TRUE(introducer_.Introduce(1, 2));
  EXPECT_FALSE(Got(1)) << "they have met";
  ASSERT_TRUE(introducer_.Introduce(2, 1));
  EXPECT_EQ(GotPeer(1)->role, ipc::PeerRole::kCallee);
  EXPECT_EQ(GotPeer(2)->role, ipc::PeerRole::kCaller);
}

TEST_F(IntroducerTest, APairWhoseChannelHasEndedMeetsAgain) {
  Add(1, {5});
  Add(2, {6});
  Add(3, {6});
  Want(1, 1, 6);
  EXPECT_EQ(GotPeer(1)->worker, 2U);
  ASSERT_TRUE(GotPeer(2));
  introducer_.SetOutstanding(3, 1);
  const auto lose = [&](ipc::WorkerId callee) {
    ASSERT_TRUE(workers_[1].Send(ipc::Lost{.worker = callee}, {}, Now()));
    loop_->RunOnce(Now());
  };
  lose(2);
  lose(2);   // Already.
  lose(3);   // Not met.
  lose(99);  // Not there.
  EXPECT_TRUE(broken_.empty());
  Want(1, 2, 6);
  const auto again = Got(1);
  ASSERT_TRUE(again);
  EXPECT_EQ(std::get<ipc::Peer>(again->message).channel, ipc::PeerChannel::kNew);
  EXPECT_TRUE(again->socket.IsOpen());
  EXPECT_EQ(GotPeer(2)->role, ipc::PeerRole::kCallee);
  // The channel that ended is not counted.
  introducer_.SetOutstanding(3, 0);
  Add(4, {6});
  Add(7, {5});
  lose(2);
  Want(7, 1, 6);
  EXPECT_EQ(GotPeer(7)->worker, 2U);
}

TEST_F(IntroducerTest, PicksTheWorkerWithTheLeastToDo) {
  Add(1, {5});
  Add(2, {6});
  Add(3, {6});
  Add(4, {6});
  introducer_.SetOutstanding(2, 3);
  introducer_.SetOutstanding(3, 1);
  introducer_.SetOutstanding(4, 1);
  Want(1, 1, 6);
  EXPECT_EQ(GotPeer(1)->worker, 3U);
  Add(7, {5});
  Want(7, 1, 6);
  EXPECT_EQ(GotPeer(7)->worker, 4U) << "a channel ends in worker 3 already";
}

TEST_F(IntroducerTest, AWorkerIsNotIntroducedToItself) {
  Add(1, {5});
  Want(1, 1, 5);
  EXPECT_EQ(GotRefusal(1)->call_class, CallClass::kUnavailable);
}

TEST_F(IntroducerTest, OtherDomainsAreToldApart) {
  Add(1, {5}, 0);
  Add(2, {6}, 1);
  Want(1, 1, 6);
  EXPECT_EQ(GotPeer(1)->relation, ipc::Relation::kOtherDomain);
  EXPECT_EQ(GotPeer(2)->relation, ipc::Relation::kOtherDomain);
}

TEST_F(IntroducerTest, PolicyDeniesAndHidesFunctions) {
  denied_ = {6};
  Add(1, {5});
  Add(2, {6, 7});
  Want(1, 1, 6);
  EXPECT_EQ(GotRefusal(1)->call_class, CallClass::kDenied);
  Want(1, 2, 7);
  EXPECT_THAT(GotPeer(1)->functions, ElementsAre(7));
  EXPECT_THAT(GotPeer(2)->functions, ElementsAre(7));
}

TEST_F(IntroducerTest, AWantWaitsForAWorkerThatIsBeingStarted) {
  starts_ = true;
  Add(1, {5});
  Want(1, 1, 6);
  Want(1, 2, 8);
  EXPECT_FALSE(Got(1));
  EXPECT_THAT(asked_for_, ElementsAre(6, 8));
  Add(2, {6});
  EXPECT_EQ(GotPeer(1)->token, 1U);
  EXPECT_FALSE(Got(1));
  introducer_.Refuse(8, "it cannot be loaded");
  const auto refused = GotRefusal(1);
  EXPECT_EQ(refused->token, 2U);
  EXPECT_EQ(refused->text, "it cannot be loaded");
}

TEST_F(IntroducerTest, AnotherWorkerIsOneThatTheCallerHasNotMet) {
  constexpr auto kAnother = ipc::WantedWorker::kAnother;
  Add(1, {5});
  Add(2, {6});
  Add(3, {6});
  Add(4, {6});
  introducer_.SetOutstanding(3, 1);
  Want(1, 1, 6);
  EXPECT_EQ(GotPeer(1)->worker, 2U);
  Want(1, 2, 6, kAnother);
  EXPECT_EQ(GotPeer(1)->worker, 4U) << "it has least to do";
  Want(1, 3, 6, kAnother);
  EXPECT_EQ(GotPeer(1)->worker, 3U);
  EXPECT_TRUE(another_asked_for_.empty());
  // All are met, and there will be no more: it goes on with one that it has.
  Want(1, 4, 6, kAnother);
  const auto existing = GotPeer(1);
  EXPECT_EQ(existing->channel, ipc::PeerChannel::kExisting);
  EXPECT_EQ(existing->worker, 2U);
  EXPECT_THAT(another_asked_for_, ElementsAre(6));
  EXPECT_TRUE(asked_for_.empty());
}

TEST_F(IntroducerTest, AnotherWorkerMayHaveToBeStarted) {
  constexpr auto kAnother = ipc::WantedWorker::kAnother;
  starts_ = true;
  Add(1, {5});
  Add(2, {6});
  Want(1, 1, 6);
  EXPECT_EQ(GotPeer(1)->worker, 2U);
  Want(1, 2, 6, kAnother);
  EXPECT_FALSE(Got(1));
  Add(3, {6});
  EXPECT_EQ(GotPeer(1)->worker, 3U);
  // One that cannot be had ends the want; the caller has two.
  Want(1, 3, 6, kAnother);
  introducer_.Refuse(6, "it cannot be started");
  EXPECT_EQ(GotRefusal(1)->token, 3U);
}

TEST_F(IntroducerTest, TooManyWantsBreakTheProtocol) {
  starts_ = true;
  Add(1, {5});
  for (std::uint64_t token = 1; token <= ipc::kMaxWants; ++token) Want(1, token, 6);
  EXPECT_TRUE(broken_.empty());
  Want(1, 99, 6);
  EXPECT_TRUE(broken_.contains(1));
}

TEST_F(IntroducerTest, GarbageAndTheSocketsEndBreakTheProtocol) {
  Add(1, {5});
  Add(2, {6});
  Add(3, {7});
  const std::array garbage = {std::byte{1}, std::byte{2}};
  ASSERT_TRUE(os::SendPacket(workers_[1].Fd(), garbage, {}, Now()));
  ASSERT_TRUE(
      workers_[2].Send(ipc::Refused{.token = 1, .call_class = CallClass::kDenied}, {}, Now()));
  workers_[3] = {};
  loop_->RunOnce(Now());
  EXPECT_EQ(broken_.size(), 3U);
  EXPECT_EQ(broken_.at(3).code, ErrorCode::kUnavailable);
}

TEST_F(IntroducerTest, AWorkerThatTakesNoIntroductionIsBrokenAndItsCallersAreRefused) {
  Add(1, {5});
  Add(2, {6});
  workers_[2] = {};
  // The want is read before the loop has seen the end of the other's socket.
  ASSERT_TRUE(workers_[1].Send(ipc::Want{.token = 1, .function_id = 6}, {}, Now()));
  loop_->RunOnce(Now());
  EXPECT_EQ(GotRefusal(1)->call_class, CallClass::kUnavailable);
  EXPECT_TRUE(broken_.contains(2));
}

TEST_F(IntroducerTest, AnEndedWorkerIsNoLongerIntroducedAndLeavesNothing) {
  Add(1, {5});
  const std::size_t before = test::CountDescriptors();
  Add(2, {6});
  Want(1, 1, 6);
  GotPeer(1);
  GotPeer(2);
  introducer_.Remove(2);
  workers_.erase(2);
  EXPECT_EQ(test::CountDescriptors(), before);
  Want(1, 2, 6);
  EXPECT_TRUE(GotRefusal(1));
  EXPECT_EQ(introducer_.Introduce(1, 2).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace cwasi::host
