// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// SharedPayload: one payload for many takers, stored once. Each taker's guest sees it through a
// View: a copy-on-write mapping of the segment in a window of its own (rule 7).
//
// As long as a handle or a view lives nobody writes the segment: it is reachable through const
// access only, and only Take gives it away again.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "buf/budget.h"
#include "buf/page_scan.h"
#include "buf/payload.h"

namespace cwasi::buf {

// Mappings that one view can add: the window and the part of the guest's memory that it splits off.
inline constexpr std::size_t kMappingsPerView = 2;

class View;

// A handle. Move-only; Share makes another. Thread: the worker's guest thread.
class SharedPayload {
 public:
  // Who keeps a view that no buffer uses, for the next time that the same payload comes.
  class Keeper {
   public:
    Keeper() = default;
    Keeper(const Keeper&) = delete;
    Keeper& operator=(const Keeper&) = delete;
    Keeper(Keeper&&) = delete;
    Keeper& operator=(Keeper&&) = delete;
    virtual ~Keeper() = default;
    // The last handle has gone: ends every kept view of this payload, now.
    virtual void LetGo(const SharedPayload& payload) = 0;
  };

  // Whose the segment is: another worker's may be read here and nothing else.
  enum class From : std::uint8_t { kHere, kAnotherWorker };

  SharedPayload() = default;
  explicit SharedPayload(Payload payload, From from = From::kHere);
  SharedPayload(SharedPayload&& other) noexcept : stored_(std::exchange(other.stored_, nullptr)) {}
  SharedPayload& operator=(SharedPayload&& other) noexcept;
  SharedPayload(const SharedPayload&) = delete;
  SharedPayload& operator=(const SharedPayload&) = delete;
  ~SharedPayload() { Reset(); }

  explicit operator bool() const { return stored_ != nullptr; }
  [[nodiscard]] SharedPayload Share() const;
  // The segment goes home when no handle and no view is left.
  void Reset();

  [[nodiscard]] std::size_t Size() const { return stored_->payload.Size(); }
  [[nodiscard]] std::span<const std::byte> Bytes() const { return stored_->payload.Bytes(); }
  // Short payloads have no segment; there are no views of them.
  [[nodiscard]] bool IsSegment() const { return stored_->payload.IsSegment(); }
  [[nodiscard]] std::size_t SegmentBytes() const {
    return stored_->payload.SegmentOf().CapacityBytes();
  }
  // To be announced to workers of this trust domain, which may only read it, and kept where it is
  // as long as one of them has it: a handle must live until then.
  [[nodiscard]] Segment& SegmentToLend() const { return stored_->payload.SegmentOf(); }
  // A worker that had it is lost and may still have it mapped: it is read on, and its segment is
  // not used again (rule 8).
  void Abandon() { stored_->abandoned = true; }
  // All of it. Errors: as Payload::WriteTo.
  [[nodiscard]] Result<> WriteTo(int fd) const { return stored_->payload.WriteTo(fd); }
  [[nodiscard]] std::size_t Handles() const { return stored_->handles; }
  // Views that guests have.
  [[nodiscard]] std::size_t LiveViews() const { return stored_->views; }

  // The payload itself, to be moved to its last taker, if this is the only handle, no guest has a
  // view and the segment may be written. This handle is empty then.
  [[nodiscard]] std::optional<Payload> Take();

 private:
  friend class View;
  struct Stored {
    Payload payload;
    From from = From::kHere;
    bool abandoned = false;
    std::size_t handles = 0;
    std::size_t views = 0;
    std::vector<Keeper*> keepers = {};  // One entry for each kept view.
  };
  explicit SharedPayload(Stored* stored) : stored_(stored) { ++stored_->handles; }
  static void EndKeptViews(Stored& stored);
  static void DeleteIfUnused(Stored* stored);

  Stored* stored_ = nullptr;
};

// Move-only; on destruction private zero pages lie where it was. The payload's bytes in it are the
// guest's to change; nobody else sees what it writes. Thread: the worker's guest thread.
class View {
 public:
  View() = default;
  // At `window`, RoundUp(payload.Size(), kPageBytes) long: part of a guest's memory whose contents
  // nobody needs. `mappings` outlives it. Page tables are filled as the guest reads.
  // Errors: kUnavailable (mappings): nothing has changed.
  static Result<View> Map(const SharedPayload& payload, std::byte* window, Budget& mappings);
  View(View&& other) noexcept;
  View& operator=(View&& other) noexcept;
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  ~View() { End(); }

  explicit operator bool() const { return stored_ != nullptr; }
  [[nodiscard]] bool IsOf(const SharedPayload& payload) const { return stored_ == payload.stored_; }
  // Whether the same payload may come again.
  [[nodiscard]] bool HasHandle() const { return stored_->handles != 0; }
  [[nodiscard]] std::size_t Pages() const { return bytes_ / kPageBytes; }

  // It shows the payload's bytes again. How many pages had been written, if that is known.
  std::optional<std::size_t> Clean(PageScanner& scanner) {
    return scanner.DropPrivatePages(window_, bytes_);
  }

  // From now until Use, no guest uses it and `keeper` must end it when asked.
  void Keep(SharedPayload::Keeper& keeper);
  void Use();
  void End();

 private:
  SharedPayload::Stored* stored_ = nullptr;
  SharedPayload::Keeper* keeper_ = nullptr;  // Set while it is kept.
  std::byte* window_ = nullptr;
  std::size_t bytes_ = 0;
  Reservation mappings_;
};

}  // namespace cwasi::buf
