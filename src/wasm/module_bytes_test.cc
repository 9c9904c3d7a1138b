// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "wasm/module_bytes.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cwasi::wasm {
namespace {

using std::string_literals::operator""s;
using testing::HasSubstr;

Result<> Check(const std::string& bytes) {
  return CheckIsCoreModule(std::as_bytes(std::span(bytes)), "f.wasm");
}

TEST(ModuleBytesTest, TakesACoreModule) {
  EXPECT_TRUE(Check("\0asm\1\0\0\0"s));
  EXPECT_TRUE(Check("\0asm\1\0\0\0\0\0rest"s));
}

struct Refusal {
  const char* what;
  std::string bytes;
  const char* says;
};

class RefusalTest : public testing::TestWithParam<Refusal> {};

TEST_P(RefusalTest, SaysWhatItIs) {
  const auto checked = Check(GetParam().bytes);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(checked.error().message, HasSubstr(GetParam().says));
  EXPECT_THAT(checked.error().message, testing::StartsWith("f.wasm "));
}

INSTANTIATE_TEST_SUITE_P(
    Inputs, RefusalTest,
    testing::Values(
        Refusal{"Empty", "", "is empty"}, Refusal{"OneByte", "\0"s, "truncated: 1 bytes"},
        Refusal{"HalfAHeader", "\0asm\1"s, "truncated: 5 bytes"},
        Refusal{"Elf",
                "\x7f"
                "ELF\2\1\1\0"s,
                "7f 45 4c 46 02 01 01 00 (a native program"},
        Refusal{"CompiledModule",
                "\x7f"
                "ELF\2\1\1\xc8"s,
                "(a compiled module"},
        Refusal{"Script", "#!/bin/sh\n", "(a script)"},
        Refusal{"TextFormat", "  (module)", "wat2wasm"},
        Refusal{"TextFormatComment", ";; hello\n(module)", "wat2wasm"},
        Refusal{"Text", "hello", "68 65 6c 6c 6f (text)"}, Refusal{"Gzip", "\x1f\x8b\x08"s, "gzip"},
        Refusal{"Zip", "PK\3\4"s, "zip archive"}, Refusal{"Zstd", "\x28\xb5\x2f\xfd"s, "zstd"},
        Refusal{"Noise", "\x80\x81"s, "80 81 (unknown)"},
        Refusal{"Component", "\0asm\x0d\0\1\0"s,
                "is a component (preview 2); build a core module, e.g. --target=wasm32-wasi, or "
                "extract it"},
        Refusal{"Version2", "\0asm\2\0\0\0"s, "unknown version of WebAssembly: 02 00 00 00"}),
    [](const auto& test) { return std::string(test.param.what); });

}  // namespace
}  // namespace cwasi::wasm
