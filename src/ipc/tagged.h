// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Small packets of one kind of conversation: magic u32, version u16, type u16, fields. The type is
// the place of the message in a variant, counted from 1. For the .cc of such a conversation.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "ipc/wire.h"

namespace cwasi::ipc {

struct TaggedFormat {
  std::uint32_t magic = 0;
  std::uint16_t version = 0;
  const char* name = "";  // Of the conversation, for errors.
};

// One default-made alternative of the variant, by its place.
template <class Variant, std::size_t... I>
Variant MakeAlternative(std::size_t index, std::index_sequence<I...>) {
  constexpr std::array kMake = {+[]() { return Variant(std::in_place_index<I>); }...};
  return kMake.at(index)();
}
template <class Variant>
Variant MakeAlternative(std::size_t index) {
  return MakeAlternative<Variant>(index, std::make_index_sequence<std::variant_size_v<Variant>>());
}

// `fields(io, message)` describes each alternative for writer and reader.
template <class Variant, class Describe>
Result<std::vector<std::byte>> EncodeTagged(const TaggedFormat& format, const Variant& message,
                                            Describe fields) {
  WireWriter writer;
  writer.Number(format.magic);
  writer.Number(format.version);
  writer.Number(static_cast<std::uint16_t>(message.index() + 1));
  std::visit([&](const auto& body) { fields(writer, body); }, message);
  return writer.Take();
}

template <class Variant, class Describe>
Result<Variant> DecodeTagged(const TaggedFormat& format, std::span<const std::byte> bytes,
                             Describe fields) {
  WireReader reader(bytes);
  std::uint32_t magic = 0;
  std::uint16_t version = 0;
  std::uint16_t type = 0;
  reader.Number(magic, format.magic, format.magic, "magic");
  reader.Number(version);
  if (magic == format.magic && version != format.version) {
    return Fail(ErrorCode::kFailedPrecondition,
                std::string("the peer speaks ") + format.name + " protocol version " +
                    std::to_string(version) + ", this program version " +
                    std::to_string(format.version) + ": use programs of one build");
  }
  constexpr auto kLast = static_cast<std::uint16_t>(std::variant_size_v<Variant>);
  reader.template Number<std::uint16_t>(type, 1, kLast, "type");
  if (type < 1 || type > kLast) type = 1;  // Refused already; Finish tells.
  Variant message = MakeAlternative<Variant>(type - 1U);
  std::visit([&](auto& body) { fields(reader, body); }, message);
  TRY(reader.Finish());
  return message;
}

}  // namespace cwasi::ipc
