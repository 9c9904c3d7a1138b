// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What ImageMagick makes of each step of examples/photos.
//
// Each step is given *our* result of the step before, so that a difference belongs to the step that
// shows it and a wrong step does not hide behind the one before; Chain() starts from the JPEG and
// says how far the differences add up.
//
// ImageMagick computes in 16 bits and rounds when it writes 8. It must not be told `-depth 8`: that
// option cuts the lower bits off, which costs half a level everywhere (51 dB instead of 76).

#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/result.h"
#include "test/support/psnr.h"

namespace cwasi::test {

// The promise for every step.
inline constexpr double kBarDb = 48;
// What we hold the steps behind the decoder to. On smooth photographs a wrong filter differs so
// little that it passes 48 dB (67.5 at most, measured on all 19); none passes kStrictBarDb.
inline constexpr double kStrictBarDb = 70;
// Lanczos rings: ImageMagick cuts off below black and above white between its two passes, we do
// not.
inline constexpr double kThumbnailBarDb = 60;

// The parameters of examples/photos/workflow.yaml, as ImageMagick takes them.
inline constexpr const char* kResizeWidth = "1600x";
inline constexpr const char* kUnsharp = "2x1+0.8+0";
inline constexpr const char* kThumbnailBox = "320x240>";
inline constexpr const char* kSheetCell = "320x240>+8+8";
inline constexpr std::size_t kSheetColumns = 5;

using Arguments = std::vector<std::string>;

// Runs `program ARGUMENTS... FILE.ppm` and reads the file.
// Errors: kNotFound (no such program), kInternal (it failed), and ReadPpm's.
Result<Picture> RunMagick(const std::string& program, const Arguments& arguments);

Result<Picture> ReferenceDecoded(const std::string& jpeg);
Result<Picture> ReferenceResized(const std::string& decoded, const std::string& filter = "Catrom");
Result<Picture> ReferenceSharpened(const std::string& resized,
                                   const std::string& unsharp = kUnsharp);
Result<Picture> ReferenceThumbnail(const std::string& sharpened,
                                   const std::string& filter = "Lanczos");
Result<Picture> ReferenceSheet(const Arguments& thumbnails, const std::string& cell = kSheetCell);
// All of it but the sheet, by ImageMagick alone.
Result<Picture> ReferenceChain(const std::string& jpeg);

}  // namespace cwasi::test
