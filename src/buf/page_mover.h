// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The system calls that move populated pages from one place of this process to another. Everything
// that changes a guest's mappings goes through here.
//
// How: one mremap with MREMAP_FIXED | MREMAP_DONTUNMAP relinks the page tables; a place that must
// not keep showing what was moved gets fresh private pages by one mmap with MAP_FIXED. Neither
// leaves a moment at which an address is unmapped, so another thread's mmap can never land there
// (docs/adr/0001).
//
// Thread: the worker's guest thread, while no other thread touches the ranges.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace cwasi::buf {

// A process whose mappings are in a state that no error can describe ends with this code.
inline constexpr int kDamagedExitCode = 70;

// Ends the process at once, without destructors, after one line on stderr.
[[noreturn]] void EndDamagedProcess(const char* what, int error) noexcept;

// Moves the pages of [from, from + size) to `to`. `from` stays mapped as before but has no page
// tables; a private mapping there reads as zeros, a shared one faults its file in again. What lay
// at `to` is gone. All three are multiples of kUnitBytes, the ranges do not overlap, `from` is a
// single mapping. Errors: kUnavailable; then the pages are still at `from`, and the caller must map
// `to` anew, since the kernel may have unmapped it before it failed.
Result<> MovePages(std::byte* from, std::byte* to, std::size_t size_bytes);

// Replaces whatever lies there by private zero pages, readable and writable. Errors: kUnavailable;
// then the old mapping is still there.
Result<> MapPrivate(std::byte* at, std::size_t size_bytes);

// Maps the start of the file there, shared, readable and writable, not inherited by a fork, not
// dumped. Errors: kUnavailable; then the old mapping is still there.
Result<> MapShared(std::byte* at, std::size_t size_bytes, int fd);

// As MapShared, but nobody can write through it, nor make it writable if the file is sealed.
Result<> MapReadOnly(std::byte* at, std::size_t size_bytes, int fd);

// Maps the start of the file there copy-on-write: what is written there stays there. Neither
// inherited nor dumped. Errors: kUnavailable; then private zero pages or the old mapping lie there.
Result<> MapCopyOnWrite(std::byte* at, std::size_t size_bytes, int fd);

// A private mapping of a file shows the file's pages again; private pages written there are gone.
void DropPages(std::byte* at, std::size_t size_bytes);

// Maps at `to` what the shared mapping at `from` maps, with no page tables of its own. Works where
// MapShared cannot: the file may be sealed against new writable mappings, which this is not one of
// (mremap with an old size of 0, mremap(2)). Errors: kUnavailable; `to` must then be mapped anew.
Result<> DuplicateShared(std::byte* from, std::byte* to, std::size_t size_bytes);

// Whether this kernel can do all that, tried out on a scratch segment: bytes arrive, the giver
// reads zeros, nothing is unmapped. Before Linux 5.13 it cannot (MREMAP_DONTUNMAP for private
// anonymous memory only, mremap(2)).
struct MoveSupport {
  bool available = false;
  std::string reason;  // Why not.
};
MoveSupport ProbeMoveSupport();

// From how many bytes on moving is cheaper than copying to warm memory here and now: measures both,
// about 2 ms. Between 64 KiB and 2 MiB. 0 if the measurement cannot be made.
std::size_t MeasureCrossoverBytes();

// Both at once: what this machine can do.
struct MoveAbility {
  MoveSupport support;
  std::size_t crossover_bytes = SIZE_MAX;  // SIZE_MAX where pages do not move.
};
MoveAbility MeasureMoveAbility();

}  // namespace cwasi::buf
