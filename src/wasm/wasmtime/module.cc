// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "wasm/wasmtime/module.h"

#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "wasm/wasmtime/trap.h"
#include "wasm/wasmtime/types.h"

namespace cwasi::wasm {
namespace {

constexpr std::size_t kMaxNameBytes = 128;
constexpr std::size_t kMaxLines = 1000;

using ImportName = std::pair<std::string_view, std::string_view>;
using Provided = std::map<ImportName, const HostImport*>;

class WasmtimeLinkedModule final : public LinkedModule {
 public:
  WasmtimeLinkedModule(InstancePreHandle instance_pre, const InstancePlan& plan)
      : instance_pre_(std::move(instance_pre)), plan_(plan) {
    plan_.instance_pre = instance_pre_.get();
  }
  tl::expected<std::unique_ptr<Instance>, StartFailure> Instantiate(void* guest,
                                                                    std::uint64_t ticks) override {
    return WasmtimeInstance::Start(plan_, guest, ticks);
  }

 private:
  InstancePreHandle instance_pre_;
  InstancePlan plan_;
};

// Why `import` cannot be bound; empty if it can.
std::string Complaint(const ImportType& import, const Provided& provided) {
  if (import.kind == ExternKind::kMemory) {
    return "is a memory; a function defines its own (link without --import-memory)";
  }
  if (import.kind != ExternKind::kFunction) {
    return "is " + std::string(ToText(import.kind)) + "; only functions can be imported";
  }
  const auto found = provided.find({import.module, import.name});
  if (found == provided.end()) return ToText(import.type) + ": nothing here provides it";
  const FunctionType& offered = found->second->type;
  if (offered != import.type || !IsScalar(offered)) {
    return ToText(import.type) + ": provided as " + ToText(offered);
  }
  return {};
}

Result<> CheckImports(std::string_view name, const std::vector<ImportType>& imports,
                      const Provided& provided) {
  std::string lines;
  std::size_t count = 0;
  for (const ImportType& import : imports) {
    const std::string complaint = Complaint(import, provided);
    if (complaint.empty()) continue;
    if (++count > kMaxLines) continue;
    lines += "\n  " + Printable(import.module, kMaxNameBytes) + "." +
             Printable(import.name, kMaxNameBytes) + " " + complaint;
  }
  if (count == 0) return {};
  if (count > kMaxLines) lines += "\n  and " + std::to_string(count - kMaxLines) + " more";
  return Fail(ErrorCode::kInvalidArgument, "link " + std::string(name) + ": " +
                                               std::to_string(count) +
                                               " of its imports cannot be bound:" + lines);
}

}  // namespace

WasmtimeModule::WasmtimeModule(ModuleHandle module, const InstancePlan& plan, std::string name)
    : module_(std::move(module)),
      name_(std::move(name)),
      imports_(ImportsOf(*module_)),
      exports_(ExportsOf(*module_)),
      plan_(plan) {
  for (const ExportType& entry : exports_) export_index_.emplace(entry.name, entry);
  plan_.exports = &export_index_;
}

Result<std::unique_ptr<LinkedModule>> WasmtimeModule::Link(std::span<const HostImport> imports) {
  Provided provided;
  for (const HostImport& import : imports) {
    CHECK(import.function != nullptr);
    CHECK(provided.emplace(ImportName(import.module, import.name), &import).second);
  }
  TRY(CheckImports(name_, imports_, provided));

  const LinkerHandle linker(wasmtime_linker_new(plan_.engine));
  std::set<ImportName> defined;  // A module may import the same function twice.
  for (const ImportType& wanted : imports_) {
    const ImportName key(wanted.module, wanted.name);
    if (!defined.insert(key).second) continue;
    const FunctypeHandle type = FromFunctionType(wanted.type);
    const ErrorHandle error(wasmtime_linker_define_func_unchecked(
        linker.get(), wanted.module.data(), wanted.module.size(), wanted.name.data(),
        wanted.name.size(), type.get(), WasmtimeInstance::CallHost,
        reinterpret_cast<void*>(provided.at(key)->function), nullptr));
    if (error) return Fail(ErrorCode::kInternal, "link " + name_ + ": " + ReasonOf(*error));
  }
  wasmtime_instance_pre_t* instance_pre = nullptr;
  const ErrorHandle error(
      wasmtime_linker_instantiate_pre(linker.get(), module_.get(), &instance_pre));
  if (error) return Fail(ErrorCode::kInternal, "link " + name_ + ": " + ReasonOf(*error));
  return std::make_unique<WasmtimeLinkedModule>(InstancePreHandle(instance_pre), plan_);
}

}  // namespace cwasi::wasm
