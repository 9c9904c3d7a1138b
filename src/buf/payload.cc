// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/payload.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace cwasi::buf {
namespace {

// One read of at most what Linux moves at once (0x7ffff000 bytes, read(2)). 0 at the end.
Result<std::size_t> ReadSome(int fd, std::byte* to, std::size_t bytes) {
  for (;;) {
    const ssize_t n = ::read(fd, to, bytes);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR) return Fail(ErrorCode::kInvalidArgument, "read a payload", errno);
  }
}

Result<std::size_t> ReadUpTo(int fd, std::byte* to, std::size_t bytes) {
  std::size_t done = 0;
  while (done < bytes) {
    TRY_SET(const std::size_t n, ReadSome(fd, to + done, bytes - done));
    if (n == 0) break;
    done += n;
  }
  return done;
}

// Doubles until the end is reached; every doubling copies what was read so far.
Result<Payload> ReadToEnd(int fd, PayloadMemory& memory) {
  std::vector<std::byte> bytes(kPageBytes);
  std::size_t size = 0;
  for (;;) {
    TRY_SET(const std::size_t n, ReadUpTo(fd, bytes.data() + size, bytes.size() - size));
    size += n;
    if (size < bytes.size()) break;
    if (size > memory.MaxPayloadBytes()) break;
    bytes.resize(std::min(bytes.size() * 2, memory.MaxPayloadBytes() + 1));
  }
  if (size > memory.MaxPayloadBytes())
    return Fail(ErrorCode::kInvalidArgument,
                "payload is longer than the limit of " + std::to_string(memory.MaxPayloadBytes()) +
                    " bytes",
                EMSGSIZE);
  bytes.resize(size);
  return Payload(std::move(bytes));
}

}  // namespace

PayloadMemory::PayloadMemory(const Options& options)
    : options_(options),
      memory_(options.memory_bytes),
      foreign_(options.foreign_bytes),
      mappings_(options.mappings != 0 ? options.mappings : MappingLimit()),
      pool_(memory_, mappings_, options.pool),
      ability_(options.ability ? *options.ability : MeasureMoveAbility()),
      scanner_(options.scan) {
  if (options.policy == MovePolicy::kCopyAll)
    ability_ = {.support = {.available = false, .reason = "switched off"}};
}

Result<Payload> Payload::ReadFrom(int fd, std::size_t size, PayloadMemory& memory) {
  if (size == kUnknownSize) return ReadToEnd(fd, memory);
  if (size > memory.MaxPayloadBytes())
    return Fail(ErrorCode::kInvalidArgument,
                "payload of " + std::to_string(size) + " bytes is longer than the limit of " +
                    std::to_string(memory.MaxPayloadBytes()),
                EMSGSIZE);
  Payload payload;
  if (memory.Moves(size)) {
    TRY_SET(SegmentRef segment, memory.Pool().Take(size, Zero::kNo));
    payload = Payload(std::move(segment), size);
  } else {
    payload = Payload(std::vector<std::byte>(size));
  }
  std::byte* const to = payload.segment_ ? payload.segment_->Data() : payload.small_.data();
  TRY_SET(const std::size_t n, ReadUpTo(fd, to, size));
  if (n != size)
    return Fail(ErrorCode::kInvalidArgument, "the file ended after " + std::to_string(n) + " of " +
                                                 std::to_string(size) + " bytes");
  return payload;
}

Result<Payload> Payload::CopyOf(std::span<const std::byte> bytes, PayloadMemory& memory) {
  if (!memory.Moves(bytes.size())) {
    std::vector<std::byte> copy(bytes.size());
    memory.Copy(copy.data(), bytes.data(), bytes.size());
    return Payload(std::move(copy));
  }
  return CopyInto(bytes, memory.Pool(), memory);
}

Result<Payload> Payload::CopyInto(std::span<const std::byte> bytes, SegmentPool& pool,
                                  PayloadMemory& memory) {
  if (bytes.empty()) return Payload();
  TRY_SET(SegmentRef segment, pool.Take(bytes.size(), Zero::kNo));
  memory.Copy(segment->Data(), bytes.data(), bytes.size());
  return Payload(std::move(segment), bytes.size());
}

Result<> Payload::WriteTo(int fd) const {
  auto rest = Bytes();
  while (!rest.empty()) {
    const ssize_t n = ::write(fd, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Fail(ErrorCode::kInvalidArgument, "write a payload", n < 0 ? errno : ENOSPC);
    rest = rest.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

}  // namespace cwasi::buf
