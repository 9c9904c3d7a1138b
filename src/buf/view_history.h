// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// ViewHistory: what the takers of one edge did with the views they got, and so what the next should
// get. A written page of a view costs a fault and a copy of its own, about ten times a page's share
// of one memcpy (docs/adr/0007): a callee that writes much is better off with a copy.

#pragma once

#include <cstddef>
#include <cstdint>

namespace cwasi::buf {

// Thread: one.
class ViewHistory {
 public:
  // Of the pages of a view.
  static constexpr double kMaxWrittenShare = 0.25;
  // Weight of the latest view.
  static constexpr double kLatest = 0.25;
  // Every so many copies one view again: callees change their ways.
  static constexpr std::uint32_t kRetryAfter = 16;

  enum class Choice : std::uint8_t { kView, kCopy };

  // For the next payload of this edge; to be asked once each.
  Choice Next() {
    if (written_share_ <= kMaxWrittenShare) return Choice::kView;
    if (++copies_since_view_ <= kRetryAfter) return Choice::kCopy;
    copies_since_view_ = 0;
    return Choice::kView;
  }

  // A view of so many pages has ended.
  void Record(std::size_t pages, std::size_t written) {
    if (pages == 0) return;
    const double share = static_cast<double>(written) / static_cast<double>(pages);
    written_share_ = seen_ ? written_share_ + kLatest * (share - written_share_) : share;
    seen_ = true;
  }
  // Of the pages of the last views, by weight.
  [[nodiscard]] double WrittenShare() const { return written_share_; }

 private:
  double written_share_ = 0;
  std::uint32_t copies_since_view_ = 0;
  bool seen_ = false;
};

}  // namespace cwasi::buf
