// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A contact sheet: images centred in equal cells, left to right, top to bottom, white between them.
// As ImageMagick's `montage -geometry 'WxH>+M+M' -tile COLUMNSx -background white`.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "examples/photos/image.h"

namespace photos {

struct SheetLayout {
  std::uint32_t columns = 1;  // at least 1
  Size cell;                  // what an image must fit into
  std::uint32_t margin = 0;   // on each side of a cell
};

// The whole sheet. Sides saturate, so that ImageBytes refuses what is too large.
inline Size SheetSize(const SheetLayout& layout, std::uint32_t images) {
  const std::uint64_t columns = images < layout.columns ? images : layout.columns;
  const std::uint64_t rows = (std::uint64_t{images} + layout.columns - 1) / layout.columns;
  const auto side = [&](std::uint64_t cells, std::uint64_t cell) {
    const std::uint64_t length = cells * (cell + 2 * std::uint64_t{layout.margin});
    return length > UINT32_MAX ? UINT32_MAX : static_cast<std::uint32_t>(length);
  };
  return {side(columns, layout.cell.width), side(rows, layout.cell.height)};
}

inline void ClearSheet(Image sheet) {
  std::memset(sheet.pixels.data(), 0xff, sheet.pixels.size());
}

// Copies `image` into cell `index` of a sheet of SheetSize. False if it does not fit the cell.
inline bool Paste(const SheetLayout& layout, std::uint32_t index, ImageView image, Image sheet) {
  if (image.size.width > layout.cell.width || image.size.height > layout.cell.height) return false;
  const std::size_t column = index % layout.columns;
  const std::size_t row = index / layout.columns;
  const std::size_t x = column * (layout.cell.width + 2 * layout.margin) + layout.margin +
                        (layout.cell.width - image.size.width + 1) / 2;
  const std::size_t y = row * (layout.cell.height + 2 * layout.margin) + layout.margin +
                        (layout.cell.height - image.size.height + 1) / 2;
  for (std::size_t line = 0; line < image.size.height; ++line)
    std::memcpy(sheet.Row(y + line) + kChannels * x, image.Row(line), image.size.RowBytes());
  return true;
}

}  // namespace photos
