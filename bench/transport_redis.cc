// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include <hiredis/hiredis.h>

#include "base/check.h"
#include "bench/transport.h"
#include "bench/transport_answer.h"

namespace cwasi::bench {
namespace {

class ByRedis final : public Transport {
 public:
  explicit ByRedis(const std::string& folder) : socket_(folder + "/redis.sock") {
    server_ = ::fork();
    CHECK(server_ >= 0);
    if (server_ == 0) {
      ::setpgid(0, 0);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      // It says that it starts.
      ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
      ::execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket_.c_str(),
               "--dir", folder.c_str(), "--save", "", "--appendonly", "no", "--loglevel", "warning",
               nullptr);
      std::perror("local_bench: redis-server");
      ::_exit(1);
    }
    Context until_ready = nullptr;
    for (int i = 0; i < 500 && until_ready == nullptr; ++i) {
      until_ready = TryConnect();
      if (until_ready == nullptr) ::poll(nullptr, 0, 10);
    }
    CHECK(until_ready != nullptr);
    ::redisFree(until_ready);
  }
  ByRedis(const ByRedis&) = delete;
  ByRedis& operator=(const ByRedis&) = delete;
  ByRedis(ByRedis&&) = delete;
  ByRedis& operator=(ByRedis&&) = delete;
  ~ByRedis() override {
    ::kill(server_, SIGKILL);
    ::waitpid(server_, nullptr, 0);
  }

  void Serve(std::span<std::byte> to, const std::function<Taken()>& took) override {
    const Context connection = TryConnect();
    CHECK(connection != nullptr);
    for (;;) {
      there_.Hear();
      auto* const reply = static_cast<redisReply*>(::redisCommand(connection, "GET payload"));
      CHECK(reply != nullptr && reply->type == REDIS_REPLY_STRING && reply->len == to.size());
      std::memcpy(to.data(), reply->str, to.size());
      ::freeReplyObject(reply);
      answer_.Tell(took());
    }
  }
  Taken Give(std::span<const std::byte> from) override {
    if (giving_ == nullptr) giving_ = TryConnect();
    auto* const reply = static_cast<redisReply*>(
        ::redisCommand(giving_, "SET payload %b", from.data(), from.size()));
    CHECK(reply != nullptr && reply->type == REDIS_REPLY_STATUS);
    ::freeReplyObject(reply);
    there_.Tell({});
    return answer_.Hear();
  }

 private:
  using Context = redisContext*;
  [[nodiscard]] Context TryConnect() const {
    Context context = ::redisConnectUnix(socket_.c_str());
    if (context == nullptr || context->err == 0) return context;
    ::redisFree(context);
    return nullptr;
  }

  std::string socket_;
  pid_t server_ = -1;
  Context giving_ = nullptr;  // Until the process ends.
  AnswerSocket there_;
  AnswerSocket answer_;
};

}  // namespace

std::unique_ptr<Transport> Redis(const std::string& folder) {
  return std::make_unique<ByRedis>(folder);
}

}  // namespace cwasi::bench
