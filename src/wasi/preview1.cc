// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "wasi/preview1.h"

#include <sched.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <optional>
#include <string_view>

namespace cwasi::wasi {
namespace {

using wasm::HostAction;
using wasm::Value;

// witx `errno`, those used here.
enum Errno : std::uint8_t {
  kSuccess = 0,
  kBadf = 8,
  kFault = 21,
  kInval = 28,
  kIo = 29,
  kNoSys = 52,
  kSpipe = 70,
};

constexpr std::uint32_t kMaxVectors = 1024;  // IOV_MAX of Linux.
constexpr std::uint8_t kCharacterDevice = 2;
constexpr std::uint64_t kRightFdRead = 1U << 1U;
constexpr std::uint64_t kRightFdWrite = 1U << 6U;

Guest& Of(void* guest) {
  return *static_cast<Guest*>(guest);
}

std::optional<std::span<std::byte>> Range(Guest& guest, std::uint32_t at, std::uint64_t bytes) {
  const auto memory = guest.Memory();
  if (at > memory.size() || bytes > memory.size() - at) return std::nullopt;
  return memory.subspan(at, bytes);
}

template <class T>
bool Store(Guest& guest, std::uint32_t at, const T& value) {
  const auto range = Range(guest, at, sizeof(T));
  if (range) std::memcpy(range->data(), &value, sizeof(T));
  return range.has_value();
}

// The first parameter decides; the result replaces it.
HostAction Return(Value* values, Errno error) {
  values[0].i32 = error;
  return HostAction::kReturn;
}

HostAction NoSys(void* /*guest*/, Value* values) {
  return Return(values, kNoSys);
}

// No arguments, no environment: two zeros.
HostAction NoneSizesGet(void* guest, Value* values) {
  const bool stored = Store(Of(guest), values[0].u32, 0U) && Store(Of(guest), values[1].u32, 0U);
  return Return(values, stored ? kSuccess : kFault);
}
HostAction NoneGet(void* /*guest*/, Value* values) {
  return Return(values, kSuccess);
}

std::optional<clockid_t> ClockOf(std::uint32_t id) {
  switch (id) {
    case 0:
      return CLOCK_REALTIME;
    case 1:
      return CLOCK_MONOTONIC;
    case 2:
      return CLOCK_PROCESS_CPUTIME_ID;
    case 3:
      return CLOCK_THREAD_CPUTIME_ID;
    default:
      return std::nullopt;
  }
}

std::uint64_t Nanoseconds(const timespec& t) {
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(t.tv_nsec);
}

HostAction ClockResGet(void* guest, Value* values) {
  const auto clock = ClockOf(values[0].u32);
  timespec t{};
  if (!clock || ::clock_getres(*clock, &t) != 0) return Return(values, kInval);
  return Return(values, Store(Of(guest), values[1].u32, Nanoseconds(t)) ? kSuccess : kFault);
}

HostAction ClockTimeGet(void* guest, Value* values) {
  const auto clock = ClockOf(values[0].u32);
  timespec t{};
  if (!clock || ::clock_gettime(*clock, &t) != 0) return Return(values, kInval);
  return Return(values, Store(Of(guest), values[2].u32, Nanoseconds(t)) ? kSuccess : kFault);
}

HostAction RandomGet(void* guest, Value* values) {
  auto range = Range(Of(guest), values[0].u32, values[1].u32);
  if (!range) return Return(values, kFault);
  // A gigabyte of random numbers takes seconds, and no epoch is looked at meanwhile.
  constexpr std::size_t kStepBytes = std::size_t{64} << 10;
  while (!range->empty() && !Of(guest).OutOfTime()) {
    const ssize_t n = ::getrandom(range->data(), std::min(range->size(), kStepBytes), 0);
    if (n < 0 && errno != EINTR) return Return(values, kIo);
    if (n > 0) range = range->subspan(static_cast<std::size_t>(n));
  }
  return Return(values, range->empty() ? kSuccess : kIo);
}

HostAction SchedYield(void* /*guest*/, Value* values) {
  ::sched_yield();
  return Return(values, kSuccess);
}

HostAction ProcExit(void* guest, Value* values) {
  Of(guest).Exit(values[0].u32);
  return HostAction::kUnwind;
}

bool IsStandard(std::uint32_t fd) {
  return fd <= 2;
}

HostAction FdClose(void* /*guest*/, Value* values) {
  return Return(values, IsStandard(values[0].u32) ? kSuccess : kBadf);
}
HostAction FdPrestat(void* /*guest*/, Value* values) {
  return Return(values, kBadf);
}
HostAction FdSeek(void* /*guest*/, Value* values) {
  return Return(values, IsStandard(values[0].u32) ? kSpipe : kBadf);
}

HostAction FdFdstatGet(void* guest, Value* values) {
  const std::uint32_t fd = values[0].u32;
  if (!IsStandard(fd)) return Return(values, kBadf);
  struct Fdstat {
    std::uint8_t filetype = kCharacterDevice;
    std::uint8_t pad0 = 0;
    std::uint16_t flags = 0;
    std::uint32_t pad1 = 0;
    std::uint64_t rights_base = 0;
    std::uint64_t rights_inheriting = 0;
  } stat;
  static_assert(sizeof(Fdstat) == 24);
  stat.rights_base = fd == 0 ? kRightFdRead : kRightFdWrite;
  return Return(values, Store(Of(guest), values[1].u32, stat) ? kSuccess : kFault);
}

// Standard input is empty.
HostAction FdRead(void* guest, Value* values) {
  if (values[0].u32 != 0) return Return(values, kBadf);
  return Return(values, Store(Of(guest), values[3].u32, 0U) ? kSuccess : kFault);
}

struct Vector {
  std::uint32_t data;
  std::uint32_t length;
};

HostAction FdWrite(void* guest, Value* values) {
  Guest& self = Of(guest);
  const std::uint32_t fd = values[0].u32;
  if (fd != 1 && fd != 2) return Return(values, kBadf);
  const std::uint32_t count = values[2].u32;
  if (count > kMaxVectors) return Return(values, kInval);
  const auto list = Range(self, values[1].u32, std::uint64_t{count} * sizeof(Vector));
  if (!list) return Return(values, kFault);
  std::uint64_t total = 0;
  for (std::uint32_t i = 0; i < count; ++i) {  // All are checked before anything is written.
    Vector v{};
    std::memcpy(&v, list->data() + i * sizeof v, sizeof v);
    if (!Range(self, v.data, v.length)) return Return(values, kFault);
    total += v.length;
  }
  if (total > UINT32_MAX) return Return(values, kInval);
  for (std::uint32_t i = 0; i < count; ++i) {
    Vector v{};
    std::memcpy(&v, list->data() + i * sizeof v, sizeof v);
    if (const auto bytes = Range(self, v.data, v.length))
      self.WriteOutput(static_cast<int>(fd), *bytes);
  }
  return Return(values,
                Store(self, values[3].u32, static_cast<std::uint32_t>(total)) ? kSuccess : kFault);
}

struct Entry {
  std::string_view name;
  std::string_view parameters;  // i: i32, I: i64.
  wasm::HostFunction function;
};

// In the order of the witx file. Results: one i32, but for proc_exit.
constexpr Entry kEntries[] = {
    {"args_get", "ii", NoneGet},
    {"args_sizes_get", "ii", NoneSizesGet},
    {"environ_get", "ii", NoneGet},
    {"environ_sizes_get", "ii", NoneSizesGet},
    {"clock_res_get", "ii", ClockResGet},
    {"clock_time_get", "iIi", ClockTimeGet},
    {"fd_advise", "iIIi", NoSys},
    {"fd_allocate", "iII", NoSys},
    {"fd_close", "i", FdClose},
    {"fd_datasync", "i", NoSys},
    {"fd_fdstat_get", "ii", FdFdstatGet},
    {"fd_fdstat_set_flags", "ii", NoSys},
    {"fd_fdstat_set_rights", "iII", NoSys},
    {"fd_filestat_get", "ii", NoSys},
    {"fd_filestat_set_size", "iI", NoSys},
    {"fd_filestat_set_times", "iIIi", NoSys},
    {"fd_pread", "iiiIi", NoSys},
    {"fd_prestat_get", "ii", FdPrestat},
    {"fd_prestat_dir_name", "iii", FdPrestat},
    {"fd_pwrite", "iiiIi", NoSys},
    {"fd_read", "iiii", FdRead},
    {"fd_readdir", "iiiIi", NoSys},
    {"fd_renumber", "ii", NoSys},
    {"fd_seek", "iIii", FdSeek},
    {"fd_sync", "i", NoSys},
    {"fd_tell", "ii", NoSys},
    {"fd_write", "iiii", FdWrite},
    {"path_create_directory", "iii", NoSys},
    {"path_filestat_get", "iiiii", NoSys},
    {"path_filestat_set_times", "iiiiIIi", NoSys},
    {"path_link", "iiiiiii", NoSys},
    {"path_open", "iiiiiIIii", NoSys},
    {"path_readlink", "iiiiii", NoSys},
    {"path_remove_directory", "iii", NoSys},
    {"path_rename", "iiiiii", NoSys},
    {"path_symlink", "iiiii", NoSys},
    {"path_unlink_file", "iii", NoSys},
    {"poll_oneoff", "iiii", NoSys},
    {"proc_exit", "i", ProcExit},
    {"proc_raise", "i", NoSys},
    {"random_get", "ii", RandomGet},
    {"sched_yield", "", SchedYield},
    {"sock_accept", "iii", NoSys},
    {"sock_recv", "iiiiii", NoSys},
    {"sock_send", "iiiii", NoSys},
    {"sock_shutdown", "ii", NoSys},
};
static_assert(std::size(kEntries) == 46);

std::vector<wasm::HostImport> MakeImports() {
  std::vector<wasm::HostImport> imports;
  for (const Entry& entry : kEntries) {
    wasm::FunctionType type;
    for (const char c : entry.parameters)
      type.parameters.push_back(c == 'i' ? wasm::ValueType::kI32 : wasm::ValueType::kI64);
    if (entry.function != ProcExit) type.results.push_back(wasm::ValueType::kI32);
    imports.push_back(
        {"wasi_snapshot_preview1", std::string(entry.name), std::move(type), entry.function});
  }
  return imports;
}

}  // namespace

std::span<const wasm::HostImport> Imports() {
  static const auto imports = MakeImports();
  return imports;
}

}  // namespace cwasi::wasi
