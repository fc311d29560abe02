// What must hold after every step of a history, and at its end.
#include <algorithm>

#include "simulation.h"

// Some millions of these hold; only one that does not may cost something.
#define MUST(condition)                 \
  do {                                  \
    if (!(condition)) FAIL(#condition); \
  } while (false)

namespace sluice::proxy::test {

using conf::Colour;

void Simulation::check() {
  check_origins();
  check_clients();
  check_caps();
  check_trip();
  check_bounds();
  check_accounts();
}

// Whether what an origin got is one of the requests, whole and alone.
void Simulation::check_origin(Origin& origin) {
  if (origin.answered && !origin.spoilt && !origin.ends) {
    // It is ready for the next request: what it read of the last one goes.
    const WireMessage last = read_message(origin.peer->received(), WireKind::request);
    if (last.state == WireMessage::State::complete) {
      // What lies behind it came after the answer was complete: until then the
      // request was all there was, as the lines below have seen.
      origin.peer->forget(last.size);
      origin.answering = origin.answered = origin.judged_head = false;
    } else {
      return;
    }
  }
  if (origin.spoilt && origin.answered) return;
  const WireMessage message = read_message(origin.peer->received(), WireKind::request);
  MUST(message.state != WireMessage::State::bad);
  if (!message.has_head()) return;
  const auto id = static_cast<uint32_t>(std::stoul("0" + message.field("x-id")));
  MUST(bodies_.contains(id));
  MUST(message.start_line == methods_[id] + " /" + std::to_string(id) + " HTTP/1.1");
  MUST(message.fields.contains("via"));
  MUST(bodies_[id].starts_with(message.body));
  if (message.state == WireMessage::State::complete) {
    MUST(message.body == bodies_[id]);
    // One that sends more than its answer may get the next request before that.
    if (!origin.spoilt) MUST(message.size == origin.peer->received().size());
  }
  if (origin.judged_head) {
    MUST(origin.id == id);
    return;
  }
  origin.judged_head = true;
  origin.id = id;
  ++origin.heads;
}

void Simulation::check_origins() {
  for (Origin& origin : origins_) {
    check_origin(origin);
  }
}

void Simulation::check_answer(Client& client, const Request& request, const WireMessage& message) {
  CAPTURE(request.id, message.start_line);
  MUST(message.state != WireMessage::State::bad);
  MUST(message.status() >= 200);
  if (message.fields.contains("proxy-status")) {
    MUST(message.status() >= 400);
    if (message.status() == 408) return;
    if (request.malformed) MUST(message.status() == 400);
    return;
  }
  MUST(!request.malformed);
  MUST(message.field("x-id") == std::to_string(request.id));
  const size_t size = std::stoul(message.field("x-size"));
  std::string body = "<" + std::to_string(request.id) + ">";
  for (const std::string once = body; body.size() < size;) body += once;
  body.resize(size);
  MUST(body.starts_with(message.body));
  const bool bare = request.method == "HEAD" || message.status() == 204 || message.status() == 304;
  if (bare) {
    MUST(message.body.empty());
  } else if (message.state == WireMessage::State::complete) {
    MUST(message.body.size() == size);
  } else if (message.until_close && client.peer->was_closed() && !client.peer->was_reset() && !client.left) {
    // An orderly end says that the body is complete.
    MUST(message.body.size() == size);
  }
}

// The answers in the order of the requests, each whole but for the last.
void Simulation::check_client(Client& client) {
  for (;;) {
    const std::string_view rest = std::string_view(client.peer->received()).substr(client.answered);
    if (rest.empty()) return;
    MUST(!client.over);
    if (client.asked.empty()) {
      MUST(rest.starts_with("HTTP/1.1 408 "));  // a head that was never finished
      return;
    }
    const Request& request = client.asked.front();
    const WireKind kind = request.method == "HEAD" ? WireKind::response_without_body : WireKind::response;
    WireMessage message = read_message(rest, kind);
    MUST(message.state != WireMessage::State::bad);
    if (!message.has_head()) return;
    if (message.status() == 103) {
      client.answered += message.size;
      continue;
    }
    if (message.status() == 408 || (request.malformed && message.status() == 400)) {
      // Refused before its method was known.
      message = read_message(rest, WireKind::response);
    }
    check_answer(client, request, message);
    if (message.state != WireMessage::State::complete) return;
    client.answered += message.size;
    client.over = message.field("connection") == "close";
    client.asked.pop_front();
  }
}

void Simulation::check_clients() {
  for (Client& client : clients_) check_client(client);
}

void Simulation::check_caps() {
  size_t total = 0;
  for (const bool green : {false, true}) {
    CAPTURE(green);
    const balancer::Cap& cap = path_.cap(green ? Colour::green : Colour::blue);
    const size_t alive = living(green);
    total += alive;
    MUST(cap.used() == alive);
    size_t dials = 0;
    for (const Origin& origin : origins_) dials += origin.green == green ? 1 : 0;
    const size_t i = green ? 1 : 0;
    if (dials > dials_before_[i]) MUST(alive <= std::max(cap.max(), max_before_[i]));
    dials_before_[i] = dials;
    MUST(path_.service().upstreams[i]->queued() <= 6);
  }
  const auto& caps = path_.registry.caps();
  if (caps.empty()) return;
  const balancer::Cap& shared = *caps.begin()->second;
  MUST(shared.used() == total);
  MUST(shared.peak() <= 4);
  MUST(shared.used() <= std::max({shared.max(), shared_before_, shared.peak()}));
}

// While the latch holds no attempt at green begins, and only those go on whose
// connection was being made when it fell.
void Simulation::check_trip() {
  size_t heads = 0;
  size_t connecting = 0;
  for (const Origin& origin : origins_) {
    if (!origin.green) continue;
    heads += origin.heads;
    const bool on_its_way =
        origin.heads == 0 || origin.peer->pending() > 0 || !origin.peer->received().empty();
    connecting += origin.peer->alive() && !origin.judged_head && on_its_way ? 1 : 0;
  }
  const bool tripped = path_.service().state->tripped();
  if (tripped && tripped_before_) MUST(heads <= green_heads_before_ + green_connecting_);
  if (!tripped || !tripped_before_) {
    green_heads_before_ = heads;
    green_connecting_ = connecting;
  }
}

void Simulation::check_bounds() {
  // A read that comes in under the high watermark, with its chunk framing.
  constexpr size_t kDown = Stream::kHighWatermark + Loop::kReadBufferBytes + 4096;
  constexpr size_t kUp =
      Stream::kHighWatermark + Loop::kReadBufferBytes + DownstreamConnection::kMostAhead + 4096;
  for (const Client& client : clients_) MUST(client.peer->most_pending() <= kDown);
  for (const Origin& origin : origins_) MUST(origin.peer->most_pending() <= kUp);
}

// Every request is finished once and is in exactly one of the books.
void Simulation::check_accounts() {
  const auto& finished = path_.reporter.finished;
  std::set<std::string> seen;
  uint64_t silent = 0;
  uint64_t refused = 0;
  uint64_t attempts = 0;
  for (const auto& one : finished) {
    if (one.target.empty()) {  // refused before it was a request
      ++refused;
      continue;
    }
    MUST(seen.insert(one.target).second);
    silent += one.status == 0 ? 1 : 0;
    if (one.status == 0) MUST(one.aborted);
    attempts += one.attempts.empty() ? 0 : 1 + std::count(one.attempts.begin(), one.attempts.end(), ',');
  }
  uint64_t answered = 0;
  uint64_t settled = 0;
  for (const Colour colour : conf::kColours) {
    for (const auto& one : path_.counters(colour).responses) answered += one.get();
    for (const auto& one : path_.counters(colour).attempts) settled += one.get();
  }
  MUST(finished.size() == answered + silent + refused);
  // Those of requests under way are settled or not yet in the log.
  MUST(settled >= attempts);
  if (path_.connections.size() == 0) MUST(settled == attempts);
}

// Nobody does anything any more; whatever waits must come to an end by itself.
void Simulation::finish() {
  path_.run();
  for (int i = 0; i < 60; ++i) {
    path_.loop.set_time_us(path_.loop.now_us() + 150'000);
    path_.run();
    meet_origins();
    check();
  }
  MUST(path_.connections.size() == 0);
  MUST(path_.context.upstream_connections == 0);
  MUST(path_.queued == 0);
  MUST(path_.network.streams() == 0);
}

}  // namespace sluice::proxy::test
