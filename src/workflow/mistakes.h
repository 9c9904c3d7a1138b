// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What is wrong with a workflow file, all of it at once: where in the file, at which key, and what.
//
// Thread: the one that owns the object.

#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace cwasi::workflow {

// A place in the file, both from 1; columns count characters. Line 0: the file as a whole.
struct Mark {
  std::size_t line = 0;
  std::size_t column = 0;
  auto operator<=>(const Mark&) const = default;
};

struct Mistake {
  Mark mark;
  std::string where;  // The way to the key: "steps.resized.for_each"; may be empty.
  std::string what;
};

// "workflow.yaml:12:5: steps.resized.for_eahc: unknown key (did you mean for_each?)"
std::string Format(std::string_view file, const Mistake& mistake);

class Mistakes {
 public:
  // A hostile file has as many as it has nodes; beyond this one line says that there are more.
  static constexpr std::size_t kMaxShown = 200;

  void Add(Mark mark, std::string_view where, std::string_view what);
  // Adds " (did you mean X?)" for the candidate that `wrong` most likely stands for, if any.
  void AddMisspelt(Mark mark, std::string_view where, std::string_view what, std::string_view wrong,
                   const std::vector<std::string_view>& candidates);

  [[nodiscard]] bool IsEmpty() const noexcept { return mistakes_.empty(); }
  // In the order of the file.
  [[nodiscard]] std::vector<Mistake> Sorted() const;

 private:
  std::vector<Mistake> mistakes_;
  std::size_t suggestions_ = 0;
};

// Text of the file as it may go to a terminal: control characters become '?', what is longer than
// 80 bytes is cut.
std::string Shown(std::string_view text);
// The same between quotation marks.
std::string Quoted(std::string_view text);

}  // namespace cwasi::workflow
