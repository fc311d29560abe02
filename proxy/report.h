// What a worker tells others about the requests it carries, the moment it is
// known. A worker calls these on its own thread; whoever implements them gets
// the news to where it belongs without making the worker wait.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "balancer/counters.h"
#include "balancer/plan.h"
#include "conf/config.h"
#include "proxy/trace_context.h"

namespace sluice::proxy {

// One attempt that failed. The texts are valid during the call only.
struct AttemptFailure {
  balancer::ServiceState* service = nullptr;
  balancer::UpstreamState* upstream = nullptr;
  balancer::EndpointState* endpoint = nullptr;
  balancer::Outcome outcome = balancer::Outcome::reset;
  uint16_t status = 0;  // of the response, where there was one
  std::string_view request_id;
  std::string_view client;  // the address
  std::string_view path;
  bool by_lot = true;     // the split chose the colour; not an override, retry or rescue
  uint64_t begun_us = 0;  // the worker's time
  uint64_t at_us = 0;
};

// The same, on its way to another thread.
struct FailureNote {
  std::string service;
  conf::Colour colour = conf::Colour::blue;
  std::string endpoint;
  balancer::Outcome outcome = balancer::Outcome::reset;
  uint16_t status = 0;
  std::string request_id;
  std::string client;
  std::string path;
  bool by_lot = true;
  uint64_t begun_us = 0;
  uint64_t at_us = 0;
};

// Where one of some attempts came from and went to, failed or not.
struct SampleNote {
  std::string service;
  std::string client;
  std::string path;
  uint64_t every;
};

// One attempt of a traced request. Valid during the call only.
struct AttemptRecord {
  uint64_t span = 0;      // its id, which the endpoint was sent as its parent
  uint64_t began_us = 0;  // the worker's time
  uint64_t ended_us = 0;
  conf::Colour colour = conf::Colour::blue;
  balancer::Outcome outcome = balancer::Outcome::cancelled;
  uint16_t status = 0;  // 0: there was no answer
  bool rescue = false;
  std::string endpoint;
  const char* error = "";  // Proxy-Status type of what broke it
};

// One finished request, for the access log. Valid during the call only.
struct AccessRecord {
  std::string_view request_id;
  std::string_view client;
  std::string_view method;
  std::string_view authority;
  std::string_view target;
  std::string_view service;
  std::string_view upstream;  // "blue", "green" or empty
  std::string_view endpoint;
  std::string_view error;         // Proxy-Status type, or empty
  std::string_view error_detail;  // what it was, in words
  std::string_view attempts;      // outcome of each, separated by commas
  uint16_t status = 0;            // 0: the client left before there was one
  uint8_t minor_version = 1;
  uint64_t generation = 0;
  uint64_t bytes_up = 0;
  uint64_t bytes_down = 0;
  uint64_t duration_us = 0;
  uint64_t queue_us = 0;
  uint64_t connect_us = 0;
  uint64_t first_byte_us = 0;
  bool retried = false;
  bool rescued = false;
  bool aborted = false;
  const TraceContext* trace = nullptr;  // null: traces are off
  // Of a sampled trace, in the order in which they began.
  std::span<const AttemptRecord> traced_attempts;
  uint64_t now_us = 0;  // the worker's time at the end

  // What an incident begins with; a sample of the access log leaves none out.
  bool failed() const { return status == 0 || status >= 500 || retried || rescued || aborted; }
};

class Reporter {
 public:
  virtual ~Reporter() = default;
  virtual void attempt_failed(const AttemptFailure& failure) = 0;
  // One attempt of `every`, so that the judge knows what is usual.
  virtual void attempt_sampled(const balancer::ServiceState& service, std::string_view client,
                               std::string_view path, uint64_t every) = 0;
  virtual void request_finished(const AccessRecord& record) = 0;
  // The worker's loop is about to wait.
  virtual void turn_ended(uint64_t now_us) { static_cast<void>(now_us); }
  // A request that stands for others as slow as itself.
  virtual void exemplar(const balancer::UpstreamState& upstream, std::string_view request_id,
                        uint64_t duration_us) {
    static_cast<void>(upstream), static_cast<void>(request_id), static_cast<void>(duration_us);
  }
  // Is there anybody who wants request_finished() of a request without a
  // sampled trace?
  virtual bool wants_access() const = 0;
};

}  // namespace sluice::proxy
