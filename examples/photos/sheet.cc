// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// sheet: images in, one a part, a contact sheet out. With `columns`, `margin` (pixels), and `width`
// and `height` of a cell, which no image may exceed.
//
// Parts are taken one at a time and given back once they are on the sheet: one thumbnail is in
// memory, however many there are.

#include "examples/photos/sheet.h"

#include <utility>

#include "cwasi.hpp"

namespace {

bool ReadLayout(const cwasi::Request& request, photos::SheetLayout& layout) {
  long columns = 5;
  long margin = 8;
  long width = 320;
  long height = 240;
  if (!request.Read("columns", 1, photos::kMaxSide, columns) ||
      !request.Read("margin", 0, photos::kMaxSide, margin) ||
      !request.Read("width", 1, photos::kMaxSide, width) ||
      !request.Read("height", 1, photos::kMaxSide, height))
    return false;
  layout.columns = static_cast<std::uint32_t>(columns);
  layout.margin = static_cast<std::uint32_t>(margin);
  layout.cell = {static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height)};
  return true;
}

}  // namespace

CWASI_FUNCTION(request) {
  photos::SheetLayout layout;
  if (!ReadLayout(request, layout)) return photos::kBadParameter;
  if (request.parts() == 0) return photos::kNotAnImage;
  const photos::Size size = photos::SheetSize(layout, request.parts());
  const auto bytes = photos::ImageBytes(size);
  if (!bytes) return photos::kTooLarge;
  cwasi::Buffer out = cwasi::Buffer::New(*bytes);
  if (!out) return photos::kNoMemory;
  const photos::Image sheet = photos::StartImage(size, out.bytes());
  photos::ClearSheet(sheet);
  for (std::uint32_t i = 0; i < request.parts(); ++i) {
    const cwasi::Buffer part = request.Take(i);
    const auto image = photos::ParseImage(part.bytes());
    if (!image) return photos::kNotAnImage;
    if (!photos::Paste(layout, i, *image, sheet)) return photos::kTooLarge;
  }
  return request.Respond(std::move(out));
}
