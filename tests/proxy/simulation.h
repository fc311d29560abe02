// Simulation: a random history of the whole data path in memory.
//
// Clients and origins that are scripted by a seed ask, answer, stall, break off
// and talk nonsense; an operator moves splits, trips, drains endpoints, changes
// caps and loads new plans; time jumps. After every step what must always hold
// is checked, and at the end, when everybody has been given time to give up,
// that nothing is left.
//
// Each request has a number, which its target, its X-Id field and its body
// tell; an origin answers with the number and a body that is made of it, so
// that whatever ends up in the wrong place is seen.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "balancer/random.h"
#include "fixtures.h"
#include "wire_text.h"

namespace sluice::proxy::test {

class Simulation {
 public:
  explicit Simulation(uint64_t seed);
  // Fails the test that calls it when anything is wrong.
  void run(int steps);

 private:
  struct Request {
    uint32_t id = 0;
    std::string method = "GET";
    std::string body;
    bool old_version = false;  // HTTP/1.0
    bool malformed = false;
  };
  struct Client {
    std::shared_ptr<Peer> peer;
    std::string to_send;
    std::deque<Request> asked;  // and not answered in full
    bool left = false;          // it ended or reset its side itself
    bool over = false;          // no further answer may come
    size_t answered = 0;        // octets of received() that were judged
  };
  struct Origin {
    std::shared_ptr<Peer> peer;
    bool green = false;
    bool was_connected = false;
    size_t heads = 0;          // requests whose head has come
    bool judged_head = false;  // of the request under way
    bool answering = false;
    bool answered = false;  // in full, as it sees it
    std::string to_send;
    bool ends = false;         // after that
    bool until_close = false;  // its answer has no other end
    bool resets = false;
    bool spoilt = false;  // it did something after which nothing is expected of it
    uint32_t id = 0;
  };

  static conf::Config random_config(balancer::Random& random);

  void step();
  void client_step();
  void new_client();
  void ask(Client& client);
  void origin_step();
  void begin_answer(Origin& origin, const std::string& method);
  void operator_step();
  void settle();
  void meet_origins();

  void check();
  void check_clients();
  void check_client(Client& client);
  void check_answer(Client& client, const Request& request, const WireMessage& message);
  void check_origins();
  void check_origin(Origin& origin);
  void check_caps();
  void check_trip();
  void check_bounds();
  void check_accounts();
  void finish();

  size_t living(bool green) const;
  bool chance(uint64_t one_in) { return random_.below(one_in) == 0; }

  balancer::Random random_;
  conf::Config config_;
  DataPath path_;
  std::vector<Client> clients_;
  std::vector<Origin> origins_;
  std::map<uint32_t, std::string> bodies_;   // of all requests ever made
  std::map<uint32_t, std::string> methods_;  // likewise
  uint32_t next_id_ = 1;
  // What check() compares with.
  size_t dials_before_[2] = {0, 0};
  uint32_t max_before_[2] = {0, 0};
  uint32_t shared_before_ = 0;
  bool tripped_before_ = false;
  size_t green_heads_before_ = 0;
  size_t green_connecting_ = 0;  // attempts that were on their way when the latch fell
};

}  // namespace sluice::proxy::test
