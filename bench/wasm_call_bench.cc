// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What the engine costs around a guest: a call in, a call out, a fresh instance, loading,
// unwinding. build/bin/wasm_call_bench --benchmark_repetitions=10; guests from test/testdata.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "base/check.h"
#include "test/support/env_imports.h"
#include "test/support/files.h"
#include "test/support/mapped_memory.h"
#include "test/support/temp_dir.h"
#include "wasm/engine.h"

namespace cwasi::wasm {
namespace {

using enum ValueType;

constexpr std::uint64_t kNever = UINT64_MAX;
constexpr std::int32_t kCallsOut = 1000;

HostAction Twice(void* /*guest*/, Value* values) {
  values[0].i32 *= 2;
  return HostAction::kReturn;
}
HostAction Mix(void* /*guest*/, Value* /*values*/) {
  return HostAction::kReturn;
}
HostAction Leave(void* /*guest*/, Value* /*values*/) {
  return HostAction::kUnwind;
}

// Gives the same mapping again and again, cleared: what a pool of memories leaves of an instance's
// price. For one instance at a time.
class RecyclingFactory final : public LinearMemoryFactory {
 public:
  class Lent final : public LinearMemory {
   public:
    explicit Lent(LinearMemory& memory) : memory_(memory) {}
    [[nodiscard]] std::byte* Base() const override { return memory_.Base(); }
    [[nodiscard]] std::size_t SizeBytes() const override { return memory_.SizeBytes(); }
    Result<> Grow(std::size_t new_size_bytes) override { return memory_.Grow(new_size_bytes); }

   private:
    LinearMemory& memory_;
  };
  Result<std::unique_ptr<LinearMemory>> Create(void* guest, std::size_t initial_bytes,
                                               std::size_t maximum_bytes,
                                               std::size_t reserved_bytes,
                                               std::size_t guard_bytes) override {
    if (!memory_) {
      TRY_SET(memory_,
              mapped_.Create(guest, initial_bytes, maximum_bytes, reserved_bytes, guard_bytes));
    }
    std::memset(memory_->Base(), 0, initial_bytes);
    return std::make_unique<Lent>(*memory_);
  }

 private:
  test::MappedMemoryFactory mapped_;
  std::unique_ptr<LinearMemory> memory_;
};

// Everything a benchmark needs; a failure in it is a broken build.
struct Setup {
  Setup() {
    for (const char* name : {"calls", "imports"}) {
      auto compiled = engine->Compile(test::ReadFile(test::GuestPath(name)), name);
      CHECK(compiled);
      test::WriteFile(File(name), *compiled);
    }
    calls = Link("calls");
    imports = Link("imports");
  }
  [[nodiscard]] std::filesystem::path File(const std::string& name) const {
    return dir.Path() / (name + ".cwasm");
  }
  std::unique_ptr<LinkedModule> Link(const std::string& name) {
    auto module = engine->Load(File(name));
    CHECK(module);
    auto linked = (*module)->Link(Imports());
    CHECK(linked);
    modules.push_back(std::move(*module));
    return std::move(*linked);
  }
  static std::vector<HostImport> Imports() {
    return EnvImports({.twice = Twice, .mix = Mix, .leave = Leave, .enter = Twice});
  }

