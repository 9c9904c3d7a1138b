// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// encode: an image in, a PNG file out. (No step needs an encoder for PPM: an image is a PPM file.)

#include "cwasi.hpp"
#include "examples/photos/png.h"

CWASI_FUNCTION(request) {
  const auto image = photos::ParseImage(request.body());
  if (!image) return photos::kNotAnImage;
  const photos::Png png = photos::EncodePng(*image);
  if (!png.memory) return photos::kNoMemory;
  return request.Respond(png.Bytes());  // A small copy: stb grows its result as it goes.
}
