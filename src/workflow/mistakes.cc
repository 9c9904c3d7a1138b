// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/mistakes.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace cwasi::workflow {
namespace {

constexpr std::size_t kMaxShownBytes = 80;
// Each suggestion compares with every candidate, of which there may be 10,000.
constexpr std::size_t kMaxSuggestions = 20;
constexpr std::size_t kMaxComparedBytes = 64;

// Levenshtein's distance, where two letters that changed places count once.
std::size_t Distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(last.begin(), last.end(), 0U);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = last[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::string Format(std::string_view file, const Mistake& mistake) {
  std::string text(file);
  if (mistake.mark.line > 0) {
    text += ":" + std::to_string(mistake.mark.line) + ":" + std::to_string(mistake.mark.column);
  }
  text += ": ";
  if (!mistake.where.empty()) text += mistake.where + ": ";
  return text + mistake.what;
}

void Mistakes::Add(Mark mark, std::string_view where, std::string_view what) {
  if (mistakes_.size() > kMaxShown) return;
  if (mistakes_.size() == kMaxShown) {
    // Sorts last: the others are in the file before the end of it.
    mistakes_.push_back({.mark = {.line = SIZE_MAX, .column = 0}, .where = "", .what = ""});
    return;
  }
  mistakes_.push_back({.mark = mark, .where = std::string(where), .what = std::string(what)});
}

void Mistakes::AddMisspelt(Mark mark, std::string_view where, std::string_view what,
                           std::string_view wrong,
                           const std::vector<std::string_view>& candidates) {
  if (wrong.size() > kMaxComparedBytes || ++suggestions_ > kMaxSuggestions) {
    return Add(mark, where, what);
  }
  if (wrong.empty()) return Add(mark, where, what);
  // At most two letters wrong, and fewer than half of them.
  std::size_t best_distance = std::min<std::size_t>(2, (wrong.size() - 1) / 2) + 1;
  std::string_view best;
  for (const std::string_view candidate : candidates) {
    if (candidate.size() > wrong.size() + 2 || wrong.size() > candidate.size() + 2) continue;
    const std::size_t distance = Distance(wrong, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  if (best.empty()) return Add(mark, where, what);
  Add(mark, where, std::string(what) + " (did you mean " + Shown(best) + "?)");
}

std::vector<Mistake> Mistakes::Sorted() const {
  std::vector<Mistake> sorted = mistakes_;
  std::ranges::sort(sorted, {}, [](const Mistake& m) { return std::tie(m.mark, m.where, m.what); });
  if (sorted.size() > kMaxShown) {
    sorted.back() = {
        .mark = {}, .where = "", .what = "there are more mistakes than are shown here"};
  }
  return sorted;
}

std::string Shown(std::string_view text) {
  std::string shown(text.substr(0, kMaxShownBytes));
  for (char& c : shown) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = '?';
  }
  if (text.size() > kMaxShownBytes) {
    // Not in the middle of a character.
    while (!shown.empty() && (static_cast<unsigned char>(shown.back()) & 0x80U) != 0) {
      const bool starts = (static_cast<unsigned char>(shown.back()) & 0x40U) != 0;
      shown.pop_back();
      if (starts) break;
    }
    shown += "...";
  }
  return shown;
}

std::string Quoted(std::string_view text) {
  return "\"" + Shown(text) + "\"";
}

}  // namespace cwasi::workflow
