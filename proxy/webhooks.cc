#include "proxy/webhooks.h"

#include <fmt/format.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace sluice::proxy {
namespace {

HttpCall message(const Webhooks::Target& target, const HttpUrl& url, const std::string& event,
                 std::string body) {
  HttpCall call;
  call.authority = url.authority;
  call.target = url.target;
  call.fields = {{"Content-Type", "application/json"}, {"X-Sluice-Event", event}};
  if (!target.secret.empty()) {
    call.fields.emplace_back("X-Sluice-Signature", "sha256=" + hmac_sha256_hex(target.secret, body));
  }
  call.body = std::move(body);
  call.timeout_ms = Webhooks::kAnswerMs;
  if (target.tls) call.tls = target.tls();
  return call;
}

std::string what_went_wrong(const HttpAnswer& answer) {
  return answer.status == 0 ? answer.problem : "it answered " + std::to_string(answer.status);
}

// It is kept, logged and shown on terminals.
std::string fit_for_a_line(std::string text) {
  constexpr size_t kMostBytes = 500;
  if (text.size() > kMostBytes) {
    size_t end = kMostBytes;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // within a character
    text.resize(end);
    text += "...";
  }
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  }
  return text;
}

// A gate's own words, if it has any.
std::pair<bool, std::string> judgement(const HttpAnswer& answer) {
  bool allowed = answer.success();
  std::string reason = allowed ? "" : what_went_wrong(answer) + ".";
  const nlohmann::json body = nlohmann::json::parse(answer.body, nullptr, false);
  if (body.is_object()) {
    if (const auto allow = body.find("allow"); allow != body.end() && allow->is_boolean()) {
      allowed = allowed && allow->get<bool>();
      if (!allowed && reason.empty()) reason = "it gave no reason.";
    }
    if (const auto said = body.find("reason"); said != body.end() && said->is_string() && !allowed) {
      reason = fit_for_a_line(said->get<std::string>());
    }
  }
  return {allowed, reason};
}

}  // namespace

std::string hmac_sha256_hex(std::string_view key, std::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), key.size(), reinterpret_cast<const unsigned char*>(text.data()), text.size(),
       digest, &size);
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) {
    hex += kDigits[digest[i] >> 4];
    hex += kDigits[digest[i] & 15];
  }
  return hex;
}

Webhooks::Webhooks(Loop& loop, HttpClient& client, Failed failed)
    : loop_(loop),
      client_(client),
      failed_(std::move(failed)),
      boot_(fmt::format("{:016x}", loop.random().next())),
      last_tries_([](void* self) { static_cast<Webhooks*>(self)->end_last_tries(); }, this) {}

Webhooks::Line::Line(Webhooks& the_owner, std::string the_service)
    : owner(the_owner),
      service(std::move(the_service)),
      pause([](void* self) { static_cast<Line*>(self)->owner.send_first(*static_cast<Line*>(self)); }, this) {
}

void Webhooks::post(const std::string& service, const Target& target, const std::string& event,
                    std::string body) {
  std::unique_ptr<Line>& line = lines_[service];
  if (line == nullptr) line = std::make_unique<Line>(*this, service);
  if (line->waiting.size() == kMostWaiting) {
    failed_(service,
            "More than " + std::to_string(kMostWaiting) + " webhook messages wait: the oldest is given up.");
    // The first is under way; the second is the oldest that can go.
    line->waiting.erase(line->waiting.begin() + 1);
  }
  line->waiting.push_back({target, event, std::move(body), next_number_++, 0});
  if (line->waiting.size() == 1) send_first(*line);
}

void Webhooks::send_first(Line& line) {
  Message& first = line.waiting.front();
  const conf::Result<HttpUrl> url = HttpUrl::parse(first.target.url);
  if (!url.ok()) {
    failed_(line.service, url.error().detail);
    return next(line);
  }
  ++first.tries;
  HttpCall call = message(first.target, *url, first.event, first.body);
  call.fields.emplace_back("X-Sluice-Delivery", boot_ + "-" + std::to_string(first.number));
  client_.send(*url, std::move(call), [this, &line, number = first.number](const HttpAnswer& answer) {
    taken(line, number, answer);
  });
}

void Webhooks::taken(Line& line, uint64_t number, const HttpAnswer& answer) {
  if (line.waiting.empty() || line.waiting.front().number != number) return;
  Message& first = line.waiting.front();
  if (!answer.success() && finished_) {
    give_up_first(line);
    return next(line);
  }
  if (!answer.success() && first.tries < kTries) {
    loop_.arm(line.pause, kFirstPauseMs << (first.tries - 1));
    return;
  }
  if (!answer.success()) {
    failed_(line.service, "The webhook " + first.target.url + " was not told of '" + first.event + "' in " +
                              std::to_string(kTries) + " tries: " + what_went_wrong(answer) + ".");
  }
  next(line);
}

// The first is done with.
void Webhooks::next(Line& line) {
  line.waiting.pop_front();
  if (!line.waiting.empty()) return send_first(line);
  if (finished_) finish_if_empty();
}

void Webhooks::give_up_first(Line& line) {
  line.undelivered += (line.undelivered.empty() ? "'" : ", '") + line.waiting.front().event + "'";
}

void Webhooks::finish(std::function<void()> done) {
  finished_ = std::move(done);
  loop_.arm(last_tries_, kLastTriesMs);
  for (const auto& [service, line] : lines_) {
    // What is under way has its last try already.
    if (line->waiting.empty() || !line->pause.armed()) continue;
    line->pause.disarm();
    send_first(*line);
  }
  finish_if_empty();
}

void Webhooks::finish_if_empty() {
  const bool empty =
      std::all_of(lines_.begin(), lines_.end(), [](const auto& one) { return one.second->waiting.empty(); });
  if (empty) end_last_tries();
}

void Webhooks::end_last_tries() {
  last_tries_.disarm();
  const std::function<void()> done = std::exchange(finished_, nullptr);
  if (!done) return;
  for (const auto& [service, line] : lines_) {
    line->pause.disarm();
    for (; !line->waiting.empty(); line->waiting.pop_front()) give_up_first(*line);
    if (line->undelivered.empty()) continue;
    failed_(service, "The process stops, and the webhook was not told of " + line->undelivered + ".");
  }
  done();
}

void Webhooks::ask(const Target& target, std::string body, Answered answered) {
  const conf::Result<HttpUrl> url = HttpUrl::parse(target.url);
  if (!url.ok()) {
    // Told later as every answer, by way of a call that cannot begin.
    client_.send(conf::Address{conf::Address::Kind::unix_socket, "", 0}, {},
                 [answered = std::move(answered), why = url.error().detail](const HttpAnswer&) {
                   answered(false, why);
                 });
    return;
  }
  client_.send(*url, message(target, *url, "gate", std::move(body)),
               [answered = std::move(answered)](const HttpAnswer& answer) {
                 const auto [allowed, reason] = judgement(answer);
                 answered(allowed, reason);
               });
}

}  // namespace sluice::proxy
