// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// WASI preview 1 for functions: all 46 names; those that libc needs to start, print, tell the time
// and get random numbers work, the rest answers ENOSYS. Files come with preopens, which there are
// none of yet. Source: WASI preview 1 witx (wasi_snapshot_preview1), docs/protocols/guest-abi.md.
//
// Not the engine's own WASI: that one starts threads, which a worker must not have (design 5).

#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "wasm/engine.h"

namespace cwasi::wasi {

// What a WASI call needs of the instance it runs in. The host-function context (`guest` at
// LinkedModule::Instantiate) must be a Guest*.
// Thread: the one that runs the instance.
class Guest {
 public:
  Guest() = default;
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;
  Guest(Guest&&) = delete;
  Guest& operator=(Guest&&) = delete;
  virtual ~Guest() = default;

  // The whole linear memory as it is now; empty if there is none.
  [[nodiscard]] virtual std::span<std::byte> Memory() = 0;
  // Bytes for descriptor 1 or 2. Takes all of them.
  virtual void WriteOutput(int descriptor, std::span<const std::byte> bytes) = 0;
  // proc_exit: the guest unwinds after this returns.
  virtual void Exit(std::uint32_t code) = 0;
  // Whether the call under way has no time left; asked between the steps of long operations.
  [[nodiscard]] virtual bool OutOfTime() const = 0;
};

// For Module::Link. Valid for ever.
std::span<const wasm::HostImport> Imports();

}  // namespace cwasi::wasi
