// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// How alike two pictures are: the peak signal-to-noise ratio over all pixels and channels, in
// decibels. 48.1 dB is what two pictures have that differ by 1 in every value, 76 dB by 1 in one
// value of 600; equal ones have infinity.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace cwasi::test {

struct Picture {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::vector<std::uint8_t> rgb;  // rows from the top, R G B
};

// Reads a PPM file (P6; comments are allowed, 16 bits a channel are rounded to 8). ImageMagick
// turns anything into one. Errors: kNotFound, kInvalidArgument (not such a file, or of another
// length).
Result<Picture> ReadPpm(const std::string& path);

// 10 log10(255^2 / mean squared difference); nullopt if the sizes differ.
std::optional<double> Psnr(const Picture& a, const Picture& b);

}  // namespace cwasi::test
