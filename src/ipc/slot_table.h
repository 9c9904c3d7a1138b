// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// SlotTable: which segments of one home the other end of a channel knows, and where each is.
//
//   absent --Announce--> home --Lend--> lent --Return--> home --Forget--> absent
//
// Both ends keep one for each home; what the peer says is tried against it, and a step that the
// state does not allow is the peer's lie (or our own bug, if we were about to send it).
//
// Thread: the channel's.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ipc/channel_handshake.h"
#include "ipc/channel_message.h"

namespace cwasi::ipc {

class SlotTable {
 public:
  // Announced and never lent. A giver announces a segment just before it lends it first, so more is
  // a flood of descriptors.
  static constexpr std::size_t kMaxUnused = 64;

  // Each returns false, and changes nothing, where the state does not allow it.
  bool Announce(std::uint16_t slot, std::uint32_t units);
  bool Lend(std::uint16_t slot, std::uint64_t payload_bytes);
  // `payload_bytes`: of what it carries on its way home, else 0.
  bool Return(std::uint16_t slot, std::uint64_t payload_bytes);

  // It is at home and ends there; the slot may be announced anew.
  bool Forget(std::uint16_t slot);

  [[nodiscard]] bool CanAnnounce() const { return unused_ < kMaxUnused; }
  [[nodiscard]] bool CanLend(std::uint16_t slot, std::uint64_t payload_bytes) const;
  [[nodiscard]] bool CanReturn(std::uint16_t slot, std::uint64_t payload_bytes) const;
  [[nodiscard]] bool IsKnown(std::uint16_t slot) const { return Units(slot) != 0; }
  [[nodiscard]] bool IsLent(std::uint16_t slot) const {
    return slot < slots_.size() && slots_[slot].lent;
  }
  [[nodiscard]] std::uint32_t Units(std::uint16_t slot) const {
    return slot < slots_.size() ? slots_[slot].units : 0;
  }
  // The channel is gone: who has these may still map them, so they are never recycled.
  [[nodiscard]] std::vector<std::uint16_t> Lent() const;

 private:
  struct Slot {
    std::uint32_t units = 0;  // 0: absent.
    bool lent = false;
    bool used = false;
  };
  std::vector<Slot> slots_;  // Slots are dense, so it is as long as the highest known.
  std::size_t unused_ = 0;
};

}  // namespace cwasi::ipc
