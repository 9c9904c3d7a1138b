// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Any bytes are refused, or decode to an introduction or a zygote's message that encodes to the
// same bytes.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "ipc/introduction.h"
#include "ipc/zygote_message.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  if (const auto message = cwasi::ipc::DecodeIntroduction(bytes)) {
    const auto again = EncodeIntroduction(*message);
    if (!again || !std::ranges::equal(*again, bytes)) std::abort();
  }
  if (const auto message = cwasi::ipc::DecodeZygoteMessage(bytes)) {
    const auto again = EncodeZygoteMessage(*message);
    if (!again || !std::ranges::equal(*again, bytes)) std::abort();
  }
  return 0;
}
