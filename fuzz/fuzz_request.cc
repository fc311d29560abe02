// The request path: a client that sends any octets, a calm origin.
//
// Invariants: what reaches the origin is well-formed to an independent reader
// and framed once, and so are the answers; how the octets were cut into reads
// changes neither; when time has passed nothing is left.
#include <memory>
#include <string>

#include "fuzz/fuzz.h"
#include "fuzz/strict_reader.h"
#include "memory_path.h"

namespace sluice::fuzz {
namespace {

using namespace proxy::test;

// One line for each message that was complete.
struct Seen {
  std::string requests;
  std::string answers;
};

class Run {
 public:
  explicit Run(size_t read_size) : path_(make_config()) {
    client_ = path_.connect();
    client_->read_size = read_size;
  }

  Seen of(std::string_view octets) {
    client_->send(octets);
    turn();
    for (int i = 0; i < 4; ++i) {
      path_.loop.set_time_us(path_.loop.now_us() + kEverybodyGivesUpUs);
      turn();
    }
    client_->end();
    turn();
    // Whether an answer has a body depends on what was asked.
    if (octets.find("HEAD") == std::string_view::npos) read_answers();
    const std::string left = path_.close();
    must(left.empty(), "something is left", left);
    return std::move(seen_);
  }

 private:
  static constexpr uint64_t kEverybodyGivesUpUs = 100'000'000;

  static conf::Config make_config() {
    conf::Config config = one_service();
    web(config).retry.max = 0;
    web(config).limits.header_bytes = 4096;
    web(config).limits.uri_bytes = 512;
    web(config).limits.body_bytes = 4096;
    return config;
  }

  // Until nobody has anything to do; each request is answered when it is whole.
  void turn() {
    do {
      path_.run();
    } while (answer_requests());
  }

  bool answer_requests() {
    bool any = false;
    for (size_t i = 0; i < path_.dials(); ++i) {
      Peer& origin = path_.origin(i);
      const Message request = read_strictly(origin.received(), Kind::request);
      must(request.state != Message::State::bad, "a malformed request went up: " + request.fault,
           origin.received());
      if (request.state != Message::State::complete || !origin.open()) continue;
      must(request.size == origin.received().size(), "something follows a request", origin.received());
      must(request.count("via") >= 1 && request.count("x-forwarded-for") == 1,
           "fields of this hop are missing", origin.received());
      note(request);
      origin.forget(request.size);
      origin.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
      if (!request.start_line.starts_with("HEAD ")) origin.send("ok");
      any = true;
    }
    return any;
  }

  void note(const Message& request) {
    seen_.requests += request.start_line;
    for (const auto& [name, value] : request.fields) {
      // Framing may differ where a body came in pieces; identifiers are random.
      if (name != "x-request-id") seen_.requests += "|" + name + ":" + value;
    }
    seen_.requests += "|" + request.body + "\n";
  }

  void read_answers() {
    std::string_view text = client_->received();
    while (!text.empty()) {
      const Message answer = read_strictly(text, Kind::response);
      must(answer.state == Message::State::complete, "an answer is malformed or not whole: " + answer.fault,
           text);
      text.remove_prefix(answer.size);
      if (answer.status() != 100) seen_.answers += std::to_string(answer.status()) + "|" + answer.body + "\n";
    }
  }

  MemoryPath path_;
  std::shared_ptr<Peer> client_;
  Seen seen_;
};

}  // namespace
}  // namespace sluice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::fuzz;
  Choices choices(data, size);
  const size_t read_size = 1 + choices.below(40);
  const std::string_view octets = choices.rest();
  const Seen whole = Run(sluice::proxy::test::Peer::kAll).of(octets);
  const Seen cut = Run(read_size).of(octets);
  must(whole.requests == cut.requests, "the cut changes the requests",
       whole.requests + "--- cut:\n" + cut.requests);
  must(whole.answers == cut.answers, "the cut changes the answers",
       whole.answers + "--- cut:\n" + cut.answers);
  return 0;
}
