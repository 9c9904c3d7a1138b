// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/guest_buffers.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"

namespace cwasi::buf {
namespace {

tl::unexpected<Error> NoSuchBuffer(std::uint32_t address) {
  return Fail(ErrorCode::kInvalidArgument,
              "no buffer of this function begins at " + std::to_string(address));
}

// What is written to it nobody of another domain sees.
bool IsOfDomain(const SegmentRef& segment) {
  return segment->GetScope() == Scope::kDomain;
}

}  // namespace

GuestBuffers::~GuestBuffers() = default;  // Segments stage themselves; see SegmentRef.

Result<> GuestBuffers::CheckRoom(std::size_t bytes) const {
  if (bytes == 0) return Fail(ErrorCode::kInvalidArgument, "a buffer of 0 bytes");
  if (bytes > payloads_.MaxPayloadBytes())
    return Fail(ErrorCode::kInvalidArgument,
                "a buffer of " + std::to_string(bytes) + " bytes: the limit is " +
                    std::to_string(payloads_.MaxPayloadBytes()),
                EMSGSIZE);
  if (buffers_.size() >= kMaxBuffers)
    return Fail(ErrorCode::kUnavailable,
                "more than " + std::to_string(kMaxBuffers) + " buffers in one function");
  return {};
}

Result<std::uint32_t> GuestBuffers::AllocateWindow(std::size_t bytes) {
  if (const auto address = space_.Allocate(bytes)) return *address;
  while (!kept_views_.empty()) {
    DropKeptView(0);
    if (const auto address = space_.Allocate(bytes)) return *address;
  }
  // Doubling keeps the number of arenas small; a guest near its limit may still have just enough.
  for (const std::size_t ask : {space_.NextArenaBytes(bytes), RoundUp(bytes, kUnitBytes)}) {
    memory_.AllowArena(ask + kUnitBytes);  // Its alignment may cost up to a unit.
    auto offset = arena_source_.RequestArena(ask);
    if (!offset) {
      memory_.WithdrawArena(ask + kUnitBytes);
      if (offset.error().code == ErrorCode::kResourceExhausted) continue;
      return offset;
    }
    if (auto added = space_.AddArena(*offset, ask, memory_.SizeBytes()); !added) {
      memory_.WithdrawArena(ask + kUnitBytes);
      return tl::unexpected(std::move(added).error());
    }
    const auto address = space_.Allocate(bytes);
    CHECK(address.has_value());
    return *address;
  }
  return Fail(
      ErrorCode::kResourceExhausted,
      "the function's memory has no room for a window of " + std::to_string(bytes) + " bytes",
      ENOMEM);
}

void GuestBuffers::Insert(std::uint32_t address, Buffer buffer) {
  if (buffer.owner == Owner::kRequest) of_request_.push_back(address);
  const bool inserted = buffers_.emplace(address, std::move(buffer)).second;
  CHECK(inserted);
}

void GuestBuffers::Erase(Map::iterator it) {
  const std::uint32_t address = it->first;
  const std::size_t window_bytes = it->second.window_bytes;
  if (it->second.view) {
    EndView(address, it->second);
    buffers_.erase(it);
    return;
  }
  it->second.segment.Reset();  // The window has private pages again before it can be given out.
  buffers_.erase(it);
  space_.Free(address, window_bytes);
}

// The window stays taken if the view is kept.
void GuestBuffers::EndView(std::uint32_t address, Buffer& buffer) {
  if (const auto written = buffer.view.Clean(payloads_.Scanner())) {
    buffer.history->Record(buffer.view.Pages(), *written);
    payloads_.Views().written_pages += *written;
  }
  if (!buffer.view.HasHandle()) {
    buffer.view.End();
    space_.Free(address, buffer.window_bytes);
    return;
  }
  if (kept_views_.size() == kMaxKeptViews) DropKeptView(0);
  buffer.view.Keep(*this);
  kept_views_.push_back({address, buffer.window_bytes, std::move(buffer.view)});
}

void GuestBuffers::DropKeptView(std::size_t index) {
  const auto at = kept_views_.begin() + static_cast<std::ptrdiff_t>(index);
  KeptView kept = std::move(*at);
  kept_views_.erase(at);
  kept.view.End();
  space_.Free(kept.address, kept.window_bytes);
}

void GuestBuffers::LetGo(const SharedPayload& payload) {
  for (std::size_t i = kept_views_.size(); i > 0; --i)
    if (kept_views_[i - 1].view.IsOf(payload)) DropKeptView(i - 1);
}

void GuestBuffers::Trim() {
  while (!kept_views_.empty()) DropKeptView(0);
}

Result<std::uint32_t> GuestBuffers::AddOwnPages(std::size_t bytes, Owner owner) {
  TRY_SET(const std::uint32_t address, AllocateWindow(bytes));
  if (zero_ == Zero::kAlways) std::memset(At(address), 0, bytes);
  Insert(address, {.window_bytes = bytes, .capacity_bytes = bytes, .owner = owner});
  return address;
}

Result<std::uint32_t> GuestBuffers::Adopt(SegmentRef& segment, Owner owner) {
  const std::size_t bytes = segment->CapacityBytes();
  TRY_SET(const std::uint32_t address, AllocateWindow(bytes));
  if (auto moved = segment->MoveTo(At(address)); !moved) {
    space_.Free(address, bytes);
    return tl::unexpected(std::move(moved).error());
  }
  Insert(address, {.window_bytes = bytes,
                   .capacity_bytes = bytes,
                   .owner = owner,
                   .segment = std::move(segment)});
  return address;
}

Result<std::uint32_t> GuestBuffers::New(std::size_t bytes, Owner owner, SegmentPool& pool) {
  TRY(CheckRoom(bytes));
  if (!payloads_.Moves(bytes)) return AddOwnPages(bytes, owner);
  TRY_SET(SegmentRef segment, pool.Take(bytes, zero_));
  return Adopt(segment, owner);
}

Result<> GuestBuffers::Free(std::uint32_t address) {
  if (inbox_busy_ && address == inbox_) {
    inbox_busy_ = false;
    return {};
  }
  const auto it = buffers_.find(address);
  if (it == buffers_.end() || it->second.lent) return NoSuchBuffer(address);
  Erase(it);
  return {};
}

Result<> GuestBuffers::Retain(std::uint32_t address) {
  if (inbox_busy_ && address == inbox_) {
    // The guest keeps this one; the next short request gets another.
    TRY(CheckRoom(kInboxBytes));
    inbox_busy_ = false;
    Insert(std::exchange(inbox_, 0),
           {.window_bytes = kInboxBytes, .capacity_bytes = kInboxBytes, .owner = Owner::kGuest});
    return {};
  }
  const auto it = buffers_.find(address);
  if (it == buffers_.end()) return NoSuchBuffer(address);
  it->second.owner = Owner::kGuest;
  return {};
}

Result<bool> GuestBuffers::TakeInbox(std::size_t bytes, Owner owner) {
  if (bytes > kInboxBytes || owner != Owner::kRequest || inbox_busy_) return false;
  if (inbox_ == 0) {
    const auto address = AllocateWindow(kInboxBytes);
    if (!address && address.error().code == ErrorCode::kResourceExhausted) return false;
    if (!address) return tl::unexpected(address.error());
    inbox_ = *address;
  }
  inbox_busy_ = true;
  return true;
}

Result<std::uint32_t> GuestBuffers::ReceiveCopy(const std::byte* from, std::size_t bytes,
                                                Owner owner) {
  if (bytes == 0) return 0U;
  std::uint32_t address = 0;
  TRY_SET(const bool in_inbox, TakeInbox(bytes, owner));
  if (in_inbox) {
    address = inbox_;
    if (zero_ == Zero::kAlways) std::memset(At(address), 0, kInboxBytes);
  } else {
    TRY_SET(address, New(bytes, owner));
  }
  payloads_.Copy(At(address), from, bytes);
  return address;
}

Result<std::uint32_t> GuestBuffers::ReceiveForeign(const ForeignView& from, std::size_t bytes,
                                                   Owner owner) {
  TRY_SET(const auto source, from.First(bytes));
  return ReceiveCopy(source.data(), bytes, owner);
}

Result<std::uint32_t> GuestBuffers::Receive(Payload& payload, Owner owner) {
  if (!payload.IsSegment()) {
    TRY_SET(const std::uint32_t address,
            ReceiveCopy(payload.Bytes().data(), payload.Size(), owner));
    payload = {};
    return address;
  }
  TRY(CheckRoom(payload.Size()));
  const std::size_t size = payload.Size();
  SegmentRef segment = payload.ReleaseSegment();
  auto address = Adopt(segment, owner);
  if (!address) payload = Payload(std::move(segment), size);
  return address;
}

Result<std::uint32_t> GuestBuffers::ReceiveView(const SharedPayload& payload, Owner owner,
                                                ViewHistory& history) {
  const std::size_t size = payload.Size();
  if (!payload.IsSegment() || history.Next() == ViewHistory::Choice::kCopy)
    return ReceiveCopy(payload.Bytes().data(), size, owner);
  TRY(CheckRoom(size));
  std::uint32_t address = 0;
  View view;
  const auto kept = std::find_if(kept_views_.begin(), kept_views_.end(),
                                 [&](const KeptView& k) { return k.view.IsOf(payload); });
  if (kept != kept_views_.end()) {
    address = kept->address;
    view = std::move(kept->view);
    kept_views_.erase(kept);
    view.Use();
    // Its guest could write to the window since the view's buffer ended.
    view.Clean(payloads_.Scanner());
    ++payloads_.Views().reused;
  } else {
    TRY_SET(address, AllocateWindow(size));
    auto mapped = View::Map(payload, At(address), payloads_.Mappings());
    if (!mapped) {
      space_.Free(address, size);
      return tl::unexpected(std::move(mapped).error());
    }
    view = std::move(*mapped);
    ++payloads_.Views().mapped;
  }
  // The last page of the file may hold former bytes.
  if (zero_ == Zero::kAlways) std::memset(At(address) + size, 0, RoundUp(size, kPageBytes) - size);
  Insert(address, {.window_bytes = size,
                   .capacity_bytes = size,
                   .owner = owner,
                   .view = std::move(view),
                   .history = &history});
  return address;
}

Result<> GuestBuffers::CheckGive(std::uint32_t address, std::size_t bytes) const {
  std::size_t capacity = kInboxBytes;
  if (!inbox_busy_ || address != inbox_) {
    const auto it = buffers_.find(address);
    if (it == buffers_.end() || it->second.lent) return NoSuchBuffer(address);
    capacity = it->second.capacity_bytes;
  }
  if (bytes > capacity)
    return Fail(
        ErrorCode::kInvalidArgument,
        "giving " + std::to_string(bytes) + " bytes of a buffer of " + std::to_string(capacity));
  return {};
}

Result<Payload> GuestBuffers::Give(std::uint32_t address, std::size_t bytes,
                                   const SegmentHome* edge) {
  TRY(CheckGive(address, bytes));
  const auto it = buffers_.find(address);
  if (it != buffers_.end() && CanMove(it->second, bytes) &&
      (IsOfDomain(it->second.segment) || it->second.segment.Home() == edge)) {
    it->second.segment->Stage();
    Payload payload(std::move(it->second.segment), bytes);
    Erase(it);
    return payload;
  }
  // Pages of the guest's own leave by copy.
  TRY_SET(Payload payload, Payload::CopyOf({At(address), bytes}, payloads_));
  TRY(Free(address));
  return payload;
}

std::optional<Payload> GuestBuffers::Lend(std::uint32_t address, std::size_t bytes,
                                          const SegmentHome* edge) {
  const auto it = buffers_.find(address);
  if (it == buffers_.end() || it->second.lent || bytes > it->second.capacity_bytes ||
      !CanMove(it->second, bytes))
    return std::nullopt;
  const SegmentRef& segment = it->second.segment;
  if (edge == nullptr ? !IsOfDomain(segment) : segment.Home() != edge) return std::nullopt;
  it->second.segment->Stage();
  it->second.lent = true;
  return Payload(std::move(it->second.segment), bytes);
}

void GuestBuffers::EndLend(std::uint32_t address, SegmentRef back) {
  const auto it = buffers_.find(address);
  CHECK(it != buffers_.end() && it->second.lent);
  it->second.lent = false;
  if (!back) return Erase(it);
  if (back->MoveTo(At(address))) {
    it->second.segment = std::move(back);
    return;
  }
  // Mappings are short: the bytes come back as pages of the guest's own.
  payloads_.Copy(At(address), back->Data(), it->second.capacity_bytes);
}

void GuestBuffers::EndLendByCopy(std::uint32_t address, SegmentRef lost) {
  const auto it = buffers_.find(address);
  CHECK(it != buffers_.end() && it->second.lent);
  it->second.lent = false;
  payloads_.Copy(At(address), lost->Data(), it->second.capacity_bytes);
  lost.Abandon();
}

Result<std::uint32_t> GuestBuffers::Transfer(std::uint32_t address, std::size_t bytes,
                                             GuestBuffers& to, Owner owner) {
  TRY(CheckGive(address, bytes));
  const auto it = buffers_.find(address);
  if (it == buffers_.end() || !CanMove(it->second, bytes) || !IsOfDomain(it->second.segment)) {
    TRY_SET(const std::uint32_t there, to.ReceiveCopy(At(address), bytes, owner));
    TRY(Free(address));
    return there;
  }
  TRY(to.CheckRoom(bytes));
  // Straight from window to window. `to` may be asked for an arena, which does not touch this
  // guest.
  auto there = to.Adopt(it->second.segment, owner);
  if (there) Erase(it);
  return there;
}

void GuestBuffers::EraseOfRequest() {
  for (const std::uint32_t address : of_request_) {
    const auto it = buffers_.find(address);
    // A lent one ends with the call that it was lent to.
    if (it != buffers_.end() && it->second.owner == Owner::kRequest && !it->second.lent) Erase(it);
  }
  of_request_.clear();
}

}  // namespace cwasi::buf
