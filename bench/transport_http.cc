// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include <httplib.h>

#include <cstring>
#include <optional>

#include "base/check.h"
#include "bench/transport.h"
#include "bench/transport_answer.h"

namespace cwasi::bench {
namespace {

constexpr const char* kHost = "127.0.0.1";

class ByHttp final : public Transport {
 public:
  void Serve(std::span<std::byte> to, const std::function<Taken()>& took) override {
    httplib::Server server;
    server.set_keep_alive_max_count(1'000'000);
    server.set_keep_alive_timeout(600);
    server.set_tcp_nodelay(true);
    server.Post("/", [&](const httplib::Request& /*request*/, httplib::Response& response,
                         const httplib::ContentReader& read) {
      std::size_t done = 0;
      read([&](const char* data, std::size_t bytes) {
        CHECK(bytes <= to.size() - done);
        std::memcpy(to.data() + done, data, bytes);
        done += bytes;
        return true;
      });
      CHECK(done == to.size());
      const Taken taken = took();
      response.set_content(reinterpret_cast<const char*>(&taken), sizeof taken,
                           "application/octet-stream");
    });
    const int port = server.bind_to_any_port(kHost);
    CHECK(port > 0);
    port_.Tell({.at = 0, .sum = static_cast<std::uint64_t>(port)});
    server.listen_after_bind();
  }
  Taken Give(std::span<const std::byte> from) override {
    if (!client_) {
      client_.emplace(kHost, static_cast<int>(port_.Hear().sum));
      client_->set_keep_alive(true);
      client_->set_tcp_nodelay(true);
    }
    const auto result = client_->Post(
        "/", from.size(),
        [&](std::size_t offset, std::size_t length, httplib::DataSink& sink) {
          return sink.write(reinterpret_cast<const char*>(from.data()) + offset, length);
        },
        "application/octet-stream");
    CHECK(result && result->status == 200 && result->body.size() == sizeof(Taken));
    Taken taken;
    std::memcpy(&taken, result->body.data(), sizeof taken);
    return taken;
  }

 private:
  AnswerSocket port_;
  std::optional<httplib::Client> client_;
};

}  // namespace

std::unique_ptr<Transport> Http() {
  return std::make_unique<ByHttp>();
}

}  // namespace cwasi::bench
