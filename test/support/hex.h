// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Examples in protocol pages against what the code sends.

#pragma once

#include <cstddef>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "test/support/paths.h"

namespace cwasi::test {

inline std::string Hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const auto value = std::to_integer<unsigned>(byte);
    if (!text.empty()) text += ' ';
    text += kDigits[value >> 4U];
    text += kDigits[value & 15U];
  }
  return text;
}

// All bytes of the page's code blocks that are lines of hex, in order, one string.
inline std::string HexLinesOfPage(const std::string& page) {
  std::ifstream file(SourceFolder() / page);
  EXPECT_TRUE(file.is_open()) << page;
  std::string all;
  std::string line;
  while (std::getline(file, line)) {
    // "  00: 43 57 ...   comment": two digits and a space, as long as there are any.
    if (line.size() < 6 || line.substr(0, 2) != "  " || line[4] != ':') continue;
    for (std::size_t at = 6; at + 1 < line.size() && line[at] != ' '; at += 3) {
      all += (all.empty() ? "" : " ") + line.substr(at, 2);
      if (at + 2 >= line.size()) break;
    }
  }
  return all;
}

}  // namespace cwasi::test
