// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/control_socket.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "os/unix_socket.h"

namespace cwasi::ipc {
namespace {

MonotonicNs Soon() {
  return DeadlineAfter(Now(), std::chrono::seconds(10));
}

int OpenFdCount() {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc/self/fd"), &::closedir);
  int count = 0;
  while (::readdir(folder.get()) != nullptr) ++count;  // NOLINT(concurrency-mt-unsafe): one thread.
  return count;
}

UniqueFd OpenNull() {
  return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

UniqueFd Memfd(std::size_t size_bytes, int seals) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.Get(), static_cast<off_t>(size_bytes)), 0);
  EXPECT_EQ(::fcntl(fd.Get(), F_ADD_SEALS, seals), 0);
  return fd;
}

constexpr int kGoodSeals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;

Invoke LargeInvoke() {
  Invoke invoke;
  invoke.step = "sheet";
  invoke.timeout = std::chrono::seconds(1);
  for (std::uint64_t i = 0; i < kMaxParts; ++i) {
    invoke.parts.push_back({.value_id = i, .pass = Pass::kMove, .name = std::to_string(i)});
  }
  return invoke;
}

class ControlSocketTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto pair = os::CreatePacketPair();
    ASSERT_TRUE(pair) << pair.error().message;
    client_ = std::make_unique<ControlClient>(std::move(pair->first));
    server_ = std::make_unique<ControlServer>(std::move(pair->second));
  }

  // What a peer that is not our code sends to the server; the code of the refusal.
  ErrorCode ServerRefuses(std::span<const std::byte> bytes, std::vector<int> fds) {
    EXPECT_TRUE(os::SendPacket(client_->Fd(), bytes, fds, Soon()));
    const auto incoming = server_->Next(Soon());
    EXPECT_FALSE(incoming);
    return incoming ? ErrorCode::kUnimplemented : incoming.error().code;
  }

  std::unique_ptr<ControlClient> client_;
  std::unique_ptr<ControlServer> server_;
};

TEST_F(ControlSocketTest, AsksAndAnswersInOrder) {
  ASSERT_TRUE(client_->Ask(Drop{.value_id = 1}, -1, Soon()));
  ASSERT_TRUE(client_->Ask(GetReport{}, -1, Soon()));
  EXPECT_EQ(client_->Outstanding(), 2U);
  const auto first = server_->Next(Soon());
  ASSERT_TRUE(first);
  EXPECT_EQ(std::get<Drop>(first->body).value_id, 1U);
  ASSERT_TRUE(server_->Reply(Done{}, Soon()));
  const auto second = server_->Next(Soon());
  ASSERT_TRUE(second);
  EXPECT_TRUE(std::holds_alternative<GetReport>(second->body));
  ASSERT_TRUE(server_->Reply(ReportReply{.edges = {}, .payload = {.segments = 3}}, Soon()));

  const auto done = client_->Answer(Soon());
  ASSERT_TRUE(done);
  EXPECT_TRUE(std::holds_alternative<Done>(*done));
  const auto report = client_->Answer(Soon());
  ASSERT_TRUE(report);
  EXPECT_EQ(std::get<ReportReply>(*report).payload.segments, 3U);
  EXPECT_EQ(client_->Outstanding(), 0U);
}

