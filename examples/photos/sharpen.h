// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Unsharp masking, as ImageMagick's `-unsharp RxS+AMOUNT+0`: value + amount * (value - blurred).
// Beyond the border the nearest pixel repeats.
//
// Source: ImageMagick 6.9.11 magick/effect.c, UnsharpMaskImageChannel(); the blur's weights are
// magick/morphology.c, BlurKernel: a Gaussian sampled three times a pixel.
//
// In place: a row is overwritten once the blur of every row that needs it is done, so only the
// `radius` rows above it are kept aside.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "examples/photos/image.h"
#include "examples/photos/resample.h"

namespace photos {

inline constexpr std::uint32_t kMaxRadius = 64;

struct Unsharp {
  std::uint32_t radius = 2;  // pixels on each side, 1 to kMaxRadius
  double sigma = 1;          // pixels, over 0
  double amount = 0.8;
};

namespace internal {

inline std::vector<float> BlurWeights(std::uint32_t radius, double sigma) {
  constexpr int kRank = 3;
  const int width = static_cast<int>(2 * radius + 1);
  const int reach = (width * kRank - 1) / 2;
  std::vector<double> values(static_cast<std::size_t>(width));
  double sum = 0;
  for (int u = -reach; u <= reach; ++u) {
    const double value = std::exp(-u * u / (2 * sigma * kRank * sigma * kRank));
    values[static_cast<std::size_t>((u + reach) / kRank)] += value;
    sum += value;
  }
  std::vector<float> weights;
  weights.reserve(values.size());
  for (const double value : values) weights.push_back(static_cast<float>(value / sum));
  return weights;
}

}  // namespace internal

inline void Sharpen(Image image, const Unsharp& how) {
  const std::vector<float> weights = internal::BlurWeights(how.radius, how.sigma);
  const auto amount = static_cast<float>(how.amount);
  const std::size_t samples = image.size.RowBytes();
  const std::size_t margin = how.radius * kChannels;
  const std::ptrdiff_t radius = how.radius;
  const std::ptrdiff_t last = static_cast<std::ptrdiff_t>(image.size.height) - 1;
  const std::size_t kept_rows = how.radius + 1;
  std::vector<std::uint8_t> kept(kept_rows * samples);
  std::vector<float> line(samples + 2 * margin);
  std::vector<float> blurred(samples);

  for (std::ptrdiff_t y = 0; y <= last; ++y) {
    const auto original = [&](std::ptrdiff_t row) -> const std::uint8_t* {
      row = std::clamp<std::ptrdiff_t>(row, 0, last);
      return row <= y ? kept.data() + static_cast<std::size_t>(row) % kept_rows * samples
                      : image.Row(static_cast<std::size_t>(row));
    };
    std::uint8_t* row = image.Row(static_cast<std::size_t>(y));
    std::memcpy(kept.data() + static_cast<std::size_t>(y) % kept_rows * samples, row, samples);

    std::fill(line.begin(), line.end(), 0.0F);
    float* middle = line.data() + margin;
    for (std::ptrdiff_t k = -radius; k <= radius; ++k) {
      const std::uint8_t* source = original(y + k);
      const float weight = weights[static_cast<std::size_t>(k + radius)];
      for (std::size_t i = 0; i < samples; ++i) middle[i] += weight * static_cast<float>(source[i]);
    }
    for (std::size_t i = 0; i < margin; ++i) {
      line[i] = middle[i % kChannels];
      middle[samples + i] = middle[samples - kChannels + i % kChannels];
    }

    std::fill(blurred.begin(), blurred.end(), 0.0F);
    for (std::size_t k = 0; k < weights.size(); ++k) {
      const float* source = line.data() + k * kChannels;
      for (std::size_t i = 0; i < samples; ++i) blurred[i] += weights[k] * source[i];
    }
    for (std::size_t i = 0; i < samples; ++i) {
      const auto value = static_cast<float>(row[i]);
      row[i] = internal::ToByte(value + amount * (value - blurred[i]));
    }
  }
}

}  // namespace photos
