// MemoryPath: one worker's whole data path in memory, with clients and origins
// that are scripted, and time that moves when it is told. The unit tests use it
// as DataPath (fixtures.h), the fuzz targets as it is.
//
// Owner: the test. Thread: any one; it is the worker's.
#pragma once

#include <atomic>
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
  void attempt_sampled(const balancer::ServiceState&, std::string_view, std::string_view, uint64_t) override {
  }
  void request_finished(const AccessRecord& record) override;
  bool wants_access() const override { return true; }

  std::vector<Failure> failures;
  std::vector<Access> finished;
};

class MemoryPath {
 public:
  // Virtual time begins here, far from any clock's.
  static constexpr uint64_t kStartUs = 4'000'000'000'000'000;

  explicit MemoryPath(conf::Config config, uint64_t seed = 1);
  MemoryPath(const MemoryPath&) = delete;
  MemoryPath& operator=(const MemoryPath&) = delete;
  ~MemoryPath();

  // Closes everything; what was left behind in spite of that, a line each.
  std::string close();

  // A client that has just connected.
  std::shared_ptr<Peer> connect(std::string ip = "192.0.2.7", bool trusted = false);
  // Until nothing more happens at this moment.
  void run() { network.run(); }
  // Time goes on in steps of a tick of the wheel.
  void pass_ms(uint64_t ms);
  void adopt(conf::Config config, const ResolvedNames& names = {});

  // What the command of the same name does.
  void set_split(conf::BasisPoints green);
  void trip();
  void set_mode(conf::Colour colour, size_t endpoint, balancer::EndpointMode mode);

  // The dialled connections, in order.
  Peer& origin(size_t index) { return *dialer.dialled.at(index); }
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
  std::atomic<uint32_t> clients{0};

 private:
  bool closed_ = false;
};

}  // namespace sluice::proxy::test
