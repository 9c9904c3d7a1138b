// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "wasm/digest.h"

#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace cwasi::wasm {
namespace {

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::uint64_t HashOf(std::span<const std::byte> bytes) {
  Xxh64 hash;
  hash.Update(bytes);
  return hash.Value();
}

// FIPS 180-4, examples of NIST.
TEST(DigestTest, Sha256OfThePublishedExamples) {
  EXPECT_EQ(Sha256Hex(Bytes("")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex(Bytes("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

// Values that ports of XXH64 publish.
TEST(DigestTest, Xxh64OfKnownTexts) {
  EXPECT_EQ(HashOf(Bytes("")), 0xef46db3751d8e999U);
  EXPECT_EQ(HashOf(Bytes("a")), 0xd24ec4f1a98c6e5bU);
  EXPECT_EQ(HashOf(Bytes("abc")), 0x44bc2cf5ad770999U);
}

// The vectors of the reference implementation's sanity check: a buffer of a linear generator.
TEST(DigestTest, Xxh64OfTheReferencesSanityBuffer) {
  std::vector<std::byte> buffer(222);
  std::uint64_t generator = 2654435761U;
  for (std::byte& byte : buffer) {
    byte = static_cast<std::byte>(generator >> 56);
    generator *= 11400714785074694797U;
  }
  EXPECT_EQ(HashOf(std::span(buffer).first(1)), 0xe934a84adb052768U);
  EXPECT_EQ(HashOf(std::span(buffer).first(14)), 0x8282dcc4994e35c8U);
  EXPECT_EQ(HashOf(buffer), 0xb641ae8cb691c174U);
}

TEST(DigestTest, Xxh64IsTheSameInAnyCuts) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += static_cast<char>(i);
  const std::uint64_t whole = HashOf(Bytes(text));
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    Xxh64 hash;
    hash.Update(Bytes(text).first(cut));
    hash.Update(Bytes(text).subspan(cut));
    ASSERT_EQ(hash.Value(), whole) << cut;
  }
  Xxh64 bytewise;
  for (const char& c : text) bytewise.Update(Bytes({&c, 1}));
  EXPECT_EQ(bytewise.Value(), whole);
}

}  // namespace
}  // namespace cwasi::wasm
