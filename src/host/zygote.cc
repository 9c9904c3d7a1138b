// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "host/zygote.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "os/unix_socket.h"

namespace cwasi::host {
namespace {

constexpr std::chrono::seconds kGreetTimeout{10};
// A fork takes half a millisecond; a zygote that does not answer is stopped or starved.
constexpr std::chrono::seconds kForkTimeout{10};
constexpr std::chrono::seconds kEndTimeout{5};
// A packet fits the socket's buffer unless the zygote has stopped reading.
constexpr std::chrono::seconds kSendTimeout{1};
// Requests that the zygote has not answered. If many were sent at once, they would fill its socket
// while its answers fill ours, and both would wait.
constexpr std::size_t kMaxForking = 16;

void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void SendKill(int pidfd) {
  ::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
}

}  // namespace

Result<std::filesystem::path> Zygote::DefaultProgram() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error)
    return Fail(ErrorCode::kNotFound, "find cwasi-host: " + error.message(), error.value());
  auto program = self.parent_path() / "cwasi-host";
  if (!std::filesystem::exists(program, error))
    return Fail(ErrorCode::kNotFound, "no cwasi-host beside " + self.string());
  return program;
}

Zygote::Zygote(loop::Loop& loop, os::ChildProcess child, ipc::ZygoteSocket socket, OnDeath on_death)
    : child_(std::move(child)),
      socket_(std::move(socket)),
      on_death_(std::move(on_death)),
      answer_timer_(loop, [this] {
        Died({.code = ErrorCode::kDeadlineExceeded, .message = "it does not fork"});
      }) {
  ::prctl(PR_GET_CHILD_SUBREAPER, &subreaper_before_);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
}

Result<std::unique_ptr<Zygote>> Zygote::Start(loop::Loop& loop,
                                              const std::filesystem::path& program,
                                              OnDeath on_death) {
  RaiseDescriptorLimit();
  TRY_SET(auto pair, os::CreatePacketPair());
  TRY_SET(auto child, os::ChildProcess::Start({.path = program.string(),
                                               .arguments = {},
                                               .passed_fd = pair.second.Get(),
                                               // Libraries look up what they call once, not in
                                               // each fork.
                                               .environment = {"LD_BIND_NOW=1"}}));
  pair.second.Reset();
  auto zygote = std::unique_ptr<Zygote>(new Zygote(
      loop, std::move(child), ipc::ZygoteSocket(std::move(pair.first)), std::move(on_death)));
  TRY(zygote->Greet());
  TRY_SET(zygote->watch_, loop::Watch::Create(loop, zygote->socket_.Fd(), EPOLLIN,
                                              [z = zygote.get()](std::uint32_t) { z->OnReady(); }));
  return zygote;
}

Result<> Zygote::Greet() {
  const MonotonicNs deadline = DeadlineAfter(Now(), kGreetTimeout);
  auto done = socket_.Send(ipc::Greet{}, {}, deadline);
  if (done) {
    auto incoming = socket_.Receive(deadline);
    if (auto* greeting = incoming ? std::get_if<ipc::Greeting>(&incoming->message) : nullptr) {
      sandbox_ = std::move(greeting->sandbox);
      return {};
    }
    done = incoming ? Fail(ErrorCode::kInternal, "it did not answer the greeting")
                    : Result<>(tl::unexpected(std::move(incoming).error()));
  }
  over_ = true;
  Error error = std::move(done).error();
  auto end = child_.Wait(DeadlineAfter(Now(), std::chrono::seconds(1)));
  if (!end) child_.Kill();
  error.message = "zygote " + std::to_string(child_.Pid()) + " " +
                  (end ? os::Describe(*end) : "is not ready") + ": " + error.message;
  return tl::unexpected(std::move(error));
}

Zygote::~Zygote() {
  if (!over_) Stop(kEndTimeout);
  ::prctl(PR_SET_CHILD_SUBREAPER, subreaper_before_);
}

void Zygote::Fork(ipc::WorkerId id, UniqueFd control, UniqueFd introductions, OnForked on_forked,
                  OnEnded on_ended) {
  CHECK(!workers_.contains(id));
  if (over_) return;
  workers_.emplace(
      id, Worker{.on_forked = std::move(on_forked), .on_ended = std::move(on_ended), .pidfd = {}});
  waiting_.push_back(
      {.id = id, .control = std::move(control), .introductions = std::move(introductions)});
  SendWaiting();
}

void Zygote::SendWaiting() {
  while (!over_ && !waiting_.empty() && forking_.size() < kMaxForking) {
    const Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    forking_.push_back(next.id);
    auto sent = socket_.Send(ipc::ForkWorker{.worker = next.id},
                             std::array{next.control.Get(), next.introductions.Get()},
                             DeadlineAfter(Now(), kSendTimeout));
    if (!sent) return Died(sent.error());
    if (!answer_timer_.IsArmed()) AwaitAnswer();
  }
}

void Zygote::AwaitAnswer() {
  answer_timer_.Arm(forking_.empty() ? kNoDeadline : DeadlineAfter(Now(), kForkTimeout));
}

int Zygote::PidFd(ipc::WorkerId id) const {
  const auto worker = workers_.find(id);
  return worker == workers_.end() ? -1 : worker->second.pidfd.Get();
}

