// Resolver: the addresses behind the dns: endpoints, kept fresh.
//
// Each watched name is resolved at once and again whenever the shortest
// time-to-live among its records has passed (at least kLeastTtlMs, so that a
// zero does not make us a flood; at most kMostTtlMs), A and AAAA both. A failed
// resolution keeps the last good answer and is tried again with growing pauses:
// a name server that is down must not take healthy endpoints away. An answer
// that says that the name has no address (any more) does take them away, and is
// asked for again with the same growing pauses.
//
//   ask A and AAAA --some missing that were there--> ask for those alone
//        ^    |                                             |
//        |    v                                             v
//   TTL or pause <------------ told: `changed` / `failed` --'
//
// The second question is there because c-ares 1.18 reports only the last of the
// two answers when the other is a failure: an A record that timed out beside an
// empty AAAA answer looks like a name without addresses, and must not be.
//
// The names are looked up with c-ares in the way of the system (resolv.conf,
// hosts file; see DnsLookup). A name that is an IP address stands for itself.
//
// Owner: Control. Thread: the control thread's loop.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "conf/result.h"
#include "proxy/dns_lookup.h"
#include "proxy/loop.h"

namespace sluice::proxy {

// The addresses, as text and sorted, by name.
using ResolvedNames = std::map<std::string, std::vector<std::string>>;

class Resolver {
 public:
  static constexpr uint64_t kLeastTtlMs = 1000;
  static constexpr uint64_t kMostTtlMs = 300'000;
  static constexpr uint64_t kFirstRetryMs = 500;
  static constexpr uint64_t kMostRetryMs = 30'000;

  struct Options {
    DnsLookup::Options lookup;
    uint64_t least_ttl_ms = kLeastTtlMs;
    uint64_t most_ttl_ms = kMostTtlMs;
  };

  // `changed` is called on the loop's thread when any answer differs from the
  // one before; `failed` with a sentence when a name can't be resolved, or is
  // said to have no address. Neither is called from inside watch(), and both
  // may call it.
  Resolver(Loop& loop, std::function<void()> changed, std::function<void(const std::string&)> failed);
  Resolver(Loop& loop, Options options, std::function<void()> changed,
           std::function<void(const std::string&)> failed);
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;
  ~Resolver();

  // Replaces the set of names; those already watched keep their answers.
  void watch(const std::set<std::string>& names);
  // A name that no server has answered for yet is not among them.
  const ResolvedNames& names() const;
  // Closes every handle, for good; idempotent. The loop must still run for them
  // to go.
  void close();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::proxy
