// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// resize: an image in, an image out, by a Catmull-Rom spline. With `width`, `height` or both
// (pixels; one alone keeps the proportions), or `scale` (a factor, 0.01 to 100).

#include <optional>
#include <utility>

#include "cwasi.hpp"
#include "examples/photos/resample.h"

namespace {

// The size asked for; nullopt if nothing is, or nonsense.
std::optional<photos::Size> Wanted(const cwasi::Request& request, photos::Size in) {
  long width = 0;
  long height = 0;
  double scale = 0;
  if (!request.Read("width", 1, photos::kMaxSide, width) ||
      !request.Read("height", 1, photos::kMaxSide, height) ||
      !request.Read("scale", 0.01, 100, scale))
    return std::nullopt;
  const photos::Size box{static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height)};
  if (box.width != 0 && box.height != 0) return box;
  if (box.width != 0 || box.height != 0) return photos::Fit(in, box);
  if (scale == 0) return std::nullopt;
  return photos::Scaled(in, scale);
}

}  // namespace

CWASI_FUNCTION(request) {
  const auto in = photos::ParseImage(request.body());
  if (!in) return photos::kNotAnImage;
  const auto size = Wanted(request, in->size);
  if (!size) return photos::kBadParameter;
  const auto bytes = photos::ImageBytes(*size);
  if (!bytes) return photos::kTooLarge;
  cwasi::Buffer out = cwasi::Buffer::New(*bytes);
  if (!out) return photos::kNoMemory;
  photos::Resize(*in, photos::StartImage(*size, out.bytes()), photos::Kernel::kCatmullRom);
  return request.Respond(std::move(out));
}
