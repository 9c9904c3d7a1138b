// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Compiled modules on disk, so that a module is compiled once a machine and mapped ever after.
// Why it is as it is: docs/adr/0003-module-cache.md.
//
//   DIRECTORY/<sha256 of the .wasm>-<id of the engine>.cwasm   see compiled_file.h
//   DIRECTORY/seen/<identity of a .wasm file> -> <its sha256>  spares reading the file again
//
// Any number of processes may use one directory at once. Thread: any, after construction. Only the
// user who compiles may write the directory: workers run what lies in it.

#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "wasm/engine.h"

namespace cwasi::wasm {

struct CachedModule {
  std::filesystem::path path;  // For Engine::Load.
  std::string sha256;          // Of the .wasm, in hexadecimal.
  std::uint64_t wasm_bytes = 0;
  std::uint64_t compiled_bytes = 0;
  bool compiled_now = false;
  std::chrono::nanoseconds duration{};  // Of the whole call.
  std::string notice;  // For the user, if there was an entry that could not be used. No period.
};

struct ModuleCacheLimits {
  // A .wasm file that changed less than this ago is read each time: it may change again within one
  // tick of the file system's clock, and look the same.
  std::chrono::seconds settled{2};
  std::uint64_t wasm_bytes = std::uint64_t{256} << 20;     // Of one module.
  std::uint64_t directory_bytes = std::uint64_t{2} << 30;  // Of all compiled ones together.
};

class ModuleCache {
 public:
  // ${CWASI_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/cwasi}/modules.
  // Errors: kFailedPrecondition (none of the three is set).
  static Result<std::filesystem::path> DefaultDirectory();

  // Makes the directory, 0700, with those above it. Errors: kPermissionDenied (also: it belongs to
  // another user, or others may write it), kInvalidArgument (not a directory), kResourceExhausted.
  static Result<ModuleCache> Open(const std::filesystem::path& directory,
                                  const ModuleCacheLimits& limits = {});

  // The compiled form of `wasm`, a regular file. Errors: those of Engine::Compile; kNotFound,
  // kPermissionDenied, kInvalidArgument (not a regular file, too large), kResourceExhausted (disk
  // full).
  Result<CachedModule> GetOrCompile(Engine& engine, const std::filesystem::path& wasm) const;

  // The same, but always compiles: for when Engine::Load refuses an entry all the same.
  Result<CachedModule> Compile(Engine& engine, const std::filesystem::path& wasm) const;

 private:
  struct Source;
  ModuleCache(std::filesystem::path directory, UniqueFd directory_fd, UniqueFd seen_fd,
              const ModuleCacheLimits& limits);

  // The digest that a file of this identity had; empty if unknown.
  [[nodiscard]] std::string Recall(const Source& source) const;
  void Remember(const Source& source) const;
  // Sets what it finds; false if there is no usable entry.
  Result<bool> Find(const Engine& engine, CachedModule& module) const;
  // `source` has been read.
  Result<> Store(Engine& engine, const Source& source, CachedModule& module) const;
  // Oldest entries go until the rest fits; unfinished files of an hour ago go too.
  void Trim(const std::string& keep) const;

  std::filesystem::path directory_;
  UniqueFd directory_fd_;
  UniqueFd seen_fd_;
  ModuleCacheLimits limits_;
};

}  // namespace cwasi::wasm
