// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/control.h"

#include <algorithm>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/hex.h"

namespace cwasi::ipc {
namespace {

using std::chrono::nanoseconds;
using ::testing::HasSubstr;

// One of each, with no field left at its default, so that a field nobody wrote is noticed.
std::vector<Request> EveryRequest() {
  std::vector<RequestBody> bodies = {
      Hello{},
      Configure{.worker_id = 3,
                .payload_budget_bytes = 1ULL << 33U,
                .payload = PayloadPolicy::kCopy,
                .max_payload_bytes = 12'345},
      LoadFunction{.id = 7,
                   .name = "resize",
                   .memory_limit_bytes = 512ULL << 20U,
                   .timeout = std::chrono::seconds(30),
                   .embed = Embed::kAllow,
                   .instances = Instances::kFresh,
                   .zero = Zero::kAlways,
                   .load = Load::kFirstUse},
      ReadFile{.value_id = 11, .name = "coast"},
      WriteFile{.value_id = 12},
      Invoke{.function_id = 7,
             .request_id = 99,
             .result_value_id = 13,
             .timeout = std::chrono::milliseconds(1500),
             .step = "thumbs",
             .parts = {{.value_id = 11, .pass = Pass::kMove, .name = "coast", .producer = "photos"},
                       {.value_id = 12, .pass = Pass::kCopy, .name = "logo"}},
             .metadata = {{.key = "width", .value = "1600"}, {.key = "note", .value = ""}}},
      Drop{.value_id = 14},
      GetReport{},
      Shutdown{},
      GiveValue{.value_id = 15,
                .peer_worker = 4,
                .as_value_id = 16,
                .pass = Pass::kCopy,
                .timeout = std::chrono::seconds(3)},
      DeclareFunctions{
          .functions = {{.id = 8, .name = "sheet", .timeout = std::chrono::seconds(20)},
                        {.id = 9, .name = "encode", .timeout = std::chrono::seconds(30)}}},
  };
  std::vector<Request> requests;
  requests.reserve(bodies.size());
  std::uint64_t sequence = 1;
  for (auto& body : bodies) requests.push_back({.sequence = sequence++, .body = std::move(body)});
  return requests;
}

const ReportReply kReport = {
    .edges = {{.caller = "",
               .callee = "decode",
               .mode = CallMode::kEmbedded,
               .calls = 1,
               .payload_bytes = 2,
               .copies = 3,
               .copied_bytes = 4,
               .moved = 5,
               .hand_over = {{.index = 6, .count = 7}, {.index = 639, .count = 8}}}},
    .payload = {.segments = 1, .bytes = 2, .peak_bytes = 3, .mappings = 4}};

const CallError kTrap = {.call_class = CallClass::kGuestTrap,
                         .mode = CallMode::kEmbedded,
                         .may_have_run = true,
                         .guest_status = 0,
                         .message = "out of bounds",
                         .frames = "resize\nmain"};

std::vector<Response> EveryResponse() {
  std::vector<Response> responses = {
      {.type = MessageType::kHello,
       .body = HelloReply{.pid = 4711,
                          .page_bytes = 4096,
                          .unit_bytes = 2U << 20U,
                          .swap_available = true,
                          .swap_reason = "no MREMAP_DONTUNMAP",
                          .crossover_bytes = 262'144}},
      {.type = MessageType::kConfigure, .body = Done{}},
      {.type = MessageType::kLoadFunction, .body = Done{}},
      {.type = MessageType::kReadFile, .body = FileReply{.bytes = 10}},
      {.type = MessageType::kWriteFile, .body = FileReply{.bytes = 20}},
      {.type = MessageType::kInvoke,
       .body = InvokeReply{.result_bytes = 30, .duration = nanoseconds(40)}},
      {.type = MessageType::kDrop, .body = Done{}},
      {.type = MessageType::kReport, .body = kReport},
      {.type = MessageType::kShutdown, .body = Done{}},
      {.type = MessageType::kGiveValue, .body = Done{}},
      {.type = MessageType::kDeclareFunctions, .body = Done{}},
      {.type = MessageType::kInvoke, .body = kTrap},
  };
  std::uint64_t sequence = 100;
  for (auto& response : responses) response.sequence = sequence++;
  return responses;
}

std::vector<std::byte> Encoded(const Request& request) {
  auto bytes = EncodeRequest(request);
  EXPECT_TRUE(bytes) << bytes.error().message;
  return bytes.value_or(std::vector<std::byte>{});
}

std::vector<std::byte> Encoded(const Response& response) {
  auto bytes = EncodeResponse(response);
  EXPECT_TRUE(bytes) << bytes.error().message;
  return bytes.value_or(std::vector<std::byte>{});
}

TEST(ControlTest, BringsBackEveryRequest) {
  for (const Request& request : EveryRequest()) {
    const auto back = DecodeRequest(Encoded(request));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, request) << "type " << request.body.index();
  }
}

TEST(ControlTest, BringsBackEveryResponse) {
  for (const Response& response : EveryResponse()) {
    const auto bytes = Encoded(response);
    const auto back = DecodeResponse(bytes);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->type, response.type);
    EXPECT_EQ(back->sequence, response.sequence);
    ASSERT_EQ(back->body.index(), response.body.index());
    EXPECT_EQ(Encoded(*back), bytes) << "type " << static_cast<int>(response.type);
  }
}

TEST(ControlTest, BringsBackReportAndCallErrorFieldByField) {
  const auto report =
      DecodeResponse(Encoded(Response{.type = MessageType::kReport, .body = kReport}));
  ASSERT_TRUE(report);
  EXPECT_EQ(std::get<ReportReply>(report->body), kReport);
  const auto trap = DecodeResponse(Encoded(Response{.type = MessageType::kInvoke, .body = kTrap}));
  ASSERT_TRUE(trap);
  EXPECT_EQ(std::get<CallError>(trap->body), kTrap);
}

TEST(ControlTest, AnErrorOfEachCodeAnswersAnyRequest) {
  for (const Request& request : EveryRequest()) {
    for (const ErrorCode code :
         {ErrorCode::kInvalidArgument, ErrorCode::kDeadlineExceeded, ErrorCode::kNotFound,
          ErrorCode::kAlreadyExists, ErrorCode::kPermissionDenied, ErrorCode::kResourceExhausted,
          ErrorCode::kFailedPrecondition, ErrorCode::kUnimplemented, ErrorCode::kInternal,
          ErrorCode::kUnavailable}) {
      const Error error{.code = code, .sys_errno = 28, .message = "no space"};
      const auto back =
          DecodeResponse(Encoded(Response{.type = TypeOf(request.body), .body = error}));
      ASSERT_TRUE(back) << back.error().message;
      const auto& got = std::get<Error>(back->body);
      EXPECT_EQ(got.code, code);
      EXPECT_EQ(got.sys_errno, 28);
      EXPECT_EQ(got.message, "no space");
    }
  }
}

TEST(ControlTest, RefusesAnyMessageThatEndsEarlyOrLate) {
  for (const Request& request : EveryRequest()) {
    auto bytes = Encoded(request);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_FALSE(DecodeRequest(std::span(bytes).first(length))) << length;
    }
    bytes.push_back(std::byte{0});
    EXPECT_FALSE(DecodeRequest(bytes));
  }
}

// Cutting the body and telling so in the header: what the field readers must notice themselves.
TEST(ControlTest, RefusesABodyThatEndsEarlyOrLateThoughTheHeaderAgrees) {
  const auto with_body = [](std::vector<std::byte> bytes, std::size_t body_bytes) {
    bytes.resize(kHeaderBytes + body_bytes);
    for (std::size_t i = 0; i < 4; ++i) bytes[12 + i] = static_cast<std::byte>(body_bytes >> 8 * i);
    return bytes;
  };
  for (const Request& request : EveryRequest()) {
    const auto bytes = Encoded(request);
    const std::size_t whole = bytes.size() - kHeaderBytes;
    for (std::size_t length = 0; length < whole; ++length) {
      EXPECT_FALSE(DecodeRequest(with_body(bytes, length)));
    }
    EXPECT_FALSE(DecodeRequest(with_body(bytes, whole + 1)));
  }
  for (const Response& response : EveryResponse()) {
    const auto bytes = Encoded(response);
    const std::size_t whole = bytes.size() - kHeaderBytes;
    for (std::size_t length = 0; length < whole; ++length) {
      EXPECT_FALSE(DecodeResponse(with_body(bytes, length)));
    }
    EXPECT_FALSE(DecodeResponse(with_body(bytes, whole + 1)));
  }
}

TEST(ControlTest, RefusesEveryHeaderThatIsNotExact) {
  const auto good = Encoded(Request{.sequence = 1, .body = Drop{.value_id = 1}});
  const auto with = [&good](std::size_t at, unsigned value) {
    auto bytes = good;
    bytes[at] = static_cast<std::byte>(value);
    return DecodeRequest(bytes);
  };
  EXPECT_FALSE(with(0, 'X')) << "magic";
  EXPECT_FALSE(with(6, 0)) << "type 0";
  EXPECT_FALSE(with(6, 12)) << "type 12";
  EXPECT_FALSE(with(7, 1)) << "type beyond eight bits";
  EXPECT_FALSE(with(8, 1)) << "a response where a request is due";
  EXPECT_FALSE(with(8, 2)) << "kind 2";
  EXPECT_FALSE(with(9, 1)) << "detached, but nobody attached it again";
  EXPECT_FALSE(with(9, 2)) << "flag unknown";
  EXPECT_FALSE(with(10, 1)) << "reserved";
  EXPECT_FALSE(with(15, 0xff)) << "4 GiB body";
  EXPECT_TRUE(with(16, 77)) << "any sequence is fine";
}

TEST(ControlTest, NamesBothVersionsWhenThePeerSpeaksAnother) {
  auto bytes = Encoded(Request{.sequence = 1, .body = Hello{}});
  bytes[4] = std::byte{1};
  const auto request = DecodeRequest(bytes);
  ASSERT_FALSE(request);
  EXPECT_EQ(request.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_THAT(request.error().message, HasSubstr("version 1"));
  EXPECT_THAT(request.error().message, HasSubstr("version 2"));
}

TEST(ControlTest, RefusesAnAnswerThatDoesNotBelongToItsRequest) {
  EXPECT_FALSE(EncodeResponse({.type = MessageType::kHello, .body = Done{}}));
  EXPECT_FALSE(EncodeResponse({.type = MessageType::kDrop, .body = FileReply{}}));
  EXPECT_FALSE(EncodeResponse({.type = MessageType::kReadFile, .body = kTrap}));
  auto bytes = Encoded(Response{.type = MessageType::kInvoke, .body = kTrap});
  bytes[6] = static_cast<std::byte>(MessageType::kDrop);
  EXPECT_FALSE(DecodeResponse(bytes)) << "only Invoke fails by a CallError";
}

TEST(ControlTest, RefusesACallErrorThatContradictsTheGuestAbi) {
  CallError lie = kTrap;
  lie.may_have_run = false;
  EXPECT_FALSE(EncodeResponse({.type = MessageType::kInvoke, .body = lie}));
  lie = kTrap;
  lie.guest_status = 3;
  EXPECT_FALSE(EncodeResponse({.type = MessageType::kInvoke, .body = lie}));
  auto bytes = Encoded(Response{.type = MessageType::kInvoke, .body = kTrap});
  bytes[kHeaderBytes + 3] = std::byte{0};  // may_have_run
  EXPECT_FALSE(DecodeResponse(bytes));
  bytes[kHeaderBytes + 3] = std::byte{1};
  ASSERT_TRUE(DecodeResponse(bytes)) << "the byte above is another field";
  bytes[kHeaderBytes + 1] = std::byte{14};  // class
  EXPECT_FALSE(DecodeResponse(bytes));
}

TEST(ControlTest, RefusesWhatIsOverAFieldsLimit) {
  const auto refuses = [](RequestBody body) {
    return !EncodeRequest({.sequence = 1, .body = std::move(body)});
  };
  const LoadFunction good{.id = 1, .name = "f", .timeout = nanoseconds(1)};
  EXPECT_FALSE(refuses(good));
  LoadFunction bad = good;
  bad.name = "";
  EXPECT_TRUE(refuses(bad));
  bad.name = std::string(kMaxFunctionNameBytes + 1, 'a');
  EXPECT_TRUE(refuses(bad));
  bad = good;
  bad.memory_limit_bytes = kMinMemoryLimitBytes - 1;
  EXPECT_TRUE(refuses(bad));
  bad.memory_limit_bytes = kMaxMemoryLimitBytes + 1;
  EXPECT_TRUE(refuses(bad));
  EXPECT_TRUE(refuses(Configure{.max_payload_bytes = 0}));
  EXPECT_TRUE(refuses(Configure{.max_payload_bytes = kMaxPayloadBytes + 1}));
  EXPECT_TRUE(refuses(ReadFile{.name = std::string(256, 'n')}));
  Invoke invoke;
  invoke.parts.resize(kMaxParts + 1);
  EXPECT_TRUE(refuses(invoke));
  invoke.parts.clear();
  invoke.metadata.resize(kMaxMetadata + 1);
  EXPECT_TRUE(refuses(invoke));
  invoke.metadata = {{.key = "k", .value = std::string(kMaxMetadataValueBytes + 1, 'v')}};
  EXPECT_TRUE(refuses(invoke));
}

TEST(ControlTest, RefusesBucketsThatAreOutOfOrderOrOverTheirLimits) {
  const auto encodes = [](std::vector<HistogramBucket> buckets) {
    ReportReply report;
    report.edges.push_back({.callee = "f", .hand_over = std::move(buckets)});
    return EncodeResponse({.type = MessageType::kReport, .body = std::move(report)}).has_value();
  };
  EXPECT_TRUE(encodes({{.index = 0, .count = 1}, {.index = 639, .count = kMaxBucketCount}}));
  EXPECT_FALSE(encodes({{.index = 5, .count = 1}, {.index = 5, .count = 1}}));
  EXPECT_FALSE(encodes({{.index = 5, .count = 1}, {.index = 4, .count = 1}}));
  EXPECT_FALSE(encodes({{.index = 640, .count = 1}}));
  EXPECT_FALSE(encodes({{.index = 1, .count = 0}}));
  EXPECT_FALSE(encodes({{.index = 1, .count = kMaxBucketCount + 1}}));
}

TEST(ControlTest, CarriesTheLargestInvoke) {
  Invoke invoke;
  invoke.step = std::string(kMaxValueNameBytes, 's');
  invoke.parts.assign(kMaxParts, {.value_id = UINT64_MAX, .name = std::string(255, 'n')});
  invoke.metadata.assign(kMaxMetadata, {.key = std::string(kMaxMetadataKeyBytes, 'k'),
                                        .value = std::string(kMaxMetadataValueBytes, 'v')});
  const Request request{.sequence = 5, .body = std::move(invoke)};
  const auto bytes = Encoded(request);
  EXPECT_GT(bytes.size(), kMaxInlineBodyBytes);
  const auto back = DecodeRequest(bytes);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_TRUE(*back == request);
}

TEST(ControlTest, CutsAMessageThatIsTooLongRatherThanFailing) {
  const Error error{.code = ErrorCode::kNotFound, .message = std::string(1UL << 20U, 'm')};
  const auto back =
      DecodeResponse(Encoded(Response{.type = MessageType::kLoadFunction, .body = error}));
  ASSERT_TRUE(back);
  const auto& text = std::get<Error>(back->body).message;
  EXPECT_EQ(text.size(), kMaxTextBytes);
  EXPECT_TRUE(text.ends_with(" [cut]"));
}

TEST(ControlTest, AnyChangedByteDecodesOrIsRefusedButNeverBoth) {
  // Under the sanitizers this is the test that no byte leads out of bounds.
  for (const Request& request : EveryRequest()) {
    const auto bytes = Encoded(request);
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      for (const unsigned value : {0U, 1U, 0x7fU, 0x80U, 0xffU}) {
        auto changed = bytes;
        changed[at] = static_cast<std::byte>(value);
        const auto back = DecodeRequest(changed);
        if (back) {
          EXPECT_EQ(Encoded(*back), changed);
        }
      }
    }
  }
}

TEST(ControlTest, OnlyRequestsWithAFileOrAModuleCarryADescriptor) {
  std::vector<MessageType> with;
  for (const Request& request : EveryRequest()) {
    if (DescriptorCount(TypeOf(request.body)) == 1) with.push_back(TypeOf(request.body));
  }
  EXPECT_EQ(with, (std::vector{MessageType::kLoadFunction, MessageType::kReadFile,
                               MessageType::kWriteFile}));
}

TEST(ControlTest, TheExampleOnThePageIsWhatWeSend) {
  const Request request{
      .sequence = 6,
      .body = Invoke{
          .function_id = 2,
          .request_id = 5,
          .result_value_id = 9,
          .timeout = std::chrono::seconds(10),
          .step = "thumb",
          .parts = {{.value_id = 8, .pass = Pass::kMove, .name = "coast", .producer = "scale"}},
          .metadata = {{.key = "width", .value = "320"}}}};
  const Response response{.type = MessageType::kInvoke,
                          .sequence = 6,
                          .body = CallError{.call_class = CallClass::kGuestError,
                                            .mode = CallMode::kEmbedded,
                                            .may_have_run = true,
                                            .guest_status = 7,
                                            .message = "not a JPEG",
                                            .frames = {}}};
  EXPECT_EQ(test::HexLinesOfPage("docs/protocols/control.md"),
            test::Hex(Encoded(request)) + " " + test::Hex(Encoded(response)));
}

}  // namespace
}  // namespace cwasi::ipc
