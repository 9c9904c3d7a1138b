// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// An engine over mapped memories with an instance of test/testdata/calls.wat, and host functions
// for test/testdata/imports.wat.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "test/support/env_imports.h"
#include "test/support/files.h"
#include "test/support/mapped_memory.h"
#include "test/support/temp_dir.h"
#include "wasm/engine.h"

namespace cwasi::wasm {

using enum ValueType;

inline constexpr std::uint64_t kNever = UINT64_MAX;
inline constexpr std::size_t kPage = 65536;
inline const FunctionType kUnary{.parameters = {kI32}, .results = {kI32}};
inline const FunctionType kBinary{.parameters = {kI32, kI32}, .results = {kI32}};
inline const FunctionType kAction{};

inline Value I32(std::int32_t value) {
  Value result{};
  result.i32 = value;
  return result;
}

// What host functions of test/testdata/imports.wat act on; their `guest` pointer.
struct Guest {
  Instance* instance = nullptr;
  std::function<HostAction(std::int32_t)> leave = [](std::int32_t) { return HostAction::kUnwind; };
  std::function<std::int32_t(std::int32_t)> enter = [](std::int32_t) { return 0; };
  int calls = 0;
};

inline HostAction Twice(void* guest, Value* values) {
  ++static_cast<Guest*>(guest)->calls;
  values[0].i32 *= 2;
  return HostAction::kReturn;
}
inline HostAction Mix(void* /*guest*/, Value* values) {
  const double sum = values[0].i32 + static_cast<double>(values[2].f32) + values[3].f64;
  const std::int64_t wide = values[1].i64;
  values[0].f64 = sum;
  values[1].i64 = -wide;
  return HostAction::kReturn;
}
inline HostAction Leave(void* guest, Value* values) {
  return static_cast<Guest*>(guest)->leave(values[0].i32);
}
inline HostAction Enter(void* guest, Value* values) {
  values[0].i32 = static_cast<Guest*>(guest)->enter(values[0].i32);
  return HostAction::kReturn;
}

inline std::vector<HostImport> Imports() {
  return EnvImports({.twice = Twice, .mix = Mix, .leave = Leave, .enter = Enter});
}

inline std::string Describe(const Outcome& outcome) {
  if (outcome.kind == Outcome::Kind::kReturned) return "returned";
  if (outcome.kind == Outcome::Kind::kUnwound) return "unwound";
  std::string text = "trapped, kind " + std::to_string(static_cast<int>(outcome.trap->kind)) +
                     ": " + outcome.trap->message;
  for (const Frame& frame : outcome.trap->frames) text += "\n  " + frame.function;
  return text;
}

inline testing::AssertionResult Returned(const Outcome& outcome) {
  if (outcome.kind == Outcome::Kind::kReturned) return testing::AssertionSuccess();
  return testing::AssertionFailure() << Describe(outcome);
}

inline testing::AssertionResult Unwound(const Outcome& outcome) {
  if (outcome.kind == Outcome::Kind::kUnwound && outcome.trap == nullptr) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << Describe(outcome);
}

// With `kind` and a reason of one line.
inline testing::AssertionResult Trapped(const Outcome& outcome, TrapKind kind) {
  if (outcome.kind == Outcome::Kind::kTrapped && outcome.trap->kind == kind &&
      !outcome.trap->message.empty() && outcome.trap->message.find('\n') == std::string::npos) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << Describe(outcome);
}

inline FunctionHandle Find(Instance& instance, std::string_view name, const FunctionType& type) {
  return instance.FindFunction(name, type).value();
}

class EngineTest : public testing::Test {
 protected:
  static std::unique_ptr<Engine> MakeEngine(LinearMemoryFactory* factory,
                                            const EngineOptions& options = {}) {
    auto engine = CreateEngine(options, factory);
    EXPECT_TRUE(engine) << engine.error().message;
    return std::move(*engine);
  }

  Result<std::unique_ptr<Module>> LoadBytes(Engine& engine, std::span<const std::byte> compiled) {
    const auto path = dir_.Path() / (std::to_string(++files_) + ".cwasm");
    test::WriteFile(path, compiled);
    return engine.Load(path);
  }
  std::unique_ptr<Module> LoadGuest(Engine& engine, std::string_view name) {
    const auto compiled = engine.Compile(test::ReadFile(test::GuestPath(name)), name);
    EXPECT_TRUE(compiled) << compiled.error().message;
    auto module = LoadBytes(engine, *compiled);
    EXPECT_TRUE(module) << module.error().message;
    return std::move(*module);
  }
  static std::unique_ptr<LinkedModule> Link(Module& module) {
    auto linked = module.Link(Imports());
    EXPECT_TRUE(linked) << linked.error().message;
    return std::move(*linked);
  }
  static std::unique_ptr<Instance> Instantiate(LinkedModule& linked, Guest* guest = nullptr) {
    auto instance = linked.Instantiate(guest, kNever);
    EXPECT_TRUE(instance) << instance.error().error.message;
    if (guest != nullptr) guest->instance = instance->get();
    return std::move(*instance);
  }
  // Calls an export of this fixture's instance of `calls`; `values` come and go as they do.
  Outcome Call(std::string_view name, const FunctionType& type, std::vector<Value>& values) {
    return calls_->Call(Find(*calls_, name, type), values);
  }
  Outcome Call(std::string_view name, const FunctionType& type,
               std::initializer_list<std::int32_t> arguments, std::int32_t* result = nullptr) {
    std::vector<Value> values;
    for (const std::int32_t argument : arguments) values.push_back(I32(argument));
    values.resize(std::max(values.size(), type.results.size()));
    Outcome outcome = Call(name, type, values);
    if (result != nullptr) *result = values.at(0).i32;
    return outcome;
  }

  test::TempDir dir_;
  int files_ = 0;
  test::MappedMemoryFactory factory_;
  std::unique_ptr<Engine> engine_ = MakeEngine(&factory_);
  std::unique_ptr<Module> calls_module_ = LoadGuest(*engine_, "calls");
  std::unique_ptr<LinkedModule> calls_linked_ = Link(*calls_module_);
  std::unique_ptr<Instance> calls_ = Instantiate(*calls_linked_);
};

}  // namespace cwasi::wasm
