// DataPath: one worker's whole data path in memory, with clients and origins
// that a test scripts, and time that a test moves.
//
//   DataPath path(one_service());
//   auto client = path.connect();
//   client->send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
//   path.run();
//   path.origin(0).send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
//   path.run();
//   CHECK(client->received() == ...);
//
// The destructor closes everything and checks that nothing was left behind: no
// stream, no connection, no place under a cap, no handle of the loop.
#pragma once

#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fake_stream.h"
#include "proxy/downstream_connection.h"
#include "proxy/registry.h"
#include "proxy/worker_context.h"

namespace sluice::proxy::test {

// "web" with blue at 10.0.0.1:80 and green at 10.0.0.2:80, split 0, no retries
// on status, nothing else. `endpoints` of each.
conf::Config one_service(uint32_t endpoints = 1);
inline conf::Service& web(conf::Config& config) {
  return config.services.at("web");
}
inline conf::Upstream& blue(conf::Config& config) {
  return web(config).upstreams[0];
}
inline conf::Upstream& green(conf::Config& config) {
  return web(config).upstreams[1];
}
conf::Address address(const std::string& host, uint16_t port = 80);

// Keeps what was reported, as text of its own.
class RecordingReporter final : public Reporter {
 public:
  struct Failure {
    std::string upstream;
    std::string endpoint;
    balancer::Outcome outcome;
    uint16_t status;
    bool by_lot;
  };
  struct Access {
    std::string target;
    std::string upstream;
    std::string endpoint;
    std::string error;
    std::string attempts;
    uint16_t status;
    bool retried;
    bool rescued;
    bool aborted;
    uint64_t bytes_up;
    uint64_t bytes_down;
    uint64_t queue_us;
  };

  void attempt_failed(const AttemptFailure& failure) override;
  void attempt_sampled(const balancer::ServiceState&, std::string_view, std::string_view) override {}
  void request_finished(const AccessRecord& record) override;
  bool wants_access() const override { return true; }

  std::vector<Failure> failures;
  std::vector<Access> finished;
};

class DataPath {
 public:
  // Virtual time begins here, far from any clock's.
  static constexpr uint64_t kStartUs = 4'000'000'000'000'000;

  explicit DataPath(conf::Config config, uint64_t seed = 1);
  ~DataPath();

  // A client that has just connected.
  std::shared_ptr<Peer> connect(std::string ip = "192.0.2.7", bool trusted = false);
  // Until nothing more happens at this moment.
  void run() { network.run(); }
  // Time goes on in steps of a tick of the wheel.
  void pass_ms(uint64_t ms);
  void adopt(conf::Config config);

  // What the command of the same name does.
  void set_split(conf::BasisPoints green);
  void trip();
  void set_mode(conf::Colour colour, size_t endpoint, balancer::EndpointMode mode);

  // The dialled connections, in order.
  Peer& origin(size_t index) {
    REQUIRE(index < dialer.dialled.size());
    return *dialer.dialled[index];
  }
  size_t dials() const { return dialer.dialled.size(); }
  balancer::UpstreamCounters& counters(conf::Colour colour);
  uint64_t attempts(conf::Colour colour, balancer::Outcome outcome) {
    return counters(colour).attempts[static_cast<size_t>(outcome)].get();
  }
  uint64_t refusals(conf::Colour colour, balancer::Refusal refusal) {
    return counters(colour).refusals[static_cast<size_t>(refusal)].get();
  }
  balancer::Cap& cap(conf::Colour colour);
  ServiceEntry& service() { return *registry.find("web"); }

  // One request of a client that waits for its answer, for tests where nothing
  // else happens: what the client got.
  std::string ask(Peer& client, const std::string& request, const std::string& answer);

  Loop loop;
  FakeNetwork network;
  FakeDialer dialer;
  RecordingReporter reporter;
  WorkerContext context;
  ConnectionSet connections;
  Registry registry;
  std::shared_ptr<ListenerTraits> traits = std::make_shared<ListenerTraits>();
  std::atomic<uint32_t> queued{0};
};

inline const std::string kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
inline const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
std::string get(const std::string& target);
// An answer of a status and with a body of known length.
std::string answer(int status, const std::string& body = "");
// The status of the first response in the text, 0 when there is none.
int status_of(const std::string& text);
// The body behind the first head.
std::string body_of(const std::string& text);
bool contains(const std::string& text, std::string_view what);
// `size` octets that differ from their neighbours.
std::string pattern(size_t size);

}  // namespace sluice::proxy::test
