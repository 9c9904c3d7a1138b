// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// thumbnail: an image in, one that fits a box out, by a Lanczos kernel; smaller ones stay as they
// are. With `width` and `height` of the box.

#include <utility>

#include "cwasi.hpp"
#include "examples/photos/resample.h"

CWASI_FUNCTION(request) {
  const auto in = photos::ParseImage(request.body());
  if (!in) return photos::kNotAnImage;
  long width = 320;
  long height = 240;
  if (!request.Read("width", 1, photos::kMaxSide, width) ||
      !request.Read("height", 1, photos::kMaxSide, height))
    return photos::kBadParameter;
  const photos::Size box{static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height)};
  if (in->size.width <= box.width && in->size.height <= box.height)
    return request.Respond(request.Take(0));
  const photos::Size size = photos::Fit(in->size, box);
  const auto bytes = photos::ImageBytes(size);
  if (!bytes) return photos::kTooLarge;
  cwasi::Buffer out = cwasi::Buffer::New(*bytes);
  if (!out) return photos::kNoMemory;
  photos::Resize(*in, photos::StartImage(size, out.bytes()), photos::Kernel::kLanczos3);
  return request.Respond(std::move(out));
}
