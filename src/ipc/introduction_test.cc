// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/introduction.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "os/unix_socket.h"
#include "test/support/hex.h"
#include "test/support/proc_self.h"

namespace cwasi::ipc {
namespace {

MonotonicNs Soon() {
  return DeadlineAfter(Now(), std::chrono::seconds(10));
}

const Peer kCalleesPeer = {.token = 0,
                           .role = PeerRole::kCallee,
                           .channel = PeerChannel::kNew,
                           .relation = Relation::kSameDomain,
                           .worker = 1,
                           .functions = {5, 6}};
const Peer kCallersPeer = {.token = 9,
                           .role = PeerRole::kCaller,
                           .channel = PeerChannel::kNew,
                           .relation = Relation::kSameDomain,
                           .worker = 2,
                           .functions = {5, 6}};

std::vector<Introduction> EveryMessage() {
  return {Want{.token = 9, .function_id = 5},
          Want{.token = 9, .function_id = 5, .worker = WantedWorker::kAnother},
          kCalleesPeer,
          kCallersPeer,
          Peer{.token = 10,
               .role = PeerRole::kCaller,
               .channel = PeerChannel::kExisting,
               .relation = Relation::kOtherDomain,
               .worker = 3,
               .functions = {}},
          Refused{.token = 11, .call_class = CallClass::kUnavailable, .text = "it has ended"},
          Lost{.worker = 3}};
}

std::vector<std::byte> Encoded(const Introduction& message) {
  auto bytes = EncodeIntroduction(message);
  EXPECT_TRUE(bytes) << bytes.error().message;
  return bytes.value_or(std::vector<std::byte>{});
}

UniqueFd OwnPidfd() {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
}

class IntroductionTest : public testing::Test {
 protected:
  IntroductionTest() {
    auto pair = os::CreatePacketPair();
    ours_ = IntroductionSocket(std::move(pair->first));
    theirs_ = std::move(pair->second);
  }
  IntroductionSocket ours_;
  UniqueFd theirs_;
};

TEST_F(IntroductionTest, BringsBackEveryMessage) {
  for (const Introduction& message : EveryMessage()) {
    const auto back = DecodeIntroduction(Encoded(message));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, message);
  }
}

TEST_F(IntroductionTest, RefusesWhatEndsEarlyOrLate) {
  for (const Introduction& message : EveryMessage()) {
    auto bytes = Encoded(message);
    for (std::size_t length = 0; length < bytes.size(); ++length)
      EXPECT_FALSE(DecodeIntroduction(std::span(bytes).first(length))) << length;
    bytes.push_back(std::byte{0});
    EXPECT_FALSE(DecodeIntroduction(bytes));
  }
}

TEST_F(IntroductionTest, AnyChangedByteIsRefusedOrMeansWhatItSays) {
  for (const Introduction& message : EveryMessage()) {
    const auto bytes = Encoded(message);
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      for (const unsigned value : {0U, 1U, 2U, 3U, 0x7fU, 0xffU}) {
        auto changed = bytes;
        changed[at] = static_cast<std::byte>(value);
        if (const auto back = DecodeIntroduction(changed)) {
          EXPECT_EQ(Encoded(*back), changed);
        }
      }
    }
  }
}

TEST_F(IntroductionTest, RefusesWhatCannotBeMeant) {
  EXPECT_FALSE(EncodeIntroduction(Want{.token = 0}));
  EXPECT_FALSE(EncodeIntroduction(Refused{.token = 0}));
  Peer peer = kCalleesPeer;
  peer.channel = PeerChannel::kExisting;
  EXPECT_FALSE(EncodeIntroduction(peer)) << "a callee is told once";
  peer = kCallersPeer;
  peer.functions.assign(kMaxPeerFunctions, 7);
  EXPECT_TRUE(EncodeIntroduction(peer));
  peer.functions.push_back(7);
  EXPECT_FALSE(EncodeIntroduction(peer));
  for (const CallClass ran : {CallClass::kOutcomeUnknown, CallClass::kGuestError})
    EXPECT_FALSE(EncodeIntroduction(Refused{.token = 1, .call_class = ran}));
}

TEST_F(IntroductionTest, NamesBothVersionsWhenThePeerSpeaksAnother) {
  auto bytes = Encoded(Want{.token = 1});
  bytes[4] = std::byte{9};
  const auto back = DecodeIntroduction(bytes);
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().code, ErrorCode::kFailedPrecondition);
}

TEST_F(IntroductionTest, ANewChannelComesWithItsSocketAndThePeersPidfd) {
  const auto pair = os::CreatePacketPair();
  const UniqueFd pidfd = OwnPidfd();
  const IntroductionSocket cwasi(std::move(theirs_));
  ASSERT_TRUE(cwasi.Send(kCallersPeer, std::array{pair->first.Get(), pidfd.Get()}, Soon()));
  const auto got = ours_.Receive(Soon());
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->message, Introduction(kCallersPeer));
  EXPECT_TRUE(got->socket.IsOpen());
  EXPECT_TRUE(got->pidfd.IsOpen());
}

TEST_F(IntroductionTest, WrongDescriptorsAreAnErrorAndClosed) {
  const auto pair = os::CreatePacketPair();
  const UniqueFd pidfd = OwnPidfd();
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const std::size_t before = test::CountDescriptors();
  const auto bytes = Encoded(kCallersPeer);
  const std::vector<std::vector<int>> wrong = {{},
                                               {pair->first.Get()},
                                               {pair->first.Get(), pidfd.Get(), null.Get()},
                                               {null.Get(), pidfd.Get()}};
  for (const auto& fds : wrong) {
    ASSERT_TRUE(os::SendPacket(theirs_.Get(), bytes, fds, Soon()));
    const auto got = ours_.Receive(Soon());
    ASSERT_FALSE(got) << fds.size();
    EXPECT_EQ(got.error().code, ErrorCode::kInvalidArgument);
  }
  ASSERT_TRUE(os::SendPacket(theirs_.Get(), Encoded(Want{.token = 1}), {{null.Get()}}, Soon()));
  EXPECT_FALSE(ours_.Receive(Soon()));
  EXPECT_EQ(test::CountDescriptors(), before);
}

TEST_F(IntroductionTest, AVanishedPeerIsUnavailable) {
  theirs_.Reset();
  const auto got = ours_.Receive(Soon());
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, ErrorCode::kUnavailable);
}

TEST_F(IntroductionTest, TheExampleOnThePageIsWhatWeSend) {
  EXPECT_EQ(test::HexLinesOfPage("docs/protocols/introduction.md"),
            test::Hex(Encoded(Want{.token = 9, .function_id = 5})) + " " +
                test::Hex(Encoded(kCalleesPeer)) + " " + test::Hex(Encoded(kCallersPeer)) + " " +
                test::Hex(Encoded(Lost{.worker = 2})));
}

}  // namespace
}  // namespace cwasi::ipc
