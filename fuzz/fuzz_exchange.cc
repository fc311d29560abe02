// Both sides at once: the input is a script of what clients and origins send,
// in what reads, how they stall and break off, how time passes and what an
// operator does meanwhile.
//
// Invariants, after every step: no cap is exceeded, every place under a cap is a
// connection that exists, nothing is buffered beyond its bound. At the end: what
// any origin or client got is well-formed, every request is in the books once,
// and nothing is left.
#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "fuzz/fuzz.h"
#include "fuzz/strict_reader.h"
#include "memory_path.h"

namespace sluice::fuzz {
namespace {

using namespace proxy::test;
using conf::Colour;

constexpr const char* kFromClients[] = {
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "PUT /p HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
    "0123456789",
    "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "GET /u HTTP/1.1\r\nHost: a\r\nX-Up: green\r\n\r\n",
    "GET /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    "PUT /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    "GET /w HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
};
constexpr const char* kFromOrigins[] = {
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
    "HTTP/1.1 204 None\r\nConnection: close\r\n\r\n",
};

class History {
 public:
  explicit History(Choices choices) : choices_(choices), path_(make_config(choices_)) {
    path_.dialer.connects = false;
  }

  void play() {
    while (!choices_.empty()) {
      for (const Colour colour : conf::kColours)
        before_[static_cast<size_t>(colour)] = path_.cap(colour).max();
      step();
      if (choices_.below(4) != 0) {
        path_.run();
      } else {
        path_.network.step();
      }
      check_bounds();
    }
    finish();
  }

 private:
  static constexpr size_t kMostClients = 5;
  struct Client {
    std::shared_ptr<Peer> peer;
    std::string sent;
  };

  static conf::Config make_config(Choices& choices) {
    conf::Config config = one_service(1 + choices.below(3));
    conf::Service& service = web(config);
    service.timeouts = {60, 80, 100, choices.flag() ? 300U : 0U, 90, 120, 70};
    service.retry.max = choices.below(3);
    if (choices.flag()) service.retry.on_status = {503};
    service.rescue = choices.flag();
    service.override_header = "x-up";
    service.split = choices.below(5) * 2500;
    for (conf::Upstream& upstream : service.upstreams) {
      upstream.max_connections = choices.below(4);
      upstream.max_queue = choices.below(4);
      upstream.queue_timeout_ms = 50;
    }
    return config;
  }

  void step() {
    switch (choices_.below(8)) {
      case 0:
        operate();
        return;
      case 1:
        path_.loop.set_time_us(path_.loop.now_us() + 1000 * choices_.below(160));
        return;
      case 2:
      case 3:
      case 4: {
        if (clients_.empty() || (clients_.size() < kMostClients && choices_.below(8) == 0)) {
          clients_.push_back({path_.connect("192.0.2.1", choices_.flag()), {}});
        }
        Client& client = clients_[choices_.below(static_cast<uint32_t>(clients_.size()))];
        act(*client.peer, kFromClients, client.sent);
        return;
      }
      default:
        if (path_.dials() == 0) return;
        std::string sent;
        act(path_.origin(path_.dials() - 1 - choices_.below(4) % path_.dials()), kFromOrigins, sent);
    }
  }

  template <size_t kCount>
  void act(Peer& peer, const char* const (&canned)[kCount], std::string& sent) {
    if (!peer.open()) return;
    std::string text;
    switch (choices_.below(12)) {
      case 0:
        peer.end();
        return;
      case 1:
        peer.fail(-ECONNRESET);
        return;
      case 2:
        peer.set_room(choices_.octet());
        return;
      case 3:
        peer.take(size_t{choices_.octet()} * 300);
        return;
      case 4:
        peer.read_size = 1 + choices_.octet();
        return;
      case 5:
        // No more reads of a few octets than show something: each costs as much as one of many.
        text.assign(std::min(size_t{choices_.octet()} * 400, std::min<size_t>(peer.read_size, 100) * 2000),
                    'x');
        break;
      case 6:
        text = choices_.take(choices_.octet());
        break;
      case 7:
        peer.connect(choices_.below(3) == 0 ? -ECONNREFUSED : 0);
        return;
      default:
        peer.connect();
        text = canned[choices_.below(kCount)];
    }
    peer.send(text);
    sent += text;
  }

