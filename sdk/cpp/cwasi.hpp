// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// cwasi for functions in C++20: buffers that own themselves, spans, no exceptions. One header over
// sdk/c/cwasi.h; flags in sdk/cwasi.cfg.
//
//   #include "cwasi.hpp"
//   CWASI_FUNCTION(request) {                           // cwasi::Request& request
//     cwasi::Buffer reply = cwasi::Buffer::New(request.body().size());
//     if (!reply) return CWASI_OUT_OF_MEMORY;
//     ...
//     return request.Respond(std::move(reply));         // no copy
//   }

#pragma once

#if __cplusplus < 202002L
#error "functions in C++ need -std=c++20"
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "cwasi.h"

namespace cwasi {

// Sole owner of one buffer; freed on destruction unless moved on. Empty after a move or a failed
// New; what New could not make cannot be responded with either.
class Buffer {
 public:
  Buffer() = default;
  // `data` must be a buffer of this guest's: from New, a request's part or a reply.
  Buffer(void* data, std::uint32_t size) : data_(data), size_(size) {}
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        failed_(other.failed_) {}
  Buffer& operator=(Buffer&& other) noexcept {
    if (this != &other) {
      Free();
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
      failed_ = other.failed_;
    }
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { Free(); }

  // Unspecified contents. Empty if there is no memory.
  static Buffer New(std::size_t size) {
    void* data = nullptr;
    const bool made =
        size <= UINT32_MAX && cwasi_buffer_new(static_cast<std::uint32_t>(size), &data) == CWASI_OK;
    return Made(made, data, size);
  }
  // As New, for a request to `function` or a reply to CWASI_CALLER: one copy less where that is in
  // another trust domain. Also empty if there is no such function.
  static Buffer NewFor(std::uint32_t function, std::size_t size) {
    void* data = nullptr;
    const bool made =
        size <= UINT32_MAX &&
        cwasi_buffer_new_for(function, static_cast<std::uint32_t>(size), &data) == CWASI_OK;
    return Made(made, data, size);
  }

  explicit operator bool() const { return data_ != nullptr; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(data_); }
  [[nodiscard]] std::span<std::byte> bytes() const { return {data(), size_}; }
  template <class T>
  [[nodiscard]] std::span<T> as() const {
    return {static_cast<T*>(data_), size_ / sizeof(T)};
  }
  // Only what comes first is handed over; the capacity stays.
  void Shrink(std::size_t size) {
    if (size < size_) size_ = static_cast<std::uint32_t>(size);
  }
  void Free() {
    if (data_ != nullptr) cwasi_buffer_free(std::exchange(data_, nullptr));
    size_ = 0;
  }
  // Gives up ownership without freeing.
  void* Release() {
    size_ = 0;
    return std::exchange(data_, nullptr);
  }

 private:
  friend class Request;
  static Buffer Made(bool made, void* data, std::size_t size) {
    if (made) return {data, static_cast<std::uint32_t>(size)};
    Buffer none;
    none.failed_ = true;
    return none;
  }
  void* data_ = nullptr;
  std::uint32_t size_ = 0;
  bool failed_ = false;
};

// What came back from a call. `status` first; the payload is a small copy or a buffer.
class Reply {
 public:
  [[nodiscard]] cwasi_status status() const { return status_; }
  [[nodiscard]] bool ok() const { return status_ == CWASI_OK; }
  [[nodiscard]] std::int32_t guest_status() const { return guest_status_; }
  [[nodiscard]] std::span<const std::byte> bytes() const {
    return buffer_ ? std::span<const std::byte>(buffer_.bytes())
                   : std::span<const std::byte>(inline_, inline_size_);
  }
  // The buffer, empty if the reply was small.
  Buffer TakeBuffer() { return std::move(buffer_); }

 private:
  friend class Function;
  cwasi_status status_ = CWASI_INTERNAL;
  std::int32_t guest_status_ = 0;
  std::uint32_t inline_size_ = 0;
  Buffer buffer_;
  std::byte inline_[256];
};

// A function that can be called. Cheap to copy.
class Function {
 public:
  // Check status() before calling: not_found, denied.
  static Function Find(std::string_view name) {
    Function f;
    f.status_ = static_cast<cwasi_status>(
        cwasi_function_find(name.data(), static_cast<std::uint32_t>(name.size()), &f.id_));
    return f;
  }
  [[nodiscard]] cwasi_status status() const { return status_; }

  // A buffer for a request to it (Buffer::NewFor).
  [[nodiscard]] Buffer NewBuffer(std::size_t size) const { return Buffer::NewFor(id_, size); }
  // Copies the request.
  [[nodiscard]] Reply Call(std::span<const std::byte> request) const {
    return Call(request.data(), request.size(), 0, nullptr);
  }
  // Gives the request. If the callee cannot have run, the buffer stays with the caller.
  [[nodiscard]] Reply Call(Buffer& request) const {
    return Call(request.data(), request.size(), CWASI_MOVE, &request);
  }

