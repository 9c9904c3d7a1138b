// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/guest_abi.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "worker/instance.h"
#include "worker/started_calls.h"
#include "worker/worker.h"

namespace cwasi::worker {
namespace {

using wasm::HostAction;
using wasm::Value;

constexpr std::uint32_t kOk = 0;
constexpr std::uint32_t kMove = 1;
constexpr std::uint32_t kPlainReply = 2;
constexpr std::uint32_t kReplyBuffer = 1;
constexpr std::uint32_t kReplyModeShift = 8;
constexpr std::uint32_t kReplyMayHaveRun = 1U << 16U;
constexpr std::uint32_t kMaxNameBytes = 128;

constexpr std::uint32_t StatusOf(CallClass c) {
  return static_cast<std::uint32_t>(c);
}

// struct cwasi_reply of the document: five words, in the guest's byte order, which is ours
// (engine.h). Read and written word by word: the guest does so too, and a wider load of what was
// stored in words waits for the stores to retire (15 ns a call).
constexpr std::uint32_t kReplyData = 0;
constexpr std::uint32_t kReplyCapacity = 4;
constexpr std::uint32_t kReplyLength = 8;
constexpr std::uint32_t kReplyFlags = 12;
constexpr std::uint32_t kReplyGuestStatus = 16;
constexpr std::uint32_t kReplyBytes = 20;

// The guest's memory as it is at one moment; to be asked for anew after anything that runs the
// guest.
class View {
 public:
  explicit View(Instance& instance) : memory_(instance.Memory()) {}
  [[nodiscard]] bool Has(std::uint32_t at, std::uint64_t bytes) const {
    return at <= memory_.size() && bytes <= memory_.size() - at;
  }
  [[nodiscard]] bool HasWords(std::uint32_t at, std::uint64_t bytes) const {
    return at % 4 == 0 && Has(at, bytes);
  }
  template <class T>
  [[nodiscard]] bool HasAligned(std::uint32_t at) const {
    return HasWords(at, sizeof(T));
  }
  [[nodiscard]] std::uint32_t LoadWord(std::uint32_t at) const {
    std::uint32_t value = 0;
    std::memcpy(&value, memory_.data() + at, sizeof value);
    return value;
  }
  template <class T>
  void Store(std::uint32_t at, const T& value) const {
    std::memcpy(memory_.data() + at, &value, sizeof(T));
  }
  [[nodiscard]] std::string_view Text(std::uint32_t at, std::uint32_t bytes) const {
    return {reinterpret_cast<const char*>(memory_.data() + at), bytes};
  }

