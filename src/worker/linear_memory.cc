// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/linear_memory.h"

#include <utility>

#include "worker/instance.h"

namespace cwasi::worker {
namespace {

class GuestLinearMemory final : public wasm::LinearMemory {
 public:
  explicit GuestLinearMemory(std::unique_ptr<buf::GuestMemory> memory)
      : memory_(std::move(memory)) {}
  [[nodiscard]] std::byte* Base() const override { return memory_->Base(); }
  [[nodiscard]] std::size_t SizeBytes() const override { return memory_->SizeBytes(); }
  Result<> Grow(std::size_t new_size_bytes) override { return memory_->Grow(new_size_bytes); }

 private:
  std::unique_ptr<buf::GuestMemory> memory_;
};

}  // namespace

Result<std::unique_ptr<wasm::LinearMemory>> MemoryFactory::Create(void* guest,
                                                                  std::size_t initial_bytes,
                                                                  std::size_t maximum_bytes,
                                                                  std::size_t reserved_bytes,
                                                                  std::size_t guard_bytes) {
  if (guest == nullptr) return Fail(ErrorCode::kInternal, "a memory without an instance");
  TRY_SET(auto memory, Instance::Of(guest).MakeMemory({.reserved_bytes = reserved_bytes,
                                                       .guard_bytes = guard_bytes,
                                                       .initial_bytes = initial_bytes,
                                                       .maximum_bytes = maximum_bytes,
                                                       .limit_bytes = 0}));
  return std::make_unique<GuestLinearMemory>(std::move(memory));
}

}  // namespace cwasi::worker
