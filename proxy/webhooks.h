// Webhooks: tell somebody else what a rollout did, and ask whether it may go on.
//
// What one service has to tell goes out in order, one at a time. A message that
// is not taken with a 2xx is sent again after growing pauses, kTries times in
// all, and is then given up with a word to `failed`. At most kMostWaiting wait;
// of more, the oldest is given up. Nothing here ever holds up traffic, a rollout
// or a return to blue.
//
// A gate is asked once per question. 2xx is a yes, unless the body is a JSON
// object with "allow": false; any other status is a no. "reason" in the body is
// passed on. Whatever cannot be asked has not said yes.
//
// Each message carries X-Sluice-Delivery: WORD, which a repetition keeps and no
// other message has, of this process or another: a receiver can leave out what
// it has had.
//
// When the process stops, finish() tries once more what waits, each message once
// and all of them within kLastTriesMs; what is then not delivered is named.
//
// With a secret each message carries
//   X-Sluice-Signature: sha256=HEX    HMAC-SHA256 (RFC 2104) of the body
// so that its receiver can tell that it is ours and whole.
//
// Thread: the control thread's loop. Owner: Control.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "proxy/http_client.h"
#include "proxy/loop.h"

namespace sluice::proxy {

class Webhooks {
 public:
  static constexpr uint32_t kTries = 6;
  static constexpr uint64_t kFirstPauseMs = 1000;  // then twice as long each time
  static constexpr size_t kMostWaiting = 100;      // a service
  static constexpr uint64_t kAnswerMs = 5000;
  static constexpr uint64_t kLastTriesMs = 2000;

  struct Target {
    std::string url;
    std::string secret;  // empty: unsigned
    // Of whom an https URL is believed to be, looked up for each try; may be empty for others.
    std::function<std::shared_ptr<const TlsClientContext>()> tls;
  };
  // `problem` is a sentence.
  using Failed = std::function<void(const std::string& service, const std::string& problem)>;
  using Answered = std::function<void(bool allowed, const std::string& reason)>;

  Webhooks(Loop& loop, HttpClient& client, Failed failed);
  Webhooks(const Webhooks&) = delete;
  Webhooks& operator=(const Webhooks&) = delete;

  // `event` is a word, `body` one JSON object.
  void post(const std::string& service, const Target& target, const std::string& event, std::string body);
  void ask(const Target& target, std::string body, Answered answered);
  // `done` is called once, at once where nothing waits; nothing may be posted
  // after that.
  void finish(std::function<void()> done);

 private:
  struct Message {
    Target target;
    std::string event;
    std::string body;
    uint64_t number = 0;
    uint32_t tries = 0;
  };
  struct Line {
    Line(Webhooks& the_owner, std::string the_service);
    Webhooks& owner;
    const std::string service;
    std::deque<Message> waiting;  // the first is under way
    std::string undelivered;      // given up by finish()
    Timer pause;
  };

  void send_first(Line& line);
  void taken(Line& line, uint64_t number, const HttpAnswer& answer);
  void next(Line& line);
  static void give_up_first(Line& line);
  void finish_if_empty();
  void end_last_tries();

  Loop& loop_;
  HttpClient& client_;
  const Failed failed_;
  const std::string boot_;  // what tells this process's numbers from another's
  uint64_t next_number_ = 1;
  Timer last_tries_;
  std::function<void()> finished_;                      // set: the process stops
  std::map<std::string, std::unique_ptr<Line>> lines_;  // by service
};

// The hexadecimal HMAC-SHA256 of `text` under `key`.
std::string hmac_sha256_hex(std::string_view key, std::string_view text);

}  // namespace sluice::proxy
