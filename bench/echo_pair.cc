// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "bench/echo_pair.h"

#include <fcntl.h>
#include <immintrin.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "bench/expect.h"
#include "ipc/channel.h"
#include "ipc/wait_set.h"
#include "os/unix_socket.h"

namespace cwasi::bench {
namespace {

MonotonicNs Soon() {
  return DeadlineAfter(Now(), std::chrono::seconds(20));
}

class SharedMemoryEcho : public Echo {
 public:
  enum class Wait : std::uint8_t { kSpin, kSleep };
  SharedMemoryEcho(std::size_t bytes, Wait wait)
      : wait_(wait), size_bytes_(8192 + 2 * bytes), bytes_(bytes) {
    void* memory = ::mmap(nullptr, size_bytes_, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    CHECK(memory != MAP_FAILED);
    base_ = static_cast<std::byte*>(memory);
  }
  SharedMemoryEcho(const SharedMemoryEcho&) = delete;
  SharedMemoryEcho& operator=(const SharedMemoryEcho&) = delete;
  SharedMemoryEcho(SharedMemoryEcho&&) = delete;
  SharedMemoryEcho& operator=(SharedMemoryEcho&&) = delete;
  ~SharedMemoryEcho() override { ::munmap(base_, size_bytes_); }
  void BecomeCaller() override {}
  void BecomeCallee() override {}
  void Call(std::span<const std::byte> request, std::span<std::byte> reply) override {
    std::memcpy(Buffer(0), request.data(), bytes_);
    Post(0);
    Await(1);
    std::memcpy(reply.data(), Buffer(1), bytes_);
  }
  void Answer(std::span<std::byte> message) override {
    Await(0);
    std::memcpy(message.data(), Buffer(0), bytes_);
    std::uint64_t number = 0;
    std::memcpy(&number, message.data(), sizeof number);
    ++number;
    std::memcpy(message.data(), &number, sizeof number);
    std::memcpy(Buffer(1), message.data(), bytes_);
    Post(1);
  }

 private:
  [[nodiscard]] std::byte* Buffer(std::size_t i) const {
    return base_ + 4096 + i * (4096 + bytes_);
  }
  [[nodiscard]] std::atomic<std::uint32_t>& Word(std::size_t i) const {
    return *reinterpret_cast<std::atomic<std::uint32_t>*>(base_ + 128 * i);
  }
  void Post(std::size_t i) {
    Word(i).store(++posted_, std::memory_order_release);
    if (wait_ == Wait::kSleep) ::syscall(SYS_futex, &Word(i), FUTEX_WAKE, 1, nullptr, nullptr, 0);
  }
  void Await(std::size_t i) {
    ++awaited_;
    for (;;) {
      const std::uint32_t seen = Word(i).load(std::memory_order_acquire);
      if (seen == awaited_) return;
      if (wait_ == Wait::kSpin) {
        _mm_pause();
      } else {
        ::syscall(SYS_futex, &Word(i), FUTEX_WAIT, seen, nullptr, nullptr, 0);
      }
    }
  }

  Wait wait_;
  std::size_t size_bytes_;
  std::size_t bytes_;
  std::byte* base_ = nullptr;
  std::uint32_t posted_ = 0;
  std::uint32_t awaited_ = 0;
};

class ChannelEcho : public Echo {
 public:
  using Mode = ipc::SpinPolicy::Mode;
  ChannelEcho(Mode caller, Mode callee)
      : caller_mode_(caller), callee_mode_(callee), sockets_(Expect(os::CreatePacketPair())) {}
  void BecomeCaller() override {
    sockets_.second.Reset();
    set_.Policy().SetMode(caller_mode_);
    channel_.emplace(
        Expect(ipc::Channel::Offer(std::move(sockets_.first), ipc::Relation::kSameDomain, Soon())));
  }
  void BecomeCallee() override {
    sockets_.first.Reset();
    set_.Policy().SetMode(callee_mode_);
    channel_.emplace(Expect(
        ipc::Channel::Accept(std::move(sockets_.second), ipc::Relation::kSameDomain, Soon())));
  }
  void Call(std::span<const std::byte> request, std::span<std::byte> reply) override {
    const ipc::Record call{
        .payload = ipc::PayloadKind::kInline, .call_id = ++id_, .payload_bytes = request.size()};
    CHECK(channel_->Send(call, request) == ipc::ChannelStatus::kOk);
    const ipc::Channel::Incoming incoming = Receive();
    CHECK(incoming.record.call_id == id_ && incoming.payload.size() == reply.size());
    std::memcpy(reply.data(), incoming.payload.data(), reply.size());
    channel_->Release();
  }
  void Answer(std::span<std::byte> message) override {
    const ipc::Channel::Incoming incoming = Receive();
    CHECK(incoming.payload.size() == message.size());
    std::memcpy(message.data(), incoming.payload.data(), message.size());
    channel_->Release();
    std::uint64_t number = 0;
    std::memcpy(&number, message.data(), sizeof number);
    ++number;
    std::memcpy(message.data(), &number, sizeof number);
    const ipc::Record reply{.type = ipc::RecordType::kReply,
                            .payload = ipc::PayloadKind::kInline,
                            .call_id = incoming.record.call_id,
                            .payload_bytes = message.size()};
    CHECK(channel_->Send(reply, message) == ipc::ChannelStatus::kOk);
  }