void Zygote::Kill(ipc::WorkerId id) const {
  if (const int pidfd = PidFd(id); pidfd >= 0) SendKill(pidfd);
}

void Zygote::Forget(ipc::WorkerId id) {
  const auto worker = workers_.find(id);
  if (worker == workers_.end()) return;
  // The entry stays until it has ended: its pidfd is needed to wait for it.
  worker->second.on_forked = nullptr;
  worker->second.on_ended = nullptr;
}

void Zygote::OnReady() {
  while (!over_) {
    auto incoming = socket_.Receive(Now());
    if (!incoming && incoming.error().code == ErrorCode::kDeadlineExceeded) return;
    auto handled =
        incoming ? Handle(std::move(*incoming)) : tl::unexpected(std::move(incoming).error());
    if (!handled) return Died(handled.error());
  }
}

Result<> Zygote::Handle(ipc::ZygoteSocket::Incoming incoming) {
  if (const auto* forked = std::get_if<ipc::Forked>(&incoming.message))
    return OnAnswer(forked->worker, static_cast<pid_t>(forked->pid), std::move(incoming.fds[0]));
  if (const auto* failed = std::get_if<ipc::ForkFailed>(&incoming.message))
    return OnAnswer(failed->worker,
                    Fail(ErrorCode::kResourceExhausted, "start a worker: " + failed->message,
                         failed->sys_errno),
                    {});
  const auto* ended = std::get_if<ipc::Ended>(&incoming.message);
  const auto worker = ended == nullptr ? workers_.end() : workers_.find(ended->worker);
  if (worker == workers_.end() || !worker->second.pidfd.IsOpen())
    return Fail(ErrorCode::kInvalidArgument, "an unexpected message");
  const os::ProcessEnd end{.by_signal = ended->by_signal, .code = ended->code};
  const auto entry = workers_.extract(worker);
  if (entry.mapped().on_ended) entry.mapped().on_ended(end);
  return {};
}

Result<> Zygote::OnAnswer(ipc::WorkerId id, Result<pid_t> answer, UniqueFd pidfd) {
  if (forking_.empty() || forking_.front() != id)
    return Fail(ErrorCode::kInvalidArgument, "an answer to no request");
  forking_.pop_front();
  AwaitAnswer();
  Worker& worker = workers_.at(id);
  const OnForked on_forked = std::exchange(worker.on_forked, nullptr);
  worker.pidfd = std::move(pidfd);
  if (!answer) workers_.erase(id);
  if (on_forked) {
    on_forked(std::move(answer));
  } else {
    Kill(id);  // Forgotten before it was there.
  }
  SendWaiting();
  return {};
}

void Zygote::Died(const Error& error) {
  if (over_) return;
  over_ = true;
  watch_.reset();
  answer_timer_.Disarm();
  waiting_.clear();
  child_.Kill();
  const auto end = child_.Wait(DeadlineAfter(Now(), kEndTimeout));
  ReapOrphans();
  Error told = error;
  told.code = ErrorCode::kUnavailable;
  told.message = "zygote " + std::to_string(child_.Pid()) + " " +
                 (end ? os::Describe(*end) : "does not end") +
                 ", and all workers with it: " + error.message;
  if (on_death_) on_death_(told);
}

// Each is dead or about to be: the kernel killed it with the zygote. One that was forked and not
// told of yet is only known by its process group, the zygote's.
void Zygote::ReapOrphans() {
  const MonotonicNs deadline = DeadlineAfter(Now(), kEndTimeout);
  for (const auto& [id, worker] : workers_)
    if (worker.pidfd.IsOpen()) SendKill(worker.pidfd.Get());
  workers_.clear();
  while (Now() < deadline) {
    siginfo_t info{};
    if (::waitid(P_PGID, static_cast<id_t>(child_.Pid()), &info, WEXITED | WNOHANG) != 0) return;
    if (info.si_pid == 0) ::poll(nullptr, 0, 1);
  }
}

os::ProcessEnd Zygote::Stop(std::chrono::nanoseconds timeout) {
  CHECK(!over_);
  over_ = true;
  watch_.reset();
  answer_timer_.Disarm();
  waiting_.clear();
  const MonotonicNs deadline = DeadlineAfter(Now(), timeout);
  if (socket_.Send(ipc::EndAll{}, {}, deadline)) {
    // Its Ended packets must not fill the socket. A Forked that is under way comes, too.
    for (;;) {
      auto incoming = socket_.Receive(deadline);
      if (!incoming) break;
      const auto* forked = std::get_if<ipc::Forked>(&incoming->message);
      const auto worker = forked == nullptr ? workers_.end() : workers_.find(forked->worker);
      if (worker != workers_.end()) worker->second.pidfd = std::move(incoming->fds[0]);
    }
  }
  auto end = child_.Wait(deadline);
  if (!end) {
    child_.Kill();
    end = child_.Wait(DeadlineAfter(Now(), kEndTimeout));
  }
  ReapOrphans();
  return end.value_or(os::ProcessEnd{.by_signal = true, .code = SIGKILL});
}

}  // namespace cwasi::host
