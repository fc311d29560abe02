// RouteTable: from a request's host and path to a service.
//
// The most specific host wins (exact, then the longest "*.suffix", then routes
// without a host), and within that host the longest path prefix that ends on a
// segment border: "/api" and "/api/" match /api and /api/x, not /apix. The host
// decides first: a request for a known host that none of its paths match is
// looked up among less specific hosts. Paths are compared as they came, without
// decoding: a route is no access control.
//
// A lookup costs a hash for each label of the host and each segment of the
// path, whatever the number of routes. Immutable once built; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sluice::balancer {

class RouteTable {
 public:
  static constexpr uint32_t kNone = ~0U;

  // `host` is lower case: exact, "*.suffix" or empty for any; `path` begins
  // with "/". Adding the same pair twice keeps the first.
  void add(std::string_view host, std::string_view path, uint32_t service);
  // Every request goes to `service`: a table without routes.
  void set_only(uint32_t service) { only_ = service; }

  // `host` as it came, without a port, in any case; `path` without a query.
  uint32_t find(std::string_view host, std::string_view path) const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  template <typename T>
  using Map = std::unordered_map<std::string, T, Hash, std::equal_to<>>;

  // The path prefixes of one host, without their trailing slash.
  struct Paths {
    Map<uint32_t> services;
    size_t longest = 0;
    uint32_t find(std::string_view path) const;
  };

  uint32_t only_ = kNone;
  Map<Paths> exact_;
  Map<Paths> suffix_;  // by ".example.com" for "*.example.com"
  Paths any_;
};

}  // namespace sluice::balancer
