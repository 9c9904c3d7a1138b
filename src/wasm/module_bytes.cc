// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "wasm/module_bytes.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <string>

namespace cwasi::wasm {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::size_t kHeaderBytes = 8;
constexpr std::size_t kShownBytes = 8;

std::string FirstBytes(std::string_view text) {
  std::string result;
  for (const char c : text.substr(0, kShownBytes)) {
    std::array<char, 4> hex{};
    std::snprintf(hex.data(), hex.size(), "%02x ",
                  static_cast<unsigned>(static_cast<unsigned char>(c)));
    result += hex.data();
  }
  result.pop_back();
  return result;
}

bool IsText(std::string_view text) {
  return std::ranges::all_of(text.substr(0, 64), [](char c) {
    return c == '\n' || c == '\t' || c == '\r' || (c >= ' ' && c <= '~');
  });
}

// What `text`, which is not WebAssembly, seems to be.
std::string_view Guess(std::string_view text) {
  constexpr std::size_t kElfOsAbi = 7;
  constexpr char kWasmtimeOsAbi = '\xc8';  // 200, the engine's mark in compiled modules.
  if (text.starts_with("\x7f"
                       "ELF")) {
    return text.size() > kElfOsAbi && text[kElfOsAbi] == kWasmtimeOsAbi
               ? "a compiled module (.cwasm); give the .wasm it was made from"
               : "a native program or library; build it for --target=wasm32-wasi";
  }
  if (text.starts_with("#!")) return "a script";
  if (text.starts_with("\x1f\x8b")) return "compressed by gzip; unpack it first";
  if (text.starts_with("\x28\xb5\x2f\xfd")) return "compressed by zstd; unpack it first";
  if (text.starts_with("PK\x03\x04")) return "a zip archive; unpack it first";
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && (text[first] == '(' || text.substr(first, 2) == ";;")) {
    return "WebAssembly's text format; translate it with wat2wasm";
  }
  return IsText(text) ? "text" : "unknown";
}

}  // namespace

Result<> CheckIsCoreModule(std::span<const std::byte> bytes, std::string_view name) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string subject(name);
  const auto fail = [&subject](const std::string& what) {
    return Fail(ErrorCode::kInvalidArgument, subject + what);
  };
  static constexpr std::string_view kMagic = "\0asm"sv;
  if (text.empty()) return fail(" is empty");
  if (text.substr(0, kMagic.size()) != kMagic.substr(0, text.size())) {
    return fail(" is not WebAssembly: it begins with " + FirstBytes(text) + " (" +
                std::string(Guess(text)) + ")");
  }
  if (text.size() < kHeaderBytes) {
    return fail(" is truncated: " + std::to_string(text.size()) + " bytes, less than a header");
  }
  const std::string_view version = text.substr(kMagic.size(), 4);
  if (version == "\x01\0\0\0"sv) return {};
  if (version.substr(2) == "\x01\0"sv) {
    return fail(
        " is a component (preview 2); build a core module, e.g. --target=wasm32-wasi, or extract "
        "it");
  }
  return fail(" has an unknown version of WebAssembly: " + FirstBytes(version));
}

}  // namespace cwasi::wasm
