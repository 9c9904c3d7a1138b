// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A compiled module, and one bound to host functions.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "wasm/engine.h"
#include "wasm/wasmtime/handles.h"
#include "wasm/wasmtime/instance.h"

namespace cwasi::wasm {

class WasmtimeModule final : public Module {
 public:
  // `plan` has what comes from the engine; `name` is for messages.
  WasmtimeModule(ModuleHandle module, const InstancePlan& plan, std::string name);

  [[nodiscard]] std::vector<ImportType> Imports() const override { return imports_; }
  [[nodiscard]] std::vector<ExportType> Exports() const override { return exports_; }
  Result<std::unique_ptr<LinkedModule>> Link(std::span<const HostImport> imports) override;

 private:
  ModuleHandle module_;
  std::string name_;
  std::vector<ImportType> imports_;
  std::vector<ExportType> exports_;
  ExportIndex export_index_;
  InstancePlan plan_;
};

}  // namespace cwasi::wasm
