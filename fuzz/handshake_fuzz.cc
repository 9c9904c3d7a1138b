// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Any first packet, with any descriptors, is accepted exactly if it is the offer and brings the
// memory; the caller is told; and no descriptor stays open. The first byte chooses the descriptors.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "ipc/channel.h"
#include "os/memfd.h"
#include "os/unix_socket.h"

namespace {

using namespace cwasi;       // NOLINT(google-build-using-namespace): a program of one file.
using namespace cwasi::ipc;  // NOLINT(google-build-using-namespace)

void Require(bool condition) {
  if (!condition) std::abort();
}

template <class T>
T Must(Result<T> result) {
  Require(result.has_value());
  return std::move(*result);
}

// Kinds of descriptors; the first is the memory as it should be.
const std::vector<UniqueFd>& Descriptors() {
  static const std::vector<UniqueFd> descriptors = [] {
    std::vector<UniqueFd> fds;
    fds.reserve(9);
    const auto offer = EncodePacket(ChannelOffer{});
    for (const int seals : {F_SEAL_SHRINK | F_SEAL_GROW, F_SEAL_SHRINK, F_SEAL_GROW, 0}) {
      UniqueFd fd(::memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING));
      Require(::ftruncate(fd.Get(), kChannelMemoryBytes) == 0);
      Require(::pwrite(fd.Get(), offer.data(), offer.size(), 0) == ssize_t{kChannelPacketBytes});
      Require(::fcntl(fd.Get(), F_ADD_SEALS, seals) == 0);
      fds.push_back(std::move(fd));
    }
    fds.push_back(Must(os::CreateSealedMemfd("fuzz", kChannelMemoryBytes)));  // Empty.
    fds.push_back(Must(os::CreateSealedMemfd("fuzz", kChannelMemoryBytes - 4096)));
    std::array<int, 2> pipe{};
    Require(::pipe2(pipe.data(), O_CLOEXEC) == 0);
    fds.emplace_back(pipe[0]);
    fds.emplace_back(pipe[1]);
    fds.emplace_back(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return fds;
  }();
  return descriptors;
}

int LowestFreeFd() {
  const UniqueFd probe(::fcntl(0, F_DUPFD_CLOEXEC, 0));
  return probe.Get();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 4096) return 0;
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);
  const auto& descriptors = Descriptors();
  const int before = LowestFreeFd();
  if (const auto packet = DecodePacket(bytes)) {
    Require(std::ranges::equal(EncodePacket(*packet), bytes));
  }

  std::vector<int> fds;
  const std::size_t count = data[0] / 64;  // 0 to 3.
  fds.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    fds.push_back(descriptors[(data[0] + i) % 64 % descriptors.size()].Get());
  }
  {
    auto pair = Must(os::CreatePacketPair());
    Require(os::SendPacket(pair.first.Get(), bytes, fds, Now()).has_value());
    const auto callee = Channel::Accept(std::move(pair.second), Relation::kSameDomain, Now());
    const bool good = std::ranges::equal(EncodePacket(ChannelOffer{}), bytes) && fds.size() == 1 &&
                      fds.front() == descriptors.front().Get();
    Require(callee.has_value() == good);
    std::array<std::byte, kChannelPacketBytes> answer{};
    const auto got = os::ReceivePacket(pair.first.Get(), answer, 0, Now());
    // Packets that the socket itself refuses (too long, too many descriptors) get no answer.
    if (got) {
      const auto decoded = Must(DecodePacket(answer));
      Require((std::get<ChannelAnswer>(decoded).verdict == Verdict::kAccepted) == good);
    } else {
      Require(!good && (bytes.size() > 4 * kChannelPacketBytes || fds.size() > 1));
    }
  }
  Require(LowestFreeFd() == before);
  return 0;
}
