// Influence: no client and no path decides alone.
//
// A client with a broken request can fail a hundred times a second, and with
// sticky splits always on green. So an error only reaches the detectors while
// its client has had at most
//
//   kFreeErrors + 2 · (its share of the traffic) · (all admitted errors)
//
// of them admitted. A client that makes all of the traffic may make all of the
// errors, a crowd of small clients is never held, a small client counts twice
// and then for twice its weight. A path over the same allowance is not
// silenced, since one broken page is a fault of green: every kPathThinning-th
// of its errors is still admitted, and the judgement takes that much longer.
// What was admitted is halved at kMostAdmitted, which is so few that whoever has
// had more than three errors admitted keeps its place in HeavyHitters: one that
// loses it has its whole allowance anew.
//
// This keeps the bound of EProcess: the decision rests on the client, the path
// and what was admitted before, never on the colour of the error at hand. An
// error that is left out is an outcome of its own, whose factor is 1 for either
// colour; the factors of all outcomes still have the expectation 1.
//
// Traffic knows the shares from a small sample of all attempts, each of which
// stands for as many as it was one of. Until kLeastKnown are known everything is
// admitted.
//
// Thread: none of their own.
#pragma once

#include <cstdint>
#include <string_view>

#include "balancer/heavy_hitters.h"

namespace sluice::balancer {

// Where a request came from or went to. Hash 0 means that it is not known.
struct Origin {
  uint64_t hash = 0;
  std::string_view label;
};

class Traffic {
 public:
  static constexpr uint32_t kSampleEvery = 128;  // attempts, in the mean, once many are known
  static constexpr uint64_t kLeastKnown = 64;    // attempts
  // Then all are halved.
  static constexpr uint64_t kMostKnown = uint64_t{4096} * kSampleEvery;

  // One attempt of `every`, ok or not, of either colour.
  void sample(const Origin& client, const Origin& path, uint64_t every);

  bool known() const { return clients_.total() >= kLeastKnown; }
  double client_share(uint64_t hash) const { return share(clients_, hash); }
  double path_share(uint64_t hash) const { return share(paths_, hash); }

 private:
  static constexpr size_t kPlaces = 128;
  static double share(const HeavyHitters& table, uint64_t hash);

  HeavyHitters clients_{kPlaces};
  HeavyHitters paths_{kPlaces};
};

class Influence {
 public:
  static constexpr uint64_t kFreeErrors = 2;
  static constexpr uint64_t kPathThinning = 4;
  static constexpr size_t kPlaces = 64;
  static constexpr uint64_t kMostAdmitted = kFreeErrors * kPlaces;

  // `traffic` must outlive this.
  explicit Influence(const Traffic& traffic) : traffic_(traffic) {}

  enum class Admission : uint8_t {
    counted,
    thinned,  // left out, to slow down what one path tells
    held,     // left out, since its client has had its allowance
  };
  // What is to be done with this error; counts it if it is to be counted.
  Admission weigh(uint64_t client, uint64_t path);
  bool admit(uint64_t client, uint64_t path) { return weigh(client, path) == Admission::counted; }
  void clear();

 private:
  bool over_allowance(const HeavyHitters& admitted, uint64_t hash, double traffic_share) const;

  const Traffic& traffic_;
  HeavyHitters clients_{kPlaces};
  HeavyHitters paths_{kPlaces};
  uint64_t admitted_ = 0;
  uint64_t thinned_ = 0;
};

}  // namespace sluice::balancer
