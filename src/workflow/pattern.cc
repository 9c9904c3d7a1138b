// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/pattern.h"

#include <algorithm>

#include "workflow/mistakes.h"

namespace cwasi::workflow {

std::string Pattern::Expand(std::string_view name, std::size_t index, std::size_t count) const {
  std::string path;
  for (const Piece& piece : pieces_) {
    switch (piece.kind) {
      case Piece::Kind::kText:
        path += piece.text;
        break;
      case Piece::Kind::kName:
        path += name;
        break;
      case Piece::Kind::kIndex: {
        const std::string number = std::to_string(index);
        const std::size_t digits = std::to_string(count > 0 ? count - 1 : 0).size();
        path.append(digits > number.size() ? digits - number.size() : 0, '0');
        path += number;
        break;
      }
    }
  }
  return path;
}

bool Pattern::Has(Piece::Kind kind) const {
  return std::ranges::any_of(pieces_, [kind](const Piece& piece) { return piece.kind == kind; });
}

Result<Pattern> ParsePattern(std::string_view text) {
  Pattern pattern;
  if (text.ends_with('/')) {
    return Fail(ErrorCode::kInvalidArgument, Quoted(text) + " is a folder, not a file");
  }
  while (!text.empty()) {
    const std::size_t plain = std::min(text.find_first_of("{}"), text.size());
    if (plain > 0) {
      pattern.pieces_.push_back(
          {.kind = Pattern::Piece::Kind::kText, .text = std::string(text.substr(0, plain))});
      text.remove_prefix(plain);
      continue;
    }
    const std::size_t close = text.find('}');
    if (text.front() == '}' || close == std::string_view::npos) {
      return Fail(ErrorCode::kInvalidArgument, "a brace without its other half");
    }
    const std::string_view word = text.substr(1, close - 1);
    if (word != "name" && word != "index") {
      return Fail(ErrorCode::kInvalidArgument,
                  "{" + Shown(word) + "} means nothing; there are {name} and {index}");
    }
    pattern.pieces_.push_back(
        {.kind = word == "name" ? Pattern::Piece::Kind::kName : Pattern::Piece::Kind::kIndex,
         .text = {}});
    text.remove_prefix(close + 1);
  }
  return pattern;
}

}  // namespace cwasi::workflow
