// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/shared_payload.h"

#include <algorithm>
#include <string>

#include "base/check.h"
#include "buf/page_mover.h"

namespace cwasi::buf {

SharedPayload::SharedPayload(Payload payload, From from)
    : stored_(new Stored{.payload = std::move(payload), .from = from, .handles = 1}) {}

SharedPayload& SharedPayload::operator=(SharedPayload&& other) noexcept {
  if (this != &other) {
    Reset();
    stored_ = std::exchange(other.stored_, nullptr);
  }
  return *this;
}

SharedPayload SharedPayload::Share() const {
  CHECK(stored_ != nullptr);
  return SharedPayload(stored_);
}

void SharedPayload::Reset() {
  Stored* const stored = std::exchange(stored_, nullptr);
  if (stored == nullptr) return;
  // The last handle stays counted until the kept views are gone, so that they do not end the
  // payload under us.
  if (stored->handles == 1) EndKeptViews(*stored);
  --stored->handles;
  DeleteIfUnused(stored);
}

void SharedPayload::EndKeptViews(Stored& stored) {
  if (stored.keepers.empty()) return;
  const SharedPayload during(&stored);  // What Keeper names the payload by.
  while (!stored.keepers.empty()) {
    Keeper* const keeper = stored.keepers.back();
    const std::size_t before = stored.keepers.size();
    keeper->LetGo(during);
    CHECK(stored.keepers.size() < before);
  }
}

void SharedPayload::DeleteIfUnused(Stored* stored) {
  if (stored->handles != 0 || stored->views != 0 || !stored->keepers.empty()) return;
  if (stored->abandoned) stored->payload.ReleaseSegment().Abandon();
  delete stored;
}

std::optional<Payload> SharedPayload::Take() {
  CHECK(stored_ != nullptr);
  if (stored_->handles != 1 || stored_->views != 0 || stored_->abandoned ||
      stored_->from != From::kHere)
    return std::nullopt;
  EndKeptViews(*stored_);
  Payload payload = std::move(stored_->payload);
  delete std::exchange(stored_, nullptr);
  return payload;
}

Result<View> View::Map(const SharedPayload& payload, std::byte* window, Budget& mappings) {
  CHECK(payload.IsSegment());
  auto share = Reservation::Try(mappings, kMappingsPerView);
  if (!share.Held())
    return Fail(ErrorCode::kUnavailable, "payload memory: the budget of " +
                                             std::to_string(mappings.Limit()) +
                                             " mappings is used up");
  const std::size_t bytes = RoundUp(payload.Size(), kPageBytes);
  TRY(payload.stored_->payload.SegmentOf().MapView(window, bytes));
  View view;
  view.stored_ = payload.stored_;
  view.window_ = window;
  view.bytes_ = bytes;
  view.mappings_ = std::move(share);
  ++view.stored_->views;
  return view;
}

View::View(View&& other) noexcept
    : stored_(std::exchange(other.stored_, nullptr)),
      keeper_(std::exchange(other.keeper_, nullptr)),
      window_(other.window_),
      bytes_(other.bytes_),
      mappings_(std::move(other.mappings_)) {}

View& View::operator=(View&& other) noexcept {
  if (this != &other) {
    End();
    stored_ = std::exchange(other.stored_, nullptr);
    keeper_ = std::exchange(other.keeper_, nullptr);
    window_ = other.window_;
    bytes_ = other.bytes_;
    mappings_ = std::move(other.mappings_);
  }
  return *this;
}

void View::Keep(SharedPayload::Keeper& keeper) {
  CHECK(stored_ != nullptr && keeper_ == nullptr && HasHandle());
  keeper_ = &keeper;
  stored_->keepers.push_back(&keeper);
  --stored_->views;
}

void View::Use() {
  CHECK(stored_ != nullptr && keeper_ != nullptr);
  auto& keepers = stored_->keepers;
  keepers.erase(std::find(keepers.begin(), keepers.end(), std::exchange(keeper_, nullptr)));
  ++stored_->views;
}

void View::End() {
  if (stored_ == nullptr) return;
  if (keeper_ != nullptr) Use();
  // A view that stayed would see the segment's next payload.
  if (auto fresh = MapPrivate(window_, bytes_); !fresh)
    EndDamagedProcess("ending a view of a payload", fresh.error().sys_errno);
  mappings_ = {};
  SharedPayload::Stored* const stored = std::exchange(stored_, nullptr);
  --stored->views;
  SharedPayload::DeleteIfUnused(stored);
}

}  // namespace cwasi::buf
