// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/wire.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace cwasi::ipc {
namespace {

constexpr std::string_view kCutMark = " [cut]";

std::string Problem(std::string_view field, std::string_view why) {
  return std::string(field) + ": " + std::string(why);
}

bool ContinuesACharacter(char c) {
  return (static_cast<unsigned char>(c) & 0xc0U) == 0x80U;
}

}  // namespace

void WireWriter::Text(std::string_view value, std::size_t max_bytes, std::string_view field) {
  if (value.size() > max_bytes) return Refuse(field, "too long");
  Number(static_cast<std::uint32_t>(value.size()));
  Append(std::as_bytes(std::span(value)));
}

void WireWriter::CutText(std::string_view value, std::size_t max_bytes, std::string_view field) {
  if (value.size() <= max_bytes) return Text(value, max_bytes, field);
  std::size_t length = max_bytes - kCutMark.size();
  while (length > 0 && ContinuesACharacter(value[length])) --length;
  Text(std::string(value.substr(0, length)) + std::string(kCutMark), max_bytes, field);
}

void WireWriter::Refuse(std::string_view field, std::string_view why) {
  if (problem_.empty()) problem_ = Problem(field, why);
}

Result<std::vector<std::byte>> WireWriter::Take() {
  std::vector<std::byte> bytes = std::exchange(bytes_, {});
  if (!problem_.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "encode " + std::exchange(problem_, {}));
  }
  return bytes;
}

void WireReader::Text(std::string& value, std::size_t max_bytes, std::string_view field) {
  value.clear();
  std::uint32_t length = 0;
  Number(length);
  if (length > max_bytes || length > rest_.size()) return Refuse(field, "too long");
  if (length == 0) return;
  value.resize(length);
  Take(std::as_writable_bytes(std::span(value)));
}

void WireReader::Refuse(std::string_view field, std::string_view why) {
  if (problem_.empty()) problem_ = Problem(field, why);
  // What follows yields zeros, and no list can be longer than nothing.
  rest_ = {};
}

Result<> WireReader::Finish() {
  if (problem_.empty() && !rest_.empty()) {
    problem_ = std::to_string(rest_.size()) + " bytes after its end";
  }
  if (!problem_.empty()) return Fail(ErrorCode::kInvalidArgument, "decode " + problem_);
  return {};
}

void WireReader::Take(std::span<std::byte> out) {
  if (rest_.size() < out.size()) return Refuse("message", "ends too early");
  std::ranges::copy(rest_.first(out.size()), out.begin());
  rest_ = rest_.subspan(out.size());
}

}  // namespace cwasi::ipc
