// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "bench/baseline.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "buf/page_mover.h"
#include "buf/segment.h"
#include "buf/units.h"
#include "os/mapping.h"
#include "test/support/files.h"
#include "test/support/mapped_memory.h"
#include "test/support/temp_dir.h"
#include "wasi/preview1.h"
#include "wasm/engine.h"

namespace cwasi::bench {
namespace {

using wasm::HostAction;
using wasm::Value;
using wasm::ValueType;

constexpr std::uint32_t kMaxBareBytes = 65536;

// One instance and what its host functions need.
struct Side {
  std::unique_ptr<wasm::Module> module;
  std::unique_ptr<wasm::LinkedModule> linked;
  std::unique_ptr<wasm::Instance> instance;
  wasm::FunctionHandle handle;
  std::uint32_t inbox = 0;  // Where requests go.
  Side* callee = nullptr;
  std::byte* reply = nullptr;  // Where its reply goes.
  std::uint32_t reply_length = 0;

  [[nodiscard]] std::byte* At(std::uint32_t address) const {
    return instance->Memory()->Base() + address;
  }
};

HostAction Find(void* context, Value* values) {
  constexpr std::uint32_t kAnyNumber = 1;
  std::memcpy(static_cast<Side*>(context)->At(values[2].u32), &kAnyNumber, sizeof kAnyNumber);
  values[0].u32 = 0;
  return HostAction::kReturn;
}

HostAction CallOther(void* context, Value* values) {
  Side& self = *static_cast<Side*>(context);
  Side& callee = *self.callee;
  std::byte* const reply = self.At(values[4].u32);
  std::uint32_t data = 0;
  std::memcpy(&data, reply, sizeof data);
  callee.reply = self.At(data);
  std::memcpy(callee.At(callee.inbox), self.At(values[1].u32), values[2].u32);
  std::array<Value, 2> request{};
  request[0].u32 = callee.inbox;
  request[1].u32 = values[2].u32;
  CHECK(callee.instance->Call(callee.handle, request).kind == wasm::Outcome::Kind::kReturned);
  std::memcpy(reply + 8, &callee.reply_length, sizeof callee.reply_length);
  values[0] = request[0];
  return HostAction::kReturn;
}

HostAction Respond(void* context, Value* values) {
  Side& self = *static_cast<Side*>(context);
  CHECK(values[1].u32 == sizeof(std::uint64_t));
  std::memcpy(self.reply, self.At(values[0].u32), sizeof(std::uint64_t));
  self.reply_length = values[1].u32;
  values[0].u32 = 0;
  return HostAction::kReturn;
}

HostAction Absent(void* /*context*/, Value* values) {
  values[0].u32 = 1;
  return HostAction::kReturn;
}

std::vector<wasm::HostImport> Imports() {
  std::vector<wasm::HostImport> all(wasi::Imports().begin(), wasi::Imports().end());
  const auto add = [&](const char* name, std::size_t parameters, wasm::HostFunction function) {
    all.push_back({.module = "cwasi",
                   .name = name,
                   .type = {.parameters = std::vector(parameters, ValueType::kI32),
                            .results = {ValueType::kI32}},
                   .function = function});
  };
  add("function_find", 3, Find);
  add("call", 5, CallOther);
  add("respond", 3, Respond);
  add("buffer_new", 2, Absent);
  add("buffer_new_for", 3, Absent);
  add("buffer_free", 1, Absent);
  return all;
}

// The words of a payload, so that every byte is written and read.
void Write(std::byte* at, std::size_t bytes, std::uint64_t seed) {
  for (std::size_t i = 0; i < bytes; i += 8) {
    const std::uint64_t word = seed + i;
    std::memcpy(at + i, &word, sizeof word);
  }
}
std::uint64_t Read(const std::byte* at, std::size_t bytes) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < bytes; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at + i, sizeof word);
    sum += word;
  }
  return sum;
}

}  // namespace

struct BareCall::Parts {
  test::TempDir folder;
  test::MappedMemoryFactory memories;
  std::unique_ptr<wasm::Engine> engine;
  Side driver;
  Side sum;

