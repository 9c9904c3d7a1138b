// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "wasm/wasmtime/memory.h"

#include <utility>

#include "wasm/wasmtime/trap.h"

namespace cwasi::wasm {
namespace {

thread_local Instantiation* current_instantiation = nullptr;

wasmtime_error_t* ToError(const Error& error) {
  return wasmtime_error_new(error.message.c_str());
}

LinearMemory& FromEnv(void* env) {
  return *static_cast<LinearMemory*>(env);
}

std::uint8_t* GetMemory(void* env, std::size_t* size_bytes, std::size_t* capacity_bytes) noexcept {
  const LinearMemory& memory = FromEnv(env);
  *size_bytes = memory.SizeBytes();
  *capacity_bytes = kReservedBytes;  // A smaller one makes growth fail inside the engine.
  return reinterpret_cast<std::uint8_t*>(memory.Base());
}

wasmtime_error_t* GrowMemory(void* env, std::size_t new_size_bytes) noexcept {
  const Result<> grown = FromEnv(env).Grow(new_size_bytes);
  return grown ? nullptr : ToError(grown.error());
}

void DeleteMemory(void* env) noexcept {
  delete static_cast<LinearMemory*>(env);
}

wasmtime_error_t* NewMemory(void* env, const wasm_memorytype_t* /*type*/, std::size_t initial_bytes,
                            std::size_t maximum_bytes, std::size_t reserved_bytes,
                            std::size_t guard_bytes, wasmtime_linear_memory_t* result) noexcept {
  Instantiation* current = Instantiation::Current();
  auto made = static_cast<LinearMemoryFactory*>(env)->Create(
      current == nullptr ? nullptr : current->Guest(), initial_bytes, maximum_bytes, reserved_bytes,
      guard_bytes);
  if (!made) {
    wasmtime_error_t* error = ToError(made.error());
    if (current != nullptr) current->memory_failure = std::move(made).error();
    return error;
  }
  LinearMemory* memory = made->release();  // The engine owns it from here, by DeleteMemory.
  if (current != nullptr) current->memory = memory;
  *result = {
      .env = memory, .get_memory = GetMemory, .grow_memory = GrowMemory, .finalizer = DeleteMemory};
  return nullptr;
}

}  // namespace

Instantiation::Instantiation(void* guest) : guest_(guest), outer_(current_instantiation) {
  current_instantiation = this;
}

Instantiation::~Instantiation() {
  current_instantiation = outer_;
}

Instantiation* Instantiation::Current() {
  return current_instantiation;
}

void UseFactory(wasm_config_t& config, LinearMemoryFactory& factory) {
  wasmtime_memory_creator_t creator{.env = &factory, .new_memory = NewMemory, .finalizer = nullptr};
  wasmtime_config_host_memory_creator_set(&config, &creator);
}

std::byte* EngineMemory::Base() const {
  return reinterpret_cast<std::byte*>(wasmtime_memory_data(context_, &memory_));
}

std::size_t EngineMemory::SizeBytes() const {
  return wasmtime_memory_data_size(context_, &memory_);
}

Result<> EngineMemory::Grow(std::size_t new_size_bytes) {
  const std::size_t page_bytes = wasmtime_memory_page_size(context_, &memory_);
  const std::size_t size_bytes = SizeBytes();
  if (new_size_bytes <= size_bytes) return {};
  const std::uint64_t delta_pages = (new_size_bytes - size_bytes + page_bytes - 1) / page_bytes;
  std::uint64_t previous_pages = 0;
  const ErrorHandle error(wasmtime_memory_grow(context_, &memory_, delta_pages, &previous_pages));
  if (error) return Fail(ErrorCode::kResourceExhausted, "grow memory: " + ReasonOf(*error));
  return {};
}

}  // namespace cwasi::wasm
