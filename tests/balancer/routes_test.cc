#include "balancer/routes.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "balancer/random.h"

using namespace sluice::balancer;

TEST_CASE("routes: without routes everything goes to the one service") {
  RouteTable table;
  CHECK(table.find("a", "/") == RouteTable::kNone);
  table.set_only(0);
  CHECK(table.find("a", "/x") == 0);
  CHECK(table.find("", "*") == 0);
}

TEST_CASE("routes: a path prefix ends on a segment border") {
  for (const char* path : {"/api", "/api/"}) {
    RouteTable table;
    table.add("", path, 7);
    CHECK(table.find("h", "/api") == 7);
    CHECK(table.find("h", "/api/") == 7);
    CHECK(table.find("h", "/api/x/y") == 7);
    CHECK(table.find("h", "/api//x") == 7);
    CHECK(table.find("h", "/apix") == RouteTable::kNone);
    CHECK(table.find("h", "/ap") == RouteTable::kNone);
    CHECK(table.find("h", "/API") == RouteTable::kNone);
    CHECK(table.find("h", "/x/api") == RouteTable::kNone);
    CHECK(table.find("h", "/") == RouteTable::kNone);
    CHECK(table.find("h", "*") == RouteTable::kNone);
  }
}

TEST_CASE("routes: the longest prefix wins") {
  RouteTable table;
  table.add("", "/", 0);
  table.add("", "/a", 1);
  table.add("", "/a/b/c", 2);
  CHECK(table.find("", "/") == 0);
  CHECK(table.find("", "*") == 0);
  CHECK(table.find("", "/ab") == 0);
  CHECK(table.find("", "/a/b") == 1);
  CHECK(table.find("", "/a/b/cd") == 1);
  CHECK(table.find("", "/a/b/c") == 2);
  CHECK(table.find("", "/a/b/c/d/e/f/g/h/i/j") == 2);
}

TEST_CASE(
    "routes: the most specific host wins, then the path, and a host whose paths do not match is passed over") {
  RouteTable table;
  table.add("shop.example.com", "/cart", 1);
  table.add("*.example.com", "/", 2);
  table.add("*.com", "/com", 3);
  table.add("", "/", 4);
  CHECK(table.find("shop.example.com", "/cart/1") == 1);
  CHECK(table.find("shop.example.com", "/") == 2);
  CHECK(table.find("a.b.example.com", "/") == 2);
  CHECK(table.find("example.com", "/") == 4);
  CHECK(table.find("example.com", "/com") == 3);
  CHECK(table.find("badexample.com", "/x") == 4);
  CHECK(table.find("com", "/com") == 4);
  CHECK(table.find("", "/") == 4);
}

TEST_CASE("routes: hosts are compared in any case and with a closing dot") {
  RouteTable table;
  table.add("a.example.com", "/", 1);
  table.add("*.example.org", "/", 2);
  CHECK(table.find("A.Example.COM", "/") == 1);
  CHECK(table.find("a.example.com.", "/") == 1);
  CHECK(table.find("X.EXAMPLE.ORG.", "/") == 2);
  CHECK(table.find(std::string(300, 'a') + ".example.org", "/") == RouteTable::kNone);
}

TEST_CASE("routes: the first of two equal routes stays") {
  RouteTable table;
  table.add("a", "/x", 1);
  table.add("a", "/x/", 2);
  CHECK(table.find("a", "/x") == 1);
}

namespace {

struct Route {
  std::string host;
  std::string path;
  uint32_t service;
};

// How specific a route's host is for a request's, or -1: no match.
int host_rank(const std::string& pattern, const std::string& host) {
  if (pattern.empty()) return 0;
  if (!pattern.starts_with("*.")) return pattern == host ? 1000 : -1;
  const std::string suffix = pattern.substr(1);
  return host.size() > suffix.size() && host.ends_with(suffix) ? static_cast<int>(suffix.size()) : -1;
}

bool path_matches(std::string prefix, const std::string& path) {
  while (prefix.ends_with('/')) prefix.pop_back();
  return path.starts_with(prefix) &&
         (path.size() == prefix.size() || prefix.empty() || path[prefix.size()] == '/');
}

uint32_t naive(const std::vector<Route>& routes, const std::string& host, const std::string& path) {
  const Route* best = nullptr;
  for (const Route& route : routes) {
    if (host_rank(route.host, host) < 0 || !path_matches(route.path, path)) continue;
    if (best == nullptr) {
      best = &route;
      continue;
    }
    const int rank = host_rank(route.host, host) - host_rank(best->host, host);
    if (rank > 0 || (rank == 0 && route.path.size() > best->path.size())) best = &route;
  }
  return best == nullptr ? RouteTable::kNone : best->service;
}

std::string random_host(Random& random) {
  std::string host;
  for (uint64_t labels = 1 + random.below(4); labels > 0; --labels) {
    if (!host.empty()) host += '.';
    host += static_cast<char>('a' + random.below(5));
  }
  return host;
}

std::string random_path(Random& random) {
  std::string path;
  for (uint64_t segments = random.below(5); segments > 0; --segments) {
    path += '/';
    for (uint64_t octets = random.below(3); octets > 0; --octets)
      path += static_cast<char>('x' + random.below(3));
  }
  return path.empty() ? "/" : path;
}

}  // namespace

TEST_CASE("routes: ten thousand routes agree with a walk over all of them") {
  Random random(4);
  RouteTable table;
  std::vector<Route> routes;
  for (uint32_t i = 0; i < 10'000; ++i) {
    Route route{random_host(random), random_path(random), i};
    if (random.below(3) == 0) route.host.insert(0, "*.");
    if (random.below(200) == 0) route.host.clear();
    while (route.path.size() > 1 && route.path.ends_with('/')) route.path.pop_back();
    routes.push_back(route);
    table.add(route.host, route.path, route.service);
  }
  for (int i = 0; i < 2000; ++i) {
    const std::string host = random_host(random);
    const std::string path = random_path(random);
    CAPTURE(host, path);
    REQUIRE(table.find(host, path) == naive(routes, host, path));
  }
}
