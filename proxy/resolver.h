// Resolver: the addresses behind the dns: endpoints, kept fresh.
//
// Each watched name is resolved at once and again whenever the shortest
// time-to-live among its records has passed (at least kLeastTtlMs, so that a
// zero does not make us a flood; at most kMostTtlMs), A and AAAA both. A failed
// resolution keeps the last good answer and is tried again with growing pauses:
// a name server that is down must not take healthy endpoints away. An answer
// that says that the name has no address (any more) does take them away.
//
// The names are looked up with c-ares in the way of the system (resolv.conf,
// hosts file), on the loop of the control thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "conf/result.h"
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

  // `changed` is called on the loop's thread when any answer differs from the
  // one before; `failed` with a sentence when a name can't be resolved.
  Resolver(Loop& loop, std::function<void()> changed, std::function<void(const std::string&)> failed);
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;
  ~Resolver();

  // Replaces the set of names; those already watched keep their answers.
  void watch(const std::set<std::string>& names);
  const ResolvedNames& names() const;
  // Closes every handle; the loop must still run for them to go.
  void close();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::proxy
