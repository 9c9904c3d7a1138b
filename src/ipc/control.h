// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What the `cwasi` process asks of one worker process, and what the worker answers: messages as
// plain structs, to bytes and back. No payload is in them, only value ids and descriptors.
//
// Source: docs/protocols/control.md. Neither side trusts the other's bytes: every length is bounded
// and whatever is left over is refused.
//
// Thread: any. Errors: kInvalidArgument (malformed, or out of the protocol's limits),
// kFailedPrecondition (the peer speaks another version).

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/call_error.h"
#include "base/result.h"

namespace cwasi::ipc {

inline constexpr std::uint16_t kControlVersion = 2;
inline constexpr std::size_t kHeaderBytes = 24;
// Longer bodies travel in a sealed memfd: a packet must fit a socket's default buffer (208 KiB)
// beside its neighbours.
inline constexpr std::size_t kMaxInlineBodyBytes = 64UL << 10U;
inline constexpr std::size_t kMaxBodyBytes = 32UL << 20U;

inline constexpr std::size_t kMaxFunctionNameBytes = 128;
inline constexpr std::size_t kMaxValueNameBytes = 255;
inline constexpr std::size_t kMaxParts = 65'536;
inline constexpr std::size_t kMaxMetadata = 256;
inline constexpr std::size_t kMaxMetadataKeyBytes = 128;
inline constexpr std::size_t kMaxMetadataValueBytes = 4096;
inline constexpr std::size_t kMaxDeclared = 65'536;
inline constexpr std::size_t kMaxEdges = 65'536;
// Sums over all buckets and workers stay below 2^63.
inline constexpr std::uint64_t kMaxBucketCount = 1ULL << 40U;
inline constexpr std::size_t kMaxTextBytes = 16UL << 10U;  // Messages and frames; cut when longer.
inline constexpr std::uint64_t kMaxPayloadBytes = 1ULL << 30U;
inline constexpr std::uint64_t kMinMemoryLimitBytes = 64ULL << 10U;
inline constexpr std::uint64_t kMaxMemoryLimitBytes = 4ULL << 30U;

// How cwasi-host ends when it must not go on: its memory mappings are in no state an error can
// describe, or a guest did not stop within the grace after its deadline.
inline constexpr int kExitDamaged = 70;
inline constexpr int kExitOverrun = 71;

enum class MessageType : std::uint8_t {  // u16 on the wire.
  kHello = 1,
  kConfigure = 2,
  kLoadFunction = 3,
  kReadFile = 4,
  kWriteFile = 5,
  kInvoke = 6,
  kDrop = 7,
  kReport = 8,
  kShutdown = 9,
  kGiveValue = 10,
  kDeclareFunctions = 11,
};

enum class PayloadPolicy : std::uint8_t { kAuto = 0, kCopy = 1 };
enum class Embed : std::uint8_t { kDeny = 0, kAllow = 1 };
enum class Instances : std::uint8_t { kReused = 0, kFresh = 1 };
enum class Zero : std::uint8_t { kNever = 0, kAlways = 1 };
enum class Pass : std::uint8_t { kMove = 0, kCopy = 1 };
enum class Load : std::uint8_t { kNow = 0, kFirstUse = 1 };

// The first request on a connection.
struct Hello {
  bool operator==(const Hello&) const = default;
};

struct Configure {
  std::uint32_t worker_id = 0;  // Its name to its peers.
  std::uint64_t payload_budget_bytes = 0;
  PayloadPolicy payload = PayloadPolicy::kAuto;
  std::uint64_t max_payload_bytes = kMaxPayloadBytes;  // 1 to kMaxPayloadBytes.
  bool operator==(const Configure&) const = default;
};

// With one descriptor: the compiled module.
struct LoadFunction {
  std::uint32_t id = 0;
  std::string name;  // Not empty.
  std::uint64_t memory_limit_bytes = kMinMemoryLimitBytes;
  std::chrono::nanoseconds timeout{};
  Embed embed = Embed::kDeny;
  Instances instances = Instances::kReused;
  Zero zero = Zero::kNever;
  // kFirstUse: the worker keeps the descriptor, and what is wrong with the module shows at the
  // first Invoke or call.
  Load load = Load::kNow;
  bool operator==(const LoadFunction&) const = default;
};

// A function that this worker's guests may call and that runs in other workers: it is called over a
// channel that an introduction brings (ipc/introduction.h).
struct DeclaredFunction {
  std::uint32_t id = 0;
  std::string name = {};  // Not empty.
  std::chrono::nanoseconds timeout{};
  bool operator==(const DeclaredFunction&) const = default;
};

// All of them or, on an Error, none.
struct DeclareFunctions {
  std::vector<DeclaredFunction> functions;
  bool operator==(const DeclareFunctions&) const = default;
};

// With one descriptor: the file. The worker reads it from its start to its end into a new value.
struct ReadFile {
  std::uint64_t value_id = 0;
  std::string name;  // The input's: where the value's edge begins.
  bool operator==(const ReadFile&) const = default;
};

// With one descriptor: the file. The worker writes the whole value at the descriptor's position.
struct WriteFile {
  std::uint64_t value_id = 0;
  bool operator==(const WriteFile&) const = default;
};

struct Part {
  std::uint64_t value_id = 0;
  Pass pass = Pass::kCopy;  // kMove: the value's last use; it is gone when the call has run.
  std::string name;
  std::string producer = {};  // The input or step that made it: where the value's edge begins.
  bool operator==(const Part&) const = default;
};

struct Metadata {
  std::string key;
  std::string value;
  bool operator==(const Metadata&) const = default;
};

struct Invoke {
  std::uint32_t function_id = 0;
  std::uint64_t request_id = 0;
  std::uint64_t result_value_id = 0;
  std::chrono::nanoseconds timeout{};  // From when the worker reads the request.
  std::string step;
  std::vector<Part> parts;
  std::vector<Metadata> metadata;
  bool operator==(const Invoke&) const = default;
};

struct Drop {
  std::uint64_t value_id = 0;
  bool operator==(const Drop&) const = default;
};

// Hands a value to another worker, over the channel in which this worker is the caller. Done: it is
// on its way and the peer has it, unless one of the two ends before the peer has taken it.
struct GiveValue {
  std::uint64_t value_id = 0;
  std::uint32_t peer_worker = 0;
  std::uint64_t as_value_id = 0;       // Its id there.
  Pass pass = Pass::kMove;             // kMove: it is gone here.
  std::chrono::nanoseconds timeout{};  // For the introduction to come and the channel to have room.
  bool operator==(const GiveValue&) const = default;
};

struct GetReport {
  bool operator==(const GetReport&) const = default;
};

// After the answer the worker closes its end and exits with 0.
struct Shutdown {
  bool operator==(const Shutdown&) const = default;
};

// In the order of MessageType.
using RequestBody = std::variant<Hello, Configure, LoadFunction, ReadFile, WriteFile, Invoke, Drop,
                                 GetReport, Shutdown, GiveValue, DeclareFunctions>;

struct Request {
  std::uint64_t sequence = 0;  // Chosen by the sender; the answer repeats it.
  RequestBody body;
  bool operator==(const Request&) const = default;
};

// The answer to Configure, LoadFunction, Drop, Shutdown, GiveValue and DeclareFunctions.
struct Done {
  bool operator==(const Done&) const = default;
};

struct HelloReply {
  std::uint32_t pid = 0;
  std::uint32_t page_bytes = 0;
  std::uint32_t unit_bytes = 0;
  bool swap_available = false;
  std::string swap_reason;            // Why not; empty when available.
  std::uint64_t crossover_bytes = 0;  // Measured: from here on a swap beats a copy.
  bool operator==(const HelloReply&) const = default;
};

// The answer to ReadFile and WriteFile.
struct FileReply {
  std::uint64_t bytes = 0;
  bool operator==(const FileReply&) const = default;
};

struct InvokeReply {
  std::uint64_t result_bytes = 0;
  std::chrono::nanoseconds duration{};
  bool operator==(const InvokeReply&) const = default;
};

// Durations between two bounds (base/duration_histogram.h).
struct HistogramBucket {
  std::uint16_t index = 0;
  std::uint64_t count = 0;  // 1 to kMaxBucketCount.
  bool operator==(const HistogramBucket&) const = default;
};

struct EdgeReport {
  std::string caller = {};  // Empty: the workflow.
  std::string callee = {};
  CallMode mode = CallMode::kNone;
  std::uint64_t calls = 0;
  std::uint64_t payload_bytes = 0;
  std::uint64_t copies = 0;  // memcpys of a payload.
  std::uint64_t copied_bytes = 0;
  std::uint64_t moved = 0;  // Payloads that changed hands without one.
  // How long hand-overs took: buckets with a count, in order. Those of several workers add up.
  std::vector<HistogramBucket> hand_over = {};
  bool operator==(const EdgeReport&) const = default;
};

struct PayloadReport {
  std::uint64_t segments = 0;
  std::uint64_t bytes = 0;
  std::uint64_t peak_bytes = 0;
  std::uint64_t mappings = 0;
  bool operator==(const PayloadReport&) const = default;
};

struct ReportReply {
  std::vector<EdgeReport> edges;
  PayloadReport payload;
  bool operator==(const ReportReply&) const = default;
};

// A CallError answers only Invoke; an Error (the request could not be carried out, no guest ran)
// answers any request.
using ResponseBody =
    std::variant<Done, HelloReply, FileReply, InvokeReply, ReportReply, Error, CallError>;

struct Response {
  MessageType type = MessageType::kHello;  // Of the request.
  std::uint64_t sequence = 0;
  ResponseBody body;
};

enum class MessageKind : std::uint8_t { kRequest = 0, kResponse = 1 };

struct Header {
  MessageType type = MessageType::kHello;
  MessageKind kind = MessageKind::kRequest;
  bool detached = false;  // The body is in a memfd, the last descriptor of the packet.
  std::uint32_t body_bytes = 0;
  std::uint64_t sequence = 0;
  bool operator==(const Header&) const = default;
};

std::vector<std::byte> EncodeHeader(const Header& header);
// The first kHeaderBytes of `packet`.
Result<Header> DecodeHeader(std::span<const std::byte> packet);

MessageType TypeOf(const RequestBody& body);
// Descriptors that a request of this type carries, without a detached body: 0 or 1.
std::size_t DescriptorCount(MessageType type);

// A header that is not detached, and the body, of any length up to kMaxBodyBytes.
Result<std::vector<std::byte>> EncodeRequest(const Request& request);
Result<std::vector<std::byte>> EncodeResponse(const Response& response);
Result<Request> DecodeRequest(std::span<const std::byte> message);
Result<Response> DecodeResponse(std::span<const std::byte> message);

}  // namespace cwasi::ipc
