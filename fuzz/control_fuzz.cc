// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Any bytes are refused, or decode to a message that encodes to the same bytes.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "ipc/control.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using cwasi::ipc::DecodeRequest;
  using cwasi::ipc::DecodeResponse;
  const auto bytes = std::as_bytes(std::span(data, size));
  if (const auto request = DecodeRequest(bytes)) {
    const auto again = EncodeRequest(*request);
    if (!again || !std::ranges::equal(*again, bytes)) std::abort();
  }
  if (const auto response = DecodeResponse(bytes)) {
    const auto again = EncodeResponse(*response);
    if (!again || !std::ranges::equal(*again, bytes)) std::abort();
  }
  return 0;
}
