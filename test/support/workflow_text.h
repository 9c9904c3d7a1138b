// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A workflow file that uses every key, and mistakes as the user reads them.

#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "workflow/file.h"

namespace cwasi::test {

inline constexpr std::string_view kFullExample = R"(name: photos
workers: 4
functions:
  decode:
    path: decode.wasm
    embed: allow
    memory: 1GiB
    timeout: 30s
    instances: reused
    zero: always
    modes: [embedded, local]
  sheet:
    path: sheet.wasm
    instances: fresh
    modes: [local]
    workers: 3
inputs:
  photos:
    glob: "photos/*.jpg"
  logo:
    file: logo.png
  marks:
    files: [a.png, b.png]
steps:
  decoded:
    call: decode
    needs: photos
    for_each: photos
    with:
      width: 1600
      note: "a text"
    timeout: 10s
  page:
    call: sheet
    needs: [decoded, logo, marks]
outputs:
  page:
    from: page
    file: out/page.png
  decoded:
    from: decoded
    file: out/{name}.rgb
)";

inline std::vector<std::string> Formatted(const std::vector<workflow::Mistake>& mistakes) {
  std::vector<std::string> lines;
  lines.reserve(mistakes.size());
  for (const workflow::Mistake& mistake : mistakes)
    lines.push_back(workflow::Format("w.yaml", mistake));
  return lines;
}

// "w.yaml:12:5: steps.x: ..." for each mistake in `text`.
inline std::vector<std::string> MistakesIn(std::string_view text) {
  workflow::Mistakes mistakes;
  static_cast<void>(workflow::ParseWorkflow(text, mistakes));
  return Formatted(mistakes.Sorted());
}

// Writes a file and the folders above it.
inline void Touch(const std::filesystem::path& path, std::string_view text = "x") {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

}  // namespace cwasi::test
