// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Resizing by a separable kernel, as ImageMagick's `-filter F -resize WxH!` does it: the kernel is
// widened by the reduction, sampled at pixel centres, cut off at the border and normalised to 1.
// Values are taken as they are stored (sRGB), in float from end to end; ImageMagick rounds to 16
// bits between its two passes.
//
// Source: ImageMagick 6.9.11 magick/resize.c, HorizontalFilter() and AcquireResizeFilter().
//
// One output row at a time: the rows it needs are summed first, over contiguous bytes, then that
// line is resampled across. Nothing of the image's size is needed besides input and output.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numbers>
#include <vector>

#include "examples/photos/image.h"

namespace photos {

enum class Kernel : std::uint8_t {
  kCatmullRom,  // ImageMagick's Catrom
  kLanczos3,    // ImageMagick's Lanczos
};

namespace internal {

inline double Sinc(double x) {
  return x == 0 ? 1 : std::sin(std::numbers::pi * x) / (std::numbers::pi * x);
}

inline double Support(Kernel kernel) {
  return kernel == Kernel::kCatmullRom ? 2 : 3;
}

inline double Weight(Kernel kernel, double x) {
  x = std::abs(x);
  if (x >= Support(kernel)) return 0;
  if (kernel == Kernel::kLanczos3) return Sinc(x) * Sinc(x / 3);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return ((2.5 - 0.5 * x) * x - 4) * x + 2;
}

// Which samples of one axis, and how much of each, make each sample of the result.
struct Taps {
  struct Run {
    std::uint32_t first;  // input sample of the first weight
    std::uint32_t count;
    std::size_t weights;  // index of the first weight
  };
  std::vector<Run> runs;
  std::vector<float> weights;

  Taps(std::uint32_t in, std::uint32_t out, Kernel kernel) {
    const double reduction = static_cast<double>(in) / out;
    const double scale = std::max(reduction, 1.0);
    const double reach = std::max(scale * Support(kernel), 0.5);
    runs.reserve(out);
    weights.reserve(out * (static_cast<std::size_t>(2 * reach) + 2));
    for (std::uint32_t i = 0; i < out; ++i) {
      const double centre = (i + 0.5) * reduction;
      const auto first = static_cast<std::uint32_t>(std::max(centre - reach + 0.5, 0.0));
      const auto end =
          static_cast<std::uint32_t>(std::min(centre + reach + 0.5, static_cast<double>(in)));
      double sum = 0;
      for (std::uint32_t s = first; s < end; ++s) sum += Weight(kernel, (s + 0.5 - centre) / scale);
      runs.push_back({first, end - first, weights.size()});
      for (std::uint32_t s = first; s < end; ++s)
        weights.push_back(static_cast<float>(Weight(kernel, (s + 0.5 - centre) / scale) / sum));
    }
  }
};

// Four floats that the compiler keeps in one register: a pixel and the next one's red.
using Float4 [[gnu::vector_size(16)]] = float;

inline std::uint8_t ToByte(float value) {
  return static_cast<std::uint8_t>(std::clamp(value, 0.0F, 255.0F) + 0.5F);
}

// line[i] = sum over the run's rows. In stretches that stay in the first-level cache.
inline void SumRows(ImageView in, const Taps::Run& run, const float* weights, float* line) {
  constexpr std::size_t kStretch = 2048;
  const std::size_t samples = in.size.RowBytes();
  for (std::size_t begin = 0; begin < samples; begin += kStretch) {
    const std::size_t end = std::min(begin + kStretch, samples);
    std::fill(line + begin, line + end, 0.0F);
    for (std::uint32_t r = 0; r < run.count; ++r) {
      const std::uint8_t* row = in.Row(run.first + r);
      const float weight = weights[r];
      for (std::size_t i = begin; i < end; ++i) line[i] += weight * static_cast<float>(row[i]);
    }
  }
}

// `line` has one float more than its pixels need.
inline void SumColumns(const float* line, const Taps& taps, std::uint8_t* out) {
  for (const Taps::Run& run : taps.runs) {
    const float* weights = taps.weights.data() + run.weights;
    const float* pixel = line + kChannels * run.first;
    Float4 sum{};
    for (std::uint32_t t = 0; t < run.count; ++t, pixel += kChannels) {
      Float4 value;
      std::memcpy(&value, pixel, sizeof value);
      sum += weights[t] * value;
    }
    for (int c = 0; c < static_cast<int>(kChannels); ++c) *out++ = ToByte(sum[c]);
  }
}

}  // namespace internal

// `out` has another size and does not overlap `in`.
inline void Resize(ImageView in, Image out, Kernel kernel) {
  const internal::Taps columns(in.size.width, out.size.width, kernel);
  const internal::Taps rows(in.size.height, out.size.height, kernel);
  std::vector<float> line(in.size.RowBytes() + 1);
  for (std::size_t y = 0; y < out.size.height; ++y) {
    const auto& run = rows.runs[y];
    internal::SumRows(in, run, rows.weights.data() + run.weights, line.data());
    internal::SumColumns(line.data(), columns, out.Row(y));
  }
}

// `in` times `scale`, rounded to nearest, at least 1 a side.
inline Size Scaled(Size in, double scale) {
  const auto side = [scale](std::uint32_t length) {
    return static_cast<std::uint32_t>(std::clamp(std::floor(scale * length + 0.5), 1.0, 1e9));
  };
  return {side(in.width), side(in.height)};
}

// The largest size of `in`'s proportions that fits into `box`, as ImageMagick's `-resize WxH`. A
// side of 0 in `box` does not bind; at least one must.
inline Size Fit(Size in, Size box) {
  const double across = static_cast<double>(box.width) / in.width;
  const double down = static_cast<double>(box.height) / in.height;
  if (box.width == 0) return Scaled(in, down);
  if (box.height == 0) return Scaled(in, across);
  return Scaled(in, std::min(across, down));
}

}  // namespace photos
