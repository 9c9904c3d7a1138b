// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Guests that are broken or attack: each gets the class of error that docs/protocols/guest-abi.md
// promises, and the worker and every other function go on as if nothing had happened.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>

#include <gtest/gtest.h>

#include "test/support/proc_self.h"
#include "test/support/worker_fixture.h"
#include "worker/worker.h"

namespace cwasi::worker {
namespace {

using namespace std::chrono_literals;
using test::Allocator;
using test::Given;
using test::Op;
using test::Scratch;
using test::Script;

constexpr std::uint32_t kMove = 1;
constexpr std::uint32_t kMiB = 1U << 20U;
constexpr std::uint32_t kInvalid = static_cast<std::uint32_t>(CallClass::kInvalid);

std::uint32_t Status(CallClass c) {
  return static_cast<std::uint32_t>(c);
}

class HostileGuestTest : public testing::TestWithParam<buf::MovePolicy> {
 protected:
  void TearDown() override {
    // Whatever happened, another function still answers, with the right bytes.
    const auto body = test::Pattern(5 * kMiB + 1, 11);
    const auto reply = harness_.Invoke(echo_, body);
    ASSERT_TRUE(reply) << Describe(reply.error());
    ASSERT_EQ(reply->payload.Size(), body.size());
    EXPECT_TRUE(std::equal(body.begin(), body.end(), reply->payload.Bytes().begin()));
  }
  CallError Fails(std::uint32_t function, const Script& script,
                  std::chrono::nanoseconds timeout = 60s) {
    auto reply = harness_.Invoke(function, script.Bytes(), timeout);
    EXPECT_FALSE(reply);
    return reply ? CallError{} : reply.error();
  }
  // Calls `inner` in function "victim" from the script function; gives the status.
  test::Steps CallWith(const Script& inner) {
    Script s;
    const auto victim = s.AddFind("victim");
    const auto bytes = inner.Bytes();
    s.AddText(4000, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    status_ = s.AddCall(Given(victim), Scratch(4000), static_cast<std::uint32_t>(bytes.size()), 0,
                        1000, 2000, 64);
    flags_ = s.Add(Op::kLoad, {Scratch(1012)});
    guest_status_ = s.Add(Op::kLoad, {Scratch(1016)});
    return harness_.Run(script_, s);
  }

  test::WorkerHarness harness_{GetParam()};
  std::uint32_t script_ = harness_.Load("script", "script");
  std::uint32_t victim_ = harness_.Load("script", "victim");
  std::uint32_t echo_ = harness_.Load("echo", "echo");
  std::uint32_t status_ = 0;
  std::uint32_t flags_ = 0;
  std::uint32_t guest_status_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Policy, HostileGuestTest,
                         testing::Values(buf::MovePolicy::kAuto, buf::MovePolicy::kCopyAll),
                         [](const auto& policy) {
                           return policy.param == buf::MovePolicy::kAuto ? "Moved" : "Copied";
                         });

// ---- numbers that no honest guest passes ----

TEST_P(HostileGuestTest, PointersAndLengthsOutsideMemoryAreInvalid) {
  Script s;
  const auto echo = s.AddFind("echo");
  std::vector<std::uint32_t> wrong;
  const auto expect_invalid = [&](std::uint32_t step) { wrong.push_back(step); };
  for (const std::uint32_t bad : {0xffffffffU, 0xfffffff0U, 0x7fffffffU, 0x80000000U}) {
    expect_invalid(s.Add(Op::kFind, {bad, 4U, Scratch(0)}));
    expect_invalid(s.Add(Op::kFind, {Scratch(0), 4U, bad}));
    expect_invalid(s.Add(Op::kFind, {Scratch(0), bad, Scratch(0)}));
    expect_invalid(s.AddCall(Given(echo), bad, 8U, 0, 1000, 2000, 8));
    expect_invalid(s.AddCall(Given(echo), Scratch(0), bad, 0, 1000, 2000, 8));
    expect_invalid(s.AddCall(Given(echo), bad, 8U, kMove, 1000, 2000, 8));
    expect_invalid(s.AddCall(Given(echo), Scratch(0), 8U, 0, 1000, 2000, bad));
    expect_invalid(s.Add(Op::kCall, {Given(echo), Scratch(0), 8U, 0U, bad}));
    expect_invalid(s.Add(Op::kNew, {100U, bad}));
    expect_invalid(s.Add(Op::kFree, {bad}));
    expect_invalid(s.Add(Op::kRetain, {bad}));
    expect_invalid(s.Add(Op::kRespond, {bad, 8U, 0U}));
    expect_invalid(s.Add(Op::kRespond, {Scratch(0), bad, 0U}));
    expect_invalid(s.Add(Op::kRespond, {bad, 8U, kMove}));
    expect_invalid(s.Add(Op::kPartTake, {1U, bad}));
    expect_invalid(s.Add(Op::kMetadata, {bad, 4U, Scratch(0), 4U, Scratch(8)}));
    expect_invalid(s.Add(Op::kMetadata, {Scratch(0), bad, Scratch(0), 4U, Scratch(8)}));
    expect_invalid(s.Add(Op::kMetadata, {Scratch(0), 4U, bad, 4U, Scratch(8)}));
    expect_invalid(s.Add(Op::kMetadata, {Scratch(0), 4U, Scratch(0), bad, Scratch(8)}));
    expect_invalid(s.Add(Op::kMetadata, {Scratch(0), 4U, Scratch(0), 4U, bad}));
  }
  for (const std::uint32_t unaligned : {1U, 2U, 3U}) {
    expect_invalid(s.Add(Op::kNew, {100U, Scratch(unaligned)}));
    expect_invalid(s.Add(Op::kCall, {Given(echo), Scratch(0), 8U, 0U, Scratch(1000 + unaligned)}));
  }
  for (const std::uint32_t flag : {4U, 8U, 0x80000000U}) {
    expect_invalid(s.AddCall(Given(echo), Scratch(0), 8U, flag, 1000, 2000, 8));
    expect_invalid(s.Add(Op::kRespond, {Scratch(0), 8U, flag}));
  }
  expect_invalid(s.Add(Op::kRespond, {Scratch(0), 8U, 2U}));
  const auto r = harness_.Run(script_, s);
  for (const auto step : wrong) EXPECT_EQ(r[step], kInvalid) << "step " << step;
}

TEST_P(HostileGuestTest, BuffersThatAreNotOnesOwnAreInvalid) {
  Script theirs;
  const auto their_buffer = theirs.AddNew(30 * kMiB);
  const auto address = harness_.Run(victim_, theirs)[their_buffer];
  ASSERT_NE(address, 0U);
  Script s;
  const auto mine = s.AddNew(3 * kMiB);
  const auto freed = s.Add(Op::kFree, {address + 20 * kMiB});
  const auto inside = s.Add(Op::kFree, {Given(mine)});
  const auto twice = s.Add(Op::kFree, {Given(mine)});
  const auto given = s.Add(Op::kRespond, {address + 20 * kMiB, 5U, kMove});
  const auto r = harness_.Run(script_, s);
  EXPECT_EQ(r[freed], kInvalid);
  EXPECT_EQ(r[inside], 0U);
  EXPECT_EQ(r[twice], kInvalid);
  EXPECT_EQ(r[given], kInvalid);
}

TEST_P(HostileGuestTest, RespondingTwiceIsInvalidAndTheFirstCounts) {
  Script s;
  s.Add(Op::kStore, {Scratch(0), 0x1234U});
  s.Add(Op::kRespond, {Scratch(0), 4U, 0U});
  s.Add(Op::kRespond, {Scratch(0), 8U, 0U});  // And the guest's own at the end.
  const auto reply = harness_.Invoke(script_, s.Bytes());
  ASSERT_TRUE(reply) << Describe(reply.error());
  ASSERT_EQ(reply->payload.Size(), 4U);
  EXPECT_EQ(reply->payload.Bytes()[0], std::byte{0x34});
}

TEST_P(HostileGuestTest, NoReplyAtAllIsAnEmptyOne) {
  Script s;
  s.Add(Op::kReturn, {0U});
  const auto reply = harness_.Invoke(script_, s.Bytes());
  ASSERT_TRUE(reply) << Describe(reply.error());
  EXPECT_EQ(reply->payload.Size(), 0U);
}

TEST_P(HostileGuestTest, PayloadsOverTheLimitAreRefusedAndOneOfAGibibyteIsNot) {
  Script s;
  const auto over = s.Add(Op::kNew, {(1U << 30U) + 1, Scratch(0)});
  const auto most = s.Add(Op::kNew, {0xffffffffU, Scratch(0)});
  const auto none = s.Add(Op::kNew, {0U, Scratch(0)});
  const auto exact = s.AddNew(1U << 30U);
  s.Add(Op::kStore, {Given(exact), 77U});
  const auto first = s.Add(Op::kLoad, {Given(exact)});
  const auto freed = s.Add(Op::kFree, {Given(exact)});
  const auto r = harness_.Run(script_, s);
  EXPECT_EQ(r[over], Status(CallClass::kTooLarge));
  EXPECT_EQ(r[most], Status(CallClass::kTooLarge));
  EXPECT_EQ(r[none], kInvalid);
  ASSERT_NE(r[exact], 0U);
  EXPECT_EQ(r[first], 77U);
  EXPECT_EQ(r[freed], 0U);
}

// ---- guests that end badly ----

TEST_P(HostileGuestTest, ATrapIsReportedWithItsReasonAndNamedFrames) {
  Script s;
  s.Add(Op::kTrap);
  const auto error = Fails(script_, s);
  EXPECT_EQ(error.call_class, CallClass::kGuestTrap);
  EXPECT_EQ(error.mode, CallMode::kEmbedded);
  EXPECT_TRUE(error.may_have_run);
  EXPECT_NE(error.message.find("unreachable"), std::string::npos) << error.message;
  EXPECT_NE(error.frames.find("cwasi_handle"), std::string::npos) << error.frames;
  Script count;
  const auto step = count.Add(Op::kCount);
  EXPECT_EQ(harness_.Run(script_, count)[step], 1U) << "a trapped instance is not used again";
}

TEST_P(HostileGuestTest, ACallersViewOfEachBadEnd) {
  struct Case {
    Op op;
    std::uint32_t argument;
    CallClass expected;
    std::uint32_t guest_status;
  };
  for (const Case& c :
       {Case{Op::kTrap, 0, CallClass::kGuestTrap, 0}, Case{Op::kExit, 3, CallClass::kGuestError, 3},
        Case{Op::kExit, 0, CallClass::kGuestError, 0},
        Case{Op::kExit, 255, CallClass::kGuestError, 255},
        Case{Op::kReturn, 42, CallClass::kGuestError, 42},
        Case{Op::kRecurse, 0, CallClass::kGuestTrap, 0}}) {
    Script inner;
    inner.Add(c.op, {c.argument});
    const auto r = CallWith(inner);
    EXPECT_EQ(r[status_], Status(c.expected)) << static_cast<int>(c.op);
    EXPECT_EQ(r[guest_status_], c.guest_status) << static_cast<int>(c.op);
    EXPECT_EQ(r[flags_] >> 16U, 1U) << "it has run";
  }
}

TEST_P(HostileGuestTest, AnEndlessLoopTimesOutAndItsCallerGoesOn) {
  FunctionSpec quick;
  quick.timeout = 30ms;
  harness_.Load("script", "quick", quick);
  Script inner;
  inner.Add(Op::kLoop);
  Script s;
  const auto quick_id = s.AddFind("quick");
  const auto bytes = inner.Bytes();
  s.AddText(4000, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  const auto status = s.AddCall(Given(quick_id), Scratch(4000),
                                static_cast<std::uint32_t>(bytes.size()), 0, 1000, 2000, 64);
  // The caller runs on: loops, for many interrupts' time, and calls again.
  std::uint32_t filled = 0;
  for (int i = 0; i < 450; ++i) filled = s.Add(Op::kFill, {Scratch(10'000), 40'000U, 1U});
  const auto left = s.Add(Op::kDeadline);
  const auto again = s.AddCall(Given(quick_id), Scratch(4000),
                               static_cast<std::uint32_t>(bytes.size()), 0, 1000, 2000, 64);
  const auto r = harness_.Run(script_, s);
  EXPECT_EQ(r[status], Status(CallClass::kTimeout));
  EXPECT_EQ(r[filled], 0U);
  EXPECT_GT(r[left], 1000U);
  EXPECT_EQ(r[again], Status(CallClass::kTimeout));
}

TEST_P(HostileGuestTest, TheWorkflowsTimeoutEndsNestedCallsToo) {
  Script loop;
  loop.Add(Op::kLoop);
  const auto bytes = loop.Bytes();
  Script s;
  const auto victim = s.AddFind("victim");
  s.AddText(4000, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  s.AddCall(Given(victim), Scratch(4000), static_cast<std::uint32_t>(bytes.size()), 0, 1000, 2000,
            64);
  s.Add(Op::kLoop);
  const MonotonicNs start = Now();
  const auto error = Fails(script_, s, 40ms);
  EXPECT_EQ(error.call_class, CallClass::kTimeout);
  EXPECT_GE(Now() - start, 40'000'000);
}

TEST_P(HostileGuestTest, EndlessRecursionBetweenInstancesIsBounded) {
  worker::RunOnGuestThread([&] {
    // A script that calls itself with itself: the inner one lies behind the outer's text.
    Script s;
    const auto self = s.AddFind("script");
    const auto request = s.Add(Op::kRequest, {0U});
    const auto length = s.Add(Op::kRequest, {1U});
    const auto status = s.AddCall(Given(self), Given(request), Given(length), 0, 1000, 2000, 8);
    const auto r = harness_.Run(script_, s);
    EXPECT_EQ(r[status], 0U) << "the innermost call is refused, and all others end well";
    const auto& edge = harness_.Get().Edges().Of({"script", "script"});
    EXPECT_EQ(edge.calls, kMaxCallDepth - 1);
  });
}

TEST_P(HostileGuestTest, GrowingForEverStopsAtTheLimit) {
  FunctionSpec spec;
  spec.memory_limit_bytes = 64 * kMiB;
  const auto limited = harness_.Load("script", "limited", spec);
  Script s;
  const auto pages = s.Add(Op::kGrowForEver);
  const auto r = harness_.Run(limited, s);
  EXPECT_GT(r[pages], 0U);
  EXPECT_LE(r[pages] * 65536ULL, 64ULL * kMiB);
}

TEST_P(HostileGuestTest, AFreeOfTheGuestsOwnHarmsNobodyElse) {
  Script s;
  const auto buffer = s.AddNew(5 * kMiB);
  s.Add(Op::kFill, {Given(buffer), 5 * kMiB, 1U});
  s.Add(Op::kOwnFree, {Given(buffer)});
  for (int i = 0; i < 20; ++i) {
    const auto block = s.Add(Op::kMalloc, {300'000U});
    s.Add(Op::kFill, {Given(block), 300'000U, 3U});
  }
  s.Add(Op::kFree, {Given(buffer)});
  // The guest may trap, return nonsense or even be fine; TearDown looks at the others.
  const auto reply = harness_.Invoke(script_, s.Bytes());
  if (!reply) {
    EXPECT_EQ(reply.error().call_class, CallClass::kGuestTrap) << Describe(reply.error());
  }
  Script count;
  const auto step = count.Add(Op::kCount);
  EXPECT_EQ(harness_.Run(victim_, count)[step], 1U);
}

// ---- allocators that misbehave ----

class HostileAllocatorTest : public HostileGuestTest {
 protected:
  // The victim's allocator turns bad; then it is sent 5 MiB, moved, by the script function.
  void Send(Allocator allocator) {
    Script prepare;
    const auto live = prepare.AddNew(3 * kMiB);
    prepare.Add(Op::kFill, {Given(live), 3 * kMiB, 6U});
    prepare.Add(Op::kAllocator, {static_cast<std::uint32_t>(allocator)});
    const auto prepared = harness_.Run(victim_, prepare);
    live_ = prepared[live];
    Script s;
    const auto victim = s.AddFind("victim");
    const auto buffer = s.AddNew(40 * kMiB);
    s.Add(Op::kFill, {Given(buffer), 4096U, 2U});
    const auto status = s.AddCall(Given(victim), Given(buffer), 40 * kMiB, kMove, 1000, 2000, 64);
    const auto flags = s.Add(Op::kLoad, {Scratch(1012)});
    const auto still = s.Add(Op::kCheck, {Given(buffer), 4096U, 2U});
    const auto freed = s.Add(Op::kFree, {Given(buffer)});
    const auto r = harness_.Run(script_, s);
    class_ = static_cast<CallClass>(r[status]);
    may_have_run_ = r[flags] >> 16U != 0;
    if (!may_have_run_) {
      EXPECT_EQ(r[still], 1U) << "the payload is lost";
    }
    EXPECT_EQ(r[freed], may_have_run_ ? kInvalid : 0U)
        << "the buffer is the caller's if and only if the callee cannot have run";
  }
  // The victim's instance is still there and its live buffer unharmed.
  void ExpectVictimIntact() {
    Script s;
    s.Add(Op::kAllocator, {0U});
    const auto same = s.Add(Op::kCheck, {live_, 3 * kMiB, 6U});
    EXPECT_EQ(harness_.Run(victim_, s)[same], 1U);
  }
  std::uint32_t live_ = 0;
  CallClass class_ = CallClass::kInternal;
  bool may_have_run_ = false;
};
INSTANTIATE_TEST_SUITE_P(Policy, HostileAllocatorTest,
                         testing::Values(buf::MovePolicy::kAuto, buf::MovePolicy::kCopyAll),
                         [](const auto& policy) {
                           return policy.param == buf::MovePolicy::kAuto ? "Moved" : "Copied";
                         });

TEST_P(HostileAllocatorTest, WrongPlacesAreInvalidAndTouchNothing) {
  for (const Allocator a : {Allocator::kUnaligned, Allocator::kOutside, Allocator::kStack,
                            Allocator::kLive, Allocator::kPartlyOutside}) {
    Send(a);
    EXPECT_EQ(class_, CallClass::kInvalid) << static_cast<int>(a);
    EXPECT_FALSE(may_have_run_) << static_cast<int>(a);
    ExpectVictimIntact();
  }
}

TEST_P(HostileAllocatorTest, NoMemoryIsOutOfMemory) {
  Send(Allocator::kNull);
  EXPECT_EQ(class_, CallClass::kOutOfMemory);
  EXPECT_FALSE(may_have_run_);
  ExpectVictimIntact();
}

TEST_P(HostileAllocatorTest, ATrapOrExitInItEndsTheInstance) {
  Send(Allocator::kTrap);
  EXPECT_EQ(class_, CallClass::kGuestTrap);
  EXPECT_TRUE(may_have_run_);
  Send(Allocator::kExit);
  EXPECT_EQ(class_, CallClass::kGuestError);
  EXPECT_TRUE(may_have_run_);
}

TEST_P(HostileAllocatorTest, AnEndlessLoopInItTimesOut) {
  FunctionSpec quick;
  quick.timeout = 30ms;
  const auto id = harness_.Load("script", "quick", quick);
  Script prepare;
  prepare.Add(Op::kAllocator, {static_cast<std::uint32_t>(Allocator::kLoop)});
  harness_.Run(id, prepare);
  auto error = harness_.Invoke(id, std::vector<std::byte>(9 * kMiB));
  ASSERT_FALSE(error);
  EXPECT_EQ(error.error().call_class, CallClass::kTimeout);
}

TEST_P(HostileAllocatorTest, CallingBackFromItIsRefused) {
  Send(Allocator::kCallsBack);
  // The request arrives, and is no script: 40 MiB of steps are too many.
  EXPECT_EQ(class_, CallClass::kGuestError);
  Script s;
  const auto called_back = s.Add(Op::kAllocator, {0U});
  EXPECT_EQ(harness_.Run(victim_, s)[called_back], kInvalid * 11111U);
}

TEST_P(HostileAllocatorTest, ACallerWhoseAllocatorTrapsOnTheReplyEnds) {
  Script s;
  const auto echo = s.AddFind("echo");
  const auto buffer = s.AddNew(5 * kMiB);
  s.Add(Op::kAllocator, {static_cast<std::uint32_t>(Allocator::kTrap)});
  // The reply needs a window; the request's own is free by then, so a second buffer takes its
  // place.
  s.Add(Op::kNew, {5 * kMiB, Scratch(0)});
  s.AddCall(Given(echo), Given(buffer), 5 * kMiB, kMove, 1000, 2000, 0);
  s.Add(Op::kCount);
  const auto error = Fails(script_, s);
  EXPECT_EQ(error.call_class, CallClass::kGuestTrap);
  EXPECT_NE(error.frames.find("cabi_realloc"), std::string::npos) << error.frames;
}

// ---- modules that are no functions ----

TEST_P(HostileGuestTest, ModulesThatAreNoFunctionsAreRefusedWithTheReason) {
  const auto no_handler = harness_.TryLoad("calls", {.name = "x"});
  ASSERT_FALSE(no_handler);
  EXPECT_EQ(no_handler.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(no_handler.error().message.find("cwasi_handle(i32, i32) -> i32"), std::string::npos)
      << no_handler.error().message;
  const auto twice = harness_.TryLoad("echo", {.name = "echo"});
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().code, ErrorCode::kAlreadyExists);
}

TEST_P(HostileGuestTest, AStartThatTrapsOrSpinsIsFoundAtLoad) {
  const auto traps = harness_.TryLoad("handler_start_traps", {.name = "traps"});
  ASSERT_FALSE(traps);
  EXPECT_EQ(traps.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_NE(traps.error().message.find("guest_trap"), std::string::npos) << traps.error().message;
  const auto spins = harness_.TryLoad("handler_start_spins", {.name = "spins", .timeout = 30ms});
  ASSERT_FALSE(spins);
  EXPECT_NE(spins.error().message.find("timeout"), std::string::npos) << spins.error().message;
}

TEST_P(HostileGuestTest, AFunctionWithoutAnAllocatorGetsNoPayloads) {
  const auto bare = harness_.Load("handler_bare", "bare");
  const auto empty = harness_.Invoke(bare, {});
  ASSERT_TRUE(empty) << Describe(empty.error());
  const auto some = harness_.Invoke(bare, std::vector<std::byte>(10));
  ASSERT_FALSE(some);
  EXPECT_EQ(some.error().call_class, CallClass::kInvalid);
  EXPECT_FALSE(some.error().may_have_run);
}

// ---- bulk operations do not look at the time ----

TEST(OverrunDeathTest, AGuestInABulkOperationIsEndedWithItsWorker) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        test::WorkerHarness harness;
        FunctionSpec spec;
        spec.memory_limit_bytes = std::size_t{4} << 30;
        const auto id = harness.Load("script", "bulk", spec);
        Script s;
        s.Add(Op::kGrow, {60'000U});
        for (int i = 0; i < 100; ++i) s.Add(Op::kBulkFill, {std::uint32_t{4} * kMiB, 3700 * kMiB});
        harness.Invoke(id, s.Bytes(), 50ms).has_value();
      },
      testing::ExitedWithCode(kOverrunExitCode), "did not stop at its deadline");
}

}  // namespace
}  // namespace cwasi::worker
