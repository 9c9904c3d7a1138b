// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "bench/transport.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/unique_fd.h"
#include "bench/transport_answer.h"

namespace cwasi::bench {
namespace {

void ReadAll(int fd, std::span<std::byte> to) {
  while (!to.empty()) {
    const ssize_t n = ::read(fd, to.data(), to.size());
    if (n <= 0) ::_exit(0);  // The run is over.
    to = to.subspan(static_cast<std::size_t>(n));
  }
}
void WriteAll(int fd, std::span<const std::byte> from, std::size_t at_most) {
  while (!from.empty()) {
    const ssize_t n = ::write(fd, from.data(), std::min(from.size(), at_most));
    CHECK(n > 0);
    from = from.subspan(static_cast<std::size_t>(n));
  }
}

// By a descriptor each end.
class ByDescriptor final : public Transport {
 public:
  ByDescriptor(std::pair<UniqueFd, UniqueFd> ends, std::size_t at_most)
      : giver_(std::move(ends.first)), taker_(std::move(ends.second)), at_most_(at_most) {}

  void Serve(std::span<std::byte> to, const std::function<Taken()>& took) override {
    for (;;) {
      ReadAll(taker_.Get(), to);
      answer_.Tell(took());
    }
  }
  Taken Give(std::span<const std::byte> from) override {
    WriteAll(giver_.Get(), from, at_most_);
    return answer_.Hear();
  }

 private:
  UniqueFd giver_;
  UniqueFd taker_;
  std::size_t at_most_;
  AnswerSocket answer_;
};

class BySharedMemory final : public Transport {
 public:
  explicit BySharedMemory(std::size_t bytes) : bytes_(bytes) {
    const UniqueFd fd(::memfd_create("payload", MFD_CLOEXEC));
    CHECK(fd.IsOpen() && ::ftruncate(fd.Get(), static_cast<off_t>(bytes)) == 0);
    void* const at =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd.Get(), 0);
    CHECK(at != MAP_FAILED);
    memory_ = static_cast<std::byte*>(at);
  }
  BySharedMemory(const BySharedMemory&) = delete;
  BySharedMemory& operator=(const BySharedMemory&) = delete;
  BySharedMemory(BySharedMemory&&) = delete;
  BySharedMemory& operator=(BySharedMemory&&) = delete;
  ~BySharedMemory() override { ::munmap(memory_, bytes_); }

  void Serve(std::span<std::byte> to, const std::function<Taken()>& took) override {
    for (;;) {
      there_.Hear();
      std::memcpy(to.data(), memory_, to.size());
      answer_.Tell(took());
    }
  }
  Taken Give(std::span<const std::byte> from) override {
    std::memcpy(memory_, from.data(), from.size());
    there_.Tell({});
    return answer_.Hear();
  }

 private:
  std::size_t bytes_;
  std::byte* memory_ = nullptr;
  AnswerSocket there_;
  AnswerSocket answer_;
};

std::pair<UniqueFd, UniqueFd> Sockets(int type) {
  std::array<int, 2> fds{};
  CHECK(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds.data()) == 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

}  // namespace

AnswerSocket::AnswerSocket() {
  std::tie(hears_, tells_) = Sockets(SOCK_STREAM);
}
void AnswerSocket::Tell(const Taken& taken) const {
  WriteAll(tells_.Get(), std::as_bytes(std::span(&taken, 1)), sizeof taken);
}
Taken AnswerSocket::Hear() const {
  Taken taken;
  ReadAll(hears_.Get(), std::as_writable_bytes(std::span(&taken, 1)));
  return taken;
}

std::unique_ptr<Transport> UnixStream() {
  return std::make_unique<ByDescriptor>(Sockets(SOCK_STREAM), SIZE_MAX);
}
std::unique_ptr<Transport> UnixPackets() {
  // Below the socket's buffer, which is 208 KiB here.
  return std::make_unique<ByDescriptor>(Sockets(SOCK_SEQPACKET), std::size_t{128} << 10U);
}
std::unique_ptr<Transport> Pipe() {
  std::array<int, 2> fds{};
  CHECK(::pipe2(fds.data(), O_CLOEXEC) == 0);
  // What a user may have without privileges (pipe(7)).
  CHECK(::fcntl(fds[1], F_SETPIPE_SZ, 1 << 20) > 0);
  return std::make_unique<ByDescriptor>(std::pair(UniqueFd(fds[1]), UniqueFd(fds[0])), SIZE_MAX);
}
std::unique_ptr<Transport> SharedMemory(std::size_t bytes) {
  return std::make_unique<BySharedMemory>(bytes);
}

}  // namespace cwasi::bench
