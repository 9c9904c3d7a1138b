// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/control.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "base/check.h"
#include "base/duration_histogram.h"
#include "ipc/tagged.h"
#include "ipc/wire.h"

namespace cwasi::ipc {
namespace {

constexpr std::uint32_t kMagic = 0x4c545743;  // "CWTL"
constexpr auto kFirstType = static_cast<std::uint16_t>(MessageType::kHello);
constexpr auto kLastType = static_cast<std::uint16_t>(MessageType::kDeclareFunctions);
constexpr std::uint8_t kDetachedFlag = 1;

// First byte of a response's body.
enum class Outcome : std::uint8_t { kOk = 0, kError = 1, kCallError = 2 };

// Each message is described once, for the writer and for the reader.
template <class Io, class M>
using Ref = std::conditional_t<Io::kReads, M, const M>&;

template <class Io>
void Fields(Io&, Ref<Io, Hello>) {}

template <class Io>
void Fields(Io& io, Ref<Io, Configure> m) {
  io.Number(m.worker_id);
  io.Number(m.payload_budget_bytes);
  io.Enum(m.payload, PayloadPolicy::kAuto, PayloadPolicy::kCopy, "payload");
  io.template Number<std::uint64_t>(m.max_payload_bytes, 1, kMaxPayloadBytes, "max_payload_bytes");
}

template <class Io>
void Fields(Io& io, Ref<Io, LoadFunction> m) {
  io.Number(m.id);
  io.Text(m.name, kMaxFunctionNameBytes, "function name");
  if (m.name.empty()) io.Refuse("function name", "empty");
  io.Number(m.memory_limit_bytes, kMinMemoryLimitBytes, kMaxMemoryLimitBytes, "memory_limit_bytes");
  io.Duration(m.timeout, "timeout_ns");
  io.Enum(m.embed, Embed::kDeny, Embed::kAllow, "embed");
  io.Enum(m.instances, Instances::kReused, Instances::kFresh, "instances");
  io.Enum(m.zero, Zero::kNever, Zero::kAlways, "zero");
  io.Enum(m.load, Load::kNow, Load::kFirstUse, "load");
}

template <class Io>
void Fields(Io& io, Ref<Io, DeclaredFunction> m) {
  io.Number(m.id);
  io.Text(m.name, kMaxFunctionNameBytes, "function name");
  if (m.name.empty()) io.Refuse("function name", "empty");
  io.Duration(m.timeout, "timeout_ns");
}

template <class Io>
void Fields(Io& io, Ref<Io, DeclareFunctions> m) {
  io.List(m.functions, kMaxDeclared, 17, "functions",
          [](auto& inner, auto& item) { Fields(inner, item); });
}

template <class Io>
void Fields(Io& io, Ref<Io, ReadFile> m) {
  io.Number(m.value_id);
  io.Text(m.name, kMaxValueNameBytes, "value name");
}

template <class Io>
void Fields(Io& io, Ref<Io, WriteFile> m) {
  io.Number(m.value_id);
}

template <class Io>
void Fields(Io& io, Ref<Io, Part> m) {
  io.Number(m.value_id);
  io.Enum(m.pass, Pass::kMove, Pass::kCopy, "pass");
  io.Text(m.name, kMaxValueNameBytes, "part name");
  io.Text(m.producer, kMaxValueNameBytes, "part producer");
}

template <class Io>
void Fields(Io& io, Ref<Io, Metadata> m) {
  io.Text(m.key, kMaxMetadataKeyBytes, "metadata key");
  io.Text(m.value, kMaxMetadataValueBytes, "metadata value");
}

template <class Io>
void Fields(Io& io, Ref<Io, Invoke> m) {
  const auto each = [](auto& inner, auto& item) { Fields(inner, item); };
  io.Number(m.function_id);
  io.Number(m.request_id);
  io.Number(m.result_value_id);
  io.Duration(m.timeout, "timeout_ns");
  io.Text(m.step, kMaxValueNameBytes, "step");
  io.List(m.parts, kMaxParts, 17, "parts", each);
  io.List(m.metadata, kMaxMetadata, 8, "metadata", each);
}

template <class Io>
void Fields(Io& io, Ref<Io, Drop> m) {
  io.Number(m.value_id);
}

template <class Io>
void Fields(Io& io, Ref<Io, GiveValue> m) {
  io.Number(m.value_id);
  io.Number(m.peer_worker);
  io.Number(m.as_value_id);
  io.Enum(m.pass, Pass::kMove, Pass::kCopy, "pass");
  io.Duration(m.timeout, "timeout_ns");
}

template <class Io>
void Fields(Io&, Ref<Io, GetReport>) {}

template <class Io>
void Fields(Io&, Ref<Io, Shutdown>) {}

template <class Io>
void Fields(Io&, Ref<Io, Done>) {}

template <class Io>
void Fields(Io& io, Ref<Io, HelloReply> m) {
  io.Number(m.pid);
  io.Number(m.page_bytes);
  io.Number(m.unit_bytes);
  io.Flag(m.swap_available);
  io.CutText(m.swap_reason, kMaxTextBytes, "swap reason");
  io.Number(m.crossover_bytes);
}

template <class Io>
void Fields(Io& io, Ref<Io, FileReply> m) {
  io.Number(m.bytes);
}

template <class Io>
void Fields(Io& io, Ref<Io, InvokeReply> m) {
  io.Number(m.result_bytes);
  io.Duration(m.duration, "duration_ns");
}

bool AreInOrder(const std::vector<HistogramBucket>& buckets) {
  return std::ranges::adjacent_find(buckets, std::greater_equal{}, &HistogramBucket::index) ==
         buckets.end();
}

template <class Io>
void Fields(Io& io, Ref<Io, EdgeReport> m) {
  io.Text(m.caller, kMaxFunctionNameBytes, "caller");
  io.Text(m.callee, kMaxFunctionNameBytes, "callee");
  io.Enum(m.mode, CallMode::kNone, kLastCallMode, "mode");
  io.Number(m.calls);
  io.Number(m.payload_bytes);
  io.Number(m.copies);
  io.Number(m.copied_bytes);
  io.Number(m.moved);
  io.List(m.hand_over, DurationHistogram::kBuckets, 10, "hand_over", [](auto& inner, auto& item) {
    inner.template Number<std::uint16_t>(item.index, 0, DurationHistogram::kBuckets - 1, "bucket");
    inner.template Number<std::uint64_t>(item.count, 1, kMaxBucketCount, "bucket count");
  });
  if (!AreInOrder(m.hand_over)) io.Refuse("hand_over", "buckets out of order");
}

template <class Io>
void Fields(Io& io, Ref<Io, PayloadReport> m) {
  io.Number(m.segments);
  io.Number(m.bytes);
  io.Number(m.peak_bytes);
  io.Number(m.mappings);
}

template <class Io>
void Fields(Io& io, Ref<Io, ReportReply> m) {
  io.List(m.edges, kMaxEdges, 53, "edges", [](auto& inner, auto& item) { Fields(inner, item); });
  Fields(io, m.payload);
}

constexpr std::array kErrorCodes = {ErrorCode::kInvalidArgument,    ErrorCode::kDeadlineExceeded,
                                    ErrorCode::kNotFound,           ErrorCode::kAlreadyExists,
                                    ErrorCode::kPermissionDenied,   ErrorCode::kResourceExhausted,
                                    ErrorCode::kFailedPrecondition, ErrorCode::kUnimplemented,
                                    ErrorCode::kInternal,           ErrorCode::kUnavailable};

template <class Io>
void Fields(Io& io, Ref<Io, Error> m) {
  auto code = static_cast<std::uint8_t>(m.code);
  io.Number(code);
  const auto* known = std::ranges::find(kErrorCodes, code,
                                        [](ErrorCode c) { return static_cast<std::uint8_t>(c); });
  if (known == kErrorCodes.end()) return io.Refuse("error code", "unknown");
  if constexpr (Io::kReads) m.code = *known;
  io.Number(m.sys_errno);
  io.CutText(m.message, kMaxTextBytes, "error message");
}

template <class Io>
void Fields(Io& io, Ref<Io, CallError> m) {
  io.Enum(m.call_class, CallClass::kNotFound, kLastCallClass, "class");
  io.Enum(m.mode, CallMode::kNone, kLastCallMode, "mode");
  io.Flag(m.may_have_run);
  io.Number(m.guest_status);
  io.CutText(m.message, kMaxTextBytes, "call error message");
  io.CutText(m.frames, kMaxTextBytes, "frames");
  if (FixedMayHaveRun(m.call_class).value_or(m.may_have_run) != m.may_have_run) {
    io.Refuse("may_have_run", "contradicts the class");
  }
  if (m.guest_status != 0 && m.call_class != CallClass::kGuestError) {
    io.Refuse("guest_status", "without guest_error");
  }
}

ResponseBody EmptyReply(MessageType type) {
  switch (type) {
    case MessageType::kHello:
      return HelloReply{};
    case MessageType::kReadFile:
    case MessageType::kWriteFile:
      return FileReply{};
    case MessageType::kInvoke:
      return InvokeReply{};
    case MessageType::kReport:
      return ReportReply{};
    case MessageType::kConfigure:
    case MessageType::kLoadFunction:
    case MessageType::kDrop:
    case MessageType::kShutdown:
    case MessageType::kGiveValue:
    case MessageType::kDeclareFunctions:
      return Done{};
  }
  CHECK(false && "DecodeHeader lets only known types through");
}

Outcome OutcomeOf(const ResponseBody& body) {
  if (std::holds_alternative<Error>(body)) return Outcome::kError;
  if (std::holds_alternative<CallError>(body)) return Outcome::kCallError;
  return Outcome::kOk;
}

Result<std::vector<std::byte>> WithHeader(Header header, WireWriter& body) {
  TRY_SET(const std::vector<std::byte> bytes, body.Take());
  if (bytes.size() > kMaxBodyBytes) {
    return Fail(ErrorCode::kInvalidArgument, "encode control message: longer than 32 MiB");
  }
  header.body_bytes = static_cast<std::uint32_t>(bytes.size());
  std::vector<std::byte> message = EncodeHeader(header);
  message.insert(message.end(), bytes.begin(), bytes.end());
  return message;
}

// The header of a whole message of `kind`.
Result<Header> CheckedHeader(std::span<const std::byte> message, MessageKind kind) {
  TRY_SET(const Header header, DecodeHeader(message));
  if (header.kind != kind) {
    return Fail(ErrorCode::kInvalidArgument, "decode control message: wrong direction");
  }
  if (header.detached || header.body_bytes != message.size() - kHeaderBytes) {
    return Fail(ErrorCode::kInvalidArgument, "decode control message: body not all there");
  }
  return header;
}

}  // namespace

std::vector<std::byte> EncodeHeader(const Header& header) {
  WireWriter writer;
  writer.Number(kMagic);
  writer.Number(kControlVersion);
  writer.Number(static_cast<std::uint16_t>(header.type));
  writer.Number(static_cast<std::uint8_t>(header.kind));
  writer.Number(header.detached ? kDetachedFlag : std::uint8_t{0});
  writer.Number(std::uint16_t{0});
  writer.Number(header.body_bytes);
  writer.Number(header.sequence);
  auto bytes = writer.Take();
  CHECK(bytes && bytes->size() == kHeaderBytes);
  return *std::move(bytes);
}

Result<Header> DecodeHeader(std::span<const std::byte> packet) {
  if (packet.size() < kHeaderBytes) {
    return Fail(ErrorCode::kInvalidArgument, "decode control header: shorter than 24 bytes");
  }
  WireReader reader(packet.first(kHeaderBytes));
  std::uint32_t magic = 0;
  std::uint16_t version = 0;
  std::uint16_t type = 0;
  std::uint8_t flags = 0;
  std::uint16_t reserved = 0;
  Header header;
  reader.Number(magic, kMagic, kMagic, "magic");
  reader.Number(version);
  if (magic == kMagic && version != kControlVersion) {
    return Fail(ErrorCode::kFailedPrecondition,
                "the peer speaks control protocol version " + std::to_string(version) +
                    ", this program version " + std::to_string(kControlVersion) +
                    ": use programs of one build");
  }
  reader.Number(type, kFirstType, kLastType, "type");
  reader.Enum(header.kind, MessageKind::kRequest, MessageKind::kResponse, "kind");
  reader.Number<std::uint8_t>(flags, 0, kDetachedFlag, "flags");
  reader.Number<std::uint16_t>(reserved, 0, 0, "reserved");
  reader.Number<std::uint32_t>(header.body_bytes, 0, kMaxBodyBytes, "body_bytes");
  reader.Number(header.sequence);
  TRY(reader.Finish());
  header.type = static_cast<MessageType>(type);
  header.detached = flags == kDetachedFlag;
  return header;
}

MessageType TypeOf(const RequestBody& body) {
  static_assert(std::variant_size_v<RequestBody> == kLastType - kFirstType + 1);
  return static_cast<MessageType>(body.index() + kFirstType);
}

std::size_t DescriptorCount(MessageType type) {
  const bool has_one = type == MessageType::kLoadFunction || type == MessageType::kReadFile ||
                       type == MessageType::kWriteFile;
  return has_one ? 1 : 0;
}

Result<std::vector<std::byte>> EncodeRequest(const Request& request) {
  WireWriter writer;
  std::visit([&writer](const auto& body) { Fields(writer, body); }, request.body);
  return WithHeader(
      {.type = TypeOf(request.body), .kind = MessageKind::kRequest, .sequence = request.sequence},
      writer);
}

Result<std::vector<std::byte>> EncodeResponse(const Response& response) {
  const Outcome outcome = OutcomeOf(response.body);
  const bool fits = outcome == Outcome::kOk
                        ? response.body.index() == EmptyReply(response.type).index()
                        : outcome == Outcome::kError || response.type == MessageType::kInvoke;
  if (!fits) return Fail(ErrorCode::kInvalidArgument, "encode response: not for this request");
  WireWriter writer;
  writer.Number(static_cast<std::uint8_t>(outcome));
  std::visit([&writer](const auto& body) { Fields(writer, body); }, response.body);
  return WithHeader(
      {.type = response.type, .kind = MessageKind::kResponse, .sequence = response.sequence},
      writer);
}

Result<Request> DecodeRequest(std::span<const std::byte> message) {
  TRY_SET(const Header header, CheckedHeader(message, MessageKind::kRequest));
  Request request{
      .sequence = header.sequence,
      .body = MakeAlternative<RequestBody>(static_cast<std::size_t>(header.type) - kFirstType)};
  WireReader reader(message.subspan(kHeaderBytes));
  std::visit([&reader](auto& body) { Fields(reader, body); }, request.body);
  TRY(reader.Finish());
  return request;
}

Result<Response> DecodeResponse(std::span<const std::byte> message) {
  TRY_SET(const Header header, CheckedHeader(message, MessageKind::kResponse));
  Response response{
      .type = header.type, .sequence = header.sequence, .body = EmptyReply(header.type)};
  WireReader reader(message.subspan(kHeaderBytes));
  Outcome outcome = Outcome::kOk;
  const Outcome last = header.type == MessageType::kInvoke ? Outcome::kCallError : Outcome::kError;
  reader.Enum(outcome, Outcome::kOk, last, "outcome");
  if (outcome == Outcome::kError) response.body = Error{};
  if (outcome == Outcome::kCallError) response.body = CallError{};
  std::visit([&reader](auto& body) { Fields(reader, body); }, response.body);
  TRY(reader.Finish());
  return response;
}

}  // namespace cwasi::ipc