 private:
  std::span<std::byte> memory_;
};

HostAction Return(Value* values, std::uint32_t status) {
  values[0].u32 = status;
  return HostAction::kReturn;
}
// After the guest's allocator may have run: one that has trapped or exited cannot go on.
HostAction ReturnIfSound(Instance& self, Value* values, std::uint32_t status) {
  return self.IsSound() ? Return(values, status) : HostAction::kUnwind;
}

HostAction FunctionFind(void* context, Value* values) {
  Instance& self = Instance::Of(context);
  const View view(self);
  const std::uint32_t name = values[0].u32;
  const std::uint32_t length = values[1].u32;
  const std::uint32_t out = values[2].u32;
  if (self.CallUnderWay() == nullptr || length > kMaxNameBytes || !view.Has(name, length) ||
      !view.HasAligned<std::uint32_t>(out))
    return Return(values, StatusOf(CallClass::kInvalid));
  const auto number = self.Runtime().FindCallee(view.Text(name, length));
  self.ResumeDeadline();  // It may have been loaded now, within a time of its own.
  if (!number) return Return(values, StatusOf(number.error()));
  view.Store(out, *number);
  return Return(values, kOk);
}

void StoreReply(const View& view, std::uint32_t at, const GuestCallEnd& end) {
  view.Store(at + kReplyData, end.reply_data);
  view.Store(at + kReplyLength, end.reply_length);
  view.Store(at + kReplyFlags, (end.reply_is_buffer ? kReplyBuffer : 0U) |
                                   (end.may_have_run ? kReplyMayHaveRun : 0U) |
                                   (static_cast<std::uint32_t>(end.mode) << kReplyModeShift));
  view.Store(at + kReplyGuestStatus, end.guest_status);
}

HostAction CallFunction(void* context, Value* values) {
  Instance& self = Instance::Of(context);
  const std::uint32_t flags = values[3].u32;
  const std::uint32_t reply_at = values[4].u32;
  const View view(self);
  if (self.CallUnderWay() == nullptr || !view.HasWords(reply_at, kReplyBytes))
    return Return(values, StatusOf(CallClass::kInvalid));
  const GuestCall call{.function = values[0].u32,
                       .request = values[1].u32,
                       .length = values[2].u32,
                       .reply_data = view.LoadWord(reply_at + kReplyData),
                       .reply_capacity = view.LoadWord(reply_at + kReplyCapacity),
                       .move = (flags & kMove) != 0,
                       .plain_reply_only = (flags & kPlainReply) != 0};
  GuestCallEnd end{.status = StatusOf(CallClass::kInvalid), .reply_data = call.reply_data};
  if ((flags & ~(kMove | kPlainReply)) == 0 && view.Has(call.reply_data, call.reply_capacity) &&
      (call.move || view.Has(call.request, call.length))) [[likely]]
    self.Runtime().CallFromGuest(self, call, end);
  if (!self.IsSound()) return HostAction::kUnwind;
  // A memory never shrinks or moves, so what was checked still holds.
  StoreReply(view, reply_at, end);
  return Return(values, end.status);
}

HostAction CallStart(void* context, Value* values) {
  Instance& self = Instance::Of(context);
  const std::uint32_t flags = values[3].u32;
  const std::uint32_t out = values[4].u32;
  const View view(self);
  const GuestCall call{.function = values[0].u32,
                       .request = values[1].u32,
                       .length = values[2].u32,
                       .move = (flags & kMove) != 0};
  if (self.CallUnderWay() == nullptr || (flags & ~kMove) != 0 ||
      !view.HasAligned<std::uint32_t>(out) || (!call.move && !view.Has(call.request, call.length)))
    return Return(values, StatusOf(CallClass::kInvalid));
  std::uint32_t number = 0;
  const std::uint32_t status = self.Runtime().StartFromGuest(self, call, number);
  if (!self.IsSound()) return HostAction::kUnwind;
  if (status == kOk) view.Store(out, number);
  return Return(values, status);
}

HostAction CallWait(void* context, Value* values) {
  Instance& self = Instance::Of(context);
  const std::uint32_t calls = values[0].u32;
  const std::uint32_t count = values[1].u32;
  const std::uint32_t flags = values[2].u32;
  const std::uint32_t reply_at = values[3].u32;
  const std::uint32_t out = values[4].u32;
  const View view(self);
  if (self.CallUnderWay() == nullptr || (flags & ~kPlainReply) != 0 || count > kMaxStartedCalls ||
      !view.HasWords(calls, std::uint64_t{4} * count) || !view.HasWords(reply_at, kReplyBytes) ||
      !view.HasAligned<std::uint32_t>(out))
    return Return(values, StatusOf(CallClass::kInvalid));
  const GuestCall place{.reply_data = view.LoadWord(reply_at + kReplyData),
                        .reply_capacity = view.LoadWord(reply_at + kReplyCapacity),
                        .plain_reply_only = (flags & kPlainReply) != 0};
  if (!view.Has(place.reply_data, place.reply_capacity))
    return Return(values, StatusOf(CallClass::kInvalid));
  std::vector<std::uint32_t> numbers(count);
  for (std::uint32_t i = 0; i < count; ++i) numbers[i] = view.LoadWord(calls + 4 * i);
  GuestCallEnd end{.status = StatusOf(CallClass::kInvalid), .reply_data = place.reply_data};
  const auto ended = self.Runtime().WaitFromGuest(self, numbers, place, end);
  if (!self.IsSound()) return HostAction::kUnwind;
  if (!ended) return Return(values, StatusOf(CallClass::kInvalid));
  view.Store(out, static_cast<std::uint32_t>(*ended));
  StoreReply(view, reply_at, end);
  return Return(values, end.status);
}

HostAction BufferNewFor(void* context, Value* values) {
  Instance& self = Instance::Of(context);
  const std::uint32_t out = values[2].u32;
  if (self.CallUnderWay() == nullptr || !View(self).HasAligned<std::uint32_t>(out))
    return Return(values, StatusOf(CallClass::kInvalid));
  const auto address = self.Runtime().NewBuffer(self, values[1].u32, values[0].u32);
  if (!address) return ReturnIfSound(self, values, StatusOf(address.error()));
  View(self).Store(out, *address);
  return Return(values, kOk);
}

HostAction BufferNew(void* context, Value* values) {
  Instance& self = Instance::Of(context);
  const std::uint32_t length = values[0].u32;
  const std::uint32_t out = values[1].u32;
  if (self.CallUnderWay() == nullptr || !View(self).HasAligned<std::uint32_t>(out))
    return Return(values, StatusOf(CallClass::kInvalid));
  const auto address = self.Buffers().New(length, buf::Owner::kGuest);
  if (!address) return ReturnIfSound(self, values, StatusOf(ClassOf(address.error())));
  View(self).Store(out, *address);
  return Return(values, kOk);
}

HostAction BufferFree(void* context, Value* values) {
  Instance& self = Instance::Of(context);
  if (self.CallUnderWay() == nullptr || !self.Buffers().Free(values[0].u32))
    return Return(values, StatusOf(CallClass::kInvalid));
  return Return(values, kOk);
}

HostAction BufferRetain(void* context, Value* values) {
  Instance& self = Instance::Of(context);
  if (self.CallUnderWay() == nullptr) return Return(values, StatusOf(CallClass::kInvalid));
  const auto retained = self.Buffers().Retain(values[0].u32);
  return Return(values, retained ? kOk : StatusOf(ClassOf(retained.error())));
}

HostAction Respond(void* context, Value* values) {
  Instance& self = Instance::Of(context);
  Call* call = self.CallUnderWay();
  const std::uint32_t address = values[0].u32;
  const std::uint32_t length = values[1].u32;
  const std::uint32_t flags = values[2].u32;
  const bool move = (flags & kMove) != 0;
  if (call == nullptr || call->responded || (flags & ~kMove) != 0 ||
      (!move && !View(self).Has(address, length)))
    return Return(values, StatusOf(CallClass::kInvalid));
  return Return(values, self.Runtime().Respond(self, *call, address, length, move));
}

HostAction PartCount(void* context, Value* values) {
  const Call* call = Instance::Of(context).CallUnderWay();
  return Return(values, call == nullptr ? 0U : call->part_count);
}

HostAction PartTake(void* context, Value* values) {
  Instance& self = Instance::Of(context);
  Call* call = self.CallUnderWay();
  const std::uint32_t index = values[0].u32;
  const std::uint32_t out = values[1].u32;
  struct WirePart {
    std::uint32_t data;
    std::uint32_t length;
  };
  if (call == nullptr || call->workflow == nullptr || index >= call->workflow->parts.size() ||
      call->workflow->taken[index] || !View(self).HasAligned<WirePart>(out))
    return Return(values, StatusOf(CallClass::kInvalid));
  const auto length = static_cast<std::uint32_t>(call->workflow->parts[index].value.Size());
  const auto address = self.Runtime().BringPart(self, *call, index);
  if (!address) return ReturnIfSound(self, values, StatusOf(ClassOf(address.error())));
  View(self).Store(out, WirePart{.data = *address, .length = length});
  return Return(values, kOk);
}

// "cwasi.part.N.name" with N below the number of parts.
std::optional<std::string_view> PartName(const Call& call, std::string_view key) {
  constexpr std::string_view kPrefix = "cwasi.part.";
  constexpr std::string_view kSuffix = ".name";
  if (call.workflow == nullptr || !key.starts_with(kPrefix) || !key.ends_with(kSuffix) ||
      key.size() <= kPrefix.size() + kSuffix.size())
    return std::nullopt;
  key.remove_prefix(kPrefix.size());
  key.remove_suffix(kSuffix.size());
  std::size_t index = 0;
  for (const char c : key) {
    if (c < '0' || c > '9' || index > call.workflow->parts.size()) return std::nullopt;
    index = index * 10 + static_cast<std::size_t>(c - '0');
  }
  if (index >= call.workflow->parts.size()) return std::nullopt;
  return call.workflow->parts[index].name;
}

std::optional<std::string> FindMetadata(const Call& call, std::string_view key) {
  if (key == "cwasi.function") return std::string(call.function->Name());
  if (key == "cwasi.caller") {
    if (call.peer != nullptr) return std::string(call.peer->caller);
    return std::string(call.caller == nullptr ? "" : call.caller->Of().Name());
  }
  if (key == "cwasi.mode") return std::string(Name(call.mode));
  if (key == "cwasi.request_id") return std::to_string(call.request_id);
  if (const auto name = PartName(call, key)) return std::string(*name);
  if (call.workflow == nullptr) return std::nullopt;
  for (const MetadataEntry& entry : call.workflow->metadata)
    if (entry.key == key) return entry.value;
  return std::nullopt;
}

HostAction Metadata(void* context, Value* values) {
  Instance& self = Instance::Of(context);
  const Call* call = self.CallUnderWay();
  const View view(self);
  const std::uint32_t key = values[0].u32;
  const std::uint32_t key_length = values[1].u32;
  const std::uint32_t out = values[2].u32;
  const std::uint32_t capacity = values[3].u32;
  const std::uint32_t length_out = values[4].u32;
  if (call == nullptr || key_length > kMaxNameBytes || !view.Has(key, key_length) ||
      !view.Has(out, capacity) || !view.HasAligned<std::uint32_t>(length_out))
    return Return(values, StatusOf(CallClass::kInvalid));
  const auto value = FindMetadata(*call, view.Text(key, key_length));
  if (!value) return Return(values, StatusOf(CallClass::kNotFound));
  view.Store(length_out, static_cast<std::uint32_t>(value->size()));
  if (value->size() > capacity) return Return(values, StatusOf(CallClass::kTooLarge));
  std::memcpy(self.Memory().data() + out, value->data(), value->size());
  return Return(values, kOk);
}

HostAction Deadline(void* context, Value* values) {
  const Call* call = Instance::Of(context).CallUnderWay();
  const MonotonicNs deadline = call == nullptr ? kNoDeadline : call->deadline;
  values[0].i64 =
      deadline == kNoDeadline ? kNoDeadline : std::max<MonotonicNs>(0, deadline - FastNow());
  return HostAction::kReturn;
}

template <wasm::HostFunction kFunction>
HostAction InHost(void* context, Value* values) {
  Instance& self = Instance::Of(context);
  const Instance::HostScope host(self);
  return self.MayEnterHost() ? kFunction(context, values) : HostAction::kUnwind;
}

std::vector<wasm::HostImport> MakeImports() {
  struct Entry {
    std::string_view name;
    std::size_t parameters;  // i32 each.
    wasm::ValueType result;
    wasm::HostFunction function;
  };
  constexpr std::array<Entry, 13> kEntries = {{
      {"function_find", 3, wasm::ValueType::kI32, InHost<FunctionFind>},
      {"call", 5, wasm::ValueType::kI32, InHost<CallFunction>},
      {"call_start", 5, wasm::ValueType::kI32, InHost<CallStart>},
      {"call_wait", 5, wasm::ValueType::kI32, InHost<CallWait>},
      {"buffer_new", 2, wasm::ValueType::kI32, InHost<BufferNew>},
      {"buffer_new_for", 3, wasm::ValueType::kI32, InHost<BufferNewFor>},
      {"buffer_free", 1, wasm::ValueType::kI32, InHost<BufferFree>},
      {"buffer_retain", 1, wasm::ValueType::kI32, InHost<BufferRetain>},
      {"respond", 3, wasm::ValueType::kI32, InHost<Respond>},
      {"part_count", 0, wasm::ValueType::kI32, InHost<PartCount>},
      {"part_take", 2, wasm::ValueType::kI32, InHost<PartTake>},
      {"metadata", 5, wasm::ValueType::kI32, InHost<Metadata>},
      {"deadline", 0, wasm::ValueType::kI64, InHost<Deadline>},
  }};
  std::vector<wasm::HostImport> imports;
  imports.reserve(kEntries.size());
  for (const Entry& entry : kEntries) {
    imports.push_back(
        {"cwasi",
         std::string(entry.name),
         {.parameters = std::vector<wasm::ValueType>(entry.parameters, wasm::ValueType::kI32),
          .results = {entry.result}},
         entry.function});
  }
  return imports;
}

}  // namespace

std::span<const wasm::HostImport> GuestAbiImports() {
  static const auto imports = MakeImports();
  return imports;
}

}  // namespace cwasi::worker
