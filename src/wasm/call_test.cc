// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/engine_fixture.h"
#include "wasm/engine.h"

namespace cwasi::wasm {
namespace {

using testing::HasSubstr;

class CallTest : public EngineTest {};

TEST_F(CallTest, CallsAnExportWithArgumentsAndResults) {
  std::int32_t sum = 0;
  EXPECT_TRUE(Returned(Call("add", kBinary, {40, 2}, &sum)));
  EXPECT_EQ(sum, 42);
}

TEST_F(CallTest, PassesEveryScalarTypeBothWays) {
  std::vector<Value> values(4);
  values[0].i32 = -1;
  values[1].i64 = std::int64_t{1} << 40;
  values[2].f32 = 1.5F;
  values[3].f64 = -2.25;
  EXPECT_TRUE(Returned(
      Call("mix", {.parameters = {kI32, kI64, kF32, kF64}, .results = {kF64, kI64, kI32, kF32}},
           values)));
  EXPECT_EQ(values[0].f64, -2.25);
  EXPECT_EQ(values[1].i64, std::int64_t{1} << 40);
  EXPECT_EQ(values[2].i32, -1);
  EXPECT_EQ(values[3].f32, 1.5F);
}

// Traps.

struct TrapCase {
  const char* name;
  FunctionType type;
  std::vector<std::int32_t> arguments;
  TrapKind kind;
  const char* says;
};

class TrapTest : public CallTest, public testing::WithParamInterface<TrapCase> {};

TEST_P(TrapTest, NamesKindAndReason) {
  std::vector<Value> values;
  for (const std::int32_t argument : GetParam().arguments) values.push_back(I32(argument));
  values.resize(std::max(values.size(), GetParam().type.results.size()));
  const Outcome outcome = Call(GetParam().name, GetParam().type, values);
  ASSERT_TRUE(Trapped(outcome, GetParam().kind));
  EXPECT_THAT(outcome.trap->message, HasSubstr(GetParam().says));
  ASSERT_FALSE(outcome.trap->frames.empty());
  EXPECT_LE(outcome.trap->frames.size(), 32U);
  EXPECT_GT(outcome.trap->frames[0].module_offset, 0U);
  // A trap leaves the instance usable; whether to use it is the caller's decision.
  std::int32_t sum = 0;
  EXPECT_TRUE(Returned(Call("add", kBinary, {1, 1}, &sum)));
  EXPECT_EQ(sum, 2);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, TrapTest,
    testing::Values(
        TrapCase{"crash", kAction, {}, TrapKind::kUnreachable, "unreachable"},
        TrapCase{"divide", kBinary, {1, 0}, TrapKind::kIntegerDivideByZero, "divide by zero"},
        TrapCase{"divide", kBinary, {INT32_MIN, -1}, TrapKind::kIntegerOverflow, "overflow"},
        TrapCase{"load", kUnary, {kPage - 3}, TrapKind::kMemoryOutOfBounds, "out of bounds"},
        TrapCase{"load", kUnary, {-1}, TrapKind::kMemoryOutOfBounds, "0xffffffff"},
        TrapCase{"fill",
                 {.parameters = {kI32, kI32}, .results = {}},
                 {kPage - 1, 2},
                 TrapKind::kMemoryOutOfBounds,
                 "out of bounds"},
        TrapCase{"recurse", kUnary, {0}, TrapKind::kStackOverflow, "stack"},
        TrapCase{"call_table", kUnary, {1}, TrapKind::kIndirectCall, "type mismatch"},
        TrapCase{"call_table", kUnary, {2}, TrapKind::kIndirectCall, "uninitialized"},
        TrapCase{"call_table", kUnary, {4}, TrapKind::kIndirectCall, "table"}),
    [](const auto& test) { return std::string(test.param.name) + std::to_string(test.index); });

TEST_F(CallTest, CallsAMatchingEntryOfATable) {
  std::int32_t result = 0;
  EXPECT_TRUE(Returned(Call("call_table", kUnary, {0}, &result)));
  EXPECT_EQ(result, 42);
}

TEST_F(CallTest, NamesFailedConversionsInTheReason) {
  std::vector<Value> values(1);
  values[0].f32 = 1e30F;
  const Outcome outcome = Call("truncate", {.parameters = {kF32}, .results = {kI32}}, values);
  ASSERT_EQ(outcome.kind, Outcome::Kind::kTrapped) << Describe(outcome);
  EXPECT_THAT(outcome.trap->message, HasSubstr("integer"));
}

std::vector<std::string> FunctionsOf(const Outcome& outcome) {
  std::vector<std::string> names;
  for (const Frame& frame : outcome.trap->frames) names.push_back(frame.function);
  return names;
}

TEST_F(CallTest, ListsFramesInnermostFirst) {
  const Outcome outcome = Call("crash_deep", kAction, {});
  ASSERT_TRUE(Trapped(outcome, TrapKind::kUnreachable));
  // The exported function has no name in its module.
  EXPECT_THAT(FunctionsOf(outcome),
              testing::ElementsAre("crash", "middle", testing::MatchesRegex("function.[0-9]+.")));
}

TEST_F(CallTest, DemanglesNamesOfCppAndRust) {
  Outcome outcome = Call("crash_cpp", kAction, {});
  ASSERT_TRUE(Trapped(outcome, TrapKind::kUnreachable));
  EXPECT_EQ(FunctionsOf(outcome).at(0), "app::crash(int)");
  outcome = Call("crash_rust", kAction, {});
  ASSERT_TRUE(Trapped(outcome, TrapKind::kUnreachable));
  ASSERT_EQ(outcome.trap->frames.size(), 3U);
  EXPECT_EQ(outcome.trap->frames[0].function, "app::crash");
  EXPECT_EQ(outcome.trap->frames[1].function, "app::main");
}

// Interrupts.

TEST_F(CallTest, InterruptFromAnotherThreadEndsAnEndlessLoop) {
  calls_->SetInterruptDeadline(1);
  std::atomic<bool> running = false;
  std::jthread other([this, &running] {
    running.wait(false);
    engine_->Interrupt();
  });
  running = true;
  running.notify_one();
  const Outcome outcome = Call("spin", kAction, {});
  ASSERT_TRUE(Trapped(outcome, TrapKind::kInterrupted));
}

TEST_F(CallTest, InterruptsCountFromTheSettingOfTheDeadline) {
  calls_->SetInterruptDeadline(3);
  engine_->Interrupt();
  engine_->Interrupt();
  EXPECT_TRUE(Returned(Call("nothing", kAction, {})));
  engine_->Interrupt();
  const Outcome outcome = Call("nothing", kAction, {});
  ASSERT_TRUE(Trapped(outcome, TrapKind::kInterrupted));
  calls_->SetInterruptDeadline(kNever);
  engine_->Interrupt();
  EXPECT_TRUE(Returned(Call("nothing", kAction, {})));
}

TEST_F(CallTest, ADeadlineOfNoTicksTrapsAtOnce) {
  calls_->SetInterruptDeadline(0);
  const Outcome outcome = Call("spin", kAction, {});
  ASSERT_TRUE(Trapped(outcome, TrapKind::kInterrupted));
}

TEST_F(CallTest, AHostFunctionCanExtendTheDeadlineOfItsGuest) {
  Guest guest;
  const auto module = LoadGuest(*engine_, "imports");
  const auto linked = Link(*module);
  const auto instance = Instantiate(*linked, &guest);
  instance->SetInterruptDeadline(1);
  guest.leave = [&](std::int32_t) {
    engine_->Interrupt();
    if (++guest.calls < 10) instance->SetInterruptDeadline(1);
    return HostAction::kReturn;
  };
  const Outcome outcome = instance->Call(Find(*instance, "leave_forever", kAction), {});
  ASSERT_TRUE(Trapped(outcome, TrapKind::kInterrupted));
  EXPECT_EQ(guest.calls, 10);
}

// A hazard of the engine's: compiled code reads the deadline on entry to each function.
TEST_F(CallTest, AFunctionThatIsRunningDoesNotNoticeAnEarlierDeadline) {
  Guest guest;
  const auto module = LoadGuest(*engine_, "imports");
  const auto linked = Link(*module);
  const auto instance = Instantiate(*linked, &guest);
  instance->SetInterruptDeadline(100);
  guest.leave = [&](std::int32_t) {
    instance->SetInterruptDeadline(0);
    return ++guest.calls < 10 ? HostAction::kReturn : HostAction::kUnwind;
  };
  const FunctionHandle leave_forever = Find(*instance, "leave_forever", kAction);
  const Outcome outcome = instance->Call(leave_forever, {});
  EXPECT_TRUE(Unwound(outcome));
  EXPECT_EQ(guest.calls, 10);
  const Outcome next = instance->Call(leave_forever, {});
  ASSERT_TRUE(Trapped(next, TrapKind::kInterrupted));
}

// Host functions.

class HostTest : public CallTest {
 protected:
  Outcome CallUnary(std::string_view name, std::int32_t argument, std::int32_t* result = nullptr) {
    Value value = I32(argument);
    Outcome outcome = instance_->Call(Find(*instance_, name, kUnary), {&value, 1});
    if (result != nullptr) *result = value.i32;
    return outcome;
  }

