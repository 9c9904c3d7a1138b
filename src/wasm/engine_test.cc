// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "wasm/engine.h"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/engine_fixture.h"
#include "test/support/files.h"

namespace cwasi::wasm {
namespace {

using std::string_literals::operator""s;
using testing::HasSubstr;

TEST_F(EngineTest, FindsOnlyFunctionsOfTheGivenType) {
  EXPECT_TRUE(calls_->FindFunction("add", kBinary));
  EXPECT_FALSE(calls_->FindFunction("add", kUnary));
  EXPECT_FALSE(calls_->FindFunction("absent", kUnary));
  EXPECT_FALSE(calls_->FindFunction("memory", kAction));
  EXPECT_FALSE(calls_->FindFunction("splat", {.parameters = {kI32}, .results = {kOther}}));
  EXPECT_FALSE(calls_->FindFunction("bad\xff", kAction));
}

TEST_F(EngineTest, FindsI32GlobalsOnly) {
  EXPECT_EQ(calls_->FindGlobalU32("__heap_base"), 4096U);
  EXPECT_FALSE(calls_->FindGlobalU32("wide"));
  EXPECT_FALSE(calls_->FindGlobalU32("add"));
  EXPECT_FALSE(calls_->FindGlobalU32("absent"));
}

TEST_F(EngineTest, ListsExportsOfEveryType) {
  const auto exports = calls_module_->Exports();
  const auto find = [&exports](std::string_view name) {
    return *std::ranges::find(exports, name, &ExportType::name);
  };
  EXPECT_EQ(find("memory").kind, ExternKind::kMemory);
  EXPECT_EQ(find("__heap_base").kind, ExternKind::kGlobal);
  EXPECT_EQ(find("add").type, kBinary);
  // The C API's own question aborts the process on these two.
  EXPECT_EQ(find("splat").type.results, std::vector{kOther});
  EXPECT_EQ(find("reference").type.results, std::vector{kOther});
}

TEST_F(EngineTest, ListsImports) {
  const auto imports = LoadGuest(*engine_, "imports")->Imports();
  ASSERT_EQ(imports.size(), 5U);
  EXPECT_EQ(imports[0].module, "env");
  EXPECT_EQ(imports[0].name, "twice");
  EXPECT_EQ(imports[0].kind, ExternKind::kFunction);
  EXPECT_EQ(imports[0].type, kUnary);
  EXPECT_EQ(imports[1].type.parameters, (std::vector{kI32, kI64, kF32, kF64}));
}

TEST_F(EngineTest, AsksTheFactoryForTheMemoryOfTheGuest) {
  Guest guest;
  const auto linked = Link(*calls_module_);
  const auto instance = Instantiate(*linked, &guest);
  const auto request = factory_.Last();
  EXPECT_EQ(request.guest, &guest);
  EXPECT_EQ(request.initial_bytes, kPage);
  EXPECT_EQ(request.maximum_bytes, 64 * kPage);
  EXPECT_EQ(request.reserved_bytes, std::size_t{4} << 30);
  EXPECT_EQ(request.guard_bytes, std::size_t{32} << 20);
}

TEST_F(EngineTest, CopiesDataSegmentsIntoTheFactorysMemory) {
  ASSERT_NE(calls_->Memory(), nullptr);
  EXPECT_EQ(calls_->Memory()->SizeBytes(), kPage);
  const auto* text = reinterpret_cast<const char*>(calls_->Memory()->Base() + 16);
  EXPECT_EQ(std::string_view(text, 5), "cwasi");
}

TEST_F(EngineTest, SharesMemoryWithTheHost) {
  EXPECT_TRUE(
      Returned(Call("store", {.parameters = {kI32, kI32}, .results = {}}, {100, 0x01020304})));
  EXPECT_EQ(calls_->Memory()->Base()[100], std::byte{4});
  calls_->Memory()->Base()[103] = std::byte{9};
  std::int32_t loaded = 0;
  EXPECT_TRUE(Returned(Call("load", kUnary, {100}, &loaded)));
  EXPECT_EQ(loaded, 0x09020304);
}

TEST_F(EngineTest, DestroysTheMemoryWithItsInstance) {
  ASSERT_EQ(factory_.Alive(), 1);
  auto another = Instantiate(*calls_linked_);
  EXPECT_EQ(factory_.Alive(), 2);
  another.reset();
  EXPECT_EQ(factory_.Alive(), 1);
}

TEST_F(EngineTest, GrowsMemoryWithoutMovingIt) {
  const std::byte* base = calls_->Memory()->Base();
  std::int32_t previous = 0;
  EXPECT_TRUE(Returned(Call("grow", kUnary, {3}, &previous)));
  EXPECT_EQ(previous, 1);
  EXPECT_EQ(calls_->Memory()->SizeBytes(), 4 * kPage);
  EXPECT_EQ(calls_->Memory()->Base(), base);
  std::int32_t loaded = -1;
  EXPECT_TRUE(Returned(Call("load", kUnary, {4 * kPage - 4}, &loaded)));
  EXPECT_EQ(loaded, 0);
}

TEST_F(EngineTest, GivesMinusOneWhenTheFactoryRefusesToGrow) {
  factory_.limit_bytes = 2 * kPage;
  calls_ = Instantiate(*calls_linked_);
  std::int32_t previous = 0;
  EXPECT_TRUE(Returned(Call("grow", kUnary, {2}, &previous)));
  EXPECT_EQ(previous, -1);
  EXPECT_TRUE(Returned(Call("grow", kUnary, {1}, &previous)));
  EXPECT_EQ(previous, 1);
}

TEST_F(EngineTest, GivesMinusOneBeyondTheModulesMaximum) {
  std::int32_t previous = 0;
  EXPECT_TRUE(Returned(Call("grow", kUnary, {64}, &previous)));
  EXPECT_EQ(previous, -1);
}

TEST_F(EngineTest, PassesOnWhyTheFactoryRefusedAMemory) {
  factory_.limit_bytes = kPage - 1;
  const auto instance = calls_linked_->Instantiate(nullptr, kNever);
  ASSERT_FALSE(instance);
  EXPECT_EQ(instance.error().error.code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(instance.error().error.message, HasSubstr("over the limit"));
  EXPECT_EQ(instance.error().trap, nullptr);
}

TEST_F(EngineTest, LimitsTables) {
  const auto engine = MakeEngine(&factory_, {.max_table_elements = 100});
  const auto module = LoadGuest(*engine, "calls");
  const auto linked = Link(*module);
  calls_ = Instantiate(*linked);
  std::int32_t previous = 0;
  EXPECT_TRUE(Returned(Call("grow_table", kUnary, {97}, &previous)));
  EXPECT_EQ(previous, -1);
  EXPECT_TRUE(Returned(Call("grow_table", kUnary, {96}, &previous)));
  EXPECT_EQ(previous, 4);
  calls_.reset();
}

TEST_F(EngineTest, WorksWithMemoriesOfItsOwn) {
  const auto engine = MakeEngine(nullptr);
  const auto module = LoadGuest(*engine, "calls");
  const auto linked = Link(*module);
  calls_ = Instantiate(*linked);
  ASSERT_NE(calls_->Memory(), nullptr);
  EXPECT_EQ(calls_->Memory()->SizeBytes(), kPage);
  EXPECT_EQ(calls_->Memory()->Base()[16], std::byte{'c'});
  ASSERT_TRUE(calls_->Memory()->Grow(3 * kPage));
  std::int32_t pages = 0;
  EXPECT_TRUE(Returned(Call("size", {.parameters = {}, .results = {kI32}}, {}, &pages)));
  EXPECT_EQ(pages, 3);
  const auto refused = calls_->Memory()->Grow(65 * kPage);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  calls_.reset();
}

TEST_F(EngineTest, HasNoMemoryWithoutAnExportedOne) {
  const auto module = LoadGuest(*engine_, "start_traps");
  EXPECT_TRUE(module->Exports().empty());
  const auto core = "\0asm\1\0\0\0"s;  // Nothing in it at all.
  const auto compiled = engine_->Compile(std::as_bytes(std::span(core)), "empty");
  ASSERT_TRUE(compiled) << compiled.error().message;
  const auto empty = LoadBytes(*engine_, *compiled);
  ASSERT_TRUE(empty) << empty.error().message;
  const auto linked = Link(**empty);
  EXPECT_EQ(Instantiate(*linked)->Memory(), nullptr);
}

// Linking.

TEST_F(EngineTest, ListsEveryImportThatCannotBeBound) {
  const auto module = LoadGuest(*engine_, "imports");
  auto imports = Imports();
  imports.erase(imports.begin() + 3);   // enter
  imports[2].type.parameters = {kI64};  // leave
  const auto linked = module->Link(imports);
  ASSERT_FALSE(linked);
  EXPECT_EQ(linked.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(linked.error().message,
              HasSubstr("2 of its imports cannot be bound:\n"
                        "  env.leave (i32): provided as (i64)\n"
                        "  env.enter (i32) -> i32: nothing here provides it"));
}

TEST_F(EngineTest, ListsImportsThatAreNoFunctions) {
  // (import "env" "memory" (memory 1)) (import "e" "t" (table 1 funcref))
  // (import "e" "g" (global i32)) (import "e" "v" (func (param v128)))
  const auto wasm =
      "\0asm\1\0\0\0"
      "\1\5\1\x60\1\x7b\0"
      "\2\x24\4\3env\6memory\2\0\1\1e\1t\1\x70\0\1\1e\1g\3\x7f\0\1e\1v\0\0"s;
  const auto compiled = engine_->Compile(std::as_bytes(std::span(wasm)), "odd");
  ASSERT_TRUE(compiled) << compiled.error().message;
  const auto module = LoadBytes(*engine_, *compiled);
  ASSERT_TRUE(module) << module.error().message;
  auto imports = Imports();
  imports.push_back({.module = "e",
                     .name = "v",
                     .type = {.parameters = {kOther}, .results = {}},
                     .function = Leave});
  const auto linked = (*module)->Link(imports);
  ASSERT_FALSE(linked);
  EXPECT_EQ(linked.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(linked.error().message, HasSubstr("4 of its imports"));
  EXPECT_THAT(linked.error().message, HasSubstr("env.memory is a memory"));
  EXPECT_THAT(linked.error().message, HasSubstr("e.t is a table"));
  EXPECT_THAT(linked.error().message, HasSubstr("e.g is a global"));
  EXPECT_THAT(linked.error().message, HasSubstr("e.v (other)"));
}

// Start functions.

TEST_F(EngineTest, AStartFunctionThatTrapsFailsTheInstance) {
  const auto module = LoadGuest(*engine_, "start_traps");
  const auto instance = Link(*module)->Instantiate(nullptr, kNever);
  ASSERT_FALSE(instance);
  EXPECT_EQ(instance.error().error.code, ErrorCode::kInvalidArgument);
  EXPECT_FALSE(instance.error().unwound);
  ASSERT_NE(instance.error().trap, nullptr);
  EXPECT_EQ(instance.error().trap->kind, TrapKind::kUnreachable);
  ASSERT_EQ(instance.error().trap->frames.size(), 2U);
  EXPECT_EQ(instance.error().trap->frames[1].function, "start");
}

TEST_F(EngineTest, AStartFunctionThatNeverEndsIsInterrupted) {
  const auto module = LoadGuest(*engine_, "start_spins");
  const auto linked = Link(*module);
  const auto instance = linked->Instantiate(nullptr, 0);
  ASSERT_FALSE(instance);
  EXPECT_EQ(instance.error().error.code, ErrorCode::kDeadlineExceeded);
  ASSERT_NE(instance.error().trap, nullptr);
  EXPECT_EQ(instance.error().trap->kind, TrapKind::kInterrupted);
}

TEST_F(EngineTest, AHostFunctionCanUnwindAStartFunction) {
  const auto module = LoadGuest(*engine_, "start_calls");
  Guest guest;
  std::int32_t got = 0;
  guest.leave = [&got](std::int32_t value) {
    got = value;
    return HostAction::kUnwind;
  };
  const auto linked = Link(*module);
  const auto instance = linked->Instantiate(&guest, kNever);
  ASSERT_FALSE(instance);
  EXPECT_TRUE(instance.error().unwound);
  EXPECT_EQ(instance.error().trap, nullptr);
  EXPECT_EQ(got, 7);
  EXPECT_EQ(factory_.Alive(), 1);  // The fixture's.
  guest.leave = [](std::int32_t) { return HostAction::kReturn; };
  EXPECT_TRUE(linked->Instantiate(&guest, kNever));
}

TEST_F(EngineTest, ADataSegmentOutsideTheMemoryFailsTheInstance) {
  const auto module = LoadGuest(*engine_, "data_outside");
  const auto instance = Link(*module)->Instantiate(nullptr, kNever);
  ASSERT_FALSE(instance);
  EXPECT_EQ(instance.error().error.code, ErrorCode::kInvalidArgument);
  ASSERT_NE(instance.error().trap, nullptr);
  EXPECT_EQ(instance.error().trap->kind, TrapKind::kMemoryOutOfBounds);
}

// Compiling and loading.

TEST_F(EngineTest, CompilesTheSameCodeWithAndWithoutAFactory) {
  const auto compiler = MakeEngine(nullptr);
  EXPECT_EQ(compiler->Fingerprint(), engine_->Fingerprint());
  const auto wasm = test::ReadFile(test::GuestPath("calls"));
  const auto compiled = compiler->Compile(wasm, "calls");
  ASSERT_TRUE(compiled) << compiled.error().message;
  const auto again = engine_->Compile(wasm, "calls");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(*compiled == *again);
  const auto module = LoadBytes(*engine_, *compiled);
  ASSERT_TRUE(module) << module.error().message;
  const auto linked = Link(**module);
  calls_ = Instantiate(*linked);
  std::int32_t sum = 0;
  EXPECT_TRUE(Returned(Call("add", kBinary, {1, 2}, &sum)));
  EXPECT_EQ(sum, 3);
  EXPECT_EQ(factory_.Alive(), 1);
  calls_.reset();
}

TEST_F(EngineTest, TheInterpreterIsAnotherTargetOfTheSameModule) {
  const auto interpreter = MakeEngine(&factory_, {.interpreter = true});
  EXPECT_NE(interpreter->Fingerprint(), engine_->Fingerprint());
  const auto wasm = test::ReadFile(test::GuestPath("calls"));
  const auto compiled = interpreter->Compile(wasm, "calls");
  ASSERT_TRUE(compiled) << compiled.error().message;
  const auto refused = LoadBytes(*engine_, *compiled);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kFailedPrecondition);
  const auto module = LoadBytes(*interpreter, *compiled);
  ASSERT_TRUE(module) << module.error().message;
  const auto linked = Link(**module);
  calls_ = Instantiate(*linked);
  std::int32_t sum = 0;
  EXPECT_TRUE(Returned(Call("add", kBinary, {1, 2}, &sum)));
  EXPECT_EQ(sum, 3);
  const Outcome outcome = Call("load", kUnary, {-1});
  ASSERT_TRUE(Trapped(outcome, TrapKind::kMemoryOutOfBounds));
  calls_.reset();
}

TEST_F(EngineTest, RefusesStacksThatTheEngineCannotGive) {
  for (const std::size_t bytes : {std::size_t{0}, (std::size_t{2} << 20) + 1}) {
    const auto engine = CreateEngine({.max_wasm_stack_bytes = bytes}, nullptr);
    ASSERT_FALSE(engine);
    EXPECT_EQ(engine.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST_F(EngineTest, LoadSaysWhatIsWrongWithAFile) {
  auto loaded = engine_->Load(dir_.Path() / "absent");
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, ErrorCode::kNotFound);
  loaded = engine_->Load(dir_.Path());
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, ErrorCode::kInvalidArgument);
  auto compiled = engine_->Compile(test::ReadFile(test::GuestPath("calls")), "calls");
  ASSERT_TRUE(compiled);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, compiled->size() / 2}) {
    loaded = LoadBytes(*engine_, std::span(*compiled).first(size));
    ASSERT_FALSE(loaded) << size;
    EXPECT_EQ(loaded.error().code, ErrorCode::kFailedPrecondition) << loaded.error().message;
  }
  loaded = LoadBytes(*engine_, test::ReadFile(test::GuestPath("calls")));
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, ErrorCode::kFailedPrecondition) << loaded.error().message;
}

TEST_F(EngineTest, EveryPrefixOfAModuleIsRefused) {
  const auto wasm = test::ReadFile(test::GuestPath("start_traps"));
  // Shorter by whole sections it may be a module again; the name section is the last.
  int refused = 0;
  for (std::size_t size = 0; size < wasm.size(); ++size) {
    const auto compiled = engine_->Compile(std::span(wasm).first(size), "cut");
    if (compiled) continue;
    ++refused;
    EXPECT_EQ(compiled.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(compiled.error().message, HasSubstr("cut"));
  }
  EXPECT_GT(refused, static_cast<int>(wasm.size() / 2));
}

struct InvalidModule {
  const char* what;
  std::string sections;
  const char* says;
};

class InvalidModuleTest : public EngineTest, public testing::WithParamInterface<InvalidModule> {};

TEST_P(InvalidModuleTest, SaysWhatAndWhere) {
  const auto wasm = "\0asm\1\0\0\0"s + GetParam().sections;
  const auto compiled = engine_->Compile(std::as_bytes(std::span(wasm)), "f.wasm");
  ASSERT_FALSE(compiled);
  EXPECT_EQ(compiled.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(compiled.error().message, testing::StartsWith("compile f.wasm: "));
  EXPECT_THAT(compiled.error().message, HasSubstr(GetParam().says));
  EXPECT_THAT(compiled.error().message, HasSubstr("offset"));
  EXPECT_EQ(compiled.error().message.find('\n'), std::string::npos) << compiled.error().message;
}

INSTANTIATE_TEST_SUITE_P(
    Modules, InvalidModuleTest,
    testing::Values(
        InvalidModule{"Truncated", "\1\x20\1"s, "unexpected end"},
        InvalidModule{"UnknownSection", "\x20\1\0"s, "section"},
        // A function () -> i32 with an empty body.
        InvalidModule{"Body", "\1\5\1\x60\0\1\x7f\3\2\1\0\x0a\4\1\2\0\x0b"s, "type mismatch"},
        InvalidModule{"SharedMemory", "\5\4\1\3\1\1"s, "threads must be enabled"},
        InvalidModule{"Atomics", "\1\4\1\x60\0\0\3\2\1\0\x0a\7\1\5\0\xfe\3\0\x0b"s, "threads"},
        InvalidModule{"Memory64", "\5\3\1\4\1"s, "memory64 must be enabled"},
        InvalidModule{"MultiMemory", "\5\5\2\0\1\0\1"s, "multi"},
        InvalidModule{"CustomPageSize", "\5\4\1\x08\1\0"s, "page size"},
        InvalidModule{"Gc", "\1\3\1\x5f\0"s, "gc"},
        InvalidModule{"ExternRef", "\1\5\1\x60\1\x6f\0"s, "gc"},
        InvalidModule{"Exceptions", "\1\4\1\x60\0\0\x0d\3\1\0\0"s, "exceptions"}),
    [](const auto& test) { return std::string(test.param.what); });

TEST_F(EngineTest, AllowsWhatToolchainsEmit) {
  // Tail call: () -> () that calls itself in tail position; SIMD is in calls.wat.
  const auto wasm = "\0asm\1\0\0\0\1\4\1\x60\0\0\3\2\1\0\x0a\6\1\4\0\x12\0\x0b"s;
  const auto compiled = engine_->Compile(std::as_bytes(std::span(wasm)), "tail");
  EXPECT_TRUE(compiled) << compiled.error().message;
}

}  // namespace
}  // namespace cwasi::wasm
