// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Owners of the C API's objects. wasmtime.hh needs the GC feature, which this build leaves out, and
// its memory callbacks copy the memory object; so: unique_ptr over the C headers.

#pragma once

#include <wasm.h>
#include <wasmtime.h>

#include <memory>

namespace cwasi::wasm {

template <auto kDelete>
struct Deleter {
  template <class T>
  void operator()(T* object) const noexcept {
    kDelete(object);
  }
};
template <class T, auto kDelete>
using Handle = std::unique_ptr<T, Deleter<kDelete>>;

using EngineHandle = Handle<wasm_engine_t, wasm_engine_delete>;
using ModuleHandle = Handle<wasmtime_module_t, wasmtime_module_delete>;
using LinkerHandle = Handle<wasmtime_linker_t, wasmtime_linker_delete>;
using InstancePreHandle = Handle<wasmtime_instance_pre_t, wasmtime_instance_pre_delete>;
using StoreHandle = Handle<wasmtime_store_t, wasmtime_store_delete>;
using FunctypeHandle = Handle<wasm_functype_t, wasm_functype_delete>;
using ErrorHandle = Handle<wasmtime_error_t, wasmtime_error_delete>;
using TrapHandle = Handle<wasm_trap_t, wasm_trap_delete>;

// A vector that a call of the C API fills in.
template <class Vector, auto kDelete>
class OwnedVector {
 public:
  OwnedVector() = default;
  OwnedVector(const OwnedVector&) = delete;
  OwnedVector& operator=(const OwnedVector&) = delete;
  OwnedVector(OwnedVector&&) = delete;
  OwnedVector& operator=(OwnedVector&&) = delete;
  ~OwnedVector() { kDelete(&vector_); }

  Vector* Out() { return &vector_; }
  // Named for the range-based for.
  // NOLINTNEXTLINE(readability-identifier-naming)
  [[nodiscard]] auto begin() const { return vector_.data; }
  // NOLINTNEXTLINE(readability-identifier-naming)
  [[nodiscard]] auto end() const { return vector_.data + vector_.size; }

 private:
  Vector vector_{};
};

using ByteVector = OwnedVector<wasm_byte_vec_t, wasm_byte_vec_delete>;
using FrameVector = OwnedVector<wasm_frame_vec_t, wasm_frame_vec_delete>;
using ImportVector = OwnedVector<wasm_importtype_vec_t, wasm_importtype_vec_delete>;
using ExportVector = OwnedVector<wasm_exporttype_vec_t, wasm_exporttype_vec_delete>;

}  // namespace cwasi::wasm
