// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The plainest LinearMemoryFactory: anonymous mappings, a limit, and counters for tests.

#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "wasm/engine.h"

namespace cwasi::test {

class MappedMemory final : public wasm::LinearMemory {
 public:
  static Result<std::unique_ptr<wasm::LinearMemory>> Create(std::size_t size_bytes,
                                                            std::size_t mapped_bytes,
                                                            std::size_t limit_bytes,
                                                            std::atomic<int>* alive) {
    void* base = ::mmap(nullptr, mapped_bytes, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return Fail(ErrorCode::kResourceExhausted, "map memory", errno);
    auto memory = std::make_unique<MappedMemory>(static_cast<std::byte*>(base), mapped_bytes,
                                                 limit_bytes, alive);
    TRY(memory->Grow(size_bytes));
    return memory;
  }
  MappedMemory(std::byte* base, std::size_t mapped_bytes, std::size_t limit_bytes,
               std::atomic<int>* alive)
      : base_(base), mapped_bytes_(mapped_bytes), limit_bytes_(limit_bytes), alive_(alive) {
    ++*alive_;
  }
  MappedMemory(const MappedMemory&) = delete;
  MappedMemory& operator=(const MappedMemory&) = delete;
  MappedMemory(MappedMemory&&) = delete;
  MappedMemory& operator=(MappedMemory&&) = delete;
  ~MappedMemory() override {
    ::munmap(base_, mapped_bytes_);
    --*alive_;
  }

  [[nodiscard]] std::byte* Base() const override { return base_; }
  [[nodiscard]] std::size_t SizeBytes() const override { return size_bytes_; }
  Result<> Grow(std::size_t new_size_bytes) override {
    if (new_size_bytes > limit_bytes_) {
      return Fail(ErrorCode::kResourceExhausted,
                  "memory of " + std::to_string(new_size_bytes) + " bytes is over the limit");
    }
    if (new_size_bytes > size_bytes_ &&
        ::mprotect(base_ + size_bytes_, new_size_bytes - size_bytes_, PROT_READ | PROT_WRITE) !=
            0) {
      return Fail(ErrorCode::kResourceExhausted, "make memory accessible", errno);
    }
    size_bytes_ = new_size_bytes;
    return {};
  }

 private:
  std::byte* base_;
  std::size_t mapped_bytes_;
  std::size_t limit_bytes_;
  std::atomic<int>* alive_;
  std::size_t size_bytes_ = 0;
};

// Outlives its engine, as every factory does.
class MappedMemoryFactory final : public wasm::LinearMemoryFactory {
 public:
  struct Request {
    void* guest;
    std::size_t initial_bytes;
    std::size_t maximum_bytes;
    std::size_t reserved_bytes;
    std::size_t guard_bytes;
  };

  Result<std::unique_ptr<wasm::LinearMemory>> Create(void* guest, std::size_t initial_bytes,
                                                     std::size_t maximum_bytes,
                                                     std::size_t reserved_bytes,
                                                     std::size_t guard_bytes) override {
    {
      const std::scoped_lock lock(mutex_);
      last_ = {guest, initial_bytes, maximum_bytes, reserved_bytes, guard_bytes};
    }
    return MappedMemory::Create(initial_bytes, reserved_bytes + guard_bytes, limit_bytes, &alive_);
  }

  // The last request, and how many memories there are now.
  [[nodiscard]] Request Last() const {
    const std::scoped_lock lock(mutex_);
    return last_;
  }
  [[nodiscard]] int Alive() const { return alive_; }

  std::size_t limit_bytes = std::size_t{4} << 30;  // Of each memory. Set before use.

 private:
  mutable std::mutex mutex_;
  Request last_{};
  std::atomic<int> alive_ = 0;
};

}  // namespace cwasi::test
