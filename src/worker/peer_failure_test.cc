// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/peer_failure.h"

#include <gtest/gtest.h>

namespace cwasi::worker {
namespace {

CallError Travel(const CallError& error) {
  const std::string text = EncodeFailureText(error);
  const ipc::Record reply{.type = ipc::RecordType::kReply,
                          .status = error.call_class,
                          .guest_status = error.guest_status,
                          .may_have_run = error.may_have_run};
  return DecodeFailure(reply, std::as_bytes(std::span(text)));
}

TEST(PeerFailureTest, ArrivesAsItWas) {
  CallError error = LocalError(CallClass::kGuestError, true, "its handler returned 7");
  error.guest_status = 7;
  error.frames = "  at f\n  at g\n";
  const CallError arrived = Travel(error);
  EXPECT_EQ(arrived.call_class, CallClass::kGuestError);
  EXPECT_EQ(arrived.mode, CallMode::kLocal);
  EXPECT_TRUE(arrived.may_have_run);
  EXPECT_EQ(arrived.guest_status, 7);
  EXPECT_EQ(arrived.message, error.message);
  EXPECT_EQ(arrived.frames, error.frames);
}

TEST(PeerFailureTest, CutsWhatIsTooLongAndKeepsMessageAndFramesApart) {
  CallError error = LocalError(CallClass::kGuestTrap, true, std::string(100'000, 'm'));
  error.message[5] = '\0';
  error.frames = std::string(100'000, 'f');
  const CallError arrived = Travel(error);
  EXPECT_LT(arrived.message.size() + arrived.frames.size(), 16'385U);
  EXPECT_EQ(arrived.message[0], 'm');
  EXPECT_EQ(arrived.message.find('f'), std::string::npos);
  EXPECT_EQ(arrived.frames.find('m'), std::string::npos);
}

TEST(PeerFailureTest, TakesAPeersTextWithoutAMark) {
  const ipc::Record reply{.type = ipc::RecordType::kReply, .status = CallClass::kDenied};
  const std::string text = "no mark";
  EXPECT_EQ(DecodeFailure(reply, std::as_bytes(std::span(text))).message, "no mark");
  EXPECT_EQ(DecodeFailure(reply, {}).message, "");
}

}  // namespace
}  // namespace cwasi::worker
