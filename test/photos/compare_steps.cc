// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Compares the files of a run of examples/photos with ImageMagick:
//
//   cwasi run build/release/guests/photos/steps.yaml --output-dir DIR
//   compare_steps DIR [PHOTO-FOLDER]
//
// DIR holds {decoded,resized,sharpened,thumbs}-NAME.ppm and contact-sheet.png. Prints a table and
// fails if a step is below its bar or nothing is there. Each step is compared given our result of
// the one before; "chain" is ImageMagick alone from the JPEG to the thumbnail.

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "test/photos/reference.h"
#include "test/support/psnr.h"

namespace cwasi::test {
namespace {

namespace fs = std::filesystem;

class Comparison {
 public:
  // Prints one figure of the current line.
  void Add(const Result<Picture>& ours, const Result<Picture>& reference, double bar) {
    for (const auto* picture : {&ours, &reference}) {
      if (*picture) continue;
      std::fprintf(stderr, "compare_steps: %s\n", picture->error().message.c_str());
      ok_ = false;
      return;
    }
    const auto psnr = Psnr(*ours, *reference);
    if (psnr)
      std::printf(" %8.2f%c", *psnr, *psnr >= bar ? ' ' : '!');
    else
      std::printf("  sizes!  ");
    ok_ = ok_ && psnr && *psnr >= bar;
  }
  [[nodiscard]] bool Ok() const { return ok_; }

 private:
  bool ok_ = true;
};

std::vector<std::string> Names(const fs::path& folder) {
  const std::string prefix = "decoded-";
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string stem = entry.path().stem();
    if (stem.starts_with(prefix)) names.push_back(stem.substr(prefix.size()));
  }
  std::ranges::sort(names);
  return names;
}

bool Compare(const fs::path& folder, const fs::path& photo_folder) {
  const std::vector<std::string> names = Names(folder);
  Comparison comparison;
  std::vector<std::string> thumbs;
  std::printf("%-40s %8s  %8s  %8s  %8s  %8s   dB\n", "photograph", "decoded", "resized",
              "sharpened", "thumbs", "chain");
  for (const std::string& name : names) {
    const std::string jpeg = photo_folder / (name + ".jpg");
    const auto file = [&](const std::string& step) -> std::string {
      return folder / std::string(step).append("-").append(name).append(".ppm");
    };
    thumbs.push_back(file("thumbs"));
    const auto thumb = ReadPpm(thumbs.back());
    std::printf("%-40s", name.c_str());
    comparison.Add(ReadPpm(file("decoded")), ReferenceDecoded(jpeg), kBarDb);
    comparison.Add(ReadPpm(file("resized")), ReferenceResized(file("decoded")), kStrictBarDb);
    comparison.Add(ReadPpm(file("sharpened")), ReferenceSharpened(file("resized")), kStrictBarDb);
    comparison.Add(thumb, ReferenceThumbnail(file("sharpened")), kThumbnailBarDb);
    comparison.Add(thumb, ReferenceChain(jpeg), kBarDb);
    std::printf("\n");
  }
  std::printf("%-40s", "contact-sheet.png");
  comparison.Add(RunMagick("convert", {folder / "contact-sheet.png"}), ReferenceSheet(thumbs),
                 kStrictBarDb);
  std::printf("\n%zu photographs, %s\n", names.size(),
              comparison.Ok() ? "every step above its bar" : "NOT every step above its bar");
  return comparison.Ok() && !names.empty();
}

}  // namespace
}  // namespace cwasi::test

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: compare_steps DIR [PHOTO-FOLDER]\n");
    return 2;
  }
  try {
    return cwasi::test::Compare(argv[1], argc == 3 ? argv[2] : "/usr/share/backgrounds") ? 0 : 1;
  } catch (const std::exception& e) {  // a folder that is not there
    std::fprintf(stderr, "compare_steps: %s\n", e.what());
    return 1;
  }
}
