// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// decode: a JPEG file in, an image out (image.h). stb_image writes the pixels into the buffer that
// is given on.

#include <optional>
#include <utility>

#include "cwasi.hpp"
#include "examples/photos/jpeg.h"

CWASI_FUNCTION(request) {
  const std::optional<photos::Size> size = photos::JpegSize(request.body());
  if (!size) return photos::kBadJpeg;
  const std::optional<std::size_t> bytes = photos::ImageBytes(*size);
  if (!bytes) return photos::kTooLarge;
  cwasi::Buffer image = cwasi::Buffer::New(*bytes + photos::kJpegSlackBytes);
  if (!image) return photos::kNoMemory;
  if (!photos::DecodeJpeg(request.body(), *size, image.bytes())) return photos::kBadJpeg;
  image.Shrink(*bytes);
  return request.Respond(std::move(image));
}
