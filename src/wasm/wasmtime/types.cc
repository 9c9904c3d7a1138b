// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "wasm/wasmtime/types.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"

namespace cwasi::wasm {
namespace {

// Not wasm_valtype_kind: it aborts the process on v128 and on most references (48.0.8, c-api
// types/val.rs), and any guest may export a function that has one.
ValueType ToValueType(const wasm_valtype_t& type) {
  wasmtime_valtype_t full{};
  wasmtime_valtype_new(&type, &full);
  ValueType result = ValueType::kOther;
  switch (full.kind) {
    case WASMTIME_VALTYPE_KIND_I32:
      result = ValueType::kI32;
      break;
    case WASMTIME_VALTYPE_KIND_I64:
      result = ValueType::kI64;
      break;
    case WASMTIME_VALTYPE_KIND_F32:
      result = ValueType::kF32;
      break;
    case WASMTIME_VALTYPE_KIND_F64:
      result = ValueType::kF64;
      break;
    default:
      break;
  }
  wasmtime_valtype_delete(&full);
  return result;
}

std::vector<ValueType> ToValueTypes(const wasm_valtype_vec_t& types) {
  std::vector<ValueType> result;
  result.reserve(types.size);
  for (std::size_t i = 0; i < types.size; ++i) result.push_back(ToValueType(*types.data[i]));
  return result;
}

wasm_valtype_t* FromValueType(ValueType type) {
  switch (type) {
    case ValueType::kI32:
      return wasm_valtype_new(WASM_I32);
    case ValueType::kI64:
      return wasm_valtype_new(WASM_I64);
    case ValueType::kF32:
      return wasm_valtype_new(WASM_F32);
    case ValueType::kF64:
      return wasm_valtype_new(WASM_F64);
    case ValueType::kOther:
      break;
  }
  CHECK(type != ValueType::kOther);
  return nullptr;
}

wasm_valtype_vec_t FromValueTypes(const std::vector<ValueType>& types) {
  wasm_valtype_vec_t result{};
  wasm_valtype_vec_new_uninitialized(&result, types.size());
  for (std::size_t i = 0; i < types.size(); ++i) result.data[i] = FromValueType(types[i]);
  return result;
}

std::string ToString(const wasm_name_t& name) {
  return {name.data, name.size};
}

ExternKind ToExternKind(const wasm_externtype_t& type) {
  switch (wasm_externtype_kind(&type)) {
    case WASM_EXTERN_FUNC:
      return ExternKind::kFunction;
    case WASM_EXTERN_MEMORY:
      return ExternKind::kMemory;
    case WASM_EXTERN_TABLE:
      return ExternKind::kTable;
    case WASM_EXTERN_GLOBAL:
      return ExternKind::kGlobal;
    default:
      return ExternKind::kOther;
  }
}

FunctionType FunctionTypeOf(const wasm_externtype_t& type) {
  const wasm_functype_t* function = wasm_externtype_as_functype_const(&type);
  return function == nullptr ? FunctionType{} : ToFunctionType(*function);
}

std::string_view ToText(ValueType type) {
  static constexpr std::array<std::string_view, 5> kNames = {"i32", "i64", "f32", "f64", "other"};
  return kNames.at(static_cast<std::size_t>(type));
}

std::string ToText(const std::vector<ValueType>& types) {
  std::string text;
  for (const ValueType type : types) {
    if (!text.empty()) text += ", ";
    text += ToText(type);
  }
  return text;
}

}  // namespace

FunctionType ToFunctionType(const wasm_functype_t& type) {
  return {.parameters = ToValueTypes(*wasm_functype_params(&type)),
          .results = ToValueTypes(*wasm_functype_results(&type))};
}

FunctypeHandle FromFunctionType(const FunctionType& type) {
  wasm_valtype_vec_t parameters = FromValueTypes(type.parameters);
  wasm_valtype_vec_t results = FromValueTypes(type.results);
  return FunctypeHandle(wasm_functype_new(&parameters, &results));
}

bool IsScalar(const FunctionType& type) {
  return std::ranges::find(type.parameters, ValueType::kOther) == type.parameters.end() &&
         std::ranges::find(type.results, ValueType::kOther) == type.results.end();
}

std::vector<ImportType> ImportsOf(const wasmtime_module_t& module) {
  ImportVector imports;
  wasmtime_module_imports(&module, imports.Out());
  std::vector<ImportType> result;
  for (const wasm_importtype_t* import : imports) {
    const wasm_externtype_t& type = *wasm_importtype_type(import);
    result.push_back({.module = ToString(*wasm_importtype_module(import)),
                      .name = ToString(*wasm_importtype_name(import)),
                      .kind = ToExternKind(type),
                      .type = FunctionTypeOf(type)});
  }
  return result;
}

std::vector<ExportType> ExportsOf(const wasmtime_module_t& module) {
  ExportVector exports;
  wasmtime_module_exports(&module, exports.Out());
  std::vector<ExportType> result;
  for (const wasm_exporttype_t* entry : exports) {
    const wasm_externtype_t& type = *wasm_exporttype_type(entry);
    result.push_back({.name = ToString(*wasm_exporttype_name(entry)),
                      .kind = ToExternKind(type),
                      .type = FunctionTypeOf(type)});
  }
  return result;
}

std::string ToText(const FunctionType& type) {
  std::string text = "(" + ToText(type.parameters) + ")";
  if (type.results.empty()) return text;
  text += " -> ";
  return text +
         (type.results.size() == 1 ? ToText(type.results) : "(" + ToText(type.results) + ")");
}

std::string_view ToText(ExternKind kind) {
  switch (kind) {
    case ExternKind::kFunction:
      return "a function";
    case ExternKind::kMemory:
      return "a memory";
    case ExternKind::kTable:
      return "a table";
    case ExternKind::kGlobal:
      return "a global";
    case ExternKind::kOther:
      break;
  }
  return "something else";
}

}  // namespace cwasi::wasm
