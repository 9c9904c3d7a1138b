// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Types of imports and exports, between the C API's form and ours.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "wasm/engine.h"
#include "wasm/wasmtime/handles.h"

namespace cwasi::wasm {

FunctionType ToFunctionType(const wasm_functype_t& type);
// `type` has no kOther in it.
FunctypeHandle FromFunctionType(const FunctionType& type);
// A value of kOther (a vector, a reference) passes no host function of ours.
bool IsScalar(const FunctionType& type);

std::vector<ImportType> ImportsOf(const wasmtime_module_t& module);
std::vector<ExportType> ExportsOf(const wasmtime_module_t& module);

// "(i32, i64) -> i32", for messages.
std::string ToText(const FunctionType& type);
std::string_view ToText(ExternKind kind);

}  // namespace cwasi::wasm