 private:
  ipc::Channel::Incoming Receive() {
    ipc::Channel::Incoming incoming;
    for (;;) {
      const ipc::ChannelStatus status = channel_->Receive(incoming);
      if (status == ipc::ChannelStatus::kOk) return incoming;
      if (status == ipc::ChannelStatus::kFailed) ::_exit(1);
      const std::array<ipc::WaitWord, 1> words = {channel_->Records()};
      CHECK(!set_.Wait(words, kNoDeadline).deadline);
    }
  }

  Mode caller_mode_;
  Mode callee_mode_;
  os::SocketPair sockets_;
  ipc::Doorbell doorbell_;
  ipc::WaitSet set_{doorbell_};
  std::optional<ipc::Channel> channel_;
  std::uint64_t id_ = 0;
};

// Two descriptors at each end, which may be one.
class DescriptorEcho : public Echo {
 public:
  struct Ends {
    int caller_in;
    int caller_out;
    int callee_in;
    int callee_out;
  };
  explicit DescriptorEcho(Ends ends) : ends_(ends) {}
  DescriptorEcho(const DescriptorEcho&) = delete;
  DescriptorEcho& operator=(const DescriptorEcho&) = delete;
  DescriptorEcho(DescriptorEcho&&) = delete;
  DescriptorEcho& operator=(DescriptorEcho&&) = delete;
  ~DescriptorEcho() override { Close(ends_.caller_in, ends_.caller_out); }
  void BecomeCaller() override { Close(ends_.callee_in, ends_.callee_out); }
  void BecomeCallee() override { Close(ends_.caller_in, ends_.caller_out); }
  void Call(std::span<const std::byte> request, std::span<std::byte> reply) override {
    WriteAll(ends_.caller_out, request);
    ReadAll(ends_.caller_in, reply);
  }
  void Answer(std::span<std::byte> message) override {
    ReadAll(ends_.callee_in, message);
    std::uint64_t number = 0;
    std::memcpy(&number, message.data(), sizeof number);
    ++number;
    std::memcpy(message.data(), &number, sizeof number);
    WriteAll(ends_.callee_out, message);
  }