  void operate() {
    switch (choices_.below(7)) {
      case 0:
        path_.set_split(choices_.below(5) * 2500);
        return;
      case 1:
        path_.trip();
        return;
      case 2:
        path_.service().state->set_tripped(false);
        return;
      case 3: {
        const Colour colour = conf::kColours[choices_.below(2)];
        const auto count =
            static_cast<uint32_t>(path_.service().endpoints[static_cast<size_t>(colour)].size());
        path_.set_mode(colour, choices_.below(count), static_cast<balancer::EndpointMode>(choices_.below(3)));
        return;
      }
      case 4:
        path_.cap(conf::kColours[choices_.below(2)]).set_max(1 + choices_.below(4));
        return;
      case 5:
        path_.service().state->set_maintenance(choices_.flag());
        return;
      default:
        path_.adopt(make_config(choices_));
    }
  }

  void check_bounds() {
    constexpr size_t kDown = proxy::Stream::kHighWatermark + proxy::Loop::kReadBufferBytes + 4096;
    constexpr size_t kUp = kDown + proxy::DownstreamConnection::kMostAhead;
    size_t living[2] = {0, 0};
    size_t dialled[2] = {0, 0};
    for (size_t i = 0; i < path_.dials(); ++i) {
      const Peer& origin = path_.origin(i);
      // "10.0.0.N:80": even is green.
      const size_t colour = (origin.name()[origin.name().find(':') - 1] - '0') % 2 == 0 ? 1 : 0;
      ++dialled[colour];
      living[colour] += origin.alive() ? 1 : 0;
      must(origin.most_pending() <= kUp, "too much is kept for an origin");
    }
    for (const auto& client : clients_)
      must(client.peer->most_pending() <= kDown, "too much is kept for a client");
    for (const Colour colour : conf::kColours) {
      const auto i = static_cast<size_t>(colour);
      const balancer::Cap& cap = path_.cap(colour);
      must(cap.used() == living[i], "a place without its connection");
      must(dialled[i] == dialled_[i] || living[i] <= std::max(cap.max(), before_[i]), "a cap is exceeded");
      dialled_[i] = dialled[i];
    }
  }

  void finish() {
    for (int i = 0; i < 60; ++i) {
      path_.loop.set_time_us(path_.loop.now_us() + 50'000);
      path_.run();
    }
    // A tunnel has no end of its own: its peers have to leave.
    for (const Client& client : clients_) client.peer->fail(-ECONNRESET);
    path_.run();
    check_bounds();
    for (size_t i = 0; i < path_.dials(); ++i) check_requests(path_.origin(i).received());
    for (const Client& client : clients_) {
      // Whether an answer has a body depends on what was asked.
      if (client.sent.find("HEAD") == std::string::npos) check_answers(client.peer->received());
    }
    check_books();
    const std::string left = path_.close();
    must(left.empty(), "something is left", left);
  }

  static void check_requests(std::string_view text) {
    while (!text.empty()) {
      const Message request = read_strictly(text, Kind::request);
      must(request.state != Message::State::bad, "a malformed request went up: " + request.fault, text);
      // Behind an upgrade anything may follow.
      if (request.state != Message::State::complete || request.count("upgrade") != 0) return;
      text.remove_prefix(request.size);
    }
  }

  static void check_answers(std::string_view text) {
    while (!text.empty()) {
      const Message answer = read_strictly(text, Kind::response);
      must(answer.state != Message::State::bad, "a malformed answer went down: " + answer.fault, text);
      if (answer.state != Message::State::complete || answer.status() == 101) return;
      text.remove_prefix(answer.size);
    }
  }

  void check_books() {
    uint64_t answered = 0;
    uint64_t silent = 0;
    for (const auto& one : path_.reporter.finished) silent += one.status == 0 ? 1 : 0;
    for (const Colour colour : conf::kColours) {
      for (const auto& one : path_.counters(colour).responses) answered += one.get();
    }
    uint64_t unrouted = 0;  // some without an exchange
    for (const auto& one : path_.context.unrouted) unrouted += one.get();
    const uint64_t finished = path_.reporter.finished.size();
    must(finished >= answered + silent && finished <= answered + silent + unrouted,
         "a request is missing in the books, or is there twice");
  }

  Choices choices_;
  MemoryPath path_;
  std::vector<Client> clients_;
  uint32_t before_[2] = {0, 0};
  size_t dialled_[2] = {0, 0};
};

}  // namespace
}  // namespace sluice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Histories beyond this find nothing that shorter ones do not.
  if (size > 4000) return 0;
  sluice::fuzz::History(sluice::fuzz::Choices(data, size)).play();
  return 0;
}
