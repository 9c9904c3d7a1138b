// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What finding a compiled module costs, against compiling it and against hashing its bytes.
// build/bin/module_cache_bench --benchmark_repetitions=10

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "base/check.h"
#include "test/support/files.h"
#include "test/support/temp_dir.h"
#include "wasm/digest.h"
#include "wasm/engine.h"
#include "wasm/module_cache.h"

namespace cwasi::wasm {
namespace {

constexpr std::int64_t kSmall = 0;
constexpr std::int64_t kMebibyte = 1;

void AppendLeb(std::vector<std::byte>& bytes, std::uint32_t value) {
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<std::byte>(value | 0x80));
  bytes.push_back(static_cast<std::byte>(value));
}

// A module that is nothing but a custom section and a memory: `size` bytes to hash, none to
// compile.
std::vector<std::byte> Padded(std::uint32_t size) {
  std::vector<std::byte> bytes;
  for (const char c : std::string_view("\0asm\1\0\0\0\5\3\1\0\1\0", 14)) {
    bytes.push_back(static_cast<std::byte>(c));
  }
  AppendLeb(bytes, size);
  bytes.resize(bytes.size() + size);  // Its name is empty: length 0.
  return bytes;
}

struct Setup {
  Setup() {
    test::WriteFile(Wasm(kMebibyte), Padded(1U << 20));
    test::WriteFile(Wasm(kSmall), test::ReadFile(test::GuestPath("calls")));
  }
  [[nodiscard]] std::filesystem::path Wasm(std::int64_t which) const {
    return dir.Path() / (which == kSmall ? "small.wasm" : "mebibyte.wasm");
  }
  [[nodiscard]] ModuleCache Cache(std::chrono::seconds settled) const {
    auto cache = ModuleCache::Open(dir.Path() / "modules", {.settled = settled});
    CHECK(cache);
    return std::move(*cache);
  }

  test::TempDir dir;
  std::unique_ptr<Engine> engine = std::move(*CreateEngine({}, nullptr));
};

void Find(benchmark::State& state, std::chrono::seconds settled) {
  const Setup setup;
  const ModuleCache cache = setup.Cache(settled);
  const auto wasm = setup.Wasm(state.range(0));
  CHECK(cache.GetOrCompile(*setup.engine, wasm));
  for (auto _ : state) {
    const auto module = cache.GetOrCompile(*setup.engine, wasm);
    CHECK(module && !module->compiled_now);
  }
}
void BM_FindRemembered(benchmark::State& state) {
  Find(state, std::chrono::seconds(0));
}
void BM_FindByHashing(benchmark::State& state) {
  Find(state, std::chrono::hours(1));
}
BENCHMARK(BM_FindRemembered)->Arg(kSmall)->Arg(kMebibyte);
BENCHMARK(BM_FindByHashing)->Arg(kSmall)->Arg(kMebibyte);

void BM_CompileAndStore(benchmark::State& state) {
  const Setup setup;
  const ModuleCache cache = setup.Cache(std::chrono::seconds(0));
  for (auto _ : state) {
    CHECK(cache.Compile(*setup.engine, setup.Wasm(kSmall)));
  }
}
BENCHMARK(BM_CompileAndStore);

void BM_Open(benchmark::State& state) {
  const Setup setup;
  for (auto _ : state) benchmark::DoNotOptimize(setup.Cache(std::chrono::seconds(0)));
}
BENCHMARK(BM_Open);

void BM_Sha256(benchmark::State& state) {
  const std::vector<std::byte> bytes(std::size_t{1} << 20);
  for (auto _ : state) benchmark::DoNotOptimize(Sha256Hex(bytes));
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) << 20);
}
BENCHMARK(BM_Sha256);

void BM_Xxh64(benchmark::State& state) {
  const std::vector<std::byte> bytes(std::size_t{1} << 20);
  for (auto _ : state) {
    Xxh64 hash;
    hash.Update(bytes);
    benchmark::DoNotOptimize(hash.Value());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) << 20);
}
BENCHMARK(BM_Xxh64);

}  // namespace
}  // namespace cwasi::wasm

BENCHMARK_MAIN();
