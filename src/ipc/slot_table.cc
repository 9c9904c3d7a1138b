// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/slot_table.h"

namespace cwasi::ipc {

bool SlotTable::Announce(std::uint16_t slot, std::uint32_t units) {
  if (slot >= kMaxSlots || units == 0 || units > kMaxSegmentUnits || IsKnown(slot) ||
      unused_ == kMaxUnused) {
    return false;
  }
  if (slot >= slots_.size()) slots_.resize(slot + std::size_t{1});
  slots_[slot].units = units;
  ++unused_;
  return true;
}

bool SlotTable::CanLend(std::uint16_t slot, std::uint64_t payload_bytes) const {
  return IsKnown(slot) && !slots_[slot].lent && payload_bytes <= Units(slot) * kSegmentUnitBytes;
}

bool SlotTable::CanReturn(std::uint16_t slot, std::uint64_t payload_bytes) const {
  return IsLent(slot) && payload_bytes <= Units(slot) * kSegmentUnitBytes;
}

bool SlotTable::Lend(std::uint16_t slot, std::uint64_t payload_bytes) {
  if (!CanLend(slot, payload_bytes)) return false;
  Slot& s = slots_[slot];
  if (!s.used) --unused_;
  s.used = true;
  s.lent = true;
  return true;
}

bool SlotTable::Return(std::uint16_t slot, std::uint64_t payload_bytes) {
  if (!CanReturn(slot, payload_bytes)) return false;
  slots_[slot].lent = false;
  return true;
}

bool SlotTable::Forget(std::uint16_t slot) {
  if (!IsKnown(slot) || slots_[slot].lent) return false;
  if (!slots_[slot].used) --unused_;
  slots_[slot] = {};
  return true;
}

std::vector<std::uint16_t> SlotTable::Lent() const {
  std::vector<std::uint16_t> lent;
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot].lent) lent.push_back(static_cast<std::uint16_t>(slot));
  }
  return lent;
}

}  // namespace cwasi::ipc
