// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/units.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <span>

namespace cwasi::workflow {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor = 1;
};

std::optional<std::uint64_t> Parse(std::string_view text, std::span<const Unit> units) {
  std::uint64_t number = 0;
  const char* const begin = std::to_address(text.begin());
  const char* const end = std::to_address(text.end());
  // Takes digits only: no sign, no space, no point.
  const auto [rest, error] = std::from_chars(begin, end, number);
  if (error != std::errc()) return std::nullopt;
  const std::string_view name(rest, static_cast<std::size_t>(end - rest));
  const auto unit = std::ranges::find(units, name, &Unit::name);
  std::uint64_t amount = 0;
  if (unit == units.end() || __builtin_mul_overflow(number, unit->factor, &amount)) {
    return std::nullopt;
  }
  return amount;
}

}  // namespace

std::optional<std::uint64_t> ParseBytes(std::string_view text) {
  static constexpr Unit kUnits[] = {
      {"", 1}, {"KiB", 1ULL << 10U}, {"MiB", 1ULL << 20U}, {"GiB", 1ULL << 30U}};
  return Parse(text, kUnits);
}

std::optional<std::chrono::nanoseconds> ParseDuration(std::string_view text) {
  static constexpr Unit kUnits[] = {{"ns", 1},
                                    {"us", 1'000},
                                    {"ms", 1'000'000},
                                    {"s", 1'000'000'000},
                                    {"m", 60'000'000'000},
                                    {"h", 3'600'000'000'000}};
  const auto amount = Parse(text, kUnits);
  if (!amount || *amount > INT64_MAX) return std::nullopt;
  return std::chrono::nanoseconds(static_cast<std::int64_t>(*amount));
}

}  // namespace cwasi::workflow
