// The response path: an origin that sends any octets, a calm client.
//
// Invariants: what reaches the client is well-formed to an independent reader;
// how the octets were cut into reads changes nothing; and what an origin sent
// beyond its answer never becomes part of the answer to the next request.
#include <cerrno>
#include <memory>

#include "fuzz/fuzz.h"
#include "fuzz/strict_reader.h"
#include "memory_path.h"

namespace sluice::fuzz {
namespace {

using namespace proxy::test;

struct Asking {
  const char* text;
  bool head = false;
  bool upgrade = false;
  bool once = false;  // HTTP/1.0 without keep-alive
};
constexpr Asking kAskings[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", true},
    {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", false, true},
    {"GET / HTTP/1.0\r\nHost: a\r\n\r\n", false, false, true},
};

// How the origin goes on when it has sent everything.
enum class Then : uint8_t { nothing, end, reset };
constexpr uint32_t kThens = 3;

class Run {
 public:
  Run(const Asking& asking, size_t read_size) : asking_(asking), read_size_(read_size), path_(make_config()) {
    client_ = path_.connect();
  }

  std::string of(std::string_view octets, Then then) {
    client_->send(asking_.text);
    path_.run();
    must(path_.dials() == 1, "the request did not go up");
    Peer& origin = path_.origin(0);
    origin.read_size = read_size_;
    origin.send(octets);
    if (then == Then::end) origin.end();
    if (then == Then::reset) origin.fail(-ECONNRESET);
    path_.run();
    wait();
    std::string got = judge();
    const std::string left = path_.close();
    must(left.empty(), "something is left", left);
    return got;
  }

 private:
  static conf::Config make_config() {
    conf::Config config = one_service();
    web(config).retry.max = 0;
    return config;
  }

  // Past every timeout.
  void wait() {
    for (int i = 0; i < 3 && client_->open(); ++i) {
      if (next_may_be_asked()) return;
      path_.loop.set_time_us(path_.loop.now_us() + 70'000'000);
      path_.run();
    }
  }

  // The final answer, behind those of 1xx.
  Message final_answer(std::string& statuses, size_t& at) const {
    for (;;) {
      const std::string_view rest = std::string_view(client_->received()).substr(at);
      Message answer = read_strictly(rest, asking_.head ? Kind::response_to_head : Kind::response);
      must(answer.state != Message::State::bad, "a malformed answer went down: " + answer.fault, rest);
      if (!answer.has_head) return answer;
      statuses += std::to_string(answer.status()) + " ";
      if (answer.status() >= 200 || answer.status() == 101) return answer;
      at += answer.size;
    }
  }

  bool next_may_be_asked() const {
    std::string statuses;
    size_t at = 0;
    const Message answer = final_answer(statuses, at);
    return answer.state == Message::State::complete && answer.status() >= 200 &&
           answer.field("connection") != "close" && !asking_.once && client_->open();
  }

  std::string judge() {
    std::string seen;
    size_t at = 0;
    const Message answer = final_answer(seen, at);
    if (answer.status() == 101) {
      must(asking_.upgrade, "an upgrade that nobody asked for", client_->received());
      return seen;
    }
    const bool complete = answer.state == Message::State::complete;
    const bool ended =
        answer.state == Message::State::until_close && client_->was_closed() && !client_->was_reset();
    must(!complete || at + answer.size == client_->received().size(), "something follows the answer",
         client_->received());
    if (complete || ended) seen += "whole " + answer.body;
    if (complete && next_may_be_asked()) ask_again();
    return seen;
  }

  // The next request of the connection is answered by its own answer alone.
  void ask_again() {
    client_->take_received();
    client_->send("GET /again HTTP/1.1\r\nHost: a\r\n\r\n");
    path_.run();
    Peer* asked = nullptr;
    for (size_t i = 0; i < path_.dials(); ++i) {
      if (path_.origin(i).open() && path_.origin(i).received().find("GET /again ") != std::string::npos) {
        asked = &path_.origin(i);
      }
    }
    must(asked != nullptr, "nobody was asked again", client_->received());
    must(client_->received().empty(), "an answer before the origin's", client_->received());
    asked->send("HTTP/1.1 299 Again\r\nContent-Length: 5\r\n\r\nagain");
    path_.run();
    const Message answer = read_strictly(client_->received(), Kind::response);
    must(answer.state == Message::State::complete && answer.status() == 299 && answer.body == "again",
         "the next answer is another's", client_->received());
  }

  const Asking& asking_;
  const size_t read_size_;
  MemoryPath path_;
  std::shared_ptr<Peer> client_;
};

}  // namespace
}  // namespace sluice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::fuzz;
  Choices choices(data, size);
  const Asking& asking = kAskings[choices.below(std::size(kAskings))];
  const auto then = static_cast<Then>(choices.below(kThens));
  const size_t read_size = 1 + choices.below(40);
  const std::string_view octets = choices.rest();
  const std::string whole = Run(asking, sluice::proxy::test::Peer::kAll).of(octets, then);
  const std::string cut = Run(asking, read_size).of(octets, then);
  must(whole == cut, "the cut changes the answer", whole + "\n--- cut:\n" + cut);
  return 0;
}
