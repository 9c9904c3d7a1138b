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
  const auto start = reinterpret_cast<std::uintptr_t>(raw);
  const std::uintptr_t aligned = (start + alignment - 1) & ~(alignment - 1);
  // Trimming cannot fail but for the mapping count, and then only leaves address space behind.
  if (aligned != start) ::munmap(raw, aligned - start);
  const std::uintptr_t end = start + padded;
  if (aligned + size_bytes != end)
    ::munmap(reinterpret_cast<void*>(aligned + size_bytes), end - aligned - size_bytes);
  return Mapping(reinterpret_cast<std::byte*>(aligned), size_bytes);
}

void Mapping::Unmap() noexcept {
  if (base_ != nullptr) CHECK(::munmap(base_, size_bytes_) == 0);
  base_ = nullptr;
}

}  // namespace cwasi::os
