// What the tests of health/ share: a probe whose result the test decides.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "balancer/endpoint.h"
#include "health/probe.h"

namespace sluice::health {

// What a scripted probe was told, outliving the probe.
struct ProbeScript {
  Probe::Done done;  // set while an attempt runs
  int starts = 0;
  int cancels = 0;

  bool running() const { return done != nullptr; }
  void finish(ProbeResult result, uint64_t now_ms) {
    std::exchange(done, nullptr)(std::move(result), now_ms);
  }
};

class ScriptedProbe final : public Probe {
 public:
  explicit ScriptedProbe(std::shared_ptr<ProbeScript> script) : script_(std::move(script)) {}
  void start(Done done) override {
    ++script_->starts;
    script_->done = std::move(done);
  }
  void cancel() override {
    ++script_->cancels;
    script_->done = nullptr;
  }

 private:
  std::shared_ptr<ProbeScript> script_;
};

inline const ProbeResult kOk{};
inline ProbeResult failure(std::string reason = "connection refused") {
  return {ProbeResult::Kind::failed, std::move(reason)};
}

inline std::shared_ptr<balancer::EndpointState> make_endpoint(const std::string& name) {
  return std::make_shared<balancer::EndpointState>(conf::Address{}, name, name, 1);
}

}  // namespace sluice::health
