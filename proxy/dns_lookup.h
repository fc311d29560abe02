// DnsLookup: one question for the addresses of one name, asked with c-ares in
// the way of the system (hosts file, resolv.conf, search list; TCP for answers
// that UDP cuts off) on a loop.
//
// Each lookup has a c-ares channel of its own. That costs reading resolv.conf
// once more, and gives a fresh source port each time, resolv.conf as it is now,
// and an end to it all at any moment by destroying the lookup.
//
// c-ares must not be called from inside its callbacks, so the end is noted and
// `done` deferred; there the owner takes answer() and destroys the lookup.
//
// Owner: the Resolver. Thread: the loop's.
#pragma once

#include <ares.h>
#include <uv.h>

#include <cstdint>
#include <string>
#include <vector>

#include "proxy/loop.h"

namespace sluice::proxy {

class DnsLookup {
 public:
  struct Options {
    // "address:port" joined by commas; empty: those of resolv.conf.
    std::string servers;
    std::string resolv_conf;  // path; empty: the system's
    // A server that says nothing in this time is asked again, twice as long
    // each time, so often; then the question has failed.
    int timeout_ms = 2000;
    int tries = 3;
  };

  // Which addresses are asked for.
  enum class Families : uint8_t { both, ipv4, ipv6 };

  struct Answer {
    // absent: a server says that the name, or an address of it, does not exist.
    // failed: nobody could say.
    enum class Kind : uint8_t { found, absent, failed };
    Kind kind = Kind::failed;
    std::vector<std::string> ipv4;
    std::vector<std::string> ipv6;
    uint64_t ttl_s = 0;   // the shortest of the records; 0 from the hosts file
    std::string problem;  // when not found
  };

  // Asks at once. `done` must outlive the lookup.
  DnsLookup(Loop& loop, const Options& options, const std::string& name, Families families, Deferred& done);
  DnsLookup(const DnsLookup&) = delete;
  DnsLookup& operator=(const DnsLookup&) = delete;
  // Not from within a callback of c-ares. libuv still needs a turn of the loop
  // to close the handles.
  ~DnsLookup();

  Families families() const { return families_; }
  bool finished() const { return finished_; }
  // Once it is finished.
  const Answer& answer() const { return answer_; }

 private:
  struct Socket;

  static void on_socket_state(void* self, ares_socket_t fd, int readable, int writable);
  static void on_socket_event(uv_poll_t* handle, int status, int events);
  static void on_answer(void* self, int status, int timeouts, ares_addrinfo* addresses);
  void watch_socket(ares_socket_t fd, int events);
  void process(ares_socket_t readable, ares_socket_t writable);
  void arm_timer();
  void read(const ares_addrinfo& addresses);
  void finish(int status);

  Loop& loop_;
  const Families families_;
  Deferred& done_;
  ares_channel channel_ = nullptr;
  Timer timer_;
  std::vector<Socket*> sockets_;  // each owns itself and goes in its close callback
  bool finished_ = false;
  Answer answer_;
};

}  // namespace sluice::proxy
