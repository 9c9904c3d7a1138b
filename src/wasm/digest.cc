// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "wasm/digest.h"

#include <sha2.h>
#include <sys/types.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace cwasi::wasm {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::uint64_t kPrime1 = 0x9E3779B185EBCA87;
constexpr std::uint64_t kPrime2 = 0xC2B2AE3D27D4EB4F;
constexpr std::uint64_t kPrime3 = 0x165667B19E3779F9;
constexpr std::uint64_t kPrime4 = 0x85EBCA77C2B2AE63;
constexpr std::uint64_t kPrime5 = 0x27D4EB2F165667C5;

template <class T>
T Read(const std::byte* from) {
  T value{};
  std::memcpy(&value, from, sizeof(value));
  return value;
}

std::uint64_t Round(std::uint64_t lane, std::uint64_t word) {
  return std::rotl(lane + word * kPrime2, 31) * kPrime1;
}

void AddStripe(std::array<std::uint64_t, 4>& lanes, const std::byte* stripe) {
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    lanes[i] = Round(lanes[i], Read<std::uint64_t>(stripe + i * sizeof(std::uint64_t)));
  }
}

std::uint64_t AddRest(std::uint64_t hash, std::span<const std::byte> rest) {
  for (; rest.size() >= 8; rest = rest.subspan(8)) {
    hash = std::rotl(hash ^ Round(0, Read<std::uint64_t>(rest.data())), 27) * kPrime1 + kPrime4;
  }
  for (; rest.size() >= 4; rest = rest.subspan(4)) {
    hash = std::rotl(hash ^ (Read<std::uint32_t>(rest.data()) * kPrime1), 23) * kPrime2 + kPrime3;
  }
  for (const std::byte byte : rest) {
    hash = std::rotl(hash ^ (std::to_integer<std::uint64_t>(byte) * kPrime5), 11) * kPrime1;
  }
  return hash;
}

}  // namespace

std::string Sha256Hex(std::span<const std::byte> bytes) {
  SHA2_CTX context{};
  std::array<std::uint8_t, SHA256_DIGEST_LENGTH> digest{};
  SHA256Init(&context);
  SHA256Update(&context, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  SHA256Final(digest.data(), &context);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string hex;
  for (const std::uint8_t byte : digest) {
    hex += kHex[byte >> 4];
    hex += kHex[byte & 15];
  }
  return hex;
}

Xxh64::Xxh64() : lanes_{kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1} {}

void Xxh64::Update(std::span<const std::byte> bytes) {
  const std::size_t held = total_bytes_ % kStripeBytes;
  total_bytes_ += bytes.size();
  if (held != 0) {
    const std::size_t taken = std::min(kStripeBytes - held, bytes.size());
    std::copy_n(bytes.data(), taken, rest_.data() + held);
    bytes = bytes.subspan(taken);
    if (held + taken < kStripeBytes) return;
    AddStripe(lanes_, rest_.data());
  }
  for (; bytes.size() >= kStripeBytes; bytes = bytes.subspan(kStripeBytes)) {
    AddStripe(lanes_, bytes.data());
  }
  std::ranges::copy(bytes, rest_.begin());
}

std::uint64_t Xxh64::Value() const {
  std::uint64_t hash = kPrime5;  // Seed 0.
  if (total_bytes_ >= kStripeBytes) {
    hash = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) +
           std::rotl(lanes_[3], 18);
    for (const std::uint64_t lane : lanes_) hash = (hash ^ Round(0, lane)) * kPrime1 + kPrime4;
  }
  hash = AddRest(hash + total_bytes_, std::span(rest_).first(total_bytes_ % kStripeBytes));
  hash = (hash ^ (hash >> 33)) * kPrime2;
  hash = (hash ^ (hash >> 29)) * kPrime3;
  return hash ^ (hash >> 32);
}

}  // namespace cwasi::wasm
