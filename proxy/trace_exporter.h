// TraceExporter: sends the spans of sampled requests to a collector, as OTLP
// over HTTP with JSON (OpenTelemetry Protocol 1.x, "OTLP/HTTP").
//
//   worker: offer() ──mailbox──> waiting ──kBatch or kMostAgeMs──> one POST at a time
//
// It is never in anybody's way: at most kMostSpans are kept in memory, and what
// comes on top is dropped and counted; so is a batch that the collector did not
// take. After a failure it pauses for kPauseMs.
//
// One span stands for a request through this hop (kind SERVER), with what became
// of its attempts among the attributes, and below it one for each attempt (kind
// CLIENT), whose id is what the endpoint sees as its parent: the shape of
// OpenTelemetry's semantic conventions for HTTP, where resent requests are
// siblings.
//
// Thread: offer() any thread's; the rest is the control thread's. Owner:
// Control. Times are microseconds since the epoch.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "conf/config.h"
#include "proxy/http_client.h"
#include "proxy/mailbox.h"
#include "proxy/report.h"
#include "proxy/trace_context.h"

namespace sluice::proxy {

// A request with its attempts: as many spans as weight() says.
struct Span {
  struct Attempt {
    uint64_t id = 0;
    uint64_t began_us = 0;
    uint64_t ended_us = 0;
    const char* upstream = "";
    const char* outcome = "";
    std::string endpoint;
    uint16_t status = 0;  // 0: there was no answer
    bool failed = false;  // an error of the endpoint
    bool rescue = false;
    std::string error;  // Proxy-Status type of what broke it, or empty
  };

  Span() = default;
  // Of a traced request that ended at `ended_us`.
  Span(const AccessRecord& record, uint64_t ended_us);

  TraceContext context;
  uint64_t began_us = 0;
  uint64_t ended_us = 0;
  uint64_t queue_us = 0;
  uint64_t generation = 0;
  uint16_t status = 0;  // 0: the client left before there was one
  bool aborted = false;
  std::string method;
  std::string target;
  std::string authority;
  std::string client;
  std::string request_id;
  std::string service;
  std::string upstream;
  std::string endpoint;
  std::string attempts;        // the outcome of each, separated by commas
  std::string error;           // Proxy-Status type, or empty
  std::vector<Attempt> tries;  // in the order in which they began

  size_t weight() const { return 1 + tries.size(); }
};

// The body of an OTLP request.
std::string to_otlp(const std::vector<Span>& spans, const std::string& version);

class TraceExporter {
 public:
  static constexpr size_t kMostSpans = 4096;
  static constexpr size_t kBatch = 512;  // requests
  // When so many are in memory the control thread is woken; it looks now and then
  // without that.
  static constexpr size_t kHurrySpans = kMostSpans / 4;
  static constexpr uint64_t kMostAgeMs = 1000;
  static constexpr uint64_t kPauseMs = 5000;

  // Called when spans begin to be lost, and when they arrive again.
  using Changed = std::function<void(bool failing, const std::string& what)>;

  // What an https collector is verified with now.
  using Secure = std::function<std::shared_ptr<const TlsClientContext>()>;

  TraceExporter(Loop& loop, Mailbox& mailbox, HttpClient& client, std::string version, Secure tls,
                Changed changed);
  TraceExporter(const TraceExporter&) = delete;
  TraceExporter& operator=(const TraceExporter&) = delete;

  void configure(const conf::Trace& settings);
  void offer(Span span);
  // Some times a second.
  void tick() { send_if_due(); }

  struct Stats {
    uint64_t sent = 0;
    uint64_t dropped = 0;  // for want of room, or because the collector did not take them
  };
  Stats stats() const { return {sent_, dropped_ + overflowed_.load(std::memory_order_relaxed)}; }

 private:
  void take(Span span);
  void send_if_due();
  void on_answer(size_t count, const HttpAnswer& answer);
  void lose(size_t count);
  void say(bool failing, const std::string& what);

  Loop& loop_;
  Mailbox& mailbox_;
  HttpClient& client_;
  const std::string version_;
  const Secure tls_;
  const Changed changed_;
  HttpUrl url_;
  bool enabled_ = false;
  bool failing_ = false;
  bool sending_ = false;
  std::vector<Span> waiting_;  // oldest first
  uint64_t oldest_ms_ = 0;     // when the first of the waiting ones came
  uint64_t not_before_ms_ = 0;
  std::atomic<size_t> room_taken_{0};  // spans waiting, being sent, or on their way here
  std::atomic<uint64_t> overflowed_{0};
  uint64_t sent_ = 0;
  uint64_t dropped_ = 0;
};

}  // namespace sluice::proxy
