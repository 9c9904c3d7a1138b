// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// GuestBuffers: the buffers of one instance, by address, and how payloads come into and leave its
// memory. docs/protocols/guest-abi.md, "Buffers", is what the guest is told.
//
// A buffer's memory is one of: a window of whole units with a segment's pages in it (moved without
// a copy), a view of a payload that several guests got, or pages of the guest's own in an arena
// (short payloads, and all where pages cannot be moved).
//
// The guest is not trusted: it names buffers by numbers that are looked up, never used as they are.
//
// Thread: the worker's guest thread, inside a host call of this instance or while it is idle.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "buf/foreign_view.h"
#include "buf/guest_memory.h"
#include "buf/payload.h"
#include "buf/shared_payload.h"
#include "buf/view_history.h"
#include "buf/window_space.h"

namespace cwasi::buf {

// Asks the guest for memory. Implemented by whoever can call it.
class ArenaSource {
 public:
  ArenaSource() = default;
  ArenaSource(const ArenaSource&) = delete;
  ArenaSource& operator=(const ArenaSource&) = delete;
  ArenaSource(ArenaSource&&) = delete;
  ArenaSource& operator=(ArenaSource&&) = delete;
  virtual ~ArenaSource() = default;
  // The offset of `bytes` (whole units) that the guest grants, aligned to kUnitBytes if it is
  // honest. Errors: kResourceExhausted (it has none), others if the call failed.
  virtual Result<std::uint32_t> RequestArena(std::size_t bytes) = 0;
};

// Who ends a buffer's life: the call under way, or the guest.
enum class Owner : std::uint8_t { kRequest, kGuest };

class GuestBuffers : private SharedPayload::Keeper {
 public:
  // More are refused: bookkeeping must stay small beside the guest's memory.
  static constexpr std::size_t kMaxBuffers = 16384;
  // A place for short requests that is kept from call to call.
  static constexpr std::size_t kInboxBytes = std::size_t{64} << 10;
  // Views whose buffers ended, kept while the payload may come again.
  static constexpr std::size_t kMaxKeptViews = 4;

  // All outlive this.
  GuestBuffers(GuestMemory& memory, PayloadMemory& payloads, ArenaSource& arenas, Zero zero)
      : memory_(memory), payloads_(payloads), arena_source_(arenas), zero_(zero) {}
  GuestBuffers(const GuestBuffers&) = delete;
  GuestBuffers& operator=(const GuestBuffers&) = delete;
  GuestBuffers(GuestBuffers&&) = delete;
  GuestBuffers& operator=(GuestBuffers&&) = delete;
  // Puts private pages back into every window; the segments go to the pool.
  ~GuestBuffers() override;

  [[nodiscard]] WindowSpace& Space() { return space_; }

  // Address of a new buffer. Errors: kInvalidArgument (0 or over the payload limit; errno
  // EMSGSIZE), kResourceExhausted (memory), kUnavailable (mappings, number of buffers), as
  // ArenaSource.
  Result<std::uint32_t> New(std::size_t bytes, Owner owner) {
    return New(bytes, owner, payloads_.Pool());
  }
  // As New, for a payload that will go where the segments of `pool` may go. It outlives this.
  Result<std::uint32_t> New(std::size_t bytes, Owner owner, SegmentPool& pool);
  // Errors (all three): kInvalidArgument: no buffer of this guest begins there.
  Result<> Free(std::uint32_t address);
  Result<> Retain(std::uint32_t address);

