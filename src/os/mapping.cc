// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "os/mapping.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <string>

#include "base/check.h"

namespace cwasi::os {

Result<Mapping> Mapping::Reserve(std::size_t size_bytes, std::size_t alignment) {
  CHECK(size_bytes > 0 && alignment >= 4096 && (alignment & (alignment - 1)) == 0);
  const std::size_t padded = size_bytes + alignment;
  if (padded < size_bytes)
    return Fail(ErrorCode::kResourceExhausted, "reserve address space: size overflows", ENOMEM);
  void* raw =
      ::mmap(nullptr, padded, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED)
    return Fail(ErrorCode::kResourceExhausted,
                "reserve " + std::to_string(size_bytes) + " bytes of address space", errno);
  auto* const start = static_cast<std::byte*>(raw);
  const std::size_t head =
      (alignment - reinterpret_cast<std::uintptr_t>(start) % alignment) % alignment;
  std::byte* const aligned = start + head;
  // Trimming cannot fail but for the mapping count, and then only leaves address space behind.
  if (head != 0) ::munmap(start, head);
  if (head != alignment) ::munmap(aligned + size_bytes, alignment - head);
  return Mapping(aligned, size_bytes);
}

void Mapping::Unmap() noexcept {
  if (base_ != nullptr) CHECK(::munmap(base_, size_bytes_) == 0);
  base_ = nullptr;
}

}  // namespace cwasi::os
