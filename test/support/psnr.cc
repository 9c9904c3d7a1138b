// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "test/support/psnr.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace cwasi::test {
namespace {

// The next number of a PPM header, behind blanks and comments; nullopt if there is none below 2^20.
std::optional<std::uint32_t> NextNumber(std::string_view text, std::size_t& at) {
  while (at < text.size()) {
    if (text[at] == '#')
      at = std::min(text.find('\n', at), text.size());
    else if (std::isspace(static_cast<unsigned char>(text[at])) != 0)
      ++at;
    else
      break;
  }
  std::uint32_t value = 0;
  const std::size_t begin = at;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9' && value < (1U << 20) / 10)
    value = value * 10 + static_cast<std::uint32_t>(text[at++] - '0');
  if (at == begin) return std::nullopt;
  return value;
}

}  // namespace

Result<Picture> ReadPpm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Fail(ErrorCode::kNotFound, "open " + path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::size_t at = 2;
  const auto width = NextNumber(text, at);
  const auto height = NextNumber(text, at);
  const auto peak = NextNumber(text, at);
  if (!text.starts_with("P6") || !width || !height || (peak != 255 && peak != 65535))
    return Fail(ErrorCode::kInvalidArgument, path + " is no P6 file of 8 or 16 bits");
  ++at;  // the one blank before the pixels
  const std::size_t values = std::size_t{3} * *width * *height;
  if (text.size() != at + (peak == 255 ? values : 2 * values))
    return Fail(ErrorCode::kInvalidArgument, path + " is not as long as its header says");
  const std::string_view pixels = std::string_view(text).substr(at);
  Picture picture{*width, *height, {}};
  if (peak == 255) {
    picture.rgb.assign(pixels.begin(), pixels.end());
    return picture;
  }
  picture.rgb.reserve(values);
  for (std::size_t i = 0; i < pixels.size(); i += 2) {
    const unsigned high = static_cast<std::uint8_t>(pixels[i]);
    const unsigned low = static_cast<std::uint8_t>(pixels[i + 1]);
    picture.rgb.push_back(static_cast<std::uint8_t>((high * 256 + low + 128) / 257));
  }
  return picture;
}

std::optional<double> Psnr(const Picture& a, const Picture& b) {
  if (a.width != b.width || a.height != b.height || a.rgb.size() != b.rgb.size())
    return std::nullopt;
  std::uint64_t squares = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) {
    const int difference = int{a.rgb[i]} - int{b.rgb[i]};
    squares += static_cast<std::uint64_t>(difference * difference);
  }
  if (squares == 0) return std::numeric_limits<double>::infinity();
  const double mean = static_cast<double>(squares) / static_cast<double>(a.rgb.size());
  return 10 * std::log10(255.0 * 255.0 / mean);
}

}  // namespace cwasi::test
