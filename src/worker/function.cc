// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/function.h"

#include <algorithm>
#include <utility>

#include "wasi/preview1.h"
#include "worker/guest_abi.h"
#include "worker/worker.h"

namespace cwasi::worker {
namespace {

using wasm::ExternKind;
using wasm::ValueType;

Result<> CheckExports(const std::vector<wasm::ExportType>& exports) {
  const auto find = [&](std::string_view name) {
    return std::find_if(exports.begin(), exports.end(),
                        [&](const auto& e) { return e.name == name; });
  };
  const wasm::FunctionType handle_type{.parameters = {ValueType::kI32, ValueType::kI32},
                                       .results = {ValueType::kI32}};
  const auto handle = find("cwasi_handle");
  if (handle == exports.end() || handle->kind != ExternKind::kFunction ||
      handle->type != handle_type) {
    std::string names;
    for (const auto& e : exports)
      if (names.size() < 500) names += (names.empty() ? "" : ", ") + e.name;
    return Fail(ErrorCode::kInvalidArgument,
                "no handler: a function exports cwasi_handle(i32, i32) -> i32 (CWASI_HANDLER in C, "
                "CWASI_FUNCTION in C++); this module exports " +
                    (names.empty() ? "nothing" : names));
  }
  const auto memory = find("memory");
  if (memory == exports.end() || memory->kind != ExternKind::kMemory)
    return Fail(ErrorCode::kInvalidArgument, "the module exports no memory named \"memory\"");
  return {};
}

std::vector<wasm::HostImport> AllImports() {
  std::vector<wasm::HostImport> all(wasi::Imports().begin(), wasi::Imports().end());
  all.insert(all.end(), GuestAbiImports().begin(), GuestAbiImports().end());
  return all;
}

}  // namespace

const std::vector<wasm::HostImport>& Function::Imports() {
  static const auto imports = AllImports();
  return imports;
}

Result<std::unique_ptr<Function>> Function::Load(FunctionSpec spec, std::uint32_t id,
                                                 std::unique_ptr<wasm::Module> module) {
  TRY(CheckExports(module->Exports()));
  TRY_SET(auto linked, module->Link(Imports()));
  return std::unique_ptr<Function>(
      new Function(std::move(spec), id, std::move(module), std::move(linked)));
}

EdgeStats& Function::AddEdgeTo(const Function& callee, EdgeTable& edges) {
  if (edges_.size() <= callee.Id()) edges_.resize(callee.Id() + 1, nullptr);
  EdgeStats*& edge = edges_[callee.Id()];
  if (edge == nullptr) edge = &edges.Of({spec_.name, callee.spec_.name});
  return *edge;
}

}  // namespace cwasi::worker