  void Start(Side& side, const std::string& guest) {
    const auto path = folder.Path() / (guest + ".cwasm");
    auto compiled = engine->Compile(test::ReadFile(test::GuestPath(guest)), guest);
    CHECK(compiled);
    test::WriteFile(path, *compiled);
    side.module = std::move(*engine->Load(path));
    side.linked = std::move(*side.module->Link(Imports()));
    side.instance = std::move(*side.linked->Instantiate(&side, UINT64_MAX));
    const std::vector<ValueType> two(2, ValueType::kI32);
    const std::vector<ValueType> four(4, ValueType::kI32);
    side.handle =
        side.instance
            ->FindFunction("cwasi_handle", {.parameters = two, .results = {ValueType::kI32}})
            .value();
    const auto realloc =
        side.instance
            ->FindFunction("cabi_realloc", {.parameters = four, .results = {ValueType::kI32}})
            .value();
    std::array<Value, 4> request{};
    request[2].u32 = 16;
    request[3].u32 = kMaxBareBytes;
    CHECK(side.instance->Call(realloc, request).kind == wasm::Outcome::Kind::kReturned);
    side.inbox = request[0].u32;
    CHECK(side.inbox != 0);
  }
};

BareCall::BareCall() : parts_(std::make_unique<Parts>()) {
  parts_->engine = std::move(*wasm::CreateEngine({}, &parts_->memories));
  parts_->Start(parts_->driver, "driver");
  parts_->Start(parts_->sum, "sum");
  parts_->driver.callee = &parts_->sum;
}

BareCall::~BareCall() = default;

std::uint64_t BareCall::Drive(std::uint32_t count, std::uint32_t bytes, std::uint32_t seed) {
  constexpr std::uint32_t kSmall = 0;  // The driver's operation.
  const std::array<std::uint32_t, 4> words = {kSmall, count, bytes, seed};
  Side& driver = parts_->driver;
  std::memcpy(driver.At(driver.inbox), words.data(), sizeof words);
  std::uint64_t answer = 0;
  driver.reply = reinterpret_cast<std::byte*>(&answer);
  std::array<Value, 2> request{};
  request[0].u32 = driver.inbox;
  request[1].u32 = sizeof words;
  CHECK(driver.instance->Call(driver.handle, request).kind == wasm::Outcome::Kind::kReturned);
  CHECK(request[0].u32 == 0);
  return answer;
}

Samples TimeMemcpy(std::size_t bytes, int n) {
  std::vector<std::byte> from(bytes, std::byte{1});
  std::vector<std::byte> to(bytes, std::byte{2});
  Samples samples;
  for (int i = 0; i < n; ++i) {
    const std::size_t place = static_cast<std::size_t>(i) % bytes;
    from[place] = std::byte{3};
    samples.ns.push_back(Time([&] { std::memcpy(to.data(), from.data(), bytes); }));
    CHECK(to[place] == std::byte{3});
  }
  return samples;
}

Samples TimeMemcpyOfTouched(std::size_t bytes, int n) {
  std::vector<std::byte> from(bytes);
  std::vector<std::byte> to(bytes);
  Samples samples;
  for (int i = 0; i <= n; ++i) {
    Write(from.data(), bytes, static_cast<std::uint64_t>(i));
    const double ns = Time([&] { std::memcpy(to.data(), from.data(), bytes); });
    CHECK(Read(to.data(), bytes) == Read(from.data(), bytes));
    if (i != 0) samples.ns.push_back(ns);  // The first faults its pages in.
  }
  return samples;
}

Samples TimeBareMove(std::size_t bytes, int n) {
  const std::size_t size = buf::RoundUp(bytes, buf::kUnitBytes);
  buf::Budget memory(SIZE_MAX);
  buf::Budget mappings(100);
  auto windows = os::Mapping::Reserve(2 * size, buf::kUnitBytes);
  CHECK(windows && buf::MapPrivate(windows->Base(), 2 * size));
  auto segment = buf::Segment::Create(size / buf::kUnitBytes, memory, mappings);
  CHECK(segment);
  std::byte* from = windows->Base();
  std::byte* to = from + size;
  CHECK((*segment)->MoveTo(from));
  Samples samples;
  for (int i = 0; i <= n; ++i) {
    Write(from, bytes, static_cast<std::uint64_t>(i));
    const std::uint64_t sum = Read(from, bytes);
    const double ns = Time([&] { CHECK((*segment)->MoveTo(to)); });
    CHECK(Read(to, bytes) == sum);
    if (i != 0) samples.ns.push_back(ns);
    std::swap(from, to);
  }
  (*segment)->Stage();
  return samples;
}

}  // namespace cwasi::bench
