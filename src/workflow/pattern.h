// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The path of an output, in which {name} and {index} stand for an item's.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cwasi::workflow {

class Pattern {
 public:
  // {index} counts from 0 and has as many digits as the last one of `count` needs, so that names
  // sort as the items do.
  [[nodiscard]] std::string Expand(std::string_view name, std::size_t index,
                                   std::size_t count) const;
  [[nodiscard]] bool HasName() const { return Has(Piece::Kind::kName); }
  [[nodiscard]] bool HasIndex() const { return Has(Piece::Kind::kIndex); }

 private:
  friend Result<Pattern> ParsePattern(std::string_view text);
  struct Piece {
    enum class Kind : std::uint8_t { kText, kName, kIndex };
    Kind kind = Kind::kText;
    std::string text;
  };
  [[nodiscard]] bool Has(Piece::Kind kind) const;

  std::vector<Piece> pieces_;
};

// Errors: kInvalidArgument: braces around anything else, or one without the other; a path that
// ends in a slash.
Result<Pattern> ParsePattern(std::string_view text);

}  // namespace cwasi::workflow
