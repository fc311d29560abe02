// What the tests of the judge share: a TripBreaker with traffic whose every
// attempt is drawn by chance from a seed, on a virtual clock.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "balancer/random.h"
#include "balancer/trip_breaker.h"

namespace sluice::balancer {

struct ErrorRates {
  double blue = 0;
  double green = 0;
};

class JudgedTraffic {
 public:
  static constexpr uint64_t kAttemptsPerMs = 1;

  explicit JudgedTraffic(uint64_t seed, const conf::Trip& settings = {})
      : breaker("web", settings), random_(seed) {}

  uint64_t now_ms() const { return 1'000'000 + attempts_ / kAttemptsPerMs; }

  void begin_step(conf::BasisPoints split) {
    split_ = split;
    breaker.begin_step(split, now_ms());
  }

  // Blue alone at split 0, its errors evenly spread.
  void warm_up(double rate, uint64_t attempts = 20'000) {
    begin_step(0);
    double owed = 0;
    for (uint64_t i = 0; i < attempts; ++i) {
      owed += rate;
      tell(conf::Colour::blue, owed >= 1);
      if (owed >= 1) owed -= 1;
    }
  }

  // Runs until a trip or for `attempts`, and returns the green ones among them.
  uint64_t run(const ErrorRates& rates, uint64_t attempts) {
    uint64_t green_attempts = 0;
    for (uint64_t i = 0; i < attempts && !breaker.tripped(); ++i) {
      const bool green = random_.below(conf::kFullSplit) < split_;
      green_attempts += green ? 1 : 0;
      const bool error = random_.unit() < (green ? rates.green : rates.blue);
      ++attempts_;
      if (green && green_behind > 0) {
        under_way_.push_back({attempts_ + green_behind, now_ms(), error});
      } else {
        end(green ? conf::Colour::green : conf::Colour::blue, error, now_ms());
      }
      while (!under_way_.empty() && under_way_.front().ends_at <= attempts_) {
        const UnderWay one = under_way_.front();
        under_way_.pop_front();
        end(conf::Colour::green, one.error, one.begun_ms);
      }
    }
    return green_attempts;
  }

  void tell(conf::Colour colour, bool error) {
    ++attempts_;
    end(colour, error, now_ms());
  }

  TripBreaker breaker;
  uint64_t green_behind = 0;  // green's attempts end when so many more have begun; run() minds it

 private:
  struct UnderWay {
    uint64_t ends_at;
    uint64_t begun_ms;
    bool error;
  };

  void end(conf::Colour colour, bool error, uint64_t begun_ms) {
    const bool green = colour == conf::Colour::green;
    if (!error) {
      breaker.add_oks(green ? 0 : 1, green ? 1 : 0, now_ms());
      return;
    }
    FailedAttempt attempt;
    attempt.colour = colour;
    attempt.begun_ms = begun_ms;
    breaker.add_error(attempt, now_ms());
  }

  Random random_;
  std::deque<UnderWay> under_way_;
  conf::BasisPoints split_ = 0;
  uint64_t attempts_ = 0;
};

inline void fail(JudgedTraffic& traffic, FailedAttempt attempt, int times = 1) {
  for (int i = 0; i < times; ++i) traffic.breaker.add_error(attempt, traffic.now_ms());
}

inline bool mentions(const std::string& text, const char* words) {
  return text.find(words) != std::string::npos;
}

}  // namespace sluice::balancer