 private:
  Reply Call(const void* data, std::size_t size, std::uint32_t flags, Buffer* given) const {
    Reply reply;
    if (status_ != CWASI_OK) {
      reply.status_ = status_;
      return reply;
    }
    cwasi_reply raw{reply.inline_, sizeof reply.inline_, 0, 0, 0};
    reply.status_ = static_cast<cwasi_status>(
        cwasi_call(id_, data, static_cast<std::uint32_t>(size), flags, &raw));
    reply.guest_status_ = raw.guest_status;
    if (given != nullptr && (raw.flags & CWASI_REPLY_MAY_HAVE_RUN) != 0) given->Release();
    if ((raw.flags & CWASI_REPLY_BUFFER) != 0)
      reply.buffer_ = Buffer(raw.data, raw.length);
    else
      reply.inline_size_ = raw.length;
    return reply;
  }

  std::uint32_t id_ = 0;
  cwasi_status status_ = CWASI_NOT_FOUND;
};

// The call being answered. Parts not taken over end with it.
class Request {
 public:
  Request(void* data, std::uint32_t size) : data_(data), size_(size), parts_(cwasi_part_count()) {}

  [[nodiscard]] std::uint32_t parts() const { return parts_; }
  // Part 0, read in place.
  [[nodiscard]] std::span<std::byte> body() const {
    return {static_cast<std::byte*>(data_), size_};
  }
  // Takes part `index` over: part 0 or one not taken yet. Empty if there is none. After Take(0)
  // body() is empty: its bytes are the buffer's.
  Buffer Take(std::uint32_t index) {
    if (index == 0) return {std::exchange(data_, nullptr), std::exchange(size_, 0)};
    cwasi_part part{};
    if (cwasi_part_take(index, &part) != CWASI_OK) return {};
    return {part.data, part.length};
  }
  // Empty if there is no such key.
  [[nodiscard]] std::string Metadata(std::string_view key) const {
    std::string value(64, '\0');
    std::uint32_t length = 0;
    for (int attempt = 0; attempt < 2; ++attempt) {
      const int status =
          cwasi_metadata(key.data(), static_cast<std::uint32_t>(key.size()), value.data(),
                         static_cast<std::uint32_t>(value.size()), &length);
      if (status == CWASI_OK) {
        value.resize(length);
        return value;
      }
      if (status != CWASI_TOO_LARGE) break;
      value.resize(length);
    }
    return {};
  }
  // The number under `key`, or `otherwise` if it is absent or no number.
  [[nodiscard]] long MetadataNumber(std::string_view key, long otherwise) const {
    const std::string text = Metadata(key);
    char* end = nullptr;
    const long value = std::strtol(text.c_str(), &end, 10);
    return text.empty() || *end != '\0' ? otherwise : value;
  }
  // Stores the number under `key`; leaves `value` as it is if there is none. False: no number, or
  // one outside [low, high].
  [[nodiscard]] bool Read(std::string_view key, long low, long high, long& value) const {
    return ReadNumber(key, low, high, value,
                      [](const char* text, char** end) { return std::strtol(text, end, 10); });
  }
  [[nodiscard]] bool Read(std::string_view key, double low, double high, double& value) const {
    return ReadNumber(key, low, high, value, std::strtod);
  }
  // All return what the handler should return. A buffer is given without a copy.
  int Respond(Buffer buffer) {
    if (buffer.failed_) return CWASI_OUT_OF_MEMORY;
    const auto size = static_cast<std::uint32_t>(buffer.size());
    const int status = cwasi_respond(buffer.data(), size, CWASI_MOVE);
    if (status == CWASI_OK) buffer.Release();
    return status;
  }
  // Copies: what is longer than some 100 KiB is better written into a Buffer.
  int Respond(std::span<const std::byte> bytes) {
    return cwasi_respond(bytes.data(), static_cast<std::uint32_t>(bytes.size()), 0);
  }
  int Respond(std::string_view text) {
    return Respond(std::as_bytes(std::span(text.data(), text.size())));
  }

 private:
  template <class T, class Parse>
  bool ReadNumber(std::string_view key, T low, T high, T& value, Parse parse) const {
    const std::string text = Metadata(key);
    if (text.empty()) return true;
    char* end = nullptr;
    const T number = parse(text.c_str(), &end);
    if (*end != '\0' || !(number >= low && number <= high)) return false;  // NaN is outside, too.
    value = number;
    return true;
  }

  void* data_;
  std::uint32_t size_;
  std::uint32_t parts_;
};

}  // namespace cwasi

// Defines the function's handler; `request` is a cwasi::Request&.
#define CWASI_FUNCTION(request)                                                                   \
  static int CwasiFunction(cwasi::Request& request);                                              \
  extern "C" __attribute__((export_name("cwasi_handle"))) int32_t cwasi_handle(void* data,        \
                                                                               uint32_t length) { \
    cwasi::Request call(data, length);                                                            \
    return CwasiFunction(call);                                                                   \
  }                                                                                               \
  static int CwasiFunction(cwasi::Request& request)
