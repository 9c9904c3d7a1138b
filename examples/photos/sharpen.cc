// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// sharpen: an image in, the same buffer out, by unsharp masking in place. With `radius` (pixels),
// `sigma` (pixels) and `amount`.

#include "examples/photos/sharpen.h"

#include "cwasi.hpp"

CWASI_FUNCTION(request) {
  const auto image = photos::ParseImage(request.body());
  if (!image) return photos::kNotAnImage;
  photos::Unsharp how;
  long radius = how.radius;
  if (!request.Read("radius", 1, photos::kMaxRadius, radius) ||
      !request.Read("sigma", 0.1, photos::kMaxRadius, how.sigma) ||
      !request.Read("amount", 0, 100, how.amount))
    return photos::kBadParameter;
  how.radius = static_cast<std::uint32_t>(radius);
  photos::Sharpen(*image, how);
  return request.Respond(request.Take(0));
}
