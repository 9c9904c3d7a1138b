// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "test/soak/soak_slot.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <variant>

#include "base/check.h"

namespace cwasi::soak {
namespace {

constexpr std::array<std::size_t, 6> kSizes = {16,       4096, 60'000, 300'000, (2U << 20U) + 1,
                                               4U << 20U};
constexpr std::size_t kHeaderBytes = 16;

UniqueFd Memory(std::size_t bytes) {
  UniqueFd fd(::memfd_create("soak", MFD_CLOEXEC));
  CHECK(fd.IsOpen() && ::ftruncate(fd.Get(), static_cast<off_t>(bytes)) == 0);
  return fd;
}

// With a position of its own.
UniqueFd Reopened(const UniqueFd& fd) {
  UniqueFd again(::open(("/proc/self/fd/" + std::to_string(fd.Get())).c_str(), O_RDWR | O_CLOEXEC));
  CHECK(again.IsOpen());
  return again;
}

}  // namespace

Slot::Slot(Shared& shared, std::uint32_t number, std::uint32_t domain)
    : shared_(shared), number_(number), domain_(domain), output_(Memory(0)) {
  for (const std::size_t bytes : kSizes) {
    std::vector<std::byte> pattern(bytes);
    for (std::size_t i = 0; i < bytes; ++i) pattern[i] = PatternAt(i);
    UniqueFd file = Memory(bytes);
    CHECK(::pwrite(file.Get(), pattern.data(), bytes, 0) == static_cast<ssize_t>(bytes));
    inputs_.push_back({bytes, std::move(file)});
  }
}

void Slot::Wrong(const std::string& what) {
  shared_.tally.wrong.push_back("w" + std::to_string(number_) + ": " + what +
                                (actions_.empty() ? "" : " (" + actions_ + ")"));
}

void Slot::Setup(ipc::RequestBody body, UniqueFd fd) {
  worker_->Ask(std::move(body), std::move(fd), std::chrono::seconds(20),
               [this](Result<ipc::ResponseBody> answer) {
                 if (!answer) return;  // OnGone follows.
                 if (const auto* error = std::get_if<Error>(&*answer))
                   Wrong("setting up: " + error->message);
               });
}

void Slot::Start() {
  id_ = shared_.next_worker++;
  killed_ = false;
  auto worker = host::WorkerProcess::Start(shared_.loop, shared_.zygote, id_,
                                           [this](const Error&) { OnGone(); });
  CHECK(worker.has_value());
  worker_ = std::move(*worker);
  Setup(ipc::Hello{}, {});
  Setup(ipc::Configure{.worker_id = id_, .payload_budget_bytes = 512U << 20U}, {});
  ipc::DeclareFunctions others;
  for (std::uint32_t f = 1; f <= shared_.functions; ++f)
    if (f != number_)
      others.functions.push_back(
          {.id = f, .name = "w" + std::to_string(f), .timeout = kInnerTimeout});
  Setup(others, {});
  worker_->Ask(ipc::LoadFunction{.id = number_,
                                 .name = "w" + std::to_string(number_),
                                 .memory_limit_bytes = 64U << 20U,
                                 .timeout = kCallTimeout},
               UniqueFd(::fcntl(shared_.module, F_DUPFD_CLOEXEC, 0)), std::chrono::seconds(20),
               [this](Result<ipc::ResponseBody> answer) {
                 if (!answer) return;
                 if (const auto* error = std::get_if<Error>(&*answer))
                   return Wrong("loading: " + error->message);
                 Join(id_);
               });
}

// The worker may have answered before the zygote's word of it, and its pidfd, has come.
void Slot::Join(ipc::WorkerId id) {
  if (id != id_ || killed_ || worker_ == nullptr) return;
  pidfd_.Reset(::fcntl(shared_.zygote.PidFd(id_), F_DUPFD_CLOEXEC, 0));
  if (!pidfd_.IsOpen()) {
    CHECK(shared_.loop.Post([this, id] { Join(id); }));
    return;
  }
  auto added = shared_.introducer.Add(
      {.id = id_, .trust_domain = domain_, .functions = {number_}, .pidfd = pidfd_.Get()},
      worker_->TakeIntroductions());
  CHECK(added.has_value());
  up_ = true;
  BeginCall();
}

void Slot::Kill() {
  killed_ = true;
  worker_->Kill();
}
void Slot::Signal(int signal) const {
  if (Pid() > 0) ::kill(Pid(), signal);
}

std::string Slot::Describe() const {
  return "w" + std::to_string(number_) + " pid " + std::to_string(Pid()) + (up_ ? " up" : "") +
         (busy_ ? " busy with " + actions_ : "") + (killed_ ? " killed" : "") + ", outstanding " +
         std::to_string(worker_ != nullptr ? worker_->Outstanding() : 0);
}

void Slot::OnGone() {
  if (!killed_) {
    // By its ticker, too: each of the relay's guests stops when it is interrupted.
    const auto& end = worker_->End();
    Wrong("its worker ended by itself: " + (end ? os::Describe(*end) : std::string("unknown")));
  }
  shared_.introducer.Remove(id_);
  up_ = false;
  if (busy_) {
    ++shared_.tally.lost_with_caller;
    End();
  }
  ++restarts_;
  CHECK(shared_.loop.Post([this] {
    worker_.reset();
    Start();
  }));
}

void Slot::BeginCall() {
  if (shared_.draining || busy_ || !up_ || killed_) return;
  // Up to three workers are passed, then one does something.
  constexpr std::string_view kEnds = "eeeeeeeeccnxkgtsl";
  actions_.clear();
  std::uint32_t at = number_;
  for (std::uint64_t hops = 1 + shared_.Below(3); hops > 0; --hops) {
    std::uint32_t to = 1 + static_cast<std::uint32_t>(shared_.Below(shared_.functions));
    if (to == at) to = 1 + to % shared_.functions;
    if (shared_.Below(6) == 0) actions_ += 'C';
    actions_ += static_cast<char>('0' + to);
    if (shared_.Below(3) == 0) actions_ += 'b';
    at = to;
  }
  // Endless loops are rare: each costs a time-out.
  char last = kEnds[shared_.Below(kEnds.size())];
  if (last == 'l' && shared_.Below(8) != 0) last = 'e';
  actions_ += last;
  input_ = shared_.Below(inputs_.size());
  std::array<char, kHeaderBytes> header{};
  std::memcpy(header.data() + 1, actions_.data(), actions_.size());
  const Input& input = inputs_[input_];
  CHECK(::pwrite(input.file.Get(), header.data(), header.size(), 0) ==
        static_cast<ssize_t>(header.size()));
  busy_ = true;
  ++shared_.tally.begun;
  begun_ = Now();
  const std::uint64_t value = next_value_;
  next_value_ += 2;
  worker_->Ask(ipc::ReadFile{.value_id = value, .name = "in"}, Reopened(input.file),
               std::chrono::seconds(10), [this](const Result<ipc::ResponseBody>& got) {
                 if (!got) return;
                 if (const auto* error = std::get_if<Error>(&*got))
                   Wrong("not read: " + error->message);
               });
  worker_->Ask(ipc::Invoke{.function_id = number_,
                           .request_id = value * 16 + number_,
                           .result_value_id = value + 1,
                           .timeout = kCallTimeout,
                           .step = "soak",
                           .parts = {{.value_id = value, .pass = ipc::Pass::kMove, .name = "in"}},
                           .metadata = {}},
               {}, kCallTimeout + std::chrono::seconds(8),
               [this, value](Result<ipc::ResponseBody> got) { OnInvoked(value, std::move(got)); });
}

void Slot::OnInvoked(std::uint64_t value, Result<ipc::ResponseBody> answer) {
  if (!busy_) return;
  if (!answer) {
    if (answer.error().code == ErrorCode::kDeadlineExceeded) Wrong("a call never ended");
    return;  // OnGone counts it.
  }
  if (const auto* error = std::get_if<CallError>(&*answer)) {
    // The relay returns the status of its own call.
    const auto inner = CallClassFromNumber(static_cast<std::uint32_t>(error->guest_status));
    const bool own = error->call_class != CallClass::kGuestError || !inner;
    const CallClass what = own ? error->call_class : *inner;
    if (what == CallClass::kInternal || what == CallClass::kInvalid ||
        what == CallClass::kNotFound || what == CallClass::kDenied || what == CallClass::kTooLarge)
      Wrong(cwasi::Describe(*error));
    ++shared_.tally.failed[(own ? "first function: " : "its call: ") + std::string(Name(what))];
    // Of no use to a failed call, and moved away if the function ran.
    Ask(ipc::Drop{.value_id = value}, [](const Result<ipc::ResponseBody>&) {});
    return End();
  }
  if (const auto* error = std::get_if<Error>(&*answer)) {
    Wrong("not invoked: " + error->message);
    return End();
  }
  CHECK(::ftruncate(output_.Get(), 0) == 0);
  worker_->Ask(ipc::WriteFile{.value_id = value + 1}, Reopened(output_), std::chrono::seconds(10),
               [this, value](Result<ipc::ResponseBody> got) { OnWritten(value, std::move(got)); });
  Ask(ipc::Drop{.value_id = value + 1}, [](const Result<ipc::ResponseBody>&) {});
}

void Slot::OnWritten(std::uint64_t /*value*/, Result<ipc::ResponseBody> answer) {
  if (!busy_ || !answer) return;
  const auto* file = std::get_if<ipc::FileReply>(&*answer);
  if (file == nullptr) {
    Wrong("the result was not written");
    return End();
  }
  const bool copied = actions_.find('C') != std::string::npos;
  const char last = actions_.back();
  const std::size_t whole = inputs_[input_].bytes;
  // What was kept is of an earlier call.
  const std::size_t expected = copied ? kHeaderBytes : last == 'e' ? whole : kHeaderBytes;
  const bool sized = last == 'e' || last == 'c' ? file->bytes == expected || (copied && whole >= 16)
                     : last == 'g'              ? true
                                                : copied || file->bytes == 0;
  if (!sized) Wrong("a reply of " + std::to_string(file->bytes) + " bytes");
  if (last == 'e' && !copied) {
    std::vector<std::byte> got(whole);
    const bool read = ::pread(output_.Get(), got.data(), whole, 0) == static_cast<ssize_t>(whole);
    bool same = read && std::memcmp(got.data() + 1, actions_.data(), actions_.size()) == 0;
    for (std::size_t i = kHeaderBytes; same && i < whole; ++i) same = got[i] == PatternAt(i);
    if (!same) Wrong("wrong bytes in a reply of " + std::to_string(whole));
  }
  ++shared_.tally.answered;
  End();
}

void Slot::End() {
  busy_ = false;
  const MonotonicNs took = Now() - begun_;
  shared_.tally.longest = std::max(shared_.tally.longest, took);
  if (took > std::chrono::nanoseconds(kCallTimeout + kLateness).count())
    Wrong("a call took " + std::to_string(took / 1'000'000) + " ms");
  CHECK(shared_.loop.Post([this] { BeginCall(); }));
}

}  // namespace cwasi::soak