  // Copies bytes in as a new buffer. `from` may be another guest's memory. Address 0 for no bytes.
  Result<std::uint32_t> ReceiveCopy(const std::byte* from, std::size_t bytes, Owner owner);
  // As ReceiveCopy for a short part of the call under way, the way of most calls: its address in
  // the place kept for that, or 0 if it must go the long way.
  std::uint32_t ReceiveShort(const std::byte* from, std::size_t bytes) {
    if (inbox_ == 0 || inbox_busy_ || bytes == 0 || bytes > kInboxBytes || zero_ == Zero::kAlways)
      return 0;
    inbox_busy_ = true;
    payloads_.Copy(At(inbox_), from, bytes);
    return inbox_;
  }
  // Moves a payload in; it is empty after. On error it is unchanged.
  Result<std::uint32_t> Receive(Payload& payload, Owner owner);
  // One copy of what another trust domain gave. Errors: kInvalidArgument: fewer bytes are there.
  Result<std::uint32_t> ReceiveForeign(const ForeignView& from, std::size_t bytes, Owner owner);
  // A buffer that shows a payload which others see too: a view, or a copy where it is short or
  // `history` says so. What is written to it stays in it; moving it on makes a copy. `history` is
  // told what became of the view, and outlives this. Errors: as Receive.
  Result<std::uint32_t> ReceiveView(const SharedPayload& payload, Owner owner,
                                    ViewHistory& history);
  // Moves the first `bytes` of a buffer out. On error the buffer is unchanged; kInvalidArgument
  // also if `bytes` is over its capacity. A segment of another trust domain's edge is copied, since
  // its next guest would write under the eyes of that domain (rule 5), unless it goes to `edge`.
  Result<Payload> Give(std::uint32_t address, std::size_t bytes, const SegmentHome* edge = nullptr);
  // Moves the first `bytes` of a buffer to another guest. On error both are unchanged.
  Result<std::uint32_t> Transfer(std::uint32_t address, std::size_t bytes, GuestBuffers& to,
                                 Owner owner);
  // Moves the first `bytes` of a buffer out for as long as a call to another worker takes; until
  // EndLend it is a buffer that can be neither given nor freed. `edge`: the pool of what may go to
  // that worker; null within the trust domain. Absent: its bytes are to be copied (CheckGive says
  // whether there is such a buffer).
  std::optional<Payload> Lend(std::uint32_t address, std::size_t bytes,
                              const SegmentHome* edge = nullptr);
  // The call is over. With its segment back the buffer is as before; else it is gone.
  void EndLend(std::uint32_t address, SegmentRef back);
  // The call has not begun and never will, but others may go on using `lost`, its segment: the
  // buffer is as before, in pages of the guest's own, by one copy.
  void EndLendByCopy(std::uint32_t address, SegmentRef lost);

  // Whether Give or Transfer of these would be accepted.
  [[nodiscard]] Result<> CheckGive(std::uint32_t address, std::size_t bytes) const;

  // Ends the buffers of the call under way.
  void EndRequest() {
    inbox_busy_ = false;
    if (!of_request_.empty()) EraseOfRequest();
  }

  // Gives back what is kept for calls to come.
  void Trim();

  struct Stats {
    std::size_t buffers = 0;
    std::size_t kept_views = 0;
    std::size_t arena_bytes = 0;
  };
  [[nodiscard]] Stats GetStats() const {
    return {buffers_.size(), kept_views_.size(), space_.ArenaBytes()};
  }

 private:
  struct Buffer {
    std::size_t window_bytes = 0;  // As given to WindowSpace.
    std::size_t capacity_bytes = 0;
    Owner owner = Owner::kGuest;
    SegmentRef segment = {};  // Both empty: the guest's own pages.
    View view = {};
    ViewHistory* history = nullptr;  // Set if there is a view.
    bool lent = false;               // Its segment is with another worker.
  };
  struct KeptView {
    std::uint32_t address = 0;
    std::size_t window_bytes = 0;
    View view;
  };
  using Map = std::unordered_map<std::uint32_t, Buffer>;
  [[nodiscard]] bool CanMove(const Buffer& buffer, std::size_t bytes) const {
    return buffer.segment && payloads_.Moves(bytes);
  }

  [[nodiscard]] std::byte* At(std::uint32_t address) const { return memory_.Base() + address; }
  Result<std::uint32_t> AllocateWindow(std::size_t bytes);
  Result<std::uint32_t> AddOwnPages(std::size_t bytes, Owner owner);
  // On error the reference stays with the caller.
  Result<std::uint32_t> Adopt(SegmentRef& segment, Owner owner);
  void Insert(std::uint32_t address, Buffer buffer);
  void Erase(Map::iterator it);
  void EraseOfRequest();
  void EndView(std::uint32_t address, Buffer& buffer);
  void DropKeptView(std::size_t index);
  void LetGo(const SharedPayload& payload) override;
  Result<> CheckRoom(std::size_t bytes) const;
  // Makes the inbox ready for a part of the call under way; false if it cannot hold it. Errors: as
  // ArenaSource but for kResourceExhausted: a smaller window may still fit.
  Result<bool> TakeInbox(std::size_t bytes, Owner owner);

  GuestMemory& memory_;
  PayloadMemory& payloads_;
  ArenaSource& arena_source_;
  Zero zero_;
  WindowSpace space_;
  Map buffers_;
  std::vector<std::uint32_t> of_request_;  // May name ended buffers.
  std::vector<KeptView> kept_views_;       // Longest kept first.
  std::uint32_t inbox_ = 0;                // 0: none yet.
  bool inbox_busy_ = false;                // Holds a part of the call under way.
};

}  // namespace cwasi::buf
