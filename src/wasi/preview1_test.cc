// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Calls the host functions as compiled code would: raw values, numbers from a hostile guest
// included.

#include "wasi/preview1.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <optional>
#include <string>

#include <gtest/gtest.h>

namespace cwasi::wasi {
namespace {

using wasm::HostAction;
using wasm::Value;

struct FakeGuest final : Guest {
  std::vector<std::byte> memory = std::vector<std::byte>(65536);
  std::string out[3];
  std::optional<std::uint32_t> exit_code;
  bool out_of_time = false;

  std::span<std::byte> Memory() override { return memory; }
  void WriteOutput(int descriptor, std::span<const std::byte> bytes) override {
    out[descriptor].append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  void Exit(std::uint32_t code) override { exit_code = code; }
  bool OutOfTime() const override { return out_of_time; }

  void Put(std::size_t at, std::uint32_t value) { std::memcpy(&memory[at], &value, 4); }
  template <class T>
  T Get(std::size_t at) const {
    T value{};
    std::memcpy(&value, &memory[at], sizeof value);
    return value;
  }
};

const wasm::HostImport& Find(const std::string& name) {
  const auto all = Imports();
  const auto it =
      std::find_if(all.begin(), all.end(), [&](const auto& import) { return import.name == name; });
  if (it == all.end()) std::abort();
  return *it;
}

std::int32_t Call(FakeGuest& guest, const std::string& name, std::vector<std::uint64_t> arguments) {
  std::vector<Value> values(std::max<std::size_t>(arguments.size(), 1));
  for (std::size_t i = 0; i < arguments.size(); ++i)
    values[i].i64 = static_cast<std::int64_t>(arguments[i]);
  EXPECT_EQ(Find(name).function(static_cast<Guest*>(&guest), values.data()), HostAction::kReturn);
  return values[0].i32;
}

TEST(Preview1Test, OffersEveryNameOnceAndAllAnswer) {
  FakeGuest guest;
  EXPECT_EQ(Imports().size(), 46U);
  for (const auto& import : Imports()) {
    EXPECT_EQ(std::count_if(Imports().begin(), Imports().end(),
                            [&](const auto& o) { return o.name == import.name; }),
              1);
    if (import.name == "proc_exit") continue;
    Value values[9] = {};
    EXPECT_EQ(import.function(static_cast<Guest*>(&guest), values), HostAction::kReturn)
        << import.name;
  }
}

TEST(Preview1Test, WhatIsNotThereSaysSo) {
  FakeGuest guest;
  for (const char* name : {"path_open", "fd_pwrite", "poll_oneoff", "sock_accept", "fd_readdir"})
    EXPECT_EQ(Call(guest, name, {0, 0, 0, 0, 0, 0, 0, 0, 0}), 52) << name;
}

TEST(Preview1Test, PrintsGatheredBytesWithNulAndNewline) {
  FakeGuest guest;
  const std::string text("a\0b\nc", 5);
  std::memcpy(&guest.memory[100], text.data(), 5);
  guest.Put(0, 100), guest.Put(4, 2), guest.Put(8, 102), guest.Put(12, 3);
  EXPECT_EQ(Call(guest, "fd_write", {1, 0, 2, 16}), 0);
  EXPECT_EQ(guest.out[1], text);
  EXPECT_EQ(guest.Get<std::uint32_t>(16), 5U);
}

TEST(Preview1Test, RefusesVectorsOutsideMemoryBeforeWritingAnything) {
  FakeGuest guest;
  guest.Put(0, 100), guest.Put(4, 2), guest.Put(8, 65530), guest.Put(12, 7);
  EXPECT_EQ(Call(guest, "fd_write", {1, 0, 2, 16}), 21);
  EXPECT_EQ(Call(guest, "fd_write", {1, 65529, 1, 16}), 21);
  EXPECT_EQ(Call(guest, "fd_write", {1, 0xffffffff, 1, 16}), 21);
  EXPECT_EQ(Call(guest, "fd_write", {1, 0, 0xffffffff, 16}), 28);
  EXPECT_EQ(Call(guest, "fd_write", {3, 0, 1, 16}), 8);
  EXPECT_EQ(guest.out[1], "");
}

TEST(Preview1Test, TellsTheTimeAndItsGrain) {
  FakeGuest guest;
  ASSERT_EQ(Call(guest, "clock_time_get", {0, 1, 8}), 0);
  const auto now = guest.Get<std::uint64_t>(8);
  EXPECT_LT(std::max<std::uint64_t>(
                now, static_cast<std::uint64_t>(std::time(nullptr)) * 1'000'000'000U) -
                std::min<std::uint64_t>(
                    now, static_cast<std::uint64_t>(std::time(nullptr)) * 1'000'000'000U),
            10'000'000'000U);
  ASSERT_EQ(Call(guest, "clock_res_get", {1, 16}), 0);
  EXPECT_GT(guest.Get<std::uint64_t>(16), 0U);
  EXPECT_EQ(Call(guest, "clock_time_get", {9, 1, 8}), 28);
  EXPECT_EQ(Call(guest, "clock_time_get", {0, 1, 65529}), 21);
}

TEST(Preview1Test, GivesRandomBytesUntilTimeIsUp) {
  FakeGuest guest;
  ASSERT_EQ(Call(guest, "random_get", {0, 65536}), 0);
  EXPECT_GT(65536 - std::count(guest.memory.begin(), guest.memory.end(), std::byte{0}), 60'000);
  EXPECT_EQ(Call(guest, "random_get", {1, 65536}), 21);
  guest.out_of_time = true;
  EXPECT_EQ(Call(guest, "random_get", {0, 65536}), 29);
}

TEST(Preview1Test, ExitUnwindsWithItsExactCode) {
  for (const std::uint32_t code : {0U, 3U, 255U, 256U, 0xffffffffU}) {
    FakeGuest guest;
    Value value{};
    value.u32 = code;
    EXPECT_EQ(Find("proc_exit").function(static_cast<Guest*>(&guest), &value), HostAction::kUnwind);
    EXPECT_EQ(guest.exit_code, code);
  }
}

TEST(Preview1Test, StandardDescriptorsLookLikeATerminalWithoutFiles) {
  FakeGuest guest;
  for (const std::uint64_t fd : {0U, 1U, 2U}) {
    ASSERT_EQ(Call(guest, "fd_fdstat_get", {fd, 32}), 0);
    EXPECT_EQ(guest.Get<std::uint8_t>(32), 2);
    EXPECT_EQ(Call(guest, "fd_seek", {fd, 0, 0, 64}), 70);
    EXPECT_EQ(Call(guest, "fd_close", {fd}), 0);
  }
  EXPECT_EQ(Call(guest, "fd_fdstat_get", {3, 32}), 8);
  EXPECT_EQ(Call(guest, "fd_prestat_get", {3, 32}), 8);
  EXPECT_EQ(Call(guest, "fd_read", {0, 0, 0, 40}), 0);
  EXPECT_EQ(guest.Get<std::uint32_t>(40), 0U);
}

TEST(Preview1Test, HasNoArgumentsAndNoEnvironment) {
  FakeGuest guest;
  guest.Put(8, 77), guest.Put(12, 77);
  EXPECT_EQ(Call(guest, "environ_sizes_get", {8, 12}), 0);
  EXPECT_EQ(guest.Get<std::uint64_t>(8), 0U);
  EXPECT_EQ(Call(guest, "args_sizes_get", {8, 65533}), 21);
}

}  // namespace
}  // namespace cwasi::wasi