  Guest guest_;
  std::unique_ptr<Module> module_ = LoadGuest(*engine_, "imports");
  std::unique_ptr<LinkedModule> linked_ = Link(*module_);
  std::unique_ptr<Instance> instance_ = Instantiate(*linked_, &guest_);
};

TEST_F(HostTest, GetsTheGuestPointerOfItsInstance) {
  Guest other;
  const auto second = Instantiate(*linked_, &other);
  std::int32_t result = 0;
  EXPECT_TRUE(Returned(CallUnary("four_times", 5, &result)));
  EXPECT_EQ(result, 20);
  EXPECT_EQ(guest_.calls, 2);
  EXPECT_EQ(other.calls, 0);
}

TEST_F(HostTest, GetsAndGivesEveryScalarType) {
  std::vector<Value> values(4);
  values[0].i32 = 1;
  values[1].i64 = std::int64_t{1} << 50;
  values[2].f32 = 0.5F;
  values[3].f64 = 0.25;
  const FunctionType type{.parameters = {kI32, kI64, kF32, kF64}, .results = {kF64, kI64}};
  EXPECT_TRUE(Returned(instance_->Call(Find(*instance_, "mix", type), values)));
  EXPECT_EQ(values[0].f64, 1.75);
  EXPECT_EQ(values[1].i64, -(std::int64_t{1} << 50));
}

TEST_F(HostTest, UnwindIsNoTrap) {
  const Outcome outcome = CallUnary("leave", 0);
  EXPECT_TRUE(Unwound(outcome));
  // What comes after is judged anew.
  EXPECT_TRUE(Returned(CallUnary("twice", 1)));
  const Outcome crash = CallUnary("crash", 0);
  ASSERT_TRUE(Trapped(crash, TrapKind::kUnreachable));
}

TEST_F(HostTest, UnwindEndsTheInnermostCallOnly) {
  Outcome inner;
  guest_.enter = [&](std::int32_t) {
    inner = CallUnary("leave", 0);
    return 7;
  };
  std::int32_t result = 0;
  EXPECT_TRUE(Returned(CallUnary("enter", 0, &result)));
  EXPECT_EQ(result, 107);
  EXPECT_TRUE(Unwound(inner));
}

TEST_F(HostTest, UnwindInAnotherInstanceLeavesTheOuterOneAlone) {
  Guest other;
  const auto second = Instantiate(*linked_, &other);
  Outcome inner;
  guest_.enter = [&](std::int32_t) {
    Value value = I32(0);
    inner = second->Call(Find(*second, "leave", kUnary), {&value, 1});
    return 1;
  };
  std::int32_t result = 0;
  EXPECT_TRUE(Returned(CallUnary("enter", 0, &result)));
  EXPECT_EQ(result, 101);
  EXPECT_TRUE(Unwound(inner));
}

TEST_F(HostTest, UnwindAfterANestedTrapIsStillAnUnwind) {
  Outcome inner;
  guest_.leave = [&](std::int32_t) {
    inner = CallUnary("crash", 0);
    return HostAction::kUnwind;
  };
  const Outcome outer = CallUnary("leave", 0);
  ASSERT_TRUE(Trapped(inner, TrapKind::kUnreachable));
  EXPECT_TRUE(Unwound(outer));
}

TEST_F(HostTest, ANestedTrapEndsTheInnermostCallOnly) {
  Outcome inner;
  guest_.enter = [&](std::int32_t) {
    inner = CallUnary("crash", 0);
    return 1;
  };
  EXPECT_TRUE(Returned(CallUnary("enter", 0)));
  ASSERT_TRUE(Trapped(inner, TrapKind::kUnreachable));
}

TEST_F(HostTest, CallsThatNestWithoutEndOverflowTheStackAsATrap) {
  int depth = 0;
  Outcome innermost;
  guest_.enter = [&](std::int32_t) {
    ++depth;
    std::int32_t result = -1;
    Outcome outcome = CallUnary("enter", 0, &result);
    if (outcome.kind == Outcome::Kind::kTrapped && innermost.kind == Outcome::Kind::kReturned) {
      innermost = std::move(outcome);
    }
    return 0;
  };
  EXPECT_TRUE(Returned(CallUnary("enter", 0)));
  ASSERT_TRUE(Trapped(innermost, TrapKind::kStackOverflow));
  EXPECT_GT(depth, 64);
}

TEST_F(HostTest, EachInstanceGetsItsWholeStackOrNone) {
  // A new instance in each call, each recursing to its limit: the native stack has 8 MiB or less.
  std::vector<std::unique_ptr<Guest>> guests;
  std::vector<std::unique_ptr<Instance>> instances;
  bool refused = false;
  const std::function<std::int32_t(std::int32_t)> enter = [&](std::int32_t) {
    guests.push_back(std::make_unique<Guest>());
    guests.back()->enter = enter;
    auto started = linked_->Instantiate(guests.back().get(), kNever);
    if (!started) {
      EXPECT_EQ(started.error().error.code, ErrorCode::kResourceExhausted);
      refused = true;
      return 0;
    }
    instances.push_back(std::move(*started));
    Instance* const mine = instances.back().get();
    std::array<std::byte, 300000> used{};  // Stands for guests with large frames.
    used[0] = std::byte{1};
    Value value = I32(0);
    const Outcome outcome = mine->Call(Find(*mine, "enter", kUnary), {&value, 1});
    refused |= outcome.kind == Outcome::Kind::kTrapped;
    return static_cast<std::int32_t>(used[0]);
  };
  guest_.enter = enter;
  EXPECT_TRUE(Returned(CallUnary("enter", 0)));
  EXPECT_TRUE(refused);
}

TEST_F(CallTest, InstancesRunInSeveralThreadsAtOnce) {
  std::vector<std::jthread> threads;
  threads.reserve(4);
  std::atomic<int> sum = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this, &sum] {
      for (int round = 0; round < 50; ++round) {
        const auto instance = calls_linked_->Instantiate(nullptr, kNever);
        ASSERT_TRUE(instance);
        std::vector<Value> values = {I32(1), I32(0)};
        EXPECT_TRUE(Returned((*instance)->Call(Find(**instance, "add", kBinary), values)));
        sum += values[0].i32;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(sum, 200);
  EXPECT_EQ(factory_.Alive(), 1);
}

}  // namespace
}  // namespace cwasi::wasm