  test::TempDir dir;
  test::MappedMemoryFactory factory;
  std::unique_ptr<Engine> engine = std::move(*CreateEngine({}, &factory));
  std::vector<std::unique_ptr<Module>> modules;
  std::unique_ptr<LinkedModule> calls;
  std::unique_ptr<LinkedModule> imports;
};

Setup& Shared() {
  static Setup setup;
  return setup;
}

const FunctionType kUnary{.parameters = {kI32}, .results = {kI32}};

void BM_CallIn(benchmark::State& state) {
  const auto instance = std::move(*Shared().calls->Instantiate(nullptr, kNever));
  const auto add = instance->FindFunction("add", {.parameters = {kI32, kI32}, .results = {kI32}});
  CHECK(add);
  Value values[2] = {};
  for (auto _ : state) {
    values[0].i32 = 40;
    values[1].i32 = 2;
    CHECK(instance->Call(*add, values).kind == Outcome::Kind::kReturned);
    CHECK(values[0].i32 == 42);
  }
}
BENCHMARK(BM_CallIn);

// The guest calls out a thousand times in one call in: time per call out.
void BM_CallOut(benchmark::State& state) {
  const auto instance = std::move(*Shared().imports->Instantiate(nullptr, kNever));
  const auto loop = instance->FindFunction("loop_calls", kUnary);
  CHECK(loop);
  for (auto _ : state) {
    Value value{};
    value.i32 = kCallsOut;
    CHECK(instance->Call(*loop, {&value, 1}).kind == Outcome::Kind::kReturned);
    CHECK(value.i32 == kCallsOut * (kCallsOut + 1));
  }
  state.counters["per_call_out"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * kCallsOut,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_CallOut);

// Store, memory and instance, and all of it taken down again.
void BM_FreshInstance(benchmark::State& state) {
  for (auto _ : state) {
    const auto instance = std::move(*Shared().calls->Instantiate(nullptr, kNever));
    benchmark::DoNotOptimize(instance.get());
  }
}
BENCHMARK(BM_FreshInstance);

void BM_FreshInstanceRecycledMemory(benchmark::State& state) {
  RecyclingFactory factory;
  const auto engine = std::move(*CreateEngine({}, &factory));
  const auto module = std::move(*engine->Load(Shared().File("calls")));
  const auto linked = std::move(*module->Link({}));
  for (auto _ : state) {
    const auto instance = std::move(*linked->Instantiate(nullptr, kNever));
    benchmark::DoNotOptimize(instance.get());
  }
}
BENCHMARK(BM_FreshInstanceRecycledMemory);

void BM_FreshInstanceAndCall(benchmark::State& state) {
  for (auto _ : state) {
    const auto instance = std::move(*Shared().calls->Instantiate(nullptr, kNever));
    const auto nothing = instance->FindFunction("nothing", {});
    CHECK(instance->Call(*nothing, {}).kind == Outcome::Kind::kReturned);
  }
}
BENCHMARK(BM_FreshInstanceAndCall);

// The same mappings without an engine: how much of a fresh instance is the kernel's.
void BM_MappedMemoryAlone(benchmark::State& state) {
  for (auto _ : state) {
    const auto memory = std::move(
        *Shared().factory.Create(nullptr, 65536, SIZE_MAX, std::size_t{4} << 30, 32 << 20));
    memory->Base()[16] = std::byte{1};  // The data segment's page.
    benchmark::DoNotOptimize(memory.get());
  }
}
BENCHMARK(BM_MappedMemoryAlone);

void BM_Load(benchmark::State& state) {
  for (auto _ : state) {
    const auto module = Shared().engine->Load(Shared().File("calls"));
    CHECK(module);
  }
}
BENCHMARK(BM_Load);

void BM_Unwind(benchmark::State& state) {
  const auto instance = std::move(*Shared().imports->Instantiate(nullptr, kNever));
  const auto leave = instance->FindFunction("leave", kUnary);
  for (auto _ : state) {
    Value value{};
    CHECK(instance->Call(*leave, {&value, 1}).kind == Outcome::Kind::kUnwound);
  }
}
BENCHMARK(BM_Unwind);

void BM_Trap(benchmark::State& state) {
  const auto instance = std::move(*Shared().calls->Instantiate(nullptr, kNever));
  const auto crash = instance->FindFunction("crash", {});
  for (auto _ : state) {
    CHECK(instance->Call(*crash, {}).kind == Outcome::Kind::kTrapped);
  }
}
BENCHMARK(BM_Trap);

}  // namespace
}  // namespace cwasi::wasm

BENCHMARK_MAIN();