 private:
  static void Close(int a, int b) {
    ::close(a);
    if (a != b) ::close(b);
  }
  static void WriteAll(int fd, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd, bytes.data(), bytes.size());
      if (n <= 0) ::_exit(1);
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
  }
  static void ReadAll(int fd, std::span<std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::read(fd, bytes.data(), bytes.size());
      if (n <= 0) ::_exit(1);
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
  }
  Ends ends_;
};

DescriptorEcho::Ends UnixPair(int type) {
  std::array<int, 2> fds{};
  CHECK(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds.data()) == 0);
  return {fds[0], fds[0], fds[1], fds[1]};
}

DescriptorEcho::Ends Pipes() {
  std::array<int, 2> there{};
  std::array<int, 2> back{};
  CHECK(::pipe2(there.data(), O_CLOEXEC) == 0 && ::pipe2(back.data(), O_CLOEXEC) == 0);
  return {back[0], there[1], there[0], back[1]};
}

DescriptorEcho::Ends Loopback() {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  const int caller = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(listener >= 0 && caller >= 0);
  CHECK(::bind(listener, generic, length) == 0 && ::listen(listener, 1) == 0 &&
        ::getsockname(listener, generic, &length) == 0);
  CHECK(::connect(caller, generic, length) == 0);
  const int callee = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  CHECK(callee >= 0);
  ::close(listener);
  const int on = 1;
  CHECK(::setsockopt(caller, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
        ::setsockopt(callee, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
  return {caller, caller, callee, callee};
}

std::unique_ptr<Echo> MakeEcho(EchoKind kind, std::size_t bytes, Crowd crowd) {
  using Mode = ipc::SpinPolicy::Mode;
  const Mode spins = crowd == Crowd::kRespect ? Mode::kAdaptive : Mode::kAlways;
  switch (kind) {
    case EchoKind::kBareSpin:
      return std::make_unique<SharedMemoryEcho>(bytes, SharedMemoryEcho::Wait::kSpin);
    case EchoKind::kBareFutex:
      return std::make_unique<SharedMemoryEcho>(bytes, SharedMemoryEcho::Wait::kSleep);
    case EchoKind::kChannel:
      return std::make_unique<ChannelEcho>(spins, spins);
    case EchoKind::kChannelAsleep:
      return std::make_unique<ChannelEcho>(Mode::kNever, Mode::kNever);
    case EchoKind::kChannelIdle:
      return std::make_unique<ChannelEcho>(spins, Mode::kNever);
    case EchoKind::kUnixStream:
      return std::make_unique<DescriptorEcho>(UnixPair(SOCK_STREAM));
    case EchoKind::kUnixSeqpacket:
      return std::make_unique<DescriptorEcho>(UnixPair(SOCK_SEQPACKET));
    case EchoKind::kPipe:
      return std::make_unique<DescriptorEcho>(Pipes());
    case EchoKind::kTcp:
      return std::make_unique<DescriptorEcho>(Loopback());
  }
  return nullptr;
}

}  // namespace

std::string Name(EchoKind kind) {
  switch (kind) {
    case EchoKind::kBareSpin:
      return "bare spinning pair";
    case EchoKind::kBareFutex:
      return "bare futex pair";
    case EchoKind::kChannel:
      return "channel";
    case EchoKind::kChannelAsleep:
      return "channel, both sleep";
    case EchoKind::kChannelIdle:
      return "channel, callee sleeps";
    case EchoKind::kUnixStream:
      return "UDS stream";
    case EchoKind::kUnixSeqpacket:
      return "UDS seqpacket";
    case EchoKind::kPipe:
      return "pipe";
    case EchoKind::kTcp:
      return "loopback TCP";
  }
  return "";
}

EchoPair::EchoPair(EchoKind kind, std::size_t bytes, int callee_cpu, Crowd crowd)
    : bytes_(bytes), echo_(MakeEcho(kind, bytes, crowd)) {
  CHECK(bytes >= sizeof number_);
  std::array<int, 2> go{};
  std::array<int, 2> ready{};
  CHECK(::pipe2(go.data(), O_CLOEXEC) == 0 && ::pipe2(ready.data(), O_CLOEXEC) == 0);
  child_ = ::fork();
  CHECK(child_ >= 0);
  if (child_ == 0) {
    ::close(go[1]);
    if (callee_cpu >= 0) {
      cpu_set_t set;
      CPU_ZERO(&set);
      CPU_SET(static_cast<unsigned>(callee_cpu), &set);
      CHECK(::sched_setaffinity(0, sizeof set, &set) == 0);
    }
    // Only now may the caller, who perhaps spins on the CPU that this process was born on.
    CHECK(::write(ready[1], "", 1) == 1);
    echo_->BecomeCallee();
    std::vector<std::byte> message(bytes);
    std::uint64_t count = 0;
    while (::read(go[0], &count, sizeof count) == ssize_t{sizeof count}) {
      for (; count > 0; --count) echo_->Answer(message);
    }
    ::_exit(0);
  }
  ::close(go[0]);
  go_ = go[1];
  std::byte told{};
  CHECK(::read(ready[0], &told, 1) == 1);
  ::close(ready[0]);
  ::close(ready[1]);
  echo_->BecomeCaller();
}

EchoPair::~EchoPair() {
  ::close(go_);
  ::kill(child_, SIGKILL);
  int status = 0;
  ::waitpid(child_, &status, 0);
}

double EchoPair::Batch(std::uint64_t count) {
  std::vector<std::byte> request(bytes_);
  std::vector<std::byte> reply(bytes_);
  for (std::size_t i = 0; i < bytes_; ++i) request[i] = static_cast<std::byte>(i * 7);
  CHECK(::write(go_, &count, sizeof count) == ssize_t{sizeof count});
  MonotonicNs start = Now();
  for (std::uint64_t i = 0; i < count; ++i) {
    std::memcpy(request.data(), &number_, sizeof number_);
    echo_->Call(request, reply);
    std::uint64_t answer = 0;
    std::memcpy(&answer, reply.data(), sizeof answer);
    CHECK(answer == number_ + 1);
    ++number_;
    if (i != 0) continue;
    // The first round trip wakes the callee from its pipe, and its answer is checked whole.
    CHECK(std::memcmp(request.data() + 8, reply.data() + 8, bytes_ - 8) == 0);
    start = Now();
  }
  return static_cast<double>(Now() - start) / static_cast<double>(count - 1);
}

}  // namespace cwasi::bench
