// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Any bytes are compiled or refused as kInvalidArgument; what is compiled loads, tells its imports
// and exports, links or says why not, and runs until it ends or is interrupted. Nothing ends us.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/unique_fd.h"
#include "test/support/mapped_memory.h"
#include "wasm/engine.h"

namespace cwasi::wasm {
namespace {

constexpr std::size_t kMemoryLimitBytes = std::size_t{16} << 20;
constexpr std::size_t kMaxCalls = 16;

struct Setup {
  test::MappedMemoryFactory factory;
  std::unique_ptr<Engine> engine;

  Setup() {
    factory.limit_bytes = kMemoryLimitBytes;
    engine = std::move(*CreateEngine({.max_table_elements = 10000}, &factory));
  }
};

HostAction Nothing(void* /*guest*/, Value* values) {
  values[0].i64 = 0;
  return HostAction::kReturn;
}

// Every function that the module imports and that we can offer. A first import of a name decides.
std::vector<HostImport> Offer(const Module& module) {
  std::vector<HostImport> offered;
  for (const ImportType& import : module.Imports()) {
    const auto same = [&import](const HostImport& other) {
      return other.module == import.module && other.name == import.name;
    };
    if (import.kind != ExternKind::kFunction || import.type.results.size() > 1 ||
        (import.type.parameters.empty() && import.type.results.empty()) ||
        std::ranges::any_of(offered, same)) {
      continue;
    }
    offered.push_back(
        {.module = import.module, .name = import.name, .type = import.type, .function = Nothing});
  }
  return offered;
}

void Run(LinkedModule& linked, const Module& module) {
  // No ticks: the first function entry or loop interrupts, so nothing spins.
  const auto instance = linked.Instantiate(nullptr, 0);
  if (!instance) return;
  std::size_t calls = 0;
  for (const ExportType& entry : module.Exports()) {
    if (entry.kind != ExternKind::kFunction || calls++ == kMaxCalls) continue;
    const auto function = (*instance)->FindFunction(entry.name, entry.type);
    if (!function) continue;
    std::vector<Value> values(std::max(entry.type.parameters.size(), entry.type.results.size()));
    const Outcome outcome = (*instance)->Call(*function, values);
    CHECK(outcome.kind == Outcome::Kind::kTrapped);
  }
}

}  // namespace
}  // namespace cwasi::wasm

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cwasi;        // NOLINT(google-build-using-namespace): a program of one function
  using namespace cwasi::wasm;  // NOLINT(google-build-using-namespace)
  static Setup setup;
  const auto compiled = setup.engine->Compile(std::as_bytes(std::span(data, size)), "fuzz.wasm");
  if (!compiled) {
    CHECK(compiled.error().code == ErrorCode::kInvalidArgument);
    return 0;
  }
  const UniqueFd file(::memfd_create("fuzz", MFD_CLOEXEC));
  CHECK(::write(file.Get(), compiled->data(), compiled->size()) ==
        static_cast<ssize_t>(compiled->size()));
  const auto module = setup.engine->Load("/proc/self/fd/" + std::to_string(file.Get()));
  CHECK(module);
  const auto linked = (*module)->Link(Offer(**module));
  if (linked) {
    Run(**linked, **module);
  } else {
    CHECK(linked.error().code == ErrorCode::kInvalidArgument);
  }
  CHECK(setup.factory.Alive() == 0);
  return 0;
}
