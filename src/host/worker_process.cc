// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "host/worker_process.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "os/unix_socket.h"

namespace cwasi::host {
namespace {

// From the end of the socket to the end of the process, and the zygote's word of it.
constexpr std::chrono::seconds kEndTimeout{5};
// Never waited for: no more is sent than the socket's buffer holds (208 KiB by default).
constexpr std::chrono::seconds kSendTimeout{1};
constexpr std::size_t kMaxSentBytes = 64UL << 10U;

// What a request takes of the socket's buffer, at most: a longer body is detached.
std::size_t BytesOf(const ipc::RequestBody& body) {
  const auto* invoke = std::get_if<ipc::Invoke>(&body);
  if (invoke == nullptr) return 1024;
  std::size_t bytes = 1024;
  for (const auto& part : invoke->parts) bytes += 17 + part.name.size();
  for (const auto& entry : invoke->metadata) bytes += 8 + entry.key.size() + entry.value.size();
  return std::min(bytes, ipc::kMaxInlineBodyBytes);
}

}  // namespace

WorkerProcess::WorkerProcess(loop::Loop& loop, Zygote& zygote, ipc::WorkerId id,
                             ipc::ControlClient control, UniqueFd introductions, OnGone on_gone)
    : zygote_(zygote),
      id_(id),
      control_(std::move(control)),
      introductions_(std::move(introductions)),
      on_gone_(std::move(on_gone)),
      timer_(loop, [this] {
        if (ending_) return Finish();
        BeginEnd({.code = ErrorCode::kDeadlineExceeded, .message = "it did not answer in time"});
      }) {}

Result<std::unique_ptr<WorkerProcess>> WorkerProcess::Start(loop::Loop& loop, Zygote& zygote,
                                                            ipc::WorkerId id, OnGone on_gone) {
  TRY_SET(auto control, os::CreatePacketPair());
  TRY_SET(auto introductions, os::CreatePacketPair());
  auto worker = std::unique_ptr<WorkerProcess>(
      new WorkerProcess(loop, zygote, id, ipc::ControlClient(std::move(control.first)),
                        std::move(introductions.first), std::move(on_gone)));
  auto* const self = worker.get();
  TRY_SET(worker->watch_, loop::Watch::Create(loop, worker->control_.Fd(), EPOLLIN,
                                              [self](std::uint32_t) { self->OnReady(); }));
  zygote.Fork(
      id, std::move(control.second), std::move(introductions.second),
      [self](Result<pid_t> forked) { self->OnForked(std::move(forked)); },
      [self](const os::ProcessEnd& end) {
        self->end_ = end;
        self->OnReady();  // What it had answered before.
        self->BeginEnd({.code = ErrorCode::kUnavailable, .message = "it has ended"});
        self->Finish();
      });
  return worker;
}

WorkerProcess::~WorkerProcess() {
  zygote_.Kill(id_);
  zygote_.Forget(id_);
}

void WorkerProcess::OnForked(Result<pid_t> forked) {
  if (!forked) {
    BeginEnd(std::move(forked).error());
    return Finish();
  }
  pid_ = *forked;
  // Condemned while it was not there yet.
  if (ending_) zygote_.Kill(id_);
}

void WorkerProcess::Ask(ipc::RequestBody body, UniqueFd fd, std::chrono::nanoseconds timeout,
                        OnAnswer on_answer) {
  if (gone_) return;
  waiting_.push_back({.body = std::move(body),
                      .fd = std::move(fd),
                      .timeout = timeout,
                      .on_answer = std::move(on_answer)});
  Pump();
}

void WorkerProcess::Pump() {
  while (!ending_ && !waiting_.empty() && sent_.size() < ipc::ControlClient::kMaxOutstanding) {
    Waiting& next = waiting_.front();
    const std::size_t bytes = BytesOf(next.body);
    if (!sent_.empty() && sent_bytes_ + bytes > kMaxSentBytes) return;
    auto asked =
        control_.Ask(std::move(next.body), next.fd.Get(), DeadlineAfter(Now(), kSendTimeout));
    Waiting request = std::move(next);
    waiting_.pop_front();
    if (!asked && asked.error().code == ErrorCode::kInvalidArgument) {
      request.on_answer(tl::unexpected(std::move(asked).error()));
      continue;
    }
    sent_.push_back(
        {.bytes = bytes, .timeout = request.timeout, .on_answer = std::move(request.on_answer)});
    sent_bytes_ += bytes;
    if (sent_.size() == 1) ArmForFront();
    // A socket that has ended is readable: what it answered before comes first.
    if (!asked && asked.error().code != ErrorCode::kUnavailable) BeginEnd(asked.error());
    if (!asked) return;
  }
}

void WorkerProcess::ArmForFront() {
  timer_.Arm(sent_.empty() ? kNoDeadline : DeadlineAfter(Now(), sent_.front().timeout));
}

void WorkerProcess::OnReady() {
  while (!ending_) {
    if (control_.Outstanding() == 0) {
      std::byte byte{};
      const ssize_t n = ::recv(control_.Fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
      if (n < 0 && errno == EAGAIN) return;
      return BeginEnd(n > 0 ? Error{.code = ErrorCode::kInvalidArgument,
                                    .message = "it answers what was not asked"}
                            : Error{.code = ErrorCode::kUnavailable,
                                    .message = "its control socket has ended"});
    }
    auto answer = control_.Answer(Now());
    if (!answer && answer.error().code == ErrorCode::kDeadlineExceeded) return;
    if (!answer) return BeginEnd(std::move(answer).error());
    const Sent sent = std::move(sent_.front());
    sent_.pop_front();
    sent_bytes_ -= sent.bytes;
    ArmForFront();
    Pump();
    sent.on_answer(std::move(answer));
  }
}

void WorkerProcess::Kill() {
  zygote_.Kill(id_);
  BeginEnd({.code = ErrorCode::kUnavailable, .message = "it was ended"});
}

void WorkerProcess::BeginEnd(Error error) {
  if (ending_) return;
  ending_ = std::move(error);
  watch_.reset();
  timer_.Arm(DeadlineAfter(Now(), kEndTimeout));
  // One that has closed its socket is about to end by itself, and how it does is of interest.
  if (ending_->code != ErrorCode::kUnavailable) zygote_.Kill(id_);
  if (end_) Finish();
}

void WorkerProcess::Finish() {
  if (std::exchange(gone_, true)) return;
  timer_.Disarm();
  zygote_.Kill(id_);
  if (!end_) zygote_.Forget(id_);
  Error error = ending_.value_or(Error{.code = ErrorCode::kUnavailable, .message = "ended"});
  error.message = "worker " + (pid_ != 0 ? std::to_string(pid_) : std::string("not forked")) +
                  (end_ ? " " + os::Describe(*end_) : "") + ": " + error.message;
  auto sent = std::exchange(sent_, {});
  auto waiting = std::exchange(waiting_, {});
  for (const Sent& each : sent) each.on_answer(tl::unexpected(error));
  for (const Waiting& each : waiting) each.on_answer(tl::unexpected(error));
  if (on_gone_) on_gone_(error);
}

}  // namespace cwasi::host
