// DemoTraffic: clients that ask the demo's proxy at a steady rate, and count
// who answered.
//
// Thread: the loop's. Owner: Demo.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "conf/config.h"
#include "proxy/h1_upstream_codec.h"
#include "proxy/loop.h"

namespace sluice::admin {

class DemoTraffic {
 public:
  static constexpr size_t kClients = 16;
  static constexpr uint64_t kTickMs = 16;

  struct Counts {
    uint64_t answers[2] = {0, 0};  // by colour
    uint64_t errors[2] = {0, 0};   // of those, with a status of 500 or more
    uint64_t failures = 0;         // without an answer of either colour
  };

  DemoTraffic(proxy::Loop& loop, const conf::Address& proxy, uint32_t requests_per_second);
  DemoTraffic(const DemoTraffic&) = delete;
  DemoTraffic& operator=(const DemoTraffic&) = delete;
  ~DemoTraffic();

  void start();
  void close();
  const Counts& counts() const { return counts_; }

 private:
  class Client;
  friend class Client;

  void tick();

  proxy::Loop& loop_;
  const conf::Address proxy_;
  const uint32_t rate_;
  proxy::CodecWorkspace workspace_;
  std::string request_text_;
  proxy::RequestHead request_;
  std::vector<std::unique_ptr<Client>> clients_;
  size_t next_ = 0;
  double owed_ = 0;  // requests that are due
  bool closing_ = false;
  proxy::Timer timer_;
  Counts counts_;
};

}  // namespace sluice::admin