TEST_F(ControlSocketTest, HandsTheDescriptorOverWithItsRequest) {
  const UniqueFd file = Memfd(7, kGoodSeals);
  ASSERT_TRUE(client_->Ask(ReadFile{.value_id = 4, .name = "a"}, file.Get(), Soon()));
  const auto incoming = server_->Next(Soon());
  ASSERT_TRUE(incoming) << incoming.error().message;
  ASSERT_TRUE(incoming->fd.IsOpen());
  EXPECT_EQ(::lseek(incoming->fd.Get(), 0, SEEK_END), 7);
  EXPECT_NE(::fcntl(incoming->fd.Get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(ControlSocketTest, CarriesABodyThatIsTooLongForAPacketBothWays) {
  const Invoke invoke = LargeInvoke();
  const int before = OpenFdCount();
  ASSERT_TRUE(client_->Ask(invoke, -1, Soon()));
  {
    const auto incoming = server_->Next(Soon());
    ASSERT_TRUE(incoming) << incoming.error().message;
    EXPECT_TRUE(std::get<Invoke>(incoming->body) == invoke);
    EXPECT_FALSE(incoming->fd.IsOpen());
  }
  ASSERT_TRUE(server_->Reply(InvokeReply{.result_bytes = 1, .duration = {}}, Soon()));
  ASSERT_TRUE(client_->Answer(Soon()));

  ReportReply report;
  report.edges.resize(kMaxEdges);
  for (auto& edge : report.edges) edge.callee = "f";
  ASSERT_TRUE(client_->Ask(GetReport{}, -1, Soon()));
  ASSERT_TRUE(server_->Next(Soon()));
  ASSERT_TRUE(server_->Reply(report, Soon()));
  const auto answer = client_->Answer(Soon());
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_TRUE(std::get<ReportReply>(*answer) == report);
  EXPECT_EQ(OpenFdCount(), before) << "memfds are closed on both sides";
}

TEST_F(ControlSocketTest, RefusesDescriptorsThatTheTypeDoesNotCarry) {
  const UniqueFd null = OpenNull();
  const auto drop = EncodeRequest({.sequence = 1, .body = Drop{.value_id = 1}});
  const auto read = EncodeRequest({.sequence = 1, .body = ReadFile{.value_id = 1, .name = "n"}});
  ASSERT_TRUE(drop && read);
  const int before = OpenFdCount();
  EXPECT_EQ(ServerRefuses(*drop, {null.Get()}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(ServerRefuses(*read, {}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(ServerRefuses(*read, {null.Get(), null.Get()}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(ServerRefuses(*read, std::vector<int>(9, null.Get())), ErrorCode::kInvalidArgument);
  EXPECT_EQ(OpenFdCount(), before);
}

TEST_F(ControlSocketTest, RefusesADetachedBodyThatIsNotASealedMemfdOfItsLength) {
  constexpr std::uint32_t kBytes = 8;
  const auto header = EncodeHeader({.type = MessageType::kDrop,
                                    .kind = MessageKind::kRequest,
                                    .detached = true,
                                    .body_bytes = kBytes,
                                    .sequence = 1});
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  const UniqueFd pipe_out(pipe[0]);
  const UniqueFd pipe_in(pipe[1]);
  const UniqueFd null = OpenNull();
  const UniqueFd unsealed = Memfd(kBytes, F_SEAL_GROW | F_SEAL_SHRINK);
  const UniqueFd shorter = Memfd(kBytes - 1, kGoodSeals);
  const UniqueFd longer = Memfd(kBytes + 1, kGoodSeals);
  const UniqueFd good = Memfd(kBytes, kGoodSeals);
  const int before = OpenFdCount();
  for (const UniqueFd* fd : {&pipe_out, &null, &unsealed, &shorter, &longer}) {
    EXPECT_EQ(ServerRefuses(header, {fd->Get()}), ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(ServerRefuses(header, {}), ErrorCode::kInvalidArgument);
  auto with_inline_body = header;
  with_inline_body.resize(header.size() + kBytes);
  EXPECT_EQ(ServerRefuses(with_inline_body, {good.Get()}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(OpenFdCount(), before);

  ASSERT_TRUE(os::SendPacket(client_->Fd(), header, std::array{good.Get()}, Soon()));
  const auto incoming = server_->Next(Soon());
  ASSERT_TRUE(incoming) << incoming.error().message;
  EXPECT_EQ(std::get<Drop>(incoming->body).value_id, 0U);
}

TEST_F(ControlSocketTest, RefusesAPacketThatIsLongerThanItsLimitOrShorterThanItSays) {
  const auto invoke = EncodeRequest({.sequence = 1, .body = LargeInvoke()});
  ASSERT_TRUE(invoke);
  EXPECT_EQ(ServerRefuses(std::span(*invoke).first(kHeaderBytes + kMaxInlineBodyBytes + 1), {}),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(ServerRefuses(std::span(*invoke).first(1000), {}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(ServerRefuses(std::span(*invoke).first(10), {}), ErrorCode::kInvalidArgument);
}

TEST_F(ControlSocketTest, RefusesAnAnswerToAnotherRequest) {
  ASSERT_TRUE(client_->Ask(Drop{.value_id = 1}, -1, Soon()));
  for (const Response& lie :
       {Response{.type = MessageType::kDrop, .sequence = 2, .body = Done{}},
        Response{.type = MessageType::kShutdown, .sequence = 1, .body = Done{}}}) {
    const auto bytes = EncodeResponse(lie);
    ASSERT_TRUE(bytes);
    ASSERT_TRUE(os::SendPacket(server_->Fd(), *bytes, {}, Soon()));
    const auto answer = client_->Answer(Soon());
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST_F(ControlSocketTest, RefusesARequestWhereAnAnswerIsDue) {
  ASSERT_TRUE(client_->Ask(Drop{.value_id = 1}, -1, Soon()));
  const auto bytes = EncodeRequest({.sequence = 1, .body = Drop{.value_id = 1}});
  ASSERT_TRUE(bytes);
  ASSERT_TRUE(os::SendPacket(server_->Fd(), *bytes, {}, Soon()));
  const auto answer = client_->Answer(Soon());
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kInvalidArgument);
}

TEST_F(ControlSocketTest, TellsTheEndOfThePeerFromADeadline) {
  ASSERT_TRUE(client_->Ask(Drop{.value_id = 1}, -1, Soon()));
  const auto late = client_->Answer(Now() - 1);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kDeadlineExceeded);
  server_.reset();
  const auto gone = client_->Answer(Soon());
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, ErrorCode::kUnavailable);
}

TEST_F(ControlSocketTest, RefusesToAskWithoutBoundAndToWaitForNothing) {
  const auto nothing = client_->Answer(Soon());
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, ErrorCode::kFailedPrecondition);
  for (std::size_t i = 0; i < ControlClient::kMaxOutstanding; ++i) {
    ASSERT_TRUE(client_->Ask(GetReport{}, -1, Soon()));
  }
  const auto refused = client_->Ask(GetReport{}, -1, Soon());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kFailedPrecondition);
}

TEST_F(ControlSocketTest, ARequestThatCannotBeEncodedLeavesTheConnectionUsable) {
  EXPECT_FALSE(client_->Ask(Configure{.max_payload_bytes = 0}, -1, Soon()));
  ASSERT_TRUE(client_->Ask(Hello{}, -1, Soon()));
  ASSERT_TRUE(server_->Next(Soon()));
  ASSERT_TRUE(server_->Reply(Error{.code = ErrorCode::kInternal, .message = "no"}, Soon()));
  const auto answer = client_->Answer(Soon());
  ASSERT_TRUE(answer);
  EXPECT_EQ(std::get<Error>(*answer).message, "no");
}

}  // namespace
}  // namespace cwasi::ipc
